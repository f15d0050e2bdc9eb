"""Stellar's exclusion rule in an evaluation: sigma is of all cases, and no picture's value depends on the others."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from likeness.encoders.clip import TextFeature
from likeness.encoders.faces_seen import COSINE, Face, FacesSeen
from likeness.evaluate import evaluate_run
from likeness.evaluate.aggregate import table_of

CLIP_N = (10, 40, 60, 80)
"""Degrees between each case's prompt (always at 0) and its photo."""
PICTURES = (5, 30, 85, 20)


def at(angle: float) -> np.ndarray:
    return np.array([math.cos(math.radians(angle)), math.sin(math.radians(angle))], dtype=np.float32)


class Clip:
    """A picture's red is its angle in degrees; every prompt is at 0."""

    id, sight, reading = "angles", np.ndarray, TextFeature

    def look(self, images: Sequence[Image.Image]) -> list[np.ndarray]:
        return [at(np.asarray(image)[0, 0, 0].item()) for image in images]

    def read(self, texts: Sequence[str]) -> list[TextFeature]:
        return [TextFeature(at(0), truncated=False) for _ in texts]


class Faces:
    """One face in every picture, at 60 degrees to the others where there is blue."""

    id, sight = "one face", FacesSeen

    def look(self, images: Sequence[Image.Image]) -> list[FacesSeen]:
        return [self._seen(60 * np.asarray(image)[0, 0, 2].item()) for image in images]

    def _seen(self, angle: float) -> FacesSeen:
        face = Face((0.0, 0.0, 4.0, 4.0), 1.0, np.zeros((5, 2), np.float32), at(angle))
        return FacesSeen("test", (8, 8), COSINE, 0.5, (face,))


def run_of(folder: Path, pictures: Sequence[int], *, cases: int = 4) -> Path:
    """Pictures of the numbered cases, and all cases with a photo and another one each."""
    folder.mkdir()
    rows: list[dict[str, Any]] = []
    for number in range(cases):
        names = [f"photo-{number}-{k}.png" for k in range(2)]
        for k, name in enumerate(names):
            Image.new("RGB", (8, 8), (CLIP_N[number], 0, k)).save(folder.parent / name)
        subject = {"id": f"p{number}", "class_name": "person", "reference_image": f"../{names[0]}"}
        photos = [f"../{name}" for name in names]
        rows.append({"id": f"c{number}", "prompt": "a person", "subjects": [subject | {"photos": photos}]})
    (folder / "cases.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "images").mkdir()
    for number in pictures:
        Image.new("RGB", (8, 8), (PICTURES[number], 0, 0)).save(folder / "images" / f"c{number}.png")
    return folder


def values(run: Path, key: str) -> dict[str, dict[str, Any]]:
    rows = map(json.loads, (run / "evaluation" / "scores.jsonl").read_text().splitlines())
    return {row["case_id"]: row["values"][key] for row in rows}


def evaluate(run: Path) -> dict[str, Any]:
    encoders = {"clip": Clip(), "faces": Faces()}
    features = run.parent / "features"
    return evaluate_run(
        run, benchmark="mine", encoders=encoders, allow_missing=True, bounds=False, features=features, workers=1
    )


def test_excluded_pictures_are_0_with_a_status_and_count_in_the_mean(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", range(4))
    summary = evaluate(run)
    clip_n, clip_t = (np.cos(np.radians(angles)) for angles in (CLIP_N, PICTURES))
    sigma = float(np.std(clip_n, ddof=1))
    kept = clip_t > clip_n + 2 * sigma
    assert kept.tolist() == [False, False, False, True]
    for key, likeness in (("ips_excluding", 1.0), ("sis_excluding", 0.5)):  # the other photo is at 60 degrees
        found = values(run, key)
        assert [found[f"c{i}"]["value"] for i in range(4)] == pytest.approx((likeness * kept).tolist(), abs=1e-6)
        assert [found[f"c{i}"]["status"] for i in range(4)] == [*["excluded"] * 3, "measured"]
    assert all("excluded" in value["note"] for name, value in values(run, "ips_excluding").items() if name != "c3")
    rows = {(row["metric"], row["column"]): row for row in table_of(summary)}
    assert rows["ips", "excluding"]["mean"] == pytest.approx(1 / 4)
    assert rows["ips", "paper"]["mean"] == pytest.approx(1)
    row = json.loads((run / "evaluation" / "scores.jsonl").read_text().splitlines()[0])
    parts = row["per_subject"][0]["values"]["ips_excluding"]["parts"]
    assert parts["sigma"] == pytest.approx(sigma, abs=1e-6)
    assert parts["clip_n"] == pytest.approx(clip_n[0], abs=1e-6)
    assert "2 sigma" in summary["protocol"]["ips_excluding"]


@pytest.mark.parametrize("others", [[], [0], [1, 2]])
def test_a_pictures_value_does_not_depend_on_which_others_are_in_the_run(tmp_path: Path, others: list[int]) -> None:
    """By the public code sigma of one or two rows would be NaN or another number."""
    whole, part = run_of(tmp_path / "whole", range(4)), run_of(tmp_path / "part", [*others, 3])
    evaluate(whole)
    evaluate(part)
    for key in ("ips_excluding", "sis_excluding"):
        all_values = values(whole, key)
        assert values(part, key) == {name: all_values[name] for name in values(part, key)}


def test_one_case_has_no_deviation(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", [0], cases=1)
    evaluate(run)
    assert values(run, "ips_excluding")["c0"]["status"] == "not_applicable"
    assert values(run, "ips_paper")["c0"]["value"] == pytest.approx(1)
