"""Intervals against arithmetic by hand, Student's interval, slow sums, dense matrices and simulated coverage."""

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from likeness.core.errors import MeasurementError
from likeness.core.stats.intervals import additive, mean_interval, unskewed

Array = NDArray[np.float64]


def test_mean_is_over_subjects_not_over_values() -> None:
    # subject a: (1 + 2 + 3) / 3 = 2, subject b: 10; mean of means 6, mean of values 4
    found = mean_interval([1.0, 2.0, 3.0, 10.0], ["a", "a", "a", "b"])
    assert (found.mean, found.n, found.n_subjects, found.missing, found.reason) == (6, 4, 2, 0, "")
    # two means 8 apart: standard error 4, and the 97.5% point of t with one degree of freedom is tan(0.475 pi) = 12.706
    half = 4 * math.tan(0.475 * math.pi)
    assert (found.ci_low, found.ci_high) == pytest.approx((6 - half, 6 + half))


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_one_value_per_subject_without_skewness_is_students_interval(level: float) -> None:
    half = np.random.default_rng(1).normal(size=20)
    values = np.concatenate([3 + half, 3 - half])  # symmetric, so the correction for skewness is nothing
    found = mean_interval(values, list(range(40)), level=level)
    theirs = scipy_stats.ttest_1samp(values, 0).confidence_interval(level)
    assert (found.ci_low, found.ci_high) == pytest.approx((theirs.low, theirs.high))


def slow_variance(values: Array, groups: list[frozenset[str]], prompts: list[str]) -> float:
    """V of the module's first lines by a loop over all pairs, each part with its factor G / (G - 1)."""
    sizes = {group: groups.count(group) for group in groups}
    weights = np.array([1 / (len(sizes) * sizes[group]) for group in groups])
    c = weights * (values - weights @ values)
    parts = {"s": 0.0, "p": 0.0, "sp": 0.0}
    for i, j in itertools.product(range(len(c)), repeat=2):
        shares = {"s": bool(groups[i] & groups[j]), "p": prompts[i] == prompts[j]}
        for part in parts:
            parts[part] += c[i] * c[j] * all(shares[kind] for kind in part)
    num_subjects, num_prompts = len(frozenset().union(*groups)), len(set(prompts))
    v_s, v_p = parts["s"] * num_subjects / (num_subjects - 1), parts["p"] * num_prompts / (num_prompts - 1)
    num_cells = len(set(zip(groups, prompts, strict=True)))
    return max(v_s + v_p - parts["sp"] * num_cells / (num_cells - 1), v_s, v_p)


def test_two_ways_of_being_alike_against_a_loop_over_all_pairs() -> None:
    rng = np.random.default_rng(2)
    cells = [(f"s{s}", f"p{p}") for s in range(6) for p in range(5) if (s + p) % 4]  # some cells are empty
    values = rng.normal(size=6)[[int(s[1:]) for s, _ in cells]] + rng.normal(size=5)[[int(p[1:]) for _, p in cells]]
    found = mean_interval(values, [s for s, _ in cells], prompts=[p for _, p in cells])
    variance = slow_variance(values, [frozenset([s]) for s, _ in cells], [p for _, p in cells])
    width = found.ci_high - found.ci_low
    # without skewness the width is 2 t sqrt(V); t lies between those of 4 and 5 + 4 degrees of freedom
    low, high = (2 * scipy_stats.t.ppf(0.975, df) * math.sqrt(variance) for df in (9, 4))
    assert low < width < high * 1.1
    mirrored = mean_interval(
        np.concatenate([values, 2 * found.mean - values]),
        [s for s, _ in cells] + [f"{s}'" for s, _ in cells],
        prompts=[p for _, p in cells] + [f"{p}'" for _, p in cells],
    )
    both = [frozenset([s]) for s, _ in cells] + [frozenset([f"{s}'"]) for s, _ in cells]
    named = [p for _, p in cells] + [f"{p}'" for _, p in cells]
    whole = np.concatenate([values, 2 * found.mean - values])
    v = slow_variance(whole, both, named)
    assert mirrored.mean == pytest.approx(found.mean)
    assert mirrored.ci_high - mirrored.mean == pytest.approx(mirrored.mean - mirrored.ci_low)  # symmetric: no skewness
    assert (
        scipy_stats.t.ppf(0.975, 20) < (mirrored.ci_high - mirrored.mean) / math.sqrt(v) < scipy_stats.t.ppf(0.975, 9)
    )


def test_pictures_of_pairs_that_share_a_subject_are_alike() -> None:
    pairs = [frozenset(pair) for pair in itertools.combinations("abcde", 2)]
    level = dict(zip("abcde", [-5.0, -1.0, 0.0, 1.0, 5.0], strict=True))
    values = np.array([sum(level[each] for each in sorted(pair)) for pair in pairs])
    found = mean_interval(values, pairs)
    naive = mean_interval(values, [f"pair {i}" for i in range(10)])
    assert (found.mean, found.n_subjects, naive.n_subjects) == (0, 5, 10)
    # the mean of pair sums is twice the mean of the subjects, whose interval is Student's with 4 degrees of freedom
    half = 2 * scipy_stats.sem(list(level.values())) * scipy_stats.t.ppf(0.975, 4)
    assert (found.ci_low, found.ci_high) == pytest.approx((-half, half))
    assert naive.ci_high < 0.8 * half


