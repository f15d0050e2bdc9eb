"""Intervals against arithmetic by hand, scipy's bootstrap, the closed form and simulated coverage."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from likeness.core.errors import DataError, MeasurementError
from likeness.core.stats import mean_interval, paired_difference


def test_mean_is_over_subjects_not_over_values() -> None:
    # subject a: (1 + 2 + 3) / 3 = 2, subject b: 10; mean of means 6, mean of values 4
    found = mean_interval([1.0, 2.0, 3.0, 10.0], ["a", "a", "a", "b"])
    assert (found.mean, found.n, found.n_subjects, found.missing, found.reason) == (6, 4, 2, 0, "")
    # two subjects: means 2, 6 and 10 with chances 1/4, 1/2, 1/4, so the 95% interval is all of it
    assert (found.ci_low, found.ci_high) == (2, 10)


def test_levels_by_hand_with_two_subjects() -> None:
    # the resampled mean is 0, 1/2, 1 with chances 1/4, 1/2, 1/4: the middle 40% lie at 1/2
    found = mean_interval([0.0, 1.0], ["a", "b"], level=0.4)
    assert (found.ci_low, found.ci_high) == (0.5, 0.5)


def test_agrees_with_scipy_bootstrap() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=40)
    ours = mean_interval(values, list(range(40)), num_resamples=20_000)
    theirs = scipy_stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    standard_error = values.std() / math.sqrt(40)
    # Monte Carlo error of a 2.5% quantile at 20,000 draws is about 0.02 standard errors
    assert ours.ci_low == pytest.approx(theirs.low, abs=0.1 * standard_error)
    assert ours.ci_high == pytest.approx(theirs.high, abs=0.1 * standard_error)


def test_agrees_with_the_closed_form_for_normal_values() -> None:
    values = np.random.default_rng(3).normal(size=400)
    found = mean_interval(values, list(range(400)), num_resamples=20_000)
    half = 1.96 * values.std() / math.sqrt(400)
    assert found.ci_high - found.mean == pytest.approx(half, rel=0.05)
    assert found.mean - found.ci_low == pytest.approx(half, rel=0.05)


def test_coverage_in_a_simulation_with_strong_subject_effects() -> None:
    # 30 subjects with 5 values each; treating values as independent would cover far less than 95%
    rng = np.random.default_rng(4)
    groups = np.repeat(np.arange(30), 5).tolist()
    covered = by_value = 0
    for number in range(400):
        values = np.repeat(rng.normal(size=30), 5) + 0.2 * rng.normal(size=150)
        found = mean_interval(values, groups, num_resamples=500, seed=number)
        covered += found.ci_low <= 0 <= found.ci_high
        naive = mean_interval(values, list(range(150)), num_resamples=500, seed=number)
        by_value += naive.ci_low <= 0 <= naive.ci_high
    assert 0.90 <= covered / 400 <= 0.98
    assert by_value / 400 < 0.75


def test_deterministic_by_seed_and_free_of_row_order() -> None:
    rng = np.random.default_rng(5)
    values, groups = rng.normal(size=60), [f"s{number % 7}" for number in range(60)]
    order = rng.permutation(60)
    first = mean_interval(values, groups, seed=9)
    assert first == mean_interval(values[order], [groups[index] for index in order], seed=9)
    assert first != mean_interval(values, groups, seed=10)
    assert first == mean_interval(values, [f"other-{group}" for group in groups], seed=9)


def test_missing_values_are_counted_never_zero() -> None:
    found = mean_interval([1.0, math.nan, 3.0, math.nan], ["a", "a", "b", "c"])
    assert (found.mean, found.n, found.n_subjects, found.missing) == (2, 2, 2, 2)


def test_one_subject_has_a_mean_and_no_interval() -> None:
    found = mean_interval([1.0, 3.0], ["a", "a"])
    assert (found.mean, found.n, found.n_subjects) == (2, 2, 1)
    assert math.isnan(found.ci_low)
    assert math.isnan(found.ci_high)
    assert "one subject" in found.reason


@pytest.mark.parametrize("values", [[], [math.nan, math.nan]])
def test_nothing_measured_is_nan_with_a_reason(values: list[float]) -> None:
    found = mean_interval(values, ["a"] * len(values))
    assert math.isnan(found.mean)
    assert (found.n, found.n_subjects, found.missing) == (0, 0, len(values))
    assert found.reason == "no value was measured"


@pytest.mark.parametrize(
    ("values", "changes", "message"),
    [
        ([1.0], {}, "1 values, 2 groups"),
        ([1.0, math.inf], {}, "infinite"),
        ([1.0, 2.0], {"level": 95.0}, "between 0 and 1"),
        ([1.0, 2.0], {"num_resamples": 0}, "at least one"),
    ],
)
def test_misuse_is_a_measurement_error(values: list[float], changes: dict[str, float], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        mean_interval(values, ["a", "b"], **changes)  # type: ignore[arg-type]


def test_many_subjects_need_little_memory_and_equal_small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(6).normal(size=50)
    whole = mean_interval(values, list(range(50)), num_resamples=100)
    monkeypatch.setattr("likeness.core.stats._CHUNK", 333)
    assert mean_interval(values, list(range(50)), num_resamples=100) == whole


def test_paired_difference_joins_by_id() -> None:
    a = {"x": 5.0, "y": 7.0, "z": 1.0}
    b = dict(reversed({"x": 1.0, "y": 1.0, "z": 0.0}.items()))
    # differences 4, 6 (subject s: 5) and 1 (subject t); mean 3
    found = paired_difference(a, b, {"x": "s", "y": "s", "z": "t"})
    assert (found.mean, found.ci_low, found.ci_high, found.n, found.missing) == (3, 1, 5, 3, 0)


def test_paired_difference_cancels_what_both_share() -> None:
    rng = np.random.default_rng(7)
    level = rng.normal(scale=100, size=30)
    b = {f"s{number}": float(value) for number, value in enumerate(level)}
    a = {key: value + 0.5 for key, value in b.items()}
    found = paired_difference(a, b, {key: key for key in b})
    assert found.mean == pytest.approx(0.5)
    assert found.ci_high - found.ci_low < 1e-9


def test_paired_difference_counts_what_one_side_lacks() -> None:
    found = paired_difference(
        {"x": 1.0, "y": math.nan, "only a": 3.0, "z": 4.0}, {"x": 0.0, "y": 1.0, "z": 2.0}, {"x": 1, "y": 2, "z": 3}
    )
    assert (found.mean, found.n, found.missing) == (1.5, 2, 2)
    with pytest.raises(DataError, match="'x'"):
        paired_difference({"x": 1.0}, {"x": 1.0}, {})
    assert math.isnan(paired_difference({"x": 1.0}, {"y": 1.0}, {}).mean)
