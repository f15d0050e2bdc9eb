"""Means over several trainings of one method, with intervals that hold for another training, too.

A training is a draw like a subject or a prompt: another seed would give another model. Every picture's value is first
averaged over the trainings; the interval of these means (`intervals.py`) speaks of new subjects and prompts, but of the
same trainings. What trainings add is the variance of their means, s^2 / K with K - 1 degrees of freedom, estimated
from as few numbers as there are trainings. Both parts meet in the half widths:

    half = sqrt(half_cases^2 + t(K - 1)^2 s^2 / K)

Source: Zou and Donner, Construction of confidence limits about effect measures (2008), for a sum of estimates; in form
that of Graybill and Wang, Confidence intervals on nonnegative linear combinations of variances (1980). The variance of
the training means also holds noise of pictures that half_cases holds already, so the interval errs to the wide side.
Measured coverage: docs/statistics.md.
"""

import math
from collections.abc import Hashable
from typing import Any, NamedTuple  # Any: what scipy types loosely

import numpy as np
from jaxtyping import Float, Int

from likeness.core.errors import MeasurementError
from likeness.core.stats.intervals import Interval, Spread, mean_and_spread, p_at_zero
from likeness.core.stats.paired import Difference, detectable, effect, exchange_p, subjects_needed

FEW = 3
"""Up to so many trainings the spread between them is little more than a guess."""


class Between(NamedTuple):
    """What the trainings have apart: the mean of each (NaN where it has no value) and their standard deviation."""

    means: list[float]
    deviation: float

    @property
    def known(self) -> int:
        """Trainings that have a value."""
        return sum(not math.isnan(mean) for mean in self.means)


class Trainings(NamedTuple):
    """Values (K, N) of the same N pictures by K trainings, NaN where not measured, with their groups and prompts.

    With `differences` they are those of two methods, training by training. `one_sided` are pictures that only one of
    the methods has.
    """

    values: Float[np.ndarray, "K N"]
    groups: list[Hashable]
    prompts: list[Hashable] | None = None
    differences: bool = False
    one_sided: int = 0

    @property
    def pooled(self) -> Float[np.ndarray, " N"]:
        """The mean over the trainings that have the picture."""
        counts = (~np.isnan(self.values)).sum(axis=0)
        sums = np.nansum(self.values, axis=0)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    @property
    def between(self) -> Between:
        """The trainings apart; deviations are taken from the pooled values of the pictures that a training has."""
        number: dict[Hashable, int] = {}
        groups = np.array([number.setdefault(group, len(number)) for group in self.groups], dtype=np.intp)
        apart = [_mean(row, groups) for row in self.values - self.pooled]
        known = [each for each in apart if not math.isnan(each)]
        deviation = float(np.std(known, ddof=1)) if len(known) > 1 else math.nan
        return Between([_mean(row, groups) for row in self.values], deviation)

    @property
    def interval(self) -> Interval:
        """The mean with its 95% interval; `n` and `missing` count the pictures of all trainings."""
        return self.at(0.95)

    def at(self, level: float) -> Interval:
        """The same at another level. Raises: MeasurementError as `mean_interval`."""
        found, spread = self._cases()
        if spread is None:
            return found
        if (between := self.between).known < 2:
            reason = "one training has values: an interval for other trainings needs two"
            return found._replace(ci_low=math.nan, ci_high=math.nan, reason=reason)
        low, high = _ends(found.mean, spread, between, level=level)
        return found._replace(ci_low=low, ci_high=high)

    def _cases(self) -> tuple[Interval, Spread | None]:
        """The interval of the pooled values, which is one for these trainings alone, with counts over all of them."""
        found, spread = mean_and_spread(self.pooled, self.groups, prompts=self.prompts, differences=self.differences)
        measured = int((~np.isnan(self.values)).sum())
        return found._replace(n=measured, missing=self.values.size - measured + self.one_sided), spread

    def compared(self) -> Difference:
        """Everything that is known of the mean difference, for new subjects, prompts and trainings."""
        interval, (_, spread), between = self.interval, self._cases(), self.between
        if spread is None or between.known < 2:
            return Difference(interval, math.nan, math.nan, math.nan)
        both = _with_trainings(spread, between)
        p = max(exchange_p(self.pooled, self.groups), _p(interval.mean, spread, between))
        needed = None
        if interval.mean and interval.n_subjects > 1:
            needed = subjects_needed(interval.mean, spread=both, num_subjects=interval.n_subjects)
        return Difference(interval, p, effect(self.pooled, self.groups), detectable(both), needed)

    def ties(self, margin: float) -> bool:
        """Whether two methods tie within `margin`, as `paired.is_equivalent` says. Raises: MeasurementError alike."""
        if not margin > 0:
            raise MeasurementError(f"equivalence: expected a margin above 0, got {margin}; state how much is nothing.")
        interval = self.at(0.9)
        return -margin < interval.ci_low and interval.ci_high < margin


def _mean(row: Float[np.ndarray, " N"], groups: Int[np.ndarray, " N"]) -> float:
    """The mean over groups of the mean of those of their values that are measured; NaN where none is."""
    kept = ~np.isnan(row)
    sizes = np.bincount(groups[kept])
    sums = np.bincount(groups[kept], weights=row[kept])
    return float((sums[sizes > 0] / sizes[sizes > 0]).mean()) if kept.any() else math.nan


def quantile(count: int, *, level: float = 0.95) -> float:
    """How many standard errors between `count` trainings an interval takes to each side."""
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, (1 + level) / 2))


def _ends(mean: float, spread: Spread, between: Between, *, level: float) -> tuple[float, float]:
    low, high = spread.ends(mean, level=level)
    apart = quantile(between.known, level=level) * between.deviation / math.sqrt(between.known)
    return mean - math.hypot(mean - low, apart), mean + math.hypot(high - mean, apart)


def _p(mean: float, spread: Spread, between: Between) -> float:
    return p_at_zero(mean, lambda level: _ends(mean, spread, between, level=level))


def _with_trainings(spread: Spread, between: Between) -> Spread:
    """Both parts as one spread, whose degrees of freedom give the interval its width; more subjects lower the first."""
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    of_trainings = between.deviation**2 / between.known
    variance = spread.variance + of_trainings
    if of_trainings == 0:
        return spread
    low, _ = _ends(0.0, spread._replace(third=0.0), between, level=0.95)
    wanted = -low / math.sqrt(variance)
    freest = max(spread.freedom, between.known - 1.0)

    def excess(freedom: float) -> float:
        return float(stdtrit(freedom, 0.975)) - wanted

    least = min(spread.freedom, between.known - 1.0)
    freedom: Any = least if excess(least) <= 0 else freest if excess(freest) >= 0 else brentq(excess, least, freest)
    return Spread(variance, spread.third, float(freedom), spread.by_prompt + of_trainings)
