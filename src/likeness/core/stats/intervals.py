"""Means with confidence intervals that hold for new subjects and new prompts.

Pictures that share a subject or a prompt are alike: their deviations add up instead of cancelling. With a weight w
per picture and its deviation e from the mean, the variance of the mean is

    V = sum of w_i e_i w_j e_j over all pairs of pictures i, j that share a subject or a prompt

by subjects (V_s), prompts (V_p) and both at once (V_sp): V = V_s + V_p - V_sp, never below V_s or V_p alone.
Source: Cameron, Gelbach and Miller, Robust inference with multiway clustering (2011), Eq. 2.11; several subjects in
one picture: Fafchamps and Gubert, The formation of risk sharing networks (2007), Eq. 2.5. Degrees of freedom as in
Satterthwaite (1946). Skewness, which shares near 0 or 1 have: Hall, On the removal of skewness by transformation
(1992). Measured coverage: docs/statistics.md. A value that was not measured is NaN and is counted, never replaced.
"""

import math
from collections.abc import Callable, Hashable, Sequence
from itertools import combinations
from typing import Any, NamedTuple, Self  # Any: what scipy types loosely

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

from likeness.core.errors import MeasurementError

INTERVAL = (
    "95% t interval, clustered by subject and, where prompts repeat, by prompt (Cameron, Gelbach and Miller 2011), "
    "with Hall's correction for skewness (1992)"
)
"""What the intervals are, for pages and summaries."""
SUREST = 1e-12
"""No p value of a t quantile is told below this."""
NO_MEMBER = -1


class Interval(NamedTuple):
    """A mean over subjects with its confidence interval; NaN where `reason` says why it could not be computed.

    `n` values of `n_subjects` subjects were used, `missing` were not measured.
    """

    mean: float
    ci_low: float
    ci_high: float
    n: int
    n_subjects: int
    missing: int = 0
    reason: str = ""

    def within(self, low: float, high: float) -> Self:
        """The same mean, the ends not beyond what a value can be."""
        ends = np.clip([self.ci_low, self.ci_high], low, high).tolist()
        return self._replace(ci_low=ends[0], ci_high=ends[1])


def mean_interval(
    values: Sequence[float] | NDArray[np.floating],
    groups: Sequence[Hashable],
    *,
    prompts: Sequence[Hashable] | None = None,
    level: float = 0.95,
) -> Interval:
    """The mean over groups of the per-group means, with a t interval for new subjects and new prompts.

    A group is a subject, or the frozenset of the subjects that a picture shows: pictures are alike where they share one
    of them. Without `prompts`, or with one prompt, the interval says nothing about other prompts. The result depends on
    which value belongs to which group and prompt, not on the order of rows or on names.
    Raises: MeasurementError for lengths that differ, infinite values or a level outside (0, 1).
    """
    return mean_and_spread(values, groups, prompts=prompts, level=level)[0]


def mean_and_spread(
    values: Sequence[float] | NDArray[np.floating],
    groups: Sequence[Hashable],
    *,
    prompts: Sequence[Hashable] | None = None,
    level: float = 0.95,
    differences: bool = False,
) -> "tuple[Interval, Spread | None]":
    """`mean_interval` and what it was computed from; None where there is no interval.

    With `differences` the values are those of two methods. Where neither is better these are symmetric, so skewness is
    not corrected for; and a subject for whom nothing differs tells nothing about how differences vary, so the degrees
    of freedom stay below the number of subjects for whom something does (at least one).
    Raises: MeasurementError as `mean_interval`.
    """
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    _require_measurable(array, lengths=[len(groups), len(array) if prompts is None else len(prompts)], level=level)
    kept = np.flatnonzero(~np.isnan(array)).tolist()
    n, missing = len(kept), len(array) - len(kept)
    if not kept:
        return Interval(np.nan, np.nan, np.nan, 0, 0, missing, "no value was measured"), None
    rows = _Rows.of(array[kept], [groups[i] for i in kept], None if prompts is None else [prompts[i] for i in kept])
    num_subjects = int(rows.members.max()) + 1
    if rows.num_groups == 1:
        reason = "one subject: an interval needs at least two" if num_subjects == 1 else "one combination of subjects"
        return Interval(rows.mean, np.nan, np.nan, n, num_subjects, missing, reason), None
    spread = _spread(rows)
    if differences:
        differing = {groups[i] for i in kept if array[i]}
        spread = spread._replace(third=0.0, freedom=max(1.0, min(spread.freedom, len(differing) - 1)))
    low, high = spread.ends(rows.mean, level=level)
    return Interval(rows.mean, low, high, n, num_subjects, missing), spread


