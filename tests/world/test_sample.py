"""Sample folders: the same bytes on any worker count, COCO run lengths, label rows, and speed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from likeness.core.errors import OutputError
from likeness.core.files import read_jsonl
from likeness.core.skeletons import AP10K
from likeness.world.render import render
from likeness.world.sample import run_lengths, write_samples
from likeness.world.scenario import sample_scenario

ROOT = Path(__file__).parents[2]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def brute_force_rle(mask: NDArray[np.bool_]) -> dict[str, list[int]]:
    """COCO's uncompressed encoding, pixel by pixel."""
    counts, expected, run = [], False, 0
    for x in range(mask.shape[1]):
        for y in range(mask.shape[0]):
            if bool(mask[y, x]) != expected:
                counts.append(run)
                expected, run = not expected, 0
            run += 1
    return {"size": list(mask.shape), "counts": [*counts, run]}


def decode_rle(rle: dict[str, list[int]]) -> NDArray[np.bool_]:
    height, width = rle["size"]
    flat = np.repeat(np.arange(len(rle["counts"])) % 2 == 1, rle["counts"])
    return flat.reshape(width, height).T


MASKS = [
    np.zeros((3, 4), bool),
    np.ones((3, 4), bool),
    np.eye(4, dtype=bool),
    np.array([[1, 0, 1]], bool),
    np.array([[0], [1], [1]], bool),
    *(np.random.default_rng(seed).random((5, 7)) < 0.5 for seed in range(20)),
]


@pytest.mark.parametrize("mask", MASKS)
def test_run_lengths_are_coco(mask: NDArray[np.bool_]) -> None:
    rle = run_lengths(mask)
    assert rle == brute_force_rle(mask)
    assert sum(rle["counts"]) == mask.size
    assert (decode_rle(rle) == mask).all()
    json.dumps(rle)  # plain integers


def test_pixel_order_is_column_by_column() -> None:
    assert run_lengths(np.array([[False, True], [True, True]])) == {"size": [2, 2], "counts": [1, 3]}
    assert run_lengths(np.array([[True, False], [False, False]])) == {"size": [2, 2], "counts": [0, 1, 3]}


def test_folder_holds_pictures_labels_and_sheet(tmp_path: Path) -> None:
    labels = write_samples(5, out=tmp_path, split="test", size=48, seed=3, workers=1)
    rows = read_jsonl(labels)
    assert [row["image"] for row in rows] == [f"images/3-{i:06d}.png" for i in range(5)]
    for i, row in enumerate(rows):
        picture = render(sample_scenario(3 * 1_000_003 + i, split="test"), size=48)
        with Image.open(tmp_path / row["image"]) as image:
            assert (np.asarray(image) == picture.image).all()
        assert row["caption"] == picture.labels.caption
        for told, subject in zip(row["subjects"], picture.labels.subjects, strict=True):
            assert tuple(told["keypoints"]) == AP10K
            assert (decode_rle(told["visible_mask"]) == subject.visible_mask).all()
            assert (decode_rle(told["full_mask"]) == subject.full_mask).all()
            assert told["attributes"] == subject.attributes
            np.testing.assert_allclose(told["box"], subject.box, atol=1e-5)
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.size == (5 * 48, 48)


def test_more_pictures_begin_with_the_same_ones(tmp_path: Path) -> None:
    write_samples(2, out=tmp_path / "few", split="train", size=32, seed=0, workers=1)
    write_samples(10, out=tmp_path / "many", split="train", size=32, seed=0, workers=1)
    few, many = contents(tmp_path / "few"), contents(tmp_path / "many")
    assert all(many[name] == data for name, data in few.items() if name.startswith("images/"))
    assert many["labels.jsonl"].startswith(few["labels.jsonl"])
    with Image.open(tmp_path / "many" / "contact_sheet.png") as sheet:
        assert sheet.size == (8 * 32, 2 * 32)


SMALL: dict[str, Any] = {"split": "train", "size": 32, "seed": 0, "workers": 1}
TWO: dict[str, Any] = SMALL | {"n": 2}


@pytest.mark.parametrize("other", [{"seed": 1}, {"size": 48}, {"split": "test"}, {"n": 3}])
def test_the_folder_of_another_call_is_left_alone(tmp_path: Path, other: dict[str, Any]) -> None:
    write_samples(out=tmp_path, **TWO)
    before = contents(tmp_path)
    with pytest.raises(OutputError, match=rf"{next(iter(other))}: .* there, .* here"):
        write_samples(out=tmp_path, **(TWO | other))
    assert contents(tmp_path) == before


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "labels.jsonl").write_text("mine")
    with pytest.raises(OutputError, match=r"labels\.jsonl"):
        write_samples(2, out=tmp_path, **SMALL)
    assert contents(tmp_path) == {"labels.jsonl": b"mine"}


def test_the_same_call_again_draws_only_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_samples(3, out=tmp_path, **SMALL)
    before = contents(tmp_path)
    for name in ("labels.jsonl", "images/0-000001.png"):
        (tmp_path / name).unlink()
    kept = (tmp_path / "images" / "0-000000.png").stat().st_ino  # a file that is written again is another one
    write_samples(3, out=tmp_path, **SMALL)
    assert contents(tmp_path) == before
    assert (tmp_path / "images" / "0-000000.png").stat().st_ino == kept
    monkeypatch.setattr("likeness.world.sample.render", None)  # nothing is drawn any more
    write_samples(3, out=tmp_path, **SMALL)
    assert contents(tmp_path) == before


def test_progress_counts_pictures(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    for _ in range(2):
        write_samples(2, out=tmp_path, **SMALL, progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 2), (1, 2), (2, 2), (2, 2)]


def test_an_unwritable_folder_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        write_samples(1, out=tmp_path / "file", split="test", size=32, seed=0, workers=1)


@pytest.mark.slow
def test_worker_count_changes_no_byte(tmp_path: Path) -> None:
    """40 pictures are two chunks, so both workers draw; they are other processes with other hash seeds."""
    for workers in (1, 2):
        write_samples(40, out=tmp_path / str(workers), split="train", size=48, seed=1, workers=workers)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")


RENDER_PROGRAM = """
import hashlib
from likeness.world.render import render
from likeness.world.scenario import sample_scenario
digest = hashlib.sha256()
for seed in range(12):
    picture = render(sample_scenario(seed, split="test"), size=64)
    digest.update(picture.image.tobytes() + picture.labels.caption.encode())
    for subject in picture.labels.subjects:
        digest.update(subject.full_mask.tobytes() + subject.visible_mask.tobytes() + subject.keypoints.tobytes())
print(digest.hexdigest())
"""


def test_processes_with_other_hash_seeds_draw_the_same_bytes() -> None:
    answers = set()
    for hash_seed in ("0", "123"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT / "src")}
        command = [sys.executable, "-c", RENDER_PROGRAM]
        answers.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(answers) == 1


@pytest.mark.slow
def test_one_core_draws_300_labelled_pictures_per_second() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "perf" / "world_render.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    row = json.loads(done.stdout.splitlines()[-1])
    assert set(row) == {"name", "value", "goal", "better", "n"}
    assert row["value"] >= row["goal"] == 300
