"""Which metrics say the same: correlation matrices over pictures, with intervals by subject and prompt."""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from likeness.core.errors import MeasurementError
from likeness.core.stats.bootstrap import bootstrap_interval

Kind = Literal["pearson", "spearman", "kendall"]
Column = Float[np.ndarray, " n"]


class Correlation(NamedTuple):
    """A correlation in [-1, 1] of `n` pictures that have both values, with its 95% interval; NaN with a reason."""

    value: float
    ci_low: float
    ci_high: float
    n: int
    reason: str = ""


def pearson(x: Column, y: Column) -> float:
    """Product-moment correlation; NaN where one side is constant."""
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
        return Correlation(math.nan, math.nan, math.nan, n, "fewer than three pictures have both values")
    measure = KINDS[kind]
    value = measure(a, b)
    if math.isnan(value):
        return Correlation(math.nan, math.nan, math.nan, n, "one of both is the same for every picture")

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
