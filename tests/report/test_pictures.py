"""The pictures of a page: what is inside and what beside it, each once, and what a second page leaves alone."""

import base64
import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likeness.core.errors import OutputError
from likeness.core.files import read_jsonl, write_jsonl
from likeness.core.images import load_image
from likeness.report import Drawing, build_index, build_report
from likeness.report.pictures import INSIDE_BYTES, LARGE, SINGLE_FILE_PICTURES, SMALL, album_of, files_of

RunMaker = Callable[..., Path]


@pytest.fixture
def beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few the pictures are, they lie beside the page."""
    monkeypatch.setattr("likeness.report.pictures.INSIDE_BYTES", 0)


def photograph(path: Path, *, seed: int, size: int = 600) -> Path:
    """A noisy gradient of size x size/2 px."""
    rng = np.random.default_rng(seed)
    ramp = np.linspace(40, 200, size)[None, :, None] + rng.normal(0, 8, (size // 2, size, 3))
    Image.fromarray(np.clip(ramp, 0, 255).astype(np.uint8)).save(path)
    return path


def opened(uri: str, folder: Path) -> Image.Image:
    """A picture inside or beside a page."""
    head, _, data = uri.partition(",")
    image = Image.open(io.BytesIO(base64.b64decode(data))) if head.startswith("data:") else Image.open(folder / uri)
    assert image.format == "WEBP"
    return image.convert("RGB")


def state(folder: Path) -> dict[str, tuple[int, bytes]]:
    """When each file was last written, and its bytes."""
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def test_a_few_pictures_are_inside_and_a_drawing_keeps_every_pixel(run_maker: RunMaker) -> None:
    run = run_maker()
    drawn = run / "images/case-00000-0.png"
    album = album_of([drawn, photograph(run / "photo.png", seed=0)], page=run / "p.html")
    assert album.folder is None
    assert not files_of(run / "p.html").exists()
    photo = album[run / "photo.png"]
    assert (photo.width, photo.height, photo.large) == (LARGE, LARGE // 2, "")
    assert opened(photo.uri, run).size == (LARGE, LARGE // 2)
    shown = opened(album[drawn].uri, run)
    assert np.array_equal(np.asarray(shown), np.asarray(load_image(drawn)))


def test_pictures_beside_the_page_have_two_sizes_and_equal_ones_are_kept_once(tmp_path: Path, beside: None) -> None:
    photo = photograph(tmp_path / "photo.png", seed=0)
    copy = Path(shutil.copy(photo, tmp_path / "copy.png"))
    small = photograph(tmp_path / "small.png", seed=1, size=100)
    album = album_of([photo, copy, small, small], page=tmp_path / "my page.html")
    assert album.folder == tmp_path / "my page_files"
    assert album[photo] == album[copy]
    assert album[photo].uri.startswith("my%20page_files/")
    shown = [(album[path].uri, album[path].large) for path in (photo, small)]
    sizes = [[opened(uri.replace("%20", " "), tmp_path).size for uri in each if uri] for each in shown]
    assert sizes == [[(SMALL, SMALL // 2), (LARGE, LARGE // 2)], [(100, 50)]]
    assert len(list((tmp_path / "my page_files").iterdir())) == len(album.names) == 3
    difference = np.asarray(opened(album[photo].large.replace("%20", " "), tmp_path), dtype=float)
    wanted = load_image(photo).resize((LARGE, LARGE // 2), Image.Resampling.LANCZOS)
    assert np.abs(difference - np.asarray(wanted, dtype=float)).mean() < 6  # grey levels, of noise of 8


def test_the_bound_is_on_what_the_page_shows(tmp_path: Path) -> None:
    photo = photograph(tmp_path / "photo.png", seed=0)
    taken = len(album_of([photo], page=tmp_path / "one.html")[photo].uri)
    fit = INSIDE_BYTES // taken
    assert album_of([photo] * fit, page=tmp_path / "fits.html").folder is None
    assert album_of([photo] * (fit + 1), page=tmp_path / "not.html").folder is not None
    assert album_of([photo] * (fit + 1), page=tmp_path / "forced.html", single_file=True).folder is None


def test_the_same_page_again_writes_nothing_and_another_leaves_nothing_stale(run_maker: RunMaker, beside: None) -> None:
    run = run_maker(num_cases=4)
    page, folder = build_report(run), run / "report_files"
    assert page.read_text(encoding="utf-8").count('src="report_files/') > 4
    (folder / "notes.txt").write_text("mine")
    (folder / "0123.256.webp").write_text("mine too")
    before = state(run)
    build_report(run)
    assert state(run) == before
    first = Path(read_jsonl(run / "manifest.jsonl")[0]["image"])
    photograph(run / first, seed=3, size=300)
    (folder / f".{'0' * 32}.tmp").write_text("what a kill left")
    build_report(run)
    names = {path.name for path in folder.iterdir()}
    assert {"notes.txt", "0123.256.webp"} < names
    html = page.read_text(encoding="utf-8")
    assert all(name in html for name in names - {"notes.txt", "0123.256.webp"})
    build_report(run, single_file=True)
    assert {path.name for path in folder.iterdir()} == {"notes.txt", "0123.256.webp"}
    for path in folder.iterdir():
        path.unlink()
    build_report(run, single_file=True)
    assert not folder.exists()


def test_a_picture_cut_short_is_made_again(tmp_path: Path, beside: None) -> None:
    photo = photograph(tmp_path / "photo.png", seed=0)
    page = tmp_path / "page.html"
    names = sorted(album_of([photo], page=page).names)
    whole = {name: (files_of(page) / name).read_bytes() for name in names}
    for name in names:
        (files_of(page) / name).write_bytes(whole[name][:200])
        album_of([photo], page=page)
        assert {name: (files_of(page) / name).read_bytes() for name in names} == whole


def test_a_page_may_move_with_its_pictures(run_maker: RunMaker, tmp_path: Path, beside: None) -> None:
    build_report(run_maker("run"))
    moved = Path(shutil.move(tmp_path / "run", tmp_path / "elsewhere"))
    html = (moved / "report.html").read_text(encoding="utf-8")
    links = {part.partition('"')[0] for part in html.split('src="')[1:]}
    assert links
    assert all((moved / link).is_file() for link in links)


def test_several_processes_make_the_same_files(run_maker: RunMaker, tmp_path: Path, beside: None) -> None:
    runs, seen = [run_maker("run", num_cases=3)], list[tuple[int, int]]()
    drawing = Drawing(workers=2, progress=lambda done, total: seen.append((done, total)))
    pages = [build_index(runs, out=tmp_path / name / "p.html", command="x") for name in ("here",)]
    pages.append(build_index(runs, out=tmp_path / "spread" / "p.html", command="x", drawing=drawing))
    here, spread = ({path.name: path.read_bytes() for path in files_of(page).iterdir()} for page in pages)
    assert here == spread
    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert seen == [(done, 9) for done in range(10)]


def test_a_single_file_says_how_many_cases_have_their_pictures(run_maker: RunMaker) -> None:
    run = run_maker(num_cases=60)  # of a reference, a result and a true picture
    cases = read_jsonl(run / "cases.jsonl")
    for case in cases:
        case["subjects"][0]["reference_image"] = "references/0.png"  # the same for all
    write_jsonl(run / "cases.jsonl", cases)
    html = build_report(run, single_file=True).read_text(encoding="utf-8")
    fit = SINGLE_FILE_PICTURES // 3
    assert f"The pictures of the first {fit} of 60 cases are inside this file; drop <code>--single-file</code>" in html
    index = html[html.index("<noscript>") :]
    assert index.count('data-kind="result">left out of this single file') == 60 - fit
    assert index.count("<img") == 3 * fit
    few = build_report(run_maker("few"), single_file=True).read_text(encoding="utf-8")
    assert "left out of this single file" not in few
    assert "drop <code>" not in few


def test_a_folder_that_cannot_be_written_is_an_error(run_maker: RunMaker, beside: None) -> None:
    run = run_maker()
    (run / "report_files").write_text("a file")
    with pytest.raises(OutputError, match="report_files"):
        build_report(run)