def wilson(share: float, n: int, *, z: float = 1.959964) -> Interval:
    """A share of n independent cases with its 95% interval, which has a width at 0 and 1 too.

    Source: Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    if not n or math.isnan(share):
        return Interval(math.nan, math.nan, math.nan, n, n)
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(share, min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half)), n, n)


def _require_measurable(array: NDArray[np.float64], *, lengths: Sequence[int], level: float) -> None:
    if any(length != len(array) for length in lengths):
        got = f"{len(array)} values, {lengths[0]} groups, {lengths[1]} prompts"
        raise MeasurementError(f"interval: expected one group and prompt per value, got {got}.")
    if np.isinf(array).any():
        raise MeasurementError("interval: expected finite values or NaN, got an infinite one; mend the metric.")
    if not 0 < level < 1:
        raise MeasurementError(f"interval: expected a level between 0 and 1, got {level}; 0.95 is usual.")


class _Rows(NamedTuple):
    """n values as contributions w e to the deviation of the mean, in an order that their first order does not change.

    `members` are the subjects of each row, ascending, NO_MEMBER where it has fewer than another row.
    """

    mean: float
    contributions: Float[np.ndarray, " n"]
    groups: Int[np.ndarray, " n"]
    members: Int[np.ndarray, "n M"]
    prompts: Int[np.ndarray, " n"] | None

    @classmethod
    def of(cls, values: NDArray[np.float64], groups: Sequence[Hashable], prompts: Sequence[Hashable] | None) -> "_Rows":
        group_ids = _numbered(groups)
        sizes = np.bincount(group_ids)
        weights = 1 / (len(sizes) * sizes[group_ids])
        by_value = np.lexsort((group_ids, values))
        means = np.bincount(group_ids[by_value], weights=values[by_value]) / sizes
        mean = float(np.sort(means).sum() / len(means))
        order = np.lexsort((values, weights))
        prompt_ids = _numbered(prompts)[order] if prompts is not None and _cross(groups, prompts) else None
        contributions = (weights * (values - mean))[order]
        return cls(mean, contributions, group_ids[order], _members(groups)[order], prompt_ids)

    @property
    def num_groups(self) -> int:
        return int(self.groups.max()) + 1


def _cross(groups: Sequence[Hashable], prompts: Sequence[Hashable]) -> bool:
    """Whether there are several prompts and some prompt has several groups; else groups hold all that is alike."""
    return len(set(prompts)) > 1 and len(set(zip(groups, prompts, strict=True))) > len(set(prompts))


def _numbered(names: Sequence[Hashable]) -> Int[np.ndarray, " n"]:
    number: dict[Hashable, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in names])


def _members(groups: Sequence[Hashable]) -> Int[np.ndarray, "n M"]:
    number: dict[Hashable, int] = {}
    sets = [sorted({number.setdefault(each, len(number)) for each in subjects_of(group)}) for group in groups]
    most = max(map(len, sets))
    return np.array([ids + [NO_MEMBER] * (most - len(ids)) for ids in sets])


def subjects_of(group: Hashable) -> Sequence[Hashable]:
    """The members of a frozenset, or the group itself, in one order in every process, so that rounding is the same."""
    return sorted(group, key=repr) if isinstance(group, frozenset) and group else (group,)


# -- variance --------------------------------------------------------------------------------------------------
class _Shared(NamedTuple):
    """Sums of w e products over pairs, and over triples, of pictures that share something that has so many `kinds`."""

    pairs: float
    triples: float
    kinds: int


class _Part(NamedTuple):
    """A part of the variance without the bias of few subjects or prompts, its third moment and degrees of freedom."""

    variance: float
    third: float
    freedom: float

    @classmethod
    def of(cls, shared: _Shared, *, factor: float | None = None, freedom: float | None = None) -> "_Part":
        g = shared.kinds
        third = shared.triples * g * g / ((g - 1) * (g - 2)) if g > 2 else 0.0
        return cls(shared.pairs * (factor or g / (g - 1)), third, freedom or g - 1.0)


class Spread(NamedTuple):
    """Variance of a mean, its third moment, its degrees of freedom, and the part that more subjects do not lower."""

    variance: float
    third: float
    freedom: float
    by_prompt: float = 0.0

    def ends(self, mean: float, *, level: float) -> tuple[float, float]:
        """The interval around the mean."""
        from scipy.special import stdtrit

        if self.variance <= 0:
            return mean, mean
        error, t = math.sqrt(self.variance), float(stdtrit(self.freedom, (1 + level) / 2))
        skewness = self.third / self.variance**1.5
        return mean - error * unskewed(t, skewness=skewness), mean - error * unskewed(-t, skewness=skewness)


def p_at_zero(mean: float, ends: Callable[[float], tuple[float, float]]) -> float:
    """1 - the level of the interval around `mean` that ends at 0; `ends`: level -> the interval. Not below `SUREST`."""
    from scipy.optimize import brentq

    if mean == 0:
        return 1.0

    def beyond(p: float) -> float:
        low, high = ends(1 - p)
        return low if mean > 0 else -high

    if beyond(SUREST) > 0:
        return SUREST
    root: Any = brentq(beyond, SUREST, 1 - SUREST, xtol=1e-12)  # typed as a pair, which it is with full_output
    return float(root)


def _spread(rows: _Rows) -> Spread:
    by_subject = _by_subject(rows)
    if rows.prompts is None:
        return Spread(*by_subject)
    by_prompt = _Part.of(_shared(rows, rows.prompts[:, None]))
    both = _Part.of(_shared(rows, rows.members, prompts=rows.prompts))
    v_s, v_p = by_subject.variance, by_prompt.variance
    v, third = max(v_s + v_p - both.variance, v_s, v_p), by_subject.third + by_prompt.third - both.third
    parts = v_s**2 / by_subject.freedom + v_p**2 / by_prompt.freedom
    return Spread(v, third, v**2 / parts if v > 0 else 1.0, max(v_p - both.variance, 0.0))


def _by_subject(rows: _Rows) -> _Part:
    """V_s, not below that of whole groups, since V_s is 0 where one subject is in every picture."""
    whole = _Part.of(_shared(rows, rows.groups[:, None]))
    if rows.members.shape[1] == 1:
        return whole
    firsts = np.unique(rows.groups, return_index=True)[1]
    found = additive(rows.members[firsts])
    if found is None:
        return whole
    factor, freedom = found
    return max(whole, _Part.of(_shared(rows, rows.members), factor=factor, freedom=freedom))


def _shared(rows: _Rows, members: Int[np.ndarray, "n M"], *, prompts: Int[np.ndarray, " n"] | None = None) -> _Shared:
    """Over pairs (triples) that share a member, and the prompt too where prompts are given.

    A pair that shares several members counts once, by inclusion and exclusion over the subsets of members.
    """
    pairs, triples, count = 0.0, 0.0, 0
    width = members.shape[1]
    for size in range(1, width + 1):
        subsets = [list(columns) for columns in combinations(range(width), size)]
        keys = np.concatenate([members[:, columns] for columns in subsets])
        taken = np.tile(np.arange(len(members)), len(subsets))
        known = (keys != NO_MEMBER).all(axis=1)
        taken, keys = taken[known], keys[known]
        if prompts is not None:
            keys = np.column_stack([keys, prompts[taken]])
        sums = np.sort(np.bincount(_kinds(keys), weights=rows.contributions[taken]))
        pairs += (-1) ** (size + 1) * float((sums**2).sum())
        triples += (-1) ** (size + 1) * float((sums**3).sum())
        count = count or len(sums)
    return _Shared(pairs, triples, count)


def _kinds(keys: Int[np.ndarray, "m K"]) -> Int[np.ndarray, " m"]:
    """Equal rows by equal numbers from 0."""
    kinds = np.zeros(len(keys), dtype=np.int64)
    for column in keys.T:
        kinds = np.unique(kinds * (int(column.max(initial=0)) + 1) + column, return_inverse=True)[1]
    return kinds


def additive(members: Int[np.ndarray, "G M"]) -> tuple[float, float] | None:
    """By how much V_s is too small on average, and its degrees of freedom; None where one subject is in every group.

    For G groups whose values are sums of independent normal effects of their subjects: with Z (G, subjects) the
    members, A (G, G) whether two groups share one and M = 1 - 1/G the removal of the mean, V_s is the quadratic form
    K = Z' M A M Z / G^2 of the effects, so that it has mean tr K and 2 (tr K)^2 / tr K^2 is twice its freedom.
    For one subject per group that is G / (G - 1) and G - 1.
    Source: Bell and McCaffrey, Bias reduction in standard errors (2002), section 4.
    """
    from scipy.sparse import csr_matrix

    rows, columns = np.nonzero(members != NO_MEMBER)
    num_groups = len(members)
    z = csr_matrix((np.ones(len(rows)), (rows, members[rows, columns])), dtype=np.float64)
    shares = ((z @ z.T) > 0).astype(np.float64)
    degrees = np.asarray(shares.sum(axis=1)).reshape(-1)
    s = z.T @ shares @ z
    u, v = z.T @ degrees / num_groups, z.T @ np.ones(num_groups)
    c, uu, uv, vv = float(degrees.sum()) / num_groups**2, float(u @ u), float(u @ v), float(v @ v)
    # K G^2 = s - u v' - v u' + c v v'
    trace = float(s.diagonal().sum()) - 2 * uv + c * vv
    if trace < 1e-9 * vv:
        return None
    cross = -2 * float(u @ (s @ v)) + c * float(v @ (s @ v))
    squares = float(s.multiply(s).sum()) + 2 * cross + 2 * uu * vv + 2 * uv**2 + c**2 * vv**2 - 4 * c * uv * vv
    return vv / trace, trace**2 / squares


def unskewed(t: float, *, skewness: float) -> float:
    """The t statistic that a symmetric one of value `t` stands for, when the mean has this skewness.

    Source: Hall (1992), the inverse of g(T) = T + a T^2 + a^2 T^3 / 3 + b with a = skewness / 3, b = skewness / 6.
    """
    a, b = skewness / 3, skewness / 6
    return t if abs(a) < 1e-9 else (math.cbrt(1 + 3 * a * (t - b)) - 1) / a
