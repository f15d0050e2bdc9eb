"""Ordering and grouping of numbers."""

import math

import pytest

from likeness.report.figures import axis_for
from likeness.report.tables import Point, Sample, ScoreLine, case_mean, flatten, score_lines

ROW = {"metric": "dino", "column": "all_photos", "n": 5, "n_subjects": 2, "missing": 1, "reason": "", "unit": "cosine"}


def sample(value: float | None) -> Sample:
    from pathlib import Path

    return Sample(id="a-0", case_id="a", image=Path("a.png"), values={"dino": value})


def line(mean: float, *, unit: str) -> ScoreLine:
    rows = [{**ROW, "unit": unit, "row": "generated", "mean": mean, "ci_low": mean - 0.02, "ci_high": mean + 0.02}]
    return score_lines(rows)[0]


def test_case_mean_leaves_out_what_was_not_measured() -> None:
    assert case_mean([sample(0.5), sample(None), sample(0.7)], "dino") == pytest.approx(0.6)
    assert case_mean([sample(None)], "dino") is None


def test_rows_of_one_metric_and_column_become_one_line() -> None:
    rows = [
        {**ROW, "row": kind, "mean": mean, "ci_low": None, "ci_high": None}
        for kind, mean in (("generated", 0.6), ("floor", 0.4))
    ]
    (found,) = score_lines(rows)
    assert (found.generated, found.floor, found.ceiling) == (Point(0.6, 0.6, 0.6), Point(0.4, 0.4, 0.4), None)
    assert (found.n, found.n_subjects, found.missing) == (5, 2, 1)


def test_a_mean_that_is_no_number_is_not_measured() -> None:
    (found,) = score_lines([{**ROW, "row": "generated", "mean": math.nan, "ci_low": None, "ci_high": None}])
    assert found.generated is None


def test_shares_are_drawn_from_zero_to_one_and_cosines_close_up() -> None:
    assert axis_for(line(0.6, unit="share")) == (0.0, 1.0)
    low, high = axis_for(line(0.6, unit="cosine"))
    assert 0.5 < low < 0.58
    assert 0.62 < high < 0.7
    assert axis_for(line(0.97, unit="cosine")).high == 1.0


def test_flatten_names_nested_keys_and_keeps_their_order() -> None:
    assert flatten({"b": {"x": 1, "y": None}, "a": [1, 2]}) == [("b.x", "1"), ("b.y", "none"), ("a", "1, 2")]