@pytest.mark.parametrize(
    "members", [[[0, 1], [1, 2], [2, 3], [3, 0], [0, 2]], [[0, 1], [2, -1], [1, 3], [3, 4]], [[0], [1], [2], [3]]]
)
def test_bias_and_freedom_against_dense_matrices(members: list[list[int]]) -> None:
    groups = len(members)
    z = np.zeros((groups, max(map(max, members)) + 1))
    for row, each in enumerate(members):
        z[row, [member for member in each if member >= 0]] = 1
    removal = np.eye(groups) - 1 / groups
    form = z.T @ removal @ (z @ z.T > 0) @ removal @ z / groups**2
    truth = float(((z.T @ np.ones(groups) / groups) ** 2).sum())
    expected = truth / np.trace(form), np.trace(form) ** 2 / np.trace(form @ form)
    assert additive(np.array(members)) == pytest.approx(expected)


def test_a_subject_in_every_picture_does_not_make_the_interval_empty() -> None:
    found = mean_interval([1.0, 2.0, 4.0], [frozenset("ab"), frozenset("ac"), frozenset("ad")])
    apart = mean_interval([1.0, 2.0, 4.0], ["b", "c", "d"])
    assert (found.ci_low, found.ci_high) == (apart.ci_low, apart.ci_high)


@pytest.mark.parametrize("skewness", [-1.5, -0.2, 1e-12, 0.4, 2.0])
@pytest.mark.parametrize("t", [-2.1, 0.0, 2.1])
def test_halls_transformation_is_inverted(t: float, skewness: float) -> None:
    a, b = skewness / 3, skewness / 6
    found = unskewed(t, skewness=skewness)
    assert found + a * found**2 + a**2 * found**3 / 3 + b == pytest.approx(t, abs=1e-9)


def test_equal_values_have_an_interval_of_no_width() -> None:
    found = mean_interval([0.5] * 6, list("aabbcc"), prompts=list("xyxyxy"))
    assert (found.mean, found.ci_low, found.ci_high) == (0.5, 0.5, 0.5)


def test_ends_stay_within_the_range_of_a_value() -> None:
    found = mean_interval([0.0, 1.0], ["a", "b"])
    assert found.ci_low < 0 < 1 < found.ci_high
    assert found.within(0, 1)[:3] == (0.5, 0, 1)
    assert math.isnan(mean_interval([0.5], ["a"]).within(0, 1).ci_low)


def test_one_prompt_says_nothing_about_prompts_and_own_prompts_add_nothing() -> None:
    values, groups = np.random.default_rng(3).normal(size=60), [f"s{i % 12}" for i in range(60)]
    alone = mean_interval(values, groups)
    assert mean_interval(values, groups, prompts=["same"] * 60) == alone
    # a prompt that only one subject has makes nothing alike that the subject does not
    assert mean_interval(values, groups, prompts=[f"p{i}" for i in range(60)]) == alone
    assert mean_interval(values[:12], groups[:12], prompts=groups[:12]) == mean_interval(values[:12], groups[:12])


@pytest.mark.parametrize("num_subjects", [10, 30])
def test_coverage_with_effects_of_subject_and_prompt(num_subjects: int) -> None:
    # figures/coverage.py has the whole table; by subject alone the same scores are covered far less often
    rng = np.random.default_rng(4)
    cells = list(itertools.product(range(num_subjects), range(12)))
    groups, prompts = [s for s, _ in cells], [p for _, p in cells]
    covered = by_subject = 0
    for _ in range(400):
        values = rng.normal(size=num_subjects)[groups] + rng.normal(size=12)[prompts] + rng.normal(size=len(cells))
        found = mean_interval(values, groups, prompts=prompts)
        covered += found.ci_low <= 0 <= found.ci_high
        alone = mean_interval(values, groups)
        by_subject += alone.ci_low <= 0 <= alone.ci_high
    assert 0.92 <= covered / 400 <= 0.98  # 2.7 standard errors around 0.95
    assert by_subject / 400 < 0.9


def test_free_of_row_order_and_names() -> None:
    rng = np.random.default_rng(5)
    values, prompts = rng.normal(size=60), [f"p{number % 5}" for number in range(60)]
    groups = [frozenset([f"s{number % 7}", f"s{number % 4}"]) for number in range(60)]
    order = rng.permutation(60)
    first = mean_interval(values, groups, prompts=prompts)
    again = mean_interval(values[order], [groups[i] for i in order], prompts=[prompts[i] for i in order])
    assert tuple(again)[:6] == pytest.approx(tuple(first)[:6], rel=1e-12)
    renamed = [frozenset(f"other-{each}" for each in group) for group in groups]
    assert tuple(mean_interval(values, renamed, prompts=prompts))[:6] == pytest.approx(tuple(first)[:6], rel=1e-12)
    single = [f"s{number % 7}" for number in range(60)]
    first = mean_interval(values, single, prompts=prompts)
    again = mean_interval(values[order], [single[i] for i in order], prompts=[prompts[i] for i in order])
    assert again == first  # to the last bit


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
        ([1.0, 2.0], {"prompts": ["x"]}, "2 groups, 1 prompts"),
    ],
)
def test_misuse_is_a_measurement_error(values: list[float], changes: dict[str, object], message: str) -> None:
    with pytest.raises(MeasurementError, match=message):
        mean_interval(values, ["a", "b"], **changes)  # type: ignore[arg-type]


def test_one_case_that_is_subject_and_prompt_in_one_counts_once_in_the_skewness() -> None:
    values, names = [1.0] + [0.0] * 99, [f"c{i}" for i in range(100)]
    alone = mean_interval(values, names)
    assert mean_interval(values, names, prompts=names) == alone
    assert alone.ci_low < 0 < alone.mean < 0.03 < alone.ci_high < 0.08  # Clopper and Pearson: 0.0003 to 0.054
