"""Correlations against scipy, and what is said where there is none."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from likeness.core.errors import MeasurementError
from likeness.core.stats.correlation import Kind, correlation, matrix, pearson_matrix

ORACLES: dict[str, Any] = {
    "pearson": scipy_stats.pearsonr,
    "spearman": scipy_stats.spearmanr,
    "kendall": scipy_stats.kendalltau,
}


@pytest.mark.parametrize("kind", ["pearson", "spearman", "kendall"])
def test_values_with_ties_and_gaps_are_scipys(kind: Kind) -> None:
    rng = np.random.default_rng(1)
    x = np.round(rng.normal(size=60), 1)
    y = np.round(0.5 * x + rng.normal(size=60), 1)
    y[::7] = np.nan
    both = ~np.isnan(y)
    found = correlation(x, y, kind=kind, groups=list(range(60)), num_resamples=100)
    assert found.value == pytest.approx(float(ORACLES[kind](x[both], y[both])[0]))
    assert found.n == both.sum()
    assert found.ci_low < found.value < found.ci_high
    assert matrix({"x": x.tolist(), "y": y.tolist()}, kind=kind)["y", "x"] == (pytest.approx(found.value), found.n)


def test_subjects_make_the_interval_wider_than_pictures() -> None:
    rng = np.random.default_rng(2)
    people = rng.normal(size=(12, 2))
    x, y = (np.repeat(people[:, side], 20) + 0.1 * rng.normal(size=240) for side in (0, 1))
    by_subject = correlation(x, y, groups=np.repeat(range(12), 20).tolist())
    by_picture = correlation(x, y, groups=list(range(240)))
    assert by_subject.ci_high - by_subject.ci_low > 2 * (by_picture.ci_high - by_picture.ci_low)


def test_nothing_to_correlate_has_a_reason() -> None:
    assert "fewer than three" in correlation([1, 2], [1, 2], groups=[0, 1]).reason
    constant = correlation([1, 1, 1], [1, 2, 3], groups=[0, 1, 2])
    assert math.isnan(constant.value)
    assert "same for every picture" in constant.reason
    with pytest.raises(MeasurementError, match="equal lengths"):
        correlation([1.0], [1.0, 2.0], groups=[0])
    with pytest.raises(MeasurementError, match="one value per picture"):
        matrix({"x": [1.0], "y": [1.0, 2.0]})


def test_a_matrix_with_intervals_is_that_of_each_pair_by_itself() -> None:
    """Columns with gaps in other rows, a constant one and one with two values, by 9 subjects and 5 prompts."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=45)
    columns = {"x": x, "y": 0.6 * x + rng.normal(size=45), "gaps": rng.normal(size=45) - x, "same": np.full(45, 0.3)}
    columns |= {"two": np.where(np.arange(45) < 2, x, np.nan)}
    columns["gaps"][::4] = np.nan
    groups, prompts = [k % 9 for k in range(45)], [k // 9 for k in range(45)]
    lists = {name: values.tolist() for name, values in columns.items()}
    found = pearson_matrix(lists, groups=groups, prompts=prompts, num_resamples=200)
    assert len(found) == 25
    for (first, second), cell in found.items():
        one = correlation(columns[first], columns[second], groups=groups, prompts=prompts, num_resamples=200)
        assert cell[:4] == pytest.approx(one[:4], nan_ok=True)
        assert cell.reason == one.reason
    assert found["x", "y"].ci_low > 0 > found["gaps", "x"].ci_high
    assert "fewer than three" in found["two", "x"].reason
    with pytest.raises(MeasurementError, match="one value per picture"):
        pearson_matrix({"x": [1.0]}, groups=[0, 1], prompts=[0, 1])
