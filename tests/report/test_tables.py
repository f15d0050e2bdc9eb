"""Ordering and grouping of numbers."""

import math
from pathlib import Path

import pytest
from metric_facts import metric_facts

from likeness.report.curves import Ends
from likeness.report.figures import scales
from likeness.report.tables import (
    Point,
    ScoredSample,
    ScoreLine,
    case_mean,
    counted,
    flatten,
    in_order,
    labels_of,
    metric_label,
    score_lines,
    shown,
)

ROW = {"metric": "dino", "column": "all_photos", "n": 5, "n_subjects": 2, "missing": 1, "reason": "", "unit": "cosine"}


def sample(value: float | None) -> ScoredSample:
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


def axis_of(*lines: ScoreLine) -> Ends:
    return scales(lines)[lines[0].name]


def test_shares_are_drawn_from_zero_to_one_and_cosines_in_a_readable_frame() -> None:
    assert axis_of(line(0.6, unit="share")) == (0.0, 1.0)
    low, high = axis_of(line(0.6, unit="cosine"))
    assert (low, high) == pytest.approx((0.5, 0.7))
    assert axis_of(line(0.97, unit="cosine"))[1] == 1.0


def test_close_values_of_one_metric_are_drawn_close_and_equal_ones_equal() -> None:
    """A difference of 0.001 is at most half a percent of the axis; both columns of a metric share it."""
    low, high = axis_of(line(0.728, unit="cosine"), line(0.729, unit="cosine"))
    assert 0.001 / (high - low) <= 0.005
    rows = [{**ROW, "row": "generated", "mean": 0.528, "ci_low": None, "ci_high": None, "column": c} for c in "ab"]
    low, high = axis_of(*score_lines(rows, metrics={}))
    assert low < 0.528 < high
    assert high - low >= 0.2
    low, high = axis_of(line(120.0, unit="px"), line(121.0, unit="px"))
    assert 1 / (high - low) <= 0.05


def test_the_axis_ends_where_the_metric_does() -> None:
    facts = {"score": {**metric_facts()["clip_t"], "name": "score", "range": [0, 10]}}
    rows = [{**ROW, "metric": "score", "unit": "points", "row": "generated", "mean": 9.9, "column": ""}]
    low, high = axis_of(*score_lines([{**row, "ci_low": 9.8, "ci_high": 10.0} for row in rows], metrics=facts))
    assert high == 10
    assert low < 9.8


def test_runs_of_one_name_are_told_apart_by_the_folders_before() -> None:
    assert labels_of([Path("a/multi")]) == ["multi"]
    assert labels_of([Path("a/multi"), Path("b/multi")]) == ["a/multi", "b/multi"]
    assert labels_of([Path("a/one"), Path("b/two")]) == ["one", "two"]
    same = labels_of([Path("a/one"), Path("a/one")])
    assert len(set(same)) == 2


@pytest.mark.parametrize(("number", "text"), [(0, "0 cases"), (1, "1 case"), (2, "2 cases")])
def test_counts_agree_with_their_nouns(number: int, text: str) -> None:
    assert counted(number, "case") == text


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


@pytest.mark.parametrize(
    ("higher", "floor", "ceiling", "value", "is_below"),
    [
        *((True, 0.4, 0.8, 0.3, True), (True, 0.4, 0.8, 0.4, False), (True, 0.4, None, 0.3, True)),
        *((False, 0.4, 0.1, 0.5, True), (False, 0.4, 0.1, 0.3, False)),
        *((True, None, 0.8, 0.3, False), (True, 0.8, 0.4, 0.3, False)),  # unknown; the wrong way round
    ],
)
def test_below_the_floor_is_worse_than_it(
    higher: bool, floor: float | None, ceiling: float | None, value: float, is_below: bool
) -> None:
    kinds = {"generated": 0.5, "floor": floor, "ceiling": ceiling}
    rows = [
        {**ROW, "row": kind, "mean": mean, "ci_low": None, "ci_high": None, "higher_is_better": higher}
        for kind, mean in kinds.items()
    ]
    assert score_lines(rows, metrics={})[0].is_below_floor(value) is is_below
