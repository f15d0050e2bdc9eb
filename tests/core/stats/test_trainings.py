"""Several trainings of one method: by hand, by a slow rewrite, and how often the interval holds the truth."""

import math

import numpy as np
import pytest
from scipy import stats

from likeness.core.errors import MeasurementError
from likeness.core.stats.intervals import mean_interval
from likeness.core.stats.paired import difference, is_equivalent
from likeness.core.stats.trainings import Trainings, quantile

RNG = np.random.default_rng(3)
VALUES = RNG.normal(0.3, 1.0, (3, 12)) + np.array([[-0.2], [0.0], [0.4]])
GROUPS = list("aaabbbcccddd")


def test_two_trainings_by_hand() -> None:
    """0.25 above in one training and 0.5 in the other, at every picture: nothing but trainings differs."""
    found = Trainings(np.array([[0.25] * 4, [0.5] * 4]), list("abcd"), differences=True)
    assert found.between == ([0.25, 0.5], pytest.approx(0.25 / math.sqrt(2)))
    half = 0.125 * math.tan(0.475 * math.pi)  # a t quantile with one degree of freedom
    assert found.interval[:5] == (0.375, pytest.approx(0.375 - half), pytest.approx(0.375 + half), 8, 4)
    assert quantile(2) == pytest.approx(12.706, abs=1e-3)
    assert quantile(3, level=0.9) == pytest.approx(2.920, abs=1e-3)


def test_trainings_that_do_not_differ_leave_the_interval_of_the_cases() -> None:
    one = VALUES[0]
    found = Trainings(np.stack([one, one]), list(GROUPS), differences=True)
    alone, same = difference(one, GROUPS), found.compared()
    assert same.interval[:3] == pytest.approx(alone.interval[:3])
    assert (same.detectable, same.effect, same.needed) == pytest.approx((alone.detectable, alone.effect, alone.needed))
    assert same.interval.n == 24


def slow_interval(values: np.ndarray, level: float) -> tuple[float, float, float]:
    """Without prompts and with as many pictures per subject: two t intervals of means, their half widths squared."""
    cases = values.mean(axis=0).reshape(4, 3).mean(axis=1)
    trainings = values.mean(axis=1)
    t_cases, t_trainings = stats.t.ppf((1 + level) / 2, 3), stats.t.ppf((1 + level) / 2, 2)
    half = math.hypot(t_cases * stats.sem(cases), t_trainings * stats.sem(trainings))
    return cases.mean(), cases.mean() - half, cases.mean() + half


@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_the_interval_is_that_of_a_slow_rewrite(level: float) -> None:
    found = Trainings(VALUES, list(GROUPS), differences=True).at(level)
    assert found[:3] == pytest.approx(slow_interval(VALUES, level), rel=1e-9)


def test_p_is_one_minus_the_level_of_the_interval_that_ends_at_zero() -> None:
    shifted = VALUES + 1.5
    p = Trainings(shifted, list(GROUPS), differences=True).compared().p
    assert 0.125 <= p < 0.5  # not below what exchanging 4 subjects can show: 2 of 16
    many = np.tile(shifted, 6) + RNG.normal(0, 0.1, (3, 72))
    groups = [f"{letter}{block}" for block in range(6) for letter in GROUPS]
    found = Trainings(many, list(groups), differences=True)
    low = found.at(1 - found.compared().p).ci_low
    assert low == pytest.approx(0.0, abs=1e-6)
    assert Trainings(-many, list(groups), differences=True).compared().p == pytest.approx(found.compared().p)
    balanced = Trainings(np.array([[1.0, -1.0], [-1.0, 1.0]]), ["a", "b"], differences=True)
    assert balanced.compared().p == 1.0


def test_more_subjects_cannot_make_up_for_few_trainings() -> None:
    apart = Trainings(
        np.array([[0.0] * 8, [1.0] * 8]) + RNG.normal(0, 0.01, (2, 8)), list("abcdefgh"), differences=True
    )
    found = apart.compared()
    assert found.needed is None
    assert found.detectable > 5
    close = Trainings(VALUES[:1] + RNG.normal(0, 1e-6, (2, 12)), list(GROUPS), differences=True).compared()
    assert close.needed is not None


