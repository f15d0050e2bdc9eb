"""Which metrics say the same: correlation matrices over pictures, with intervals by subject and prompt."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from likeness.core.errors import MeasurementError
from likeness.core.stats.bootstrap import bootstrap_interval, resampled_weights

Kind = Literal["pearson", "spearman", "kendall"]
Column = Float[np.ndarray, " n"]


_TOO_FEW = "fewer than three pictures have both values"
_CONSTANT = "one of both is the same for every picture"
_UNSTABLE = "no interval: too few subjects and prompts to resample"
_ROUNDING = 1e-12  # of a variance of standardised numbers


class Correlation(NamedTuple):
    """A correlation in [-1, 1] of `n` pictures that have both values, with its 95% interval; NaN with a reason."""

    value: float
    ci_low: float
    ci_high: float
    n: int
    reason: str = ""


def pearson(x: Column, y: Column) -> float:
    """Product-moment correlation; NaN where one side is constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:  # asked first: the mean of many 0.3 is not 0.3
        return math.nan
    a, b = x - x.mean(), y - y.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(np.clip(a @ b / scale, -1, 1)) if scale > 0 else math.nan


def spearman(x: Column, y: Column) -> float:
    """Pearson correlation of ranks, ties with their mean rank."""
    from scipy.stats import rankdata

    return pearson(rankdata(x), rankdata(y))


def kendall(x: Column, y: Column) -> float:
    """Kendall's tau-b, which corrects for ties; NaN where one side is constant."""
    from scipy.stats import kendalltau

    found: Any = kendalltau(x, y, variant="b")  # typed as a plain tuple
    return float(found.statistic) if np.ptp(x) > 0 and np.ptp(y) > 0 else math.nan


KINDS: dict[Kind, Callable[[Column, Column], float]] = {"pearson": pearson, "spearman": spearman, "kendall": kendall}


def correlation(
    x: Sequence[float] | NDArray[np.floating],
    y: Sequence[float] | NDArray[np.floating],
    *,
    kind: Kind = "pearson",
    groups: Sequence[Hashable],
    prompts: Sequence[Hashable] | None = None,
    num_resamples: int = 400,
    seed: int = 0,
) -> Correlation:
    """The correlation over the rows where both are numbers, with a bootstrap interval over subjects and prompts.

    Raises: MeasurementError for lengths that differ.
    """
    a, b = (np.asarray(each, dtype=np.float64) for each in (x, y))
    if not len(a) == len(b) == len(groups):
        raise MeasurementError(f"correlation: expected equal lengths, got {len(a)}, {len(b)} and {len(groups)} groups.")
    both = np.flatnonzero(~np.isnan(a + b))
    a, b, n = a[both], b[both], len(both)
    if n < 3:
        return Correlation(math.nan, math.nan, math.nan, n, _TOO_FEW)
    measure = KINDS[kind]
    value = measure(a, b)
    if math.isnan(value):
        return Correlation(math.nan, math.nan, math.nan, n, _CONSTANT)

    def of_weights(weights: Float[np.ndarray, " n"]) -> float:
        rows = np.repeat(np.arange(n), weights.astype(int))
        return measure(a[rows], b[rows]) if len(rows) > 2 else math.nan

    named = [groups[i] for i in both.tolist()]
    among = None if prompts is None else [prompts[i] for i in both.tolist()]
    low, high = bootstrap_interval(of_weights, named, prompts=among, num_resamples=num_resamples, seed=seed)
    return Correlation(value, low, high, n)


def matrix(
    columns: Mapping[str, Sequence[float]],
    *,
    kind: Kind = "pearson",
) -> dict[tuple[str, str], tuple[float, int]]:
    """(name, name) -> correlation and number of pictures with both values, for every pair of columns, symmetric.

    Source: Stellar (arXiv:2312.06116), Fig. 8, which pools the pictures of all methods.
    Raises: MeasurementError for lengths that differ.
    """
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    if len({len(values) for values in arrays.values()}) > 1:
        raise MeasurementError("correlation matrix: expected one value per picture in every column, got other lengths.")
    found: dict[tuple[str, str], tuple[float, int]] = {}
    for i, (first, x) in enumerate(arrays.items()):
        for second, y in list(arrays.items())[i:]:
            both = ~np.isnan(x + y)
            n = int(both.sum())
            value = KINDS[kind](x[both], y[both]) if n > 2 else math.nan
            found[first, second] = found[second, first] = (value, n)
    return found


