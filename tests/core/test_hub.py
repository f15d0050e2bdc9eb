"""Snapshots from a local server that speaks as the hub does: whole, cut and resumed, wrong, offline, copied by hand."""

import hashlib
import json
import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from huggingface_hub import constants
from safetensors.numpy import save

from likeness.core.errors import WeightsError
from likeness.core.fetched import copied_folder
from likeness.core.hashing import file_sha256, folder_sha256
from likeness.core.hub import fetch_snapshot
from likeness.core.published import Published
from likeness.core.weights import resolve_processing, resolve_weights

COMMIT, REVISION = "c" * 40, "refs/pr/15"
SPEC = f"owner/name@{REVISION}"
WEIGHTS = save({"a": np.arange(500_000, dtype=np.float32)})
FILES = {"config.json": b'{"a": 1}', "model.safetensors": WEIGHTS, "README.md": b"x", "pytorch_model.bin": b"pickle"}
HASHES = {"model.safetensors": hashlib.sha256(WEIGHTS).hexdigest()}


class Hub(BaseHTTPRequestHandler):
    """One repository. `cut` ends the first answer of weights after so many bytes; `asked` are the requests."""

    cut: ClassVar[int | None] = None
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_HEAD(self) -> None:
        """The facts of a file."""
        self._answer(with_body=False)

    def do_GET(self) -> None:
        """A file, the list of files, or what the hub says of the revision."""
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        path, ranged = self.path.partition("?")[0], self.headers.get("Range")
        type(self).asked.append((f"{self.command} {path}", ranged))
        if "/owner/name" not in path:
            return self.send_error(404, "Not Found")
        body = self._body(path)
        start = int(ranged.removeprefix("bytes=").removesuffix("-")) if ranged else 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("ETag", f'"{hashlib.sha1(body).hexdigest()}"')
        self.end_headers()
        if with_body:
            cut = type(self).cut if path.endswith(".safetensors") else None
            end = None if cut is None else start + cut
            if end:
                type(self).cut = None
            self.wfile.write(body[start:end])
        return None

    @staticmethod
    def _body(path: str) -> bytes:
        if "/tree/" in path:
            rows = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in FILES.items()
            ]
            return json.dumps(rows).encode()
        if path.startswith("/api/models"):
            siblings = [{"rfilename": name} for name in FILES]
            return json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": siblings}).encode()
        return FILES[path.rpartition("/")[2]]

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[type[Hub]]:
    """The server's class, whose fields a test may set; huggingface_hub asks it and caches below tmp_path."""

    class Own(Hub):
        asked: ClassVar[list[tuple[str, str | None]]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    yield Own
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def item(**changes: object) -> Published:
    found = Published("x", "hub", SPEC, ("*.safetensors", "*.json"), "", "MIT", str(copied_folder(SPEC)))
    return found._replace(**changes)  # pyright: ignore[reportArgumentType] any field


def copy(folder: Path, **changes: bytes) -> Path:
    """A folder with all files of the repository, as somebody would download it."""
    folder.mkdir()
    for name, data in FILES.items():
        (folder / name).write_bytes(changes.get(name.partition(".")[0], data))
    return folder


def test_a_snapshot_comes_without_pickles_at_its_revision(hub: type[Hub]) -> None:
    found = fetch_snapshot("clip", item(sha256=HASHES))
    assert not found.was_there
    assert sorted(path.name for path in found.folder.iterdir()) == ["config.json", "model.safetensors"]
    assert file_sha256(found.folder / "model.safetensors") == HASHES["model.safetensors"]
    assert ("GET /api/models/owner/name/revision/refs%2Fpr%2F15", None) in hub.asked
    before = sum(request.startswith("GET /owner") for request, _ in hub.asked)
    assert resolve_weights(SPEC) == found.folder  # the encoder finds it by its id, and nothing is downloaded twice
    assert sum(request.startswith("GET /owner") for request, _ in hub.asked) == before


def test_of_a_part_only_its_files_are_downloaded_or_copied(hub: type[Hub], tmp_path: Path) -> None:
    part = item(files=("model.safetensors",), only_files=True)
    found = fetch_snapshot("part", part)
    assert [path.name for path in found.folder.iterdir()] == ["model.safetensors"]
    assert not any("config.json" in request for request, _ in hub.asked if "/resolve/" in request)
    source = copy(tmp_path / "source")
    place = fetch_snapshot("part", part, source=source).folder
    assert [path.name for path in place.iterdir()] == ["model.safetensors"]
    assert fetch_snapshot("part", part).was_there
    with pytest.raises(WeightsError, match=r"source: expected unet/\*, vae.json of owner/name.*, got none"):
        fetch_snapshot("part", part._replace(files=("unet/*", "model.safetensors", "vae.json")), source=source)


def test_a_cut_download_is_resumed(hub: type[Hub], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1 << 16)
    hub.cut = 1_000_000
    found = fetch_snapshot("clip", item(sha256=HASHES))
    assert file_sha256(found.folder / "model.safetensors") == HASHES["model.safetensors"]
    ranges = [ranged for request, ranged in hub.asked if request.startswith("GET") and "safetensors" in request]
    assert ranges[0] is None
    assert ranges[-1] is not None
    assert 0 < int(ranges[-1].removeprefix("bytes=").removesuffix("-")) <= 1_000_000


def test_another_file_than_the_published_one_is_refused_with_both_hashes(hub: type[Hub]) -> None:
    with pytest.raises(WeightsError) as caught:
        fetch_snapshot("clip", item(sha256={"model.safetensors": "0" * 64}))
    assert "expected the published file with SHA-256 000000000000..." in str(caught.value)
    assert HASHES["model.safetensors"][:12] in str(caught.value)
    with pytest.raises(WeightsError, match=r"absent\.json: expected a file of owner/name@refs/pr/15, got none"):
        fetch_snapshot("clip", item(sha256={"absent.json": "0" * 64}))


def test_offline_one_message_says_what_to_copy_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError) as caught:
        fetch_snapshot("clip", item())
    told = str(caught.value)
    for part in (
        f"clip: expected {SPEC} from the hub, got ",
        "copy *.safetensors, *.json of https://huggingface.co/owner/name/tree/refs/pr/15 to ",
        str(copied_folder(SPEC)),
        "`likeness fetch clip --from FOLDER`",
    ):
        assert part in told


