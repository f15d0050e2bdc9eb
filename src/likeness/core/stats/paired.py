"""Two or more methods on the same cases: how sure a difference is, how large, and how many more subjects would tell.

Everything is computed from the differences per sample, by subject and prompt as in `intervals.py`.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple  # Any: what scipy types loosely

import numpy as np
from numpy.typing import NDArray

from likeness.core.errors import DataError, MeasurementError
from likeness.core.rng import seed_for
from likeness.core.stats.intervals import Interval, Spread, mean_and_spread, p_at_zero, subjects_of

EXACT_UP_TO = 14
"""Units whose 2^n exchanges are all looked at; with more, NUM_EXCHANGES random ones."""
NUM_EXCHANGES = 20_000
MOST_SUBJECTS = 1_000_000
FAR = 6.0
"""Standard errors from 0 at which the chance of finding the opposite sign is below 1e-9."""


class Pairs(NamedTuple):
    """Differences a - b of the samples that two methods both have, in the order of their ids, NaN where not measured.

    `one_sided` samples are only one method's.
    """

    differences: list[float]
    groups: list[Hashable]
    prompts: list[Hashable] | None
    one_sided: int

    @property
    def interval(self) -> Interval:
        """The mean difference; missing are those that a side lacks or could not measure."""
        found, _ = mean_and_spread(self.differences, self.groups, prompts=self.prompts, differences=True)
        return self._told(found)

    def compared(self) -> "Difference":
        """Everything that is known of the mean difference."""
        found = difference(self.differences, self.groups, prompts=self.prompts)
        return found._replace(interval=self._told(found.interval))

    def ties(self, margin: float) -> bool:
        """Whether the methods tie within `margin`, as `is_equivalent` says. Raises: MeasurementError alike."""
        return is_equivalent(self.differences, self.groups, margin=margin, prompts=self.prompts)

    def _told(self, interval: Interval) -> Interval:
        return interval._replace(missing=interval.missing + self.one_sided)


def joined(
    values_a: Mapping[str, float],
    values_b: Mapping[str, float],
    groups: Mapping[str, Hashable],
    *,
    prompts: Mapping[str, Hashable] | None = None,
) -> Pairs:
    """The pairs of two methods, joined by sample id.

    Raises: DataError when a joined sample has no group or prompt.
    """
    ids = sorted(values_a.keys() & values_b.keys())
    for known in (groups,) if prompts is None else (groups, prompts):
        if absent := [sample for sample in ids if sample not in known]:
            what = "subject" if known is groups else "prompt"
            raise DataError(f"paired difference: expected a {what} for every sample, got none for {absent[0]!r}.")
    return Pairs(
        [values_a[sample] - values_b[sample] for sample in ids],
        [groups[sample] for sample in ids],
        None if prompts is None else [prompts[sample] for sample in ids],
        len(values_a.keys() ^ values_b.keys()),
    )


def exchange_p(
    differences: Sequence[float] | NDArray[np.floating], groups: Sequence[Hashable], *, seed: int = 0
) -> float:
    """The chance of a mean difference as far from 0 if exchanging the two methods for a subject changed nothing.

    Two-sided. All pictures of a subject change sign together, and so do subjects that share pictures (frozensets).
    NaN differences are left out; NaN where fewer than two units are left, since then nothing can be exchanged.
    Source: Fisher's randomisation test on paired differences; random exchanges with the +1 of Phipson and Smyth,
    Permutation p-values should never be zero (2010), Eq. 2.
    """
    array = np.asarray(differences, dtype=np.float64)
    kept = ~np.isnan(array)
    units = _units([group for group, each in zip(groups, kept, strict=True) if each])
    names = [groups[i] for i in np.flatnonzero(kept).tolist()]
    sums = _unit_sums(array[kept], names, units)
    if len(sums) < 2:
        return math.nan
    observed = abs(sums.sum()) * (1 - 1e-12)
    if len(sums) <= EXACT_UP_TO:
        signs = np.array(list(product((1, -1), repeat=len(sums))), dtype=np.float64)
        return float((abs(signs @ sums) >= observed).mean())
    rng = np.random.default_rng(seed_for("exchange", seed))
    hits = 0
    for first in range(0, NUM_EXCHANGES, 1000):
        count = min(1000, NUM_EXCHANGES - first)
        hits += int((abs(rng.choice((-1.0, 1.0), size=(count, len(sums))) @ sums) >= observed).sum())
    return (hits + 1) / (NUM_EXCHANGES + 1)


def _unit_sums(
    values: NDArray[np.float64], groups: Sequence[Hashable], units: Mapping[Hashable, int]
) -> NDArray[np.float64]:
    """What each unit adds to the mean over groups of the groups' means, ascending."""
    sizes: dict[Hashable, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    weights = np.array([1 / sizes[group] for group in groups])
    index = np.array([units[group] for group in groups], dtype=np.intp)
    return np.sort(np.bincount(index, weights=values * weights)) / max(1, len(sizes))


def _units(groups: Sequence[Hashable]) -> dict[Hashable, int]:
    """Group -> number of the set of groups that share subjects with it, directly or through others."""
    parent: dict[Hashable, Hashable] = {}

    def root(name: Hashable) -> Hashable:
        while parent.setdefault(name, name) != name:
            parent[name] = name = parent[parent[name]]
        return name

    for group in groups:
        members = subjects_of(group)
        for other in members[1:]:
            parent[root(other)] = root(members[0])
    number: dict[Hashable, int] = {}
    return {group: number.setdefault(root(subjects_of(group)[0]), len(number)) for group in dict.fromkeys(groups)}


def holm(p_values: Sequence[float]) -> list[float]:
    """p values that may be read together: the chance of any false claim among them stays below the level.

    NaN stays NaN and does not count. Source: Holm, A simple sequentially rejective multiple test procedure (1979).
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if not math.isnan(p))
    found, highest = [math.nan] * len(p_values), 0.0
    for rank, (p, i) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        found[i] = highest
    return found


class Difference(NamedTuple):
    """A paired difference with its interval, p value, size in standard deviations, and what could have been seen.

    `effect` is the mean divided by the standard deviation between subjects of their mean differences; `detectable` the
    smallest true difference that these cases would show in 80 of 100 repetitions. NaN where there is no interval.
    `needed` subjects would show a true difference as large as this one in 80 of 100 repetitions; None where no number
    would, or none can be told.
    """

    interval: Interval
    p: float
    effect: float
    detectable: float
    needed: int | None = None


def difference(
    differences: Sequence[float] | NDArray[np.floating],
    groups: Sequence[Hashable],
    *,
    prompts: Sequence[Hashable] | None = None,
    seed: int = 0,
) -> Difference:
    """What is known of the mean of paired differences.

    p is that of `exchange_p`; with `prompts` not below 1 - the level of the interval that ends at 0, since an exchange
    by subject knows nothing of other prompts. Raises: MeasurementError as `mean_interval`.
    """
    interval, spread = mean_and_spread(differences, groups, prompts=prompts, differences=True)
    if spread is None:
        return Difference(interval, math.nan, math.nan, math.nan)
    p, needed = exchange_p(differences, groups, seed=seed), None
    if prompts is not None:
        p = max(p, p_at_zero(interval.mean, lambda level: spread.ends(interval.mean, level=level)))
    if interval.mean and interval.n_subjects > 1:
        needed = subjects_needed(interval.mean, spread=spread, num_subjects=interval.n_subjects)
    return Difference(interval, p, effect(differences, groups), detectable(spread), needed)


def effect(differences: Sequence[float] | NDArray[np.floating], groups: Sequence[Hashable]) -> float:
    """The mean of the groups' mean differences in their standard deviations; NaN where these do not differ."""
    by_group: dict[Hashable, list[float]] = {}
    for value, group in zip(differences, groups, strict=True):
        if not math.isnan(value):
            by_group.setdefault(group, []).append(float(value))
    means = np.array([np.mean(values) for values in by_group.values()])
    deviation = float(means.std(ddof=1))
    return float(means.mean()) / deviation if deviation > 0 else math.nan


# -- power -----------------------------------------------------------------------------------------------------
def power(size: float, *, error: float, freedom: float, level: float = 0.95) -> float:
    """The chance that a two-sided t test finds a true difference `size` with this standard error."""
    from scipy.special import nctdtr, stdtrit

    if error <= 0:
        return 1.0 if size else 1 - level
    t, away = float(stdtrit(freedom, (1 + level) / 2)), abs(size) / error
    wrong_side = nctdtr(freedom, away, -t) if away < FAR else 0.0  # scipy gives NaN far out
    return float(1 - nctdtr(freedom, away, t) + wrong_side)


def detectable(spread: Spread, *, wanted: float = 0.8, level: float = 0.95) -> float:
    """The smallest true difference that is found with power `wanted`, in the unit of the differences."""
    from scipy.optimize import brentq

    error = math.sqrt(max(spread.variance, 0.0))
    if error == 0:
        return 0.0

    def lacking(size: float) -> float:
        return power(size, error=error, freedom=spread.freedom, level=level) - wanted

    high = error
    while lacking(high) < 0:
        high *= 2
    root: Any = brentq(lacking, 0.0, high, xtol=1e-9 * error)  # typed as a pair, which it is with full_output
    return float(root)


def subjects_needed(
    size: float, *, spread: Spread, num_subjects: int, wanted: float = 0.8, level: float = 0.95
) -> int | None:
    """How many subjects like these would find a true difference `size` with power `wanted`; None where none would.

    More subjects lower the variance except the part between prompts, which only more prompts lower.
    Raises: MeasurementError for a size of 0 or fewer than two subjects.
    """
    if size == 0 or num_subjects < 2:
        raise MeasurementError("subjects needed: expected a difference other than 0 and two subjects, got less.")

    def found(count: int) -> float:
        variance = (spread.variance - spread.by_prompt) * num_subjects / count + spread.by_prompt
        freedom = (
            max(1.0, spread.freedom * (count - 1) / (num_subjects - 1)) if not spread.by_prompt else spread.freedom
        )
        return power(size, error=math.sqrt(variance), freedom=freedom, level=level)

    if found(MOST_SUBJECTS) < wanted:
        return None
    low, high = 1, MOST_SUBJECTS
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if found(middle) >= wanted else (middle, high)
    return max(2, high)


def is_equivalent(
    differences: Sequence[float] | NDArray[np.floating],
    groups: Sequence[Hashable],
    *,
    margin: float,
    prompts: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> bool:
    """Whether two methods tie within `margin`: the interval of level 2 * `level` - 1 lies inside +-margin.

    Source: two one-sided tests (Schuirmann, 1987). Raises: MeasurementError for a margin that is not above 0.
    """
    if not margin > 0:
        raise MeasurementError(f"equivalence: expected a margin above 0, got {margin}; state how much is nothing.")
    interval = mean_and_spread(differences, groups, prompts=prompts, level=2 * level - 1, differences=True)[0]
    return -margin < interval.ci_low and interval.ci_high < margin
