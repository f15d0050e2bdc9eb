"""Work grows with the number of cases, not with its square, and each picture is decoded once."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import numpy as np
import pytest
from fixture_types import Maker
from PIL import Image

from likeness.core.files import write_jsonl
from likeness.core.images import load_image
from likeness.core.records import Case, Subject, write_cases
from likeness.encoders.reading import Reading
from likeness.evaluate import Encoders, evaluate_run

COUNTED = (
    "likeness.evaluate.bounds.seed_for",
    "likeness.evaluate.eyes.load_image",
    "likeness.evaluate.eyes.file_sha256",
    "likeness.evaluate.samples.Path.resolve",
)


class Colour:
    """An encoder of pictures and texts that costs nothing."""

    id = "colour"
    sight = np.ndarray

    def look(self, images: list[Image.Image]) -> list[Any]:
        return [np.array([1.0, *np.asarray(image)[0, 0]], dtype=np.float32) for image in images]


class Nothing:
    """A probe that finds nobody."""

    id = "nothing"
    sight = Reading

    def look(self, images: list[Image.Image]) -> list[Reading]:
        return [Reading({"hug": 1.0}, {"beach": 1.0}, (), {"color": ("red",)}) for _ in images]


def write_benchmark(folder: Path, count: int) -> None:
    """A run folder of `count` cases, each with a subject of its own and one of its neighbour's, and true pictures."""
    for inside in ("photos", "truth", "images"):
        (folder / inside).mkdir(parents=True)
    for i in range(count):
        for name in (f"photos/{i}-0", f"photos/{i}-1", f"truth/case-{i}", f"images/case-{i}-0"):
            Image.new("RGB", (2, 2), (i % 256, i // 256, len(name))).save(folder / f"{name}.png")
    people = [
        Subject(
            id=f"who-{i}",
            class_name=("cat", "dog")[i % 2],
            reference_image=folder / "photos" / f"{i}-0.png",
            photos=tuple(folder / "photos" / f"{i}-{k}.png" for k in range(2)),
            attributes={"color": "red"},
        )
        for i in range(count)
    ]
    cases = [Case(id=f"case-{i}", prompt="x", subjects=(people[i], people[i - 1])) for i in range(count)]
    write_cases(folder / "cases.jsonl", cases)
    rows = [{"id": f"case-{i}-0", "case_id": f"case-{i}", "image": f"images/case-{i}-0.png"} for i in range(count)]
    write_jsonl(folder / "manifest.jsonl", rows)


def counted(monkeypatch: pytest.MonkeyPatch, calls: Counter[str], place: str) -> None:
    owner, _, name = place.rpartition(".")
    target = resolve_name(owner)
    real: Callable[..., Any] = getattr(target, name)

    def call(*arguments: Any, **options: Any) -> Any:
        calls[place] += 1
        return real(*arguments, **options)

    monkeypatch.setattr(target, name, call)


def test_work_is_linear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Counter[str]] = []
    for count in (100, 200):  # 50 and 100 subjects of a class: more than compete
        folder = tmp_path / str(count)
        write_benchmark(folder, count)
        calls: Counter[str] = Counter()
        with monkeypatch.context() as patch:
            for place in COUNTED:
                counted(patch, calls, place)
            evaluate_run(folder, benchmark="x", encoders={"dino": Colour(), "probe": Nothing()})
        found.append(calls)
    once, twice = found
    assert set(once) == set(COUNTED)
    assert {place: twice[place] / once[place] for place in COUNTED if twice[place] > 2.2 * once[place]} == {}


@pytest.mark.parametrize("truth", [False, True])
def test_every_picture_is_decoded_once(
    make_benchmark: Maker, make_pictures: Maker, encoders: Encoders, monkeypatch: pytest.MonkeyPatch, truth: bool
) -> None:
    benchmark, pictures = make_benchmark(truth=truth), make_pictures()
    decoded: Counter[Path] = Counter()

    def load(path: Path) -> Image.Image:
        decoded[path] += 1
        return load_image(path)

    monkeypatch.setattr("likeness.evaluate.eyes.load_image", load)
    evaluate_run(pictures, benchmark="small", cases=benchmark / "cases.jsonl", encoders=encoders)
    assert len(decoded) == 12 + 18 + 6 * truth
    assert set(decoded.values()) == {1}
