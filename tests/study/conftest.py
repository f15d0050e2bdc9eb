"""A Postgres server of the tests' own, and small studies."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from starlette.testclient import TestClient
from study_runs import study_runs

from likeness.study.build import Wanted, new_study
from likeness.study.store import open_store
from likeness.study.web import Site, open_site, study_app

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
USERS = ("postgres", "nobody")


def _as_user(user: str | None, command: list[str]) -> list[str]:
    """`initdb` and `postgres` refuse to run as root."""
    return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", *command] if user else command


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _user() -> str | None:
    if os.geteuid():
        return None
    import pwd

    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in USERS if name in names), None) or pytest.skip("needs a user postgres or nobody")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server in a temporary folder, which ends with the tests."""
    pytest.importorskip("psycopg", reason="needs the extra `study`")
    if not BINARIES or (not os.geteuid() and shutil.which("setpriv") is None):
        pytest.skip("needs Postgres and setpriv: apt-get install postgresql util-linux")
    place, user, port = Path(f"/tmp/likeness-pg-{uuid4().hex[:8]}"), _user(), _free_port()
    place.mkdir(mode=0o700)
    if user:
        shutil.chown(place, user, user if user == "postgres" else None)
    data, tools = place / "data", BINARIES[-1]
    try:
        create = _as_user(user, [f"{tools}/initdb", "-D", f"{data}", "-A", "trust", "-U", "study", "-N"])
        subprocess.run(create, check=True, capture_output=True, cwd="/tmp")
        settings = [
            "-p",
            str(port),
            "-k",
            str(place),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "max_connections=60",
            "-c",
            "fsync=off",
        ]
        with (place / "log").open("wb") as log:
            command = _as_user(user, [f"{tools}/postgres", "-D", f"{data}", *settings])
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd="/tmp")
        _wait(tools, port, log=place / "log")
        yield f"postgresql://study@127.0.0.1:{port}"
        server.send_signal(signal.SIGINT)  # does not wait for clients
        server.wait(timeout=30)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _wait(tools: Path, port: int, *, log: Path) -> None:
    for _ in range(300):
        if subprocess.run([f"{tools}/pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode == 0:
            return
        time.sleep(0.1)
    pytest.fail(f"Postgres did not start: {log.read_text(encoding='utf-8', errors='replace')[-500:]}")


@pytest.fixture
def postgres(postgres_server: str) -> str:
    """The URL of an empty database."""
    import psycopg
    from psycopg import sql

    name = f"study_{uuid4().hex[:10]}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    return f"{postgres_server}/{name}"


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three runs of twelve cases whose pictures differ, with truth for gold items."""
    folder = tmp_path_factory.mktemp("runs")
    return study_runs(folder, names=("plain", "focus", "third"))


@pytest.fixture(scope="session")
def study_folder(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of three runs side by side in pairs, one vote a query, nine queries a rater."""
    folder = tmp_path_factory.mktemp("study") / "study"
    new_study(runs, folder, wanted=Wanted(kind="pairwise", votes=1, per_rater=9))
    return folder


@pytest.fixture
def site(study_folder: Path, tmp_path: Path) -> Iterator[Site]:
    """The study with an empty database."""
    store = open_store(tmp_path / "votes.sqlite")
    yield open_site(study_folder, store)
    store.close()


@pytest.fixture
def client(site: Site) -> Iterator[TestClient]:
    """A browser without JavaScript."""
    with TestClient(study_app(site)) as browser:
        yield browser
