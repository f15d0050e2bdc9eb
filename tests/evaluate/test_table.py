"""A metric is one line of METRICS and an encoder one line of ENCODERS: toys put there go through a whole evaluation."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixture_types import Maker
from PIL import Image

from likeness.core.errors import ConfigError, MeasurementError
from likeness.encoders import ENCODERS, PHOTO_ENCODERS, WORLD_ENCODERS, EncoderFacts
from likeness.evaluate import Encoders, evaluate_run
from likeness.evaluate.folder import further_encoders
from likeness.metrics import METRICS
from likeness.metrics.base import Evidence, Facts, Measured, Metric, Value, not_measured

Evaluate = Callable[[Metric, dict[str, Any]], tuple[dict[str, Any], list[Any], list[Any]]]

FACTS = Facts("toy", "Toy", "Toy", "How red is it?", ("red",), "prompt")
RED = EncoderFacts("nowhere:Red", "red encoder", "the share of red", None, None, "none")


class Red:
    """Looks at pictures: the first pixel's red, from 0 to 1."""

    id = "red"
    sight = float

    def look(self, images: Sequence[Image.Image]) -> list[float]:
        return [np.asarray(image)[0, 0, 0].item() / 255 for image in images]


class Scorer:
    """Scores pairs: the picture's red and the length of the text."""

    id = "scorer"
    answer = float

    def ask(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[float]:
        return [
            np.asarray(image)[0, 0, 0].item() + 1000.0 * len(text) for image, text in zip(images, texts, strict=True)
        ]


def redness(evidence: Evidence) -> Measured:
    return Measured(Value(evidence.picture["red"]))


def above_the_mean_is_out(values: Sequence[Value]) -> list[Value]:
    mean = sum(value.value for value in values) / len(values)
    return [not_measured("too red", status="excluded") if value.value > mean else value for value in values]


@pytest.fixture
def run(make_benchmark: Maker, make_pictures: Maker, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """Evaluates 12 pictures with one toy metric beside the known ones: its summary, rows and rows of bounds."""
    benchmark, pictures = make_benchmark(truth=True), make_pictures()

    def evaluate(metric: Metric, encoders: dict[str, Any]) -> tuple[dict[str, Any], list[Any], list[Any]]:
        monkeypatch.setitem(METRICS, metric.facts.key, metric)
        summary = evaluate_run(pictures, benchmark="small", cases=benchmark / "cases.jsonl", encoders=encoders)
        files = [pictures / "evaluation" / name for name in ("scores.jsonl", "bounds.jsonl")]
        scores, bounds = ([json.loads(line) for line in file.read_text().splitlines()] for file in files)
        return summary, scores, bounds

    return evaluate


def first_red(path: Path) -> int:
    return int(np.asarray(Image.open(path).convert("RGB"))[0, 0, 0])


def test_a_toy_encoder_and_its_metric(run: Evaluate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(ENCODERS, "red", RED)
    summary, scores, _ = run(Metric(FACTS, redness), {"red": Red()})
    for row in scores:
        red = first_red(tmp_path / "pictures" / f"{row['id']}.png") / 255
        assert row["values"]["toy"] == {"value": pytest.approx(red), "note": "", "status": "measured"}
    assert {row["row"]: row["n"] for row in summary["rows"] if row["metric"] == "toy"} == {
        "generated": 12,
        "floor": 6,
        "ceiling": 6,
    }
    assert summary["encoders"] == {"red": "red"}
    assert summary["metrics"]["toy"]["label"] == "Toy"


def test_a_scorer_of_pairs(run: Evaluate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(ENCODERS, "red", RED)
    _, scores, bounds = run(
        Metric(FACTS, lambda evidence: Measured(Value(evidence.answers["red"][evidence.case.prompt]))),
        {"red": Scorer()},
    )
    for row in scores:
        red = first_red(tmp_path / "pictures" / f"{row['id']}.png")
        assert row["values"]["toy"]["value"] == red + 1000 * len("a cat 0")
    truth = {row["case_id"]: row["values"]["toy"]["value"] for row in bounds if row["row"] == "ceiling"}
    assert truth["case-2"] == first_red(tmp_path / "benchmark" / "truth" / "case-2.png") + 7000


def test_an_encoder_without_default_weights_is_not_missed(run: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, "red", RED)
    summary, scores, _ = run(Metric(FACTS, redness), {})
    assert "toy" not in scores[0]["values"]
    assert "toy" not in summary["metrics"]
    monkeypatch.setitem(ENCODERS, "red", RED._replace(photo="somewhere/red"))
    _, scores, _ = run(Metric(FACTS, redness), {})
    assert scores[0]["values"]["toy"] == {"value": None, "note": "no red encoder was given", "status": "missing"}


def test_a_rule_over_the_run_sees_each_kind_of_rows_by_itself(run: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENCODERS, "red", RED)
    _, *raw = run(Metric(FACTS, redness), {"red": Red()})
    summary, *ruled = run(Metric(FACTS, redness, derive=above_the_mean_is_out), {"red": Red()})
    before, after = ([*scores, *bounds] for scores, bounds in (raw, ruled))
    table = {row["row"]: row for row in summary["rows"] if row["metric"] == "toy"}
    for kind in ("generated", "floor", "ceiling"):
        old = [row["values"]["toy"]["value"] for row in before if row.get("row", "generated") == kind]
        new = [row["values"]["toy"] for row in after if row.get("row", "generated") == kind]
        out = [value > sum(old) / len(old) for value in old]
        assert 0 < sum(out) < len(out)
        assert [value["status"] == "excluded" for value in new] == out
        assert [value["value"] for value in new] == [None if gone else v for gone, v in zip(out, old, strict=True)]
        assert table[kind]["missing"] == sum(out)
        assert table[kind]["reason"] == f"{sum(out)} x too red"


def test_a_metric_that_fails_fails_alone(run: Evaluate, encoders: Encoders) -> None:
    def broken(evidence: Evidence) -> Measured:
        if evidence.case.id == "case-3":
            raise MeasurementError("no eyes to see")
        return Measured(Value(1.0))

    facts = replace(FACTS, needs=("dino",))
    summary, scores, _ = run(Metric(facts, broken), dict(encoders))
    for row in scores:
        wanted = {"value": None, "note": "no eyes to see", "status": "failed"}
        if row["case_id"] != "case-3":
            wanted = {"value": 1.0, "note": "", "status": "measured"}
        assert row["values"]["toy"] == wanted
        assert row["values"]["dino"]["status"] == "measured"
    table = {row["row"]: row for row in summary["rows"] if row["metric"] == "toy"}
    assert table["generated"]["reason"] == "2 x no eyes to see"


def test_embedded_weights_that_are_no_default_serve_the_drawn_world_alone() -> None:
    assert further_encoders(["roles"], usual=WORLD_ENCODERS)["subjects"] == "subjects"
    assert "subjects" not in WORLD_ENCODERS
    with pytest.raises(ConfigError, match="add --encoder face_attributes=WEIGHTS"):
        further_encoders(["aps"], usual=PHOTO_ENCODERS)


def test_a_metric_by_its_name_is_all_its_columns_and_takes_embedded_weights_for_the_drawn_world() -> None:
    found = further_encoders(["ips", "goa", "rfs_c"], usual=WORLD_ENCODERS)
    assert {name: found[name] for name in ("faces", "owl", "relation_clip")} == {
        "faces": "faces", "owl": "detector", "relation_clip": "relations",
    }  # fmt: skip
    assert further_encoders(["ips_fixed"], usual=WORLD_ENCODERS) == further_encoders(["ips"], usual=WORLD_ENCODERS)
    assert further_encoders(["ips"], usual=PHOTO_ENCODERS)["faces"] == "dlib"
