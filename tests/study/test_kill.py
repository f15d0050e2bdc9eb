"""Two hundred raters at once while the server is killed five times: no vote is lost, none counts twice."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest
from scripts import child_environment
from study_runs import hidden, study_runs

from likeness.study.assignment import assign, num_slots
from likeness.study.build import Wanted, new_study
from likeness.study.store import open_store
from likeness.study.web import Site, links_of, open_site

GONE = (OSError, HTTPException)


class Answer(NamedTuple):
    """A page: its text, and where redirects led."""

    text: str
    path: str


class Insistent:
    """A browser that asks again until the server answers, with the same form, as people do who press Reload."""

    def __init__(self, port: int, stop: threading.Event) -> None:
        self._port, self._stop, self._cookie = port, stop, ""

    def ask(self, path: str, form: dict[str, str] | None = None) -> Answer:
        while not self._stop.is_set():
            try:
                return self._once(path, form)
            except GONE:
                time.sleep(0.05)
        raise AssertionError("the test is over")

    def _once(self, path: str, form: dict[str, str] | None) -> Answer:
        for _ in range(5):
            connection = HTTPConnection("127.0.0.1", self._port, timeout=120)
            headers = {"Cookie": self._cookie, "Content-Type": "application/x-www-form-urlencoded"}
            try:
                connection.request("POST" if form else "GET", path, urlencode(form) if form else None, headers)
                answer = connection.getresponse()
                body = answer.read().decode()
            finally:
                connection.close()
            if cookie := answer.getheader("set-cookie"):
                self._cookie = cookie.partition(";")[0]
            if answer.status != 303:
                assert answer.status == 200, body
                return Answer(body, path)
            path, form = str(answer.getheader("location")), None
        raise AssertionError("too many redirects")


def take_part(path: str, browser: Insistent, *, said: dict[tuple[str, str], str], seed: int) -> None:
    """From the link to the last page; what was answered and acknowledged goes to `said`."""
    rng = random.Random(seed)
    page = browser.ask(path).text
    page = browser.ask(path, {"token": hidden(page)}).text
    while 'data-item="' in page:
        item, answer = hidden(page, "item"), rng.choice(["0", "1", "equal", "neither"])
        page = browser.ask("/task", {"token": hidden(page), "item": item, "overall": answer}).text
        said[path, item] = answer
    assert re.search("<code>[A-Z0-9]{10}</code>", page)


def serve(study: Path, database: str | None, port: int) -> subprocess.Popen[bytes]:
    words = ["study", "serve", str(study), "--port", str(port), "--joins-per-minute", "100000"]
    words += ["--database", database] if database else []
    command = [sys.executable, "-m", "likeness", *words]
    return subprocess.Popen(command, env=child_environment(), stderr=subprocess.DEVNULL)


def answers(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except GONE:
        return False
    finally:
        connection.close()


def killed_at_times(
    study: Path, database: str | None, port: int, *, kills: int, threads: list[threading.Thread]
) -> int:
    """The server runs until all raters are done, killed at random moments; how often it was."""
    rng, killed = random.Random(1), 0
    server = serve(study, database, port)
    begun = False
    while any(thread.is_alive() for thread in threads) or not begun:
        if not answers(port):
            time.sleep(0.1)
            continue
        if not begun:
            begun = True
            for thread in threads:
                thread.start()
        if killed < kills:
            time.sleep(0.5 + rng.random())
            os.kill(server.pid, signal.SIGKILL)
            server.wait()
            killed += 1
            server = serve(study, database, port)
        else:
            time.sleep(0.2)
    server.terminate()
    server.wait()
    return killed


def check(site: Site, said: dict[tuple[str, str], str], *, raters: int) -> None:
    """Each acknowledged answer is there as it was given, each item of a rater once, and every query has its votes."""
    votes = site.store.votes()
    link_of = {rater.id: rater.external for rater in site.store.raters()}
    assert len(link_of) == raters
    kept = {(link_of[vote.rater], str(vote.item)): vote.answer for vote in votes}
    assert len(kept) == len(votes) == len(said)
    number = {
        urlsplit(link).path: str(k) for k, link in enumerate(links_of(site, "http://h", count=raters)["personal"], 1)
    }
    assert kept == {(number[path], item): answer for (path, item), answer in said.items()}
    counts = Counter(vote.query for vote in votes if vote.kind == "query")
    assert counts == {query: site.study.votes for query, _ in site.plan.queries}
    for rater in site.store.raters():
        assert rater.finished is not None
        assert site.store.answered(rater.id) == frozenset(range(len(assign(site.plan, rater.slot))))


@pytest.mark.parametrize(
    ("raters", "kills"), [(6, 1), pytest.param(200, 5, marks=pytest.mark.slow)], ids=["few", "many"]
)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_no_vote_is_lost_or_counted_twice(
    kind: str, raters: int, kills: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    database: str | None = None if kind == "sqlite" else request.getfixturevalue("postgres")
    runs = study_runs(tmp_path / "runs", names=("a", "b"), num_cases=12)
    study = tmp_path / "study"
    new_study(runs, study, wanted=Wanted(votes=raters // 2, per_rater=6, repeats=1, golds=1))
    store = open_store(database or study / "votes.sqlite")
    site = open_site(study, store)
    assert num_slots(site.plan) == raters
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    stop, said = threading.Event(), dict[tuple[str, str], str]()
    links = links_of(site, "http://h", count=raters)["personal"]
    threads = [
        threading.Thread(
            target=take_part,
            args=(urlsplit(link).path, Insistent(port, stop)),
            kwargs={"said": said, "seed": k},
            daemon=True,
        )
        for k, link in enumerate(links)
    ]
    try:
        assert killed_at_times(study, database, port, kills=kills, threads=threads) == kills
        check(site, said, raters=raters)
    finally:
        stop.set()
        store.close()
