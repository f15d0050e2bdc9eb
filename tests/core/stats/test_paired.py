"""Paired comparisons against enumeration by hand, scipy and simulated errors."""

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from likeness.core.errors import DataError, MeasurementError
from likeness.core.stats.intervals import Spread, mean_and_spread, p_at_zero
from likeness.core.stats.paired import (
    detectable,
    difference,
    exchange_p,
    holm,
    is_equivalent,
    joined,
    power,
    subjects_needed,
)


def test_three_subjects_by_hand() -> None:
    # sums of signs of 1, 2, 3: as far from 0 as 6 are only +6 and -6, 2 of 8 exchanges
    assert exchange_p([1.0, 2.0, 3.0], ["a", "b", "c"]) == 2 / 8
    # 1, 2, -3 add up to 0, which every exchange is as far from as that
    assert exchange_p([1.0, 2.0, -3.0], ["a", "b", "c"]) == 1


def test_pictures_of_one_subject_are_exchanged_together_and_weigh_as_one() -> None:
    assert exchange_p([3.0, 5.0, 1.0, math.nan], ["a", "a", "b", "c"]) == 2 / 4
    assert exchange_p([4.0, 1.0], ["a", "b"]) == 2 / 4


def test_subjects_that_share_a_picture_are_exchanged_together() -> None:
    pairs = [frozenset("ab"), frozenset("bc"), frozenset("de")]
    assert exchange_p([1.0, 1.0, 1.0], pairs) == 2 / 4  # {a, b, c} and {d, e}
    assert math.isnan(exchange_p([1.0, 1.0], pairs[:2]))
    assert math.isnan(exchange_p([math.nan, 1.0], ["a", "b"]))


def test_exact_p_is_scipys() -> None:
    values = np.random.default_rng(0).normal(0.4, 1, size=12)
    theirs = scipy_stats.permutation_test(
        (values,), np.mean, permutation_type="samples", n_resamples=10_000
    )  # all 4096
    assert exchange_p(values, list(range(12))) == pytest.approx(theirs.pvalue)


def test_random_exchanges_are_near_the_exact_answer_repeatable_and_never_zero() -> None:
    values = np.random.default_rng(1).normal(0.3, 1, size=30)
    found = exchange_p(values, list(range(30)))
    assert found == exchange_p(values, list(range(30)))
    assert found == pytest.approx(t_test_p(values), abs=0.02)
    assert exchange_p([1.0] * 40, list(range(40))) == 1 / 20_001


def t_test_p(values: NDArray[np.float64]) -> float:
    t = values.mean() / scipy_stats.sem(values)
    return float(2 * scipy_stats.t.sf(abs(t), len(values) - 1))


def test_p_is_uniform_where_nothing_differs() -> None:
    rng = np.random.default_rng(2)
    found = [exchange_p(np.repeat(rng.normal(size=12), 3) + rng.normal(size=36), np.repeat(range(12), 3).tolist())
             for _ in range(300)]  # fmt: skip
    assert scipy_stats.kstest(found, "uniform").pvalue > 0.01


def test_holm_by_hand() -> None:
    # 0.01 * 3, then the larger of that and 0.03 * 2, then of that and 0.04
    assert holm([0.04, 0.01, math.nan, 0.03]) == pytest.approx([0.06, 0.03, math.nan, 0.06], nan_ok=True)
    assert holm([0.6, 0.7]) == [1, 1]


def test_holm_keeps_the_chance_of_any_false_claim() -> None:
    rng = np.random.default_rng(3)
    false = sum(min(holm(rng.uniform(size=8).tolist())) <= 0.05 for _ in range(4000))
    assert false / 4000 <= 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / 4000)
    assert false / 4000 >= 0.04  # it is not merely careful


@pytest.mark.parametrize(("size", "error", "freedom"), [(0.5, 0.3, 9.0), (-1.0, 0.3, 29.0), (0.0, 1.0, 4.0)])
def test_power_is_the_noncentral_ts(size: float, error: float, freedom: float) -> None:
    t = scipy_stats.t.ppf(0.975, freedom)
    law = scipy_stats.nct(freedom, size / error)
    assert power(size, error=error, freedom=freedom) == pytest.approx(law.sf(t) + law.cdf(-t), abs=1e-9)


def test_what_is_detectable_has_the_power_that_was_wanted() -> None:
    spread = Spread(variance=0.04, third=0.0, freedom=19.0)
    assert power(detectable(spread), error=0.2, freedom=19.0) == pytest.approx(0.8)
    assert detectable(Spread(0.0, 0.0, 1.0)) == 0


def test_subjects_needed_is_the_classical_sample_size() -> None:
    # effect of half a standard deviation: 34 subjects for power 0.8 (Cohen 1988; the paired t test)
    values = np.tile([-1.0, 1.0], 10) / math.sqrt(20 / 19)  # 20 subjects, deviation 1
    _, spread = mean_and_spread(values, list(range(20)))
    assert spread is not None
    assert subjects_needed(0.5, spread=spread, num_subjects=20) == 34


def test_more_subjects_do_not_help_against_few_prompts() -> None:
    cells = list(itertools.product(range(40), range(3)))
    values = [[1.0, -1.0, 0.3][p] + 0.01 * s for s, p in cells]
    _, spread = mean_and_spread(values, [s for s, _ in cells], prompts=[p for _, p in cells])
    assert spread is not None
    assert subjects_needed(0.05, spread=spread, num_subjects=40) is None
    with pytest.raises(MeasurementError, match="difference other than 0"):
        subjects_needed(0.0, spread=spread, num_subjects=40)


