"""`evaluate --metric` with the scorers: they are measured where they were asked for, beside the usual metrics."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
from fixture_types import Maker
from PIL import Image

from likeness.core.errors import WeightsError
from likeness.encoders import load_encoder
from likeness.evaluate.folder import evaluate_folder

ASKED = ("hps_v21", "image_reward", "aesthetic", "clip_n", "dinov2")
WRITE = {
    "hps_v21": tiny.write_hps_v21,
    "image_reward": tiny.write_image_reward,
    "aesthetic": tiny.write_aesthetic,
    "clip_bigg14": tiny.write_clip_bigg14,
    "dinov2": tiny.write_dinov2,
}


def test_scorers_that_were_asked_for_stand_in_the_table(
    make_benchmark: Maker, make_pictures: Maker, weights: dict[str, str], tmp_path: Path
) -> None:
    cases, run = make_benchmark(num_cases=3, multi=False) / "cases.jsonl", make_pictures(num_cases=3, per_case=1)
    further = {name: str(write(tmp_path / "weights" / name)) for name, write in WRITE.items()}
    summary = evaluate_folder(run, cases=cases, encoders=weights | further, metrics=ASKED, workers=1)
    assert {*ASKED, "clip_t", "dinov2_conditioning_photo"} <= summary["metrics"].keys()
    assert not {"hps_v1", "hps_v2", "pickscore"} & summary["metrics"].keys()
    rows = [json.loads(line) for line in (run / "evaluation" / "scores.jsonl").read_text().splitlines()]
    images = [Image.open(run / f"case-{i}-0.png") for i in range(3)]
    assert [values(row, "aesthetic") for row in rows] == load_encoder("aesthetic", further["aesthetic"]).look(images)
    hps = load_encoder("hps_v21", further["hps_v21"])
    for row, image, i in zip(rows, images, range(3), strict=True):
        picture, prompt = hps.look([image])[0].astype(float), hps.read([f"a cat {i}"])[0].vector.astype(float)
        assert values(row, "hps_v21") == pytest.approx(np.dot(picture, prompt), abs=1e-5)
        assert -1 <= row["values"]["clip_n"]["parts"]["clip_t"] <= 1
    answers = load_encoder("image_reward", further["image_reward"]).ask(images, [f"a cat {i}" for i in range(3)])
    assert [values(row, "image_reward") for row in rows] == [answer.score for answer in answers]
    assert summary["metrics"]["image_reward"]["range"] == [None, None]


def values(row: dict[str, Any], key: str) -> float:
    return row["values"][key]["value"]


def test_what_is_still_to_be_fetched_is_told(
    make_benchmark: Maker,
    make_pictures: Maker,
    weights: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cases, run = make_benchmark(num_cases=1, multi=False) / "cases.jsonl", make_pictures(num_cases=1)
    with pytest.raises(WeightsError, match=r"hps_v2: expected converted weights in .*; run `likeness fetch hps_v2`"):
        evaluate_folder(run, cases=cases, encoders=weights, metrics=["hps_v2"], workers=1)