def test_what_a_training_lacks_is_left_out_and_counted() -> None:
    values = np.array([[1.0, 0.0, 1.0, math.nan], [1.0, 1.0, 0.0, math.nan]])
    found = Trainings(values, ["c", "c", "d", "f"])
    assert (found.interval.mean, found.interval.n, found.interval.missing) == ((0.75 + 0.5) / 2, 6, 2)
    gap = Trainings(np.array([[1.0, math.nan, 3.0], [2.0, 5.0, 4.0]]), ["a", "b", "c"])
    assert gap.pooled.tolist() == [1.5, 5.0, 3.5]
    assert gap.between.means == [2.0, pytest.approx(11 / 3)]
    # apart by -0.5 and -0.5 over a and c, by 0.5, 0 and 0.5 over all three
    assert gap.between.deviation == pytest.approx(np.std([-0.5, 1 / 3], ddof=1))


def test_where_no_spread_can_be_told_there_is_no_interval_but_the_reason() -> None:
    lonely = Trainings(np.array([[0.5, 1.0], [math.nan, math.nan]]), ["a", "b"], differences=True)
    assert (lonely.interval.mean, lonely.interval.n, lonely.between.known) == (0.75, 2, 1)
    assert math.isnan(lonely.interval.ci_low)
    assert "needs two" in lonely.interval.reason
    assert math.isnan(lonely.compared().p)
    empty = Trainings(np.full((2, 3), math.nan), list("abc"))
    assert empty.interval.reason == "no value was measured"
    one = Trainings(np.array([[0.5], [1.0]]), ["a"], differences=True)
    assert "one subject" in one.interval.reason
    assert one.compared().needed is None


def test_a_tie_is_the_90_percent_interval_inside_the_margin() -> None:
    found = Trainings(VALUES, list(GROUPS), differences=True)
    _, low, high = slow_interval(VALUES, 0.9)
    reach = float(max(-low, high))
    assert found.ties(reach * 1.001)
    assert not found.ties(reach * 0.999)
    for margin in (0.0, -1.0, math.nan):
        with pytest.raises(MeasurementError, match="expected a margin above 0"):
            found.ties(margin)
        with pytest.raises(MeasurementError, match="expected a margin above 0"):
            is_equivalent(VALUES[0], GROUPS, margin=margin)


def coverage(count: int, deviation: float, *, simulations: int) -> tuple[float, float]:
    """How often the interval over trainings, and that of the cases alone, holds the truth: 20 subjects x 4 prompts."""
    rng, held, alone = np.random.default_rng(11), 0, 0
    groups = [f"s{number}" for number in range(20) for _ in range(4)]
    prompts = [f"p{number}" for _ in range(20) for number in range(4)]
    for _ in range(simulations):
        effects = rng.normal(0, 0.5, (1, 20, 1)) + rng.normal(0, 0.3, (1, 1, 4))
        apart = rng.normal(0, deviation, (count, 1, 1)) + rng.normal(0, 0.2, (count, 20, 1))
        values = (effects + apart + rng.normal(0, 0.5, (count, 20, 4))).reshape(count, 80)
        found = Trainings(values, list(groups), list(prompts), differences=True).interval
        held += found.ci_low <= 0 <= found.ci_high
        cases = mean_interval(values.mean(axis=0), groups, prompts=prompts)
        alone += cases.ci_low <= 0 <= cases.ci_high
    return held / simulations, alone / simulations


def test_the_interval_holds_the_truth_where_that_of_the_cases_alone_does_not() -> None:
    held, alone = coverage(3, 0.8, simulations=30)
    assert held >= 0.87  # of 30 simulations at 0.95, fewer than 26 hold once in 60 times
    assert alone < 0.75


@pytest.mark.slow
@pytest.mark.parametrize(("count", "deviation"), [(3, 0.0), (3, 0.5), (5, 0.2), (5, 0.5)])
def test_95_of_100_intervals_hold_the_truth(count: int, deviation: float) -> None:
    """docs/statistics.md has the whole table."""
    held, alone = coverage(count, deviation, simulations=250)
    assert held >= 0.922  # two standard errors of 250 simulations are 0.028
    assert alone < 0.85 or deviation < 0.3