def pearson_matrix(
    columns: Mapping[str, Sequence[float]],
    *,
    groups: Sequence[Hashable],
    prompts: Sequence[Hashable],
    num_resamples: int = 400,
    seed: int = 0,
) -> dict[tuple[str, str], Correlation]:
    """`correlation` of every pair of columns by Pearson, each with its interval, symmetric.

    All pairs that have values in the same rows share one bootstrap and one matrix product per resample, so that many
    metrics of thousands of pictures take seconds.
    Raises: MeasurementError for lengths that differ.
    """
    if len({len(values) for values in (groups, prompts, *columns.values())}) > 1:
        raise MeasurementError("correlation matrix: expected one value per picture in every column, got other lengths.")
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in columns.items()}
    alike: dict[bytes, list[tuple[str, str]]] = {}
    names = list(arrays)
    for i, first in enumerate(names):
        for second in names[i:]:
            both = ~np.isnan(arrays[first] + arrays[second])
            alike.setdefault(both.tobytes(), []).append((first, second))
    found: dict[tuple[str, str], Correlation] = {}
    for mask, pairs in alike.items():
        rows = np.flatnonzero(np.frombuffer(mask, dtype=bool))
        some = {name: arrays[name][rows] for name in dict.fromkeys(name for pair in pairs for name in pair)}
        here = [groups[row] for row in rows.tolist()], [prompts[row] for row in rows.tolist()]
        ends = _pearson_ends(some, groups=here[0], prompts=here[1], num_resamples=num_resamples, seed=seed)
        for first, second in pairs:
            found[first, second] = found[second, first] = _told(some[first], some[second], ends=ends[first, second])
    return found


def _told(x: Column, y: Column, *, ends: tuple[float, float]) -> Correlation:
    if len(x) < 3:
        return Correlation(math.nan, math.nan, math.nan, len(x), _TOO_FEW)
    value = pearson(x, y)
    if math.isnan(value):
        return Correlation(math.nan, math.nan, math.nan, len(x), _CONSTANT)
    return Correlation(value, *ends, len(x), "" if not math.isnan(ends[0]) else _UNSTABLE)


def _pearson_ends(
    columns: Mapping[str, Column],
    *,
    groups: Sequence[Hashable],
    prompts: Sequence[Hashable],
    num_resamples: int,
    seed: int,
) -> dict[tuple[str, str], tuple[float, float]]:
    """Both ends for every pair of columns without gaps; NaN where more than half of the resamples have none."""
    names = list(columns)
    if len(groups) < 3:
        return {(a, b): (math.nan, math.nan) for a in names for b in names}
    table = np.stack([_standardised(columns[name]) for name in names], axis=1)
    drawn = resampled_weights(groups, prompts=prompts, num_resamples=num_resamples, seed=seed)
    every = np.stack([_weighted(table, weights) for chunk in drawn for weights in chunk])
    ends: dict[tuple[str, str], tuple[float, float]] = {}
    for i, first in enumerate(names):
        for j, second in enumerate(names):
            values = every[:, i, j]
            values = values[~np.isnan(values)]
            enough = len(values) > num_resamples / 2
            low, high = np.quantile(values, [0.025, 0.975]).tolist() if enough else (math.nan, math.nan)
            ends[first, second] = (low, high)
    return ends


def _standardised(x: Column) -> Column:
    """Mean 0 and variance 1, which no correlation depends on; a constant becomes 0."""
    return np.zeros_like(x) if np.ptp(x) == 0 else (x - x.mean()) / x.std()


def _weighted(table: Float[np.ndarray, "n k"], weights: Float[np.ndarray, " n"]) -> Float[np.ndarray, "k k"]:
    """The correlations of rows that count `weights` times; NaN for a column that is constant among them."""
    total = weights.sum()
    if total < 3:
        return np.full((table.shape[1],) * 2, math.nan)
    mean = weights @ table / total
    covariance = (table * weights[:, None]).T @ table / total - np.outer(mean, mean)
    variance = np.diag(covariance).copy()
    variance[variance < _ROUNDING] = math.nan
    return np.clip(covariance / np.sqrt(np.outer(variance, variance)), -1, 1)
