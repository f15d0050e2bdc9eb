"""Pairs of photographs: what they hold, that a seed alone decides them, and that a kill at any time costs little."""

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from likeness.core.errors import ConfigError, DataError, OutputError
from likeness.core.files import read_json, read_jsonl
from likeness.core.images import load_image
from likeness.core.masks import read_mask
from likeness.core.pairs import read_pairs
from likeness.data.pairs.photo_folder import read_photos, said_of, words_of
from likeness.data.pairs.photos import PhotoSummary, make_photo_pairs
from likeness.data.pairs.regeneration import RegenerationJob

DREAMBENCH = next(
    (found for parent in Path(__file__).parents if (found := parent / "shared" / "data" / "dreambench").is_dir()), None
)
SIDE = 96
COLOURS = {"red_ball": (200, 40, 40), "dog2": (150, 110, 60), "vase": (60, 90, 200)}


def draw(path: Path, color: tuple[int, int, int], *, seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> None:
    """A striped disk on noise, with its mask beside it."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices(size[::-1])
    mask = np.hypot(rows - size[1] / 2 - rng.integers(-6, 6), columns - size[0] / 2 - rng.integers(-6, 6)) < 30
    stripes = np.where((rows // 6 % 2 == 0)[..., None], color, np.array(color) // 2)
    pixels = np.where(mask[..., None], stripes, rng.integers(90, 160, (*size[::-1], 3))).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    Image.fromarray(mask).convert("L").save(path.with_name(f"{path.stem}.mask.png"))


def write_photos(folder: Path) -> Path:
    for number, (subject, color) in enumerate(COLOURS.items()):
        for photo in range(3):
            draw(folder / subject / f"{photo:02d}.png", color, seed=10 * number + photo)
    return folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> PhotoSummary:
    return make_photo_pairs(30, photos=photos, out=tmp_path_factory.mktemp("set") / "pairs", seed=3)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def copied(photos: Path, folder: Path) -> Path:
    return Path(shutil.copytree(photos, folder / "photos"))


# -- what a pair holds -----------------------------------------------------------------------------------------
def test_every_pair_is_clean_and_says_where_its_fields_come_from(made: PhotoSummary) -> None:
    pairs = read_pairs(made.folder).pairs
    assert len(pairs) == made.num_pairs == 30
    assert (made.num_photos, made.num_subjects, made.left_out) == (9, 3, ())
    assert made.lint.num_errors == 0
    for pair in pairs:
        (subject,), (reference,) = pair.subjects, pair.references
        assert subject.mask == subject.rejected_mask == pair.prior_mask
        assert reference.image != pair.preferred
        assert reference.image.name.split("-")[0] == pair.preferred.name.split("-")[0]
        assert pair.models["judge"] is pair.models["detector"] is pair.models["inpainter"] is None
        assert (pair.models["mask"], pair.models["prompt"]) == ("supplied beside the photograph", "class word")
        assert pair.qa.preferred.judge == pair.qa.rejected.judge == ()
        assert pair.qa.preferred.human is pair.qa.rejected.human is None
        preferred, rejected, mask = _arrays(pair)
        assert np.array_equal(preferred[~mask], rejected[~mask])
        assert subject.disruption is not None
        assert subject.disruption["colour_difference"] >= 8
        assert subject.disruption["changed_share"] >= 0.3
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = (columns[0] / SIDE, rows[0] / SIDE, (columns[-1] + 1) / SIDE, (rows[-1] + 1) / SIDE)
        assert subject.box == pytest.approx(box)


def _arrays(pair: Any) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.bool_]]:
    return np.asarray(load_image(pair.preferred)), np.asarray(load_image(pair.rejected)), read_mask(pair.prior_mask)


def test_subjects_photographs_and_kinds_take_turns(made: PhotoSummary) -> None:
    pairs = read_pairs(made.folder).pairs
    shown = Counter(pair.preferred.name for pair in pairs)
    assert len(shown) == 9
    assert set(shown.values()) == {3, 4}  # ten pairs of three photographs
    per_subject = Counter((pair.subjects[0].id, pair.references[0].image.name, pair.preferred.name) for pair in pairs)
    assert len(per_subject) == 18  # every ordered pair of photographs
    asked = Counter(pair.subjects[0].disruption["kind"] for pair in pairs if pair.seeds["attempt"] == 0)  # type: ignore[index]
    assert max(asked.values()) <= 8  # of 30, four kinds in turn
    facts = read_json(made.folder / "summary.json")
    assert facts["lint"]["num_errors"] == 0
    assert facts["filled"]["rejected"] == {"disruptor": 30}
    assert (made.folder / "contact_sheet.png").is_file()


def test_words_prompts_and_categories(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos")
    (folder / "vase" / "01.txt").write_text("a vase on a shelf\n")
    captions = tmp_path / "captions.json"
    captions.write_text(
        json.dumps(
            {"dog2": "a good dog", "red_ball": {"class_name": "ball", "category": "human"}, "vase/02": "no vase"}
        )
    )
    make_photo_pairs(18, photos=folder, out=tmp_path / "out", captions=captions)
    said = {pair.preferred.stem: (pair.prompt, pair.category) for pair in read_pairs(tmp_path / "out").pairs}
    assert said["dog2-00"] == ("a good dog", "animal")
    assert said["red_ball-01"] == ("a photo of a ball", "human")
    assert said["vase-00"] == ("a photo of a vase", "object")
    assert said["vase-01"] == ("a vase on a shelf", "object")
    assert said["vase-02"] == ("no vase", "object")
    assert [words_of(name) for name in ("red_backpack", "cat2", "owl-3", "42")] == ["red backpack", "cat", "owl", "42"]
    (photo,) = [photo for photo in read_photos(folder).photos if photo.name == "dog2/00"]
    assert said_of(photo._replace(subject="owl"), {}).prompt == "a photo of an owl"
    captions.write_text('{"dog2": {"promt": "a"}}')
    with pytest.raises(DataError, match=r"dog2: .*promt"):
        make_photo_pairs(3, photos=folder, out=tmp_path / "again", captions=captions)


def test_sizes_are_multiples_of_a_token_and_never_enlarged(tmp_path: Path) -> None:
    for photo in range(2):
        draw(tmp_path / "photos" / "ball" / f"{photo}.png", (200, 40, 40), seed=photo, size=(140, 100))
    for size, wanted in ((112, (112, 80)), (512, (128, 96))):
        make_photo_pairs(1, photos=tmp_path / "photos", out=tmp_path / str(size), size=size)
        (pair,) = read_pairs(tmp_path / str(size)).pairs
        assert pair.size == wanted == load_image(pair.rejected).size == load_image(pair.subjects[0].mask).size


def test_a_lone_subject_borrows_from_nobody(tmp_path: Path) -> None:
    for photo in range(3):
        draw(tmp_path / "photos" / "ball" / f"{photo}.png", (200, 40, 40), seed=photo)
    make_photo_pairs(8, photos=tmp_path / "photos", out=tmp_path / "out")
    assert "borrow" not in read_json(tmp_path / "out" / "summary.json")["kinds"]


# -- what decides it -------------------------------------------------------------------------------------------
def test_pairs_depend_on_seed_and_place_only(made: PhotoSummary, photos: Path, tmp_path: Path) -> None:
    few = make_photo_pairs(5, photos=photos, out=tmp_path / "few", seed=3)
    assert read_jsonl(few.folder / "pairs.jsonl") == read_jsonl(made.folder / "pairs.jsonl")[:5]
    other = make_photo_pairs(5, photos=photos, out=tmp_path / "other", seed=4)
    pictures = [[pair.rejected.read_bytes() for pair in read_pairs(one.folder).pairs] for one in (few, other)]
    assert not set(pictures[0]) & set(pictures[1])


@pytest.mark.slow
def test_workers_change_nothing(made: PhotoSummary, photos: Path, tmp_path: Path) -> None:
    make_photo_pairs(30, photos=photos, out=tmp_path / "pairs", seed=3, workers=2)
    assert contents(tmp_path / "pairs") == contents(made.folder)


class StoppedError(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("calls", [4, 11, 12])
def test_a_stopped_run_continues_to_the_same_bytes(
    made: PhotoSummary, photos: Path, tmp_path: Path, calls: int
) -> None:
    seen = [0]

    def stop(done: int, total: int) -> None:
        seen[0] += 1
        if seen[0] > calls:
            raise StoppedError

    out = tmp_path / "pairs"
    with pytest.raises(StoppedError):
        make_photo_pairs(30, photos=photos, out=out, seed=3, progress=lambda _: stop)
    assert not (out / "pairs.jsonl").exists()
    make_photo_pairs(30, photos=photos, out=out, seed=3)
    assert contents(out) == contents(made.folder)


def test_lost_files_are_made_again(made: PhotoSummary, photos: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(made.folder, tmp_path / "pairs"))
    (out / "images" / "vase-00.png").unlink()
    (out / "images" / "photos-3-000026-rejected.png").write_bytes(b"short")
    make_photo_pairs(30, photos=photos, out=out, seed=3)
    assert contents(out) == contents(made.folder)


def test_a_folder_belongs_to_its_photographs(made: PhotoSummary, photos: Path, tmp_path: Path) -> None:
    folder = copied(photos, tmp_path)
    draw(folder / "vase" / "00.png", (1, 2, 3), seed=0)
    with pytest.raises(OutputError, match="photos_sha256"):
        make_photo_pairs(30, photos=folder, out=made.folder, seed=3)


# -- what is left out ------------------------------------------------------------------------------------------
def test_useless_photographs_are_dropped_by_name(photos: Path, tmp_path: Path) -> None:
    folder = copied(photos, tmp_path)
    (folder / "vase" / "01.png").write_bytes(b"no picture")
    shutil.copy(folder / "vase" / "00.png", folder / "vase" / "copy.png")
    shutil.copy(folder / "vase" / "00.mask.png", folder / "vase" / "copy.mask.png")
    Image.new("L", (SIDE, SIDE)).save(folder / "red_ball" / "00.mask.png")
    draw(folder / "owl" / "a.png", (9, 9, 9), seed=1)
    (folder / "dog2" / "phone.avif").write_bytes(b"x")
    done = make_photo_pairs(4, photos=folder, out=tmp_path / "out")
    rows = read_jsonl(tmp_path / "out" / "rejected.jsonl")
    assert {row["where"]: row["cause"] for row in rows if "attempt" not in row["where"]} == {
        "phone.avif": "file",
        "red_ball/00": "photo",
        "vase/01": "photo",
        "vase/copy": "copy",
        "owl": "subject",
    }
    assert (done.num_photos, done.num_subjects) == (7, 3)
    (empty,) = [row["reason"] for row in rows if row["where"] == "red_ball/00"]
    assert "got 0.0% and 0" in empty


def test_attempts_that_cannot_be_seen_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_photos(tmp_path / "photos")
    monkeypatch.setattr("likeness.data.pairs.photo_pairs.disrupt", lambda picture, mask, **_: picture)
    with pytest.raises(DataError, match=r"expected at least one pair, got none; see its rejected\.jsonl"):
        make_photo_pairs(2, photos=folder, out=tmp_path / "out")
    rows = read_jsonl(tmp_path / "out" / "rejected.jsonl")
    assert Counter(row["cause"] for row in rows) == {"unseen": 24, "given_up": 2}
    assert "got 0.0 on average, 0% of the subject" in rows[0]["reason"]


def test_attempts_nearer_to_the_reference_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The preferred photograph shows the ball in blue, its reference in red: turning it red is no rejection."""
    draw(tmp_path / "photos" / "ball" / "0.png", (200, 40, 40), seed=0)
    draw(tmp_path / "photos" / "ball" / "1.png", (40, 40, 200), seed=1)

    def swapped(picture: NDArray[np.uint8], mask: NDArray[np.bool_], **_: Any) -> NDArray[np.uint8]:
        return np.where(mask[..., None], picture[..., ::-1], picture)

    monkeypatch.setattr("likeness.data.pairs.photo_pairs.disrupt", swapped)
    with pytest.raises(DataError, match="got none"):
        make_photo_pairs(1, photos=tmp_path / "photos", out=tmp_path / "out")
    causes = Counter(row["cause"] for row in read_jsonl(tmp_path / "out" / "rejected.jsonl"))
    assert causes == {"nearer": 12, "given_up": 1}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"n": 0}, "n: expected at least 1"),
        ({"size": 32}, "size: expected at least 64"),
        ({"losers": "drawn"}, "expected one of disrupted, regenerated, mixed"),
        ({"losers": "mixed"}, "expected a model to regenerate with"),
    ],
)
def test_wrong_settings_leave_nothing(photos: Path, tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        make_photo_pairs(settings.pop("n", 2), photos=photos, out=tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_folders_without_photographs_are_told(tmp_path: Path) -> None:
    draw(tmp_path / "loose.png", (1, 2, 3), seed=0)
    with pytest.raises(DataError, match=r"a sub-folder of photographs per subject, such as backpack/00\.jpg"):
        make_photo_pairs(2, photos=tmp_path, out=tmp_path / "out")
    for name in ("a b", "a-b"):
        draw(tmp_path / "cat" / f"{name}.png", (1, 2, 3), seed=0)
    with pytest.raises(DataError, match="expected a name of its own"):
        make_photo_pairs(2, photos=tmp_path, out=tmp_path / "out")


# -- by a model ------------------------------------------------------------------------------------------------
class LoadPainter:
    """Paints everything in one colour, and remembers what it was asked."""

    id = "painter"
    jobs: list[RegenerationJob]

    def __init__(self) -> None:
        self.jobs = []

    def __call__(self) -> Any:
        def paint(job: RegenerationJob, /) -> NDArray[np.uint8]:
            self.jobs.append(job)
            return np.full_like(job.picture, (250, 0, 250))

        return paint


def test_a_model_draws_the_region_and_nothing_else(photos: Path, tmp_path: Path) -> None:
    painter = LoadPainter()
    make_photo_pairs(6, photos=photos, out=tmp_path / "out", losers="mixed", regenerate=painter)
    pairs = read_pairs(tmp_path / "out").pairs
    drawn = [pair for pair in pairs if pair.models["inpainter"] == "painter"]
    assert len(drawn) == 3 == len(painter.jobs)
    for pair, job in zip(drawn, painter.jobs, strict=True):
        preferred, rejected, mask = _arrays(pair)
        assert np.array_equal(preferred[~mask], rejected[~mask])
        assert (rejected[mask] == (250, 0, 250)).all(-1).mean() > 0.8  # the rest fades in
        assert np.array_equal(job.region, mask)
        assert (job.prompt, job.seed) == (pair.prompt, pair.seeds["disruption"])
        assert len(job.references) == 1
        shown = {
            load_image(other.preferred).tobytes() for other in pairs if other.subjects[0].id == pair.subjects[0].id
        }
        assert job.references[0].tobytes() not in shown  # somebody else


# -- real photographs ------------------------------------------------------------------------------------------
@pytest.mark.slow
@pytest.mark.skipif(DREAMBENCH is None, reason="DreamBench's photographs are not here")
def test_dreambench_subjects_become_clean_pairs(tmp_path: Path) -> None:
    assert DREAMBENCH is not None, "else skipped"
    for subject in ("duck_toy", "red_cartoon", "robot_toy"):
        (tmp_path / "photos" / subject).mkdir(parents=True)
        for path in sorted((DREAMBENCH / subject).glob("*.jpg"))[:3]:
            (tmp_path / "photos" / subject / path.name).symlink_to(path)
    done = make_photo_pairs(12, photos=tmp_path / "photos", out=tmp_path / "out", size=256)
    assert (done.num_pairs, done.lint.num_errors) == (12, 0)
    assert all(str(pair.models["mask"]).startswith("grabcut, OpenCV") for pair in read_pairs(tmp_path / "out").pairs)
