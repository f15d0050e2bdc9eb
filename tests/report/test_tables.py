"""Ordering and grouping of numbers."""

import math

import pytest
from metric_facts import metric_facts

from likeness.report.figures import axis_for
from likeness.report.tables import (
    Point,
    ScoredSample,
    ScoreLine,
    case_mean,
    flatten,
    in_order,
    metric_label,
    score_lines,
    shown,
)

ROW = {"metric": "dino", "column": "all_photos", "n": 5, "n_subjects": 2, "missing": 1, "reason": "", "unit": "cosine"}


def sample(value: float | None) -> ScoredSample:
    from pathlib import Path

    return ScoredSample(Path("a.png"), values={"dino": value})


def line(mean: float, *, unit: str) -> ScoreLine:
    rows = [{**ROW, "unit": unit, "row": "generated", "mean": mean, "ci_low": mean - 0.02, "ci_high": mean + 0.02}]
    return score_lines(rows, metrics={})[0]


def test_case_mean_leaves_out_what_was_not_measured() -> None:
    assert case_mean([sample(0.5), sample(None), sample(0.7)], "dino") == pytest.approx(0.6)
    assert case_mean([sample(None)], "dino") is None


def test_rows_of_one_metric_and_column_become_one_line() -> None:
    rows = [
        {**ROW, "row": kind, "mean": mean, "ci_low": None, "ci_high": None}
        for kind, mean in (("generated", 0.6), ("floor", 0.4))
    ]
    (found,) = score_lines(rows, metrics={})
    assert (found.generated, found.floor, found.ceiling) == (Point(0.6, 0.6, 0.6), Point(0.4, 0.4, 0.4), None)
    assert (found.n, found.n_subjects, found.missing) == (5, 2, 1)


def test_a_mean_that_is_no_number_is_not_measured() -> None:
    rows = [{**ROW, "row": "generated", "mean": math.nan, "ci_low": None, "ci_high": None}]
    (found,) = score_lines(rows, metrics={})
    assert found.generated is None


def test_shares_are_drawn_from_zero_to_one_and_cosines_close_up() -> None:
    assert axis_for(line(0.6, unit="share")) == (0.0, 1.0)
    low, high = axis_for(line(0.6, unit="cosine"))
    assert 0.5 < low < 0.58
    assert 0.62 < high < 0.7
    assert axis_for(line(0.97, unit="cosine")).high == 1.0


def test_lines_find_their_facts_by_name_and_column() -> None:
    metrics = metric_facts()
    metrics["dino_conditioning_photo"]["label"] = "Of one photo"
    columns = ("all_photos", "conditioning_photo", "half_photo")
    rows = [{**ROW, "row": "generated", "mean": 0.5, "column": column} for column in columns]
    found = [(line.metric, line.label, line.column) for line in score_lines(rows, metrics=metrics)]
    assert found == [
        ("dino", "Subject fidelity (DINO)", "all photos"),
        ("dino_conditioning_photo", "Of one photo", "conditioning photo"),
        ("dino", "Subject fidelity (DINO)", "half photo"),
    ]


def test_orders_and_names_are_those_of_the_facts() -> None:
    metrics = metric_facts()
    assert in_order(metrics, "ranks") == ["attribute_accuracy", "dino", "clip_i", "clip_t"]
    metrics["clip_t"]["ranks"] = -1
    assert in_order(metrics, "ranks")[0] == "clip_t"
    assert metric_label(metrics, "leakage", form="short") == "Leakage"
    assert metric_label(metrics, "face_likeness") == "Face likeness"


@pytest.mark.parametrize(
    ("shown_as", "value", "text"),
    [
        *(("percent", 0.254, "25%"), ("number", 0.254, "0.254"), ("number", 1.0, "1.000")),
        *(("yes_no", 1.0, "yes"), ("yes_no", 0.0, "no"), ("yes_no", 0.5, "0.500")),
    ],
)
def test_a_value_is_shown_as_its_facts_say(shown_as: str, value: float, text: str) -> None:
    assert shown(value, {"shown_as": shown_as}) == text


def test_flatten_names_nested_keys_and_keeps_their_order() -> None:
    assert flatten({"b": {"x": 1, "y": None}, "a": [1, 2]}) == [("b.x", "1"), ("b.y", "none"), ("a", "1, 2")]
