"""`download` against a real server: whole, cut, resumed, changed in between, refused."""

import threading
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from likeness.core.download import download
from likeness.core.errors import OutputError, WeightsError

BODY = bytes(range(256)) * 20_000  # 5 MB


class Web(BaseHTTPRequestHandler):
    """Serves `body` with ranges; `cut` ends each answer after so many bytes, as a lost connection does."""

    body: ClassVar[bytes] = BODY
    tag: ClassVar[str] = '"one"'
    cut: ClassVar[int | None] = None
    ranges: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        """One file, under any name but /absent."""
        if self.path == "/absent":
            return self.send_error(404, "Not Found")
        wanted, known = self.headers.get("Range"), self.headers.get("If-Range")
        self.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and known == self.tag else 0
        if start >= len(self.body):
            return self.send_error(416, "Range Not Satisfiable")
        rest = self.body[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.send_header("ETag", self.tag)
        self.end_headers()
        self.wfile.write(rest[: self.cut])
        return None

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def web() -> Generator[tuple[type[Web], str]]:
    """The server's class, whose fields a test may set, and its address."""

    class Own(Web):
        ranges: ClassVar[list[str | None]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Own, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_comes_whole_and_only_once(web: tuple[type[Web], str], tmp_path: Path) -> None:
    server, address = web
    told: list[tuple[int, int]] = []
    path = tmp_path / "deep" / "file.pt"
    for _ in range(2):
        assert download(f"{address}/f", path, advice="", progress=lambda *at: told.append(at)) == path
    assert path.read_bytes() == BODY
    assert server.ranges == [None]
    assert told[-1] == (4, 4)
    assert [each.name for each in path.parent.iterdir()] == ["file.pt"]


def test_a_cut_download_goes_on_where_it_was(web: tuple[type[Web], str], tmp_path: Path) -> None:
    server, address = web
    server.cut = 2_000_000
    path = tmp_path / "file.pt"
    for _ in range(2):
        with pytest.raises(
            WeightsError, match=r"/f: expected \d+ bytes, got \d+ before .* to continue, or look there\."
        ):
            download(f"{address}/f", path, advice="look there")
        assert not path.exists()
    server.cut = None
    download(f"{address}/f", path, advice="")
    assert path.read_bytes() == BODY
    assert server.ranges == [None, "bytes=2000000-", "bytes=4000000-"]


def test_a_file_that_changed_in_between_is_begun_anew(web: tuple[type[Web], str], tmp_path: Path) -> None:
    server, address = web
    server.cut = 2_000_000
    with pytest.raises(WeightsError):
        download(f"{address}/f", tmp_path / "file.pt", advice="")
    server.cut, server.body, server.tag = None, BODY[::-1], '"two"'
    download(f"{address}/f", tmp_path / "file.pt", advice="")
    assert (tmp_path / "file.pt").read_bytes() == BODY[::-1]


def test_a_part_of_another_address_is_not_gone_on_with(web: tuple[type[Web], str], tmp_path: Path) -> None:
    server, address = web
    server.cut = 2_000_000
    with pytest.raises(WeightsError):
        download(f"{address}/old", tmp_path / "file.pt", advice="")
    server.cut = None
    download(f"{address}/new", tmp_path / "file.pt", advice="")
    assert server.ranges == [None, None]


def test_a_part_that_is_whole_already_becomes_the_file(web: tuple[type[Web], str], tmp_path: Path) -> None:
    """Killed between the last byte and the renaming."""
    _, address = web
    path, part = tmp_path / "file.pt", tmp_path / "file.pt.part"
    part.write_bytes(BODY)
    part.with_name("file.pt.part.json").write_text(f'{{"url": "{address}/f", "version": "\\"one\\""}}')
    download(f"{address}/f", path, advice="")
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("url", ["{address}/absent", "http://127.0.0.1:9/f"])
def test_what_cannot_be_had_is_one_error_with_advice(url: str, web: tuple[type[Web], str], tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"f?: expected a file, got \w+Error: .+; ask there\.$"):
        download(url.format(address=web[1]), tmp_path / "file.pt", advice="ask there")


def test_a_place_that_cannot_be_written_is_told(web: tuple[type[Web], str], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken"):
        download(f"{web[1]}/f", tmp_path / "taken" / "file.pt", advice="")