def test_a_copy_is_found_by_the_hub_id_and_is_what_a_download_would_be(
    hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    downloaded = folder_sha256(fetch_snapshot("clip", item()).folder)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "empty"))
    with pytest.raises(WeightsError):
        resolve_weights(SPEC)
    found = fetch_snapshot("clip", item(), source=copy(tmp_path / "copy"))
    assert found.folder == copied_folder(SPEC) == resolve_weights(SPEC) == resolve_processing(SPEC)
    assert folder_sha256(found.folder) == downloaded  # so that ids of encoders are the same
    assert fetch_snapshot("clip", item()) == (found.folder, True)


def test_a_copy_must_be_whole_and_of_safetensors(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"nowhere: expected a folder with \*\.safetensors, \*\.json, got none"):
        fetch_snapshot("clip", item(), source=tmp_path / "nowhere")
    cut = copy(tmp_path / "cut", model=WEIGHTS[:-1])
    with pytest.raises(WeightsError, match=r"model\.safetensors: expected a whole safetensors file"):
        fetch_snapshot("clip", item(), source=cut)
    (cut / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"cut: expected safetensors \(pickles are never read\) of owner/name"):
        fetch_snapshot("clip", item(), source=cut)
    other = copy(tmp_path / "other", model=save({"a": np.zeros(3, np.float32)}))
    with pytest.raises(WeightsError, match="expected the published file with SHA-256"):
        fetch_snapshot("clip", item(sha256=HASHES), source=other)
    assert not copied_folder(SPEC).exists()


def test_of_a_tokenizer_no_weights_are_copied_and_of_a_pipeline_its_parts(tmp_path: Path) -> None:
    found = fetch_snapshot("bert", item(texts_only=True), source=copy(tmp_path / "copy"))
    assert [path.name for path in found.folder.iterdir()] == ["config.json"]
    pipeline = copy(tmp_path / "flux")
    (pipeline / "model_index.json").write_text("{}")
    (pipeline / "vae").mkdir()
    (pipeline / "vae" / "a.safetensors").write_bytes(WEIGHTS)
    (pipeline / ".cache").mkdir()
    (pipeline / ".cache" / "b.json").write_text("{}")
    found = fetch_snapshot("flux", item(source="owner/flux"), source=pipeline)
    names = sorted(path.relative_to(found.folder).as_posix() for path in found.folder.rglob("*") if path.is_file())
    assert names == ["config.json", "model_index.json", "vae/a.safetensors"]