def test_a_difference_comes_with_p_effect_and_what_could_be_seen() -> None:
    found = difference([1.0, 2.0, 3.0, 4.0], list("abcd"))
    assert (found.interval.mean, found.p) == (2.5, 2 / 16)
    assert found.effect == pytest.approx(2.5 / np.std([1, 2, 3, 4], ddof=1))
    assert found.detectable > 0
    alone = difference([1.0], ["a"])
    assert math.isnan(alone.p)
    assert alone.interval.reason.startswith("one subject")


@pytest.mark.parametrize(("events", "told_apart"), [(1, False), (4, False), (6, False), (7, True)])
def test_a_few_cases_that_differ_prove_nothing_however_many_do_not(events: int, told_apart: bool) -> None:
    # n equal signs have the chance 2 / 2^n, below 0.05 from six on; t with n - 1 degrees of freedom agrees from seven
    names = [f"c{i}" for i in range(256)]
    found = difference([float(i < events) for i in range(256)], names, prompts=names).interval
    assert found.mean == events / 256
    assert (found.ci_low > 0) == told_apart


def test_methods_tie_only_where_the_interval_lies_inside_the_margin() -> None:
    values = [0.01, -0.01] * 15
    assert is_equivalent(values, list(range(30)), margin=0.01)
    assert not is_equivalent(values, list(range(30)), margin=0.003)
    assert not is_equivalent([0.02 + each for each in values], list(range(30)), margin=0.01)
    assert not is_equivalent([0.0], ["a"], margin=1)  # nothing is known
    with pytest.raises(MeasurementError, match="above 0"):
        is_equivalent(values, list(range(30)), margin=0)


def test_pairs_are_joined_by_id() -> None:
    a = {"x": 5.0, "y": 7.0, "z": 1.0}
    b = dict(reversed({"x": 1.0, "y": 1.0, "z": 0.0}.items()))
    # differences 4, 6 (subject s: 5) and 1 (subject t); mean 3
    found = joined(a, b, {"x": "s", "y": "s", "z": "t"}).interval
    half = 2 * math.tan(0.475 * math.pi)
    assert (found.mean, found.n, found.missing) == (3, 3, 0)
    assert (found.ci_low, found.ci_high) == pytest.approx((3 - half, 3 + half))


def test_a_paired_difference_cancels_what_both_share() -> None:
    rng = np.random.default_rng(7)
    level = rng.normal(scale=100, size=30)
    b = {f"s{number}": float(value) for number, value in enumerate(level)}
    a = {key: value + 0.5 for key, value in b.items()}
    found = joined(a, b, {key: key for key in b}).interval
    assert found.mean == pytest.approx(0.5)
    assert found.ci_high - found.ci_low < 1e-9


def test_a_paired_difference_counts_what_one_side_lacks() -> None:
    a, b = {"x": 1.0, "y": math.nan, "only a": 3.0, "z": 4.0}, {"x": 0.0, "y": 1.0, "z": 2.0}
    found = joined(a, b, {"x": 1, "y": 2, "z": 3}).interval
    assert (found.mean, found.n, found.missing) == (1.5, 2, 2)
    with pytest.raises(DataError, match="'x'"):
        joined({"x": 1.0}, {"x": 1.0}, {})
    with pytest.raises(DataError, match="prompt for every sample, got none for 'x'"):
        joined({"x": 1.0}, {"x": 1.0}, {"x": 1}, prompts={})
    assert math.isnan(joined({"x": 1.0}, {"y": 1.0}, {}).interval.mean)


def test_pairs_tell_what_a_difference_by_itself_tells() -> None:
    a, b = {f"s{i}": float(i % 5) for i in range(12)}, {f"s{i}": float(i % 3) for i in range(12)}
    whole = joined(a, {**b, "more": 1.0}, {name: name for name in a}).compared()
    by_hand = difference([a[name] - b[name] for name in sorted(a)], sorted(a))
    assert whole._replace(interval=by_hand.interval) == by_hand
    assert whole.interval == by_hand.interval._replace(missing=1)
    spread = mean_and_spread([a[name] - b[name] for name in a], list(a), differences=True)[1]
    assert spread is not None
    assert whole.needed == subjects_needed(whole.interval.mean, spread=spread, num_subjects=12)
    assert difference([0.5, -0.5], ["a", "b"]).needed is None


def test_no_difference_is_sure_whose_interval_holds_0() -> None:
    """What a few prompts gain for every subject is sure by subject and not for other prompts."""
    mistaken = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        cells = [(subject, prompt) for prompt in range(8) for subject in range(40)]
        gains = rng.normal(0, 0.1, 8)
        values = [float(gains[prompt] + rng.normal(0, 0.02)) for _, prompt in cells]
        names, prompts = [s for s, _ in cells], [p for _, p in cells]
        alone, both = difference(values, names), difference(values, names, prompts=prompts)
        holds_zero = both.interval.ci_low <= 0 <= both.interval.ci_high
        assert both.p >= alone.p
        assert both.p >= 0.05 or not holds_zero
        mistaken += alone.p < 0.01 and holds_zero
    assert mistaken > 10


def test_p_at_zero_is_that_of_a_t_test() -> None:
    spread = Spread(0.04, 0.0, 9.0)
    expected = 2 * scipy_stats.t.sf(0.5 / 0.2, 9)
    assert p_at_zero(0.5, lambda level: spread.ends(0.5, level=level)) == pytest.approx(expected, rel=1e-6)
    assert p_at_zero(-0.5, lambda level: spread.ends(-0.5, level=level)) == pytest.approx(expected, rel=1e-6)
    assert p_at_zero(0.0, lambda level: spread.ends(0.0, level=level)) == 1.0
