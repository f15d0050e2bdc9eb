"""Means with bootstrap intervals over subjects.

Pictures of one subject are alike, so the subject is the unit: each subject's values are averaged first, and whole
subjects are resampled. A value that was not measured is NaN and is counted, never replaced.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from likeness.core.errors import DataError, MeasurementError

_CHUNK = 4_000_000  # resampled indices held at once


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


def mean_interval(
    values: Sequence[float] | NDArray[np.floating],
    groups: Sequence[Hashable],
    *,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean over groups of the per-group means, with a percentile bootstrap interval over groups.

    The result depends on `seed` and on which value belongs to which group, not on the order of rows or group names.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), 13.3, with groups as the sampling unit.
    Raises: MeasurementError for lengths that differ, infinite values, a level outside (0, 1) or no resamples.
    """
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    _require_measurable(array, num_groups=len(groups), level=level, num_resamples=num_resamples)
    measured = ~np.isnan(array)
    means = _group_means(array[measured], [group for group, kept in zip(groups, measured, strict=True) if kept])
    n, missing = int(measured.sum()), int((~measured).sum())
    if not len(means):
        return Interval(np.nan, np.nan, np.nan, 0, 0, missing, "no value was measured")
    mean = float(means.mean())
    if len(means) == 1:
        return Interval(mean, np.nan, np.nan, n, 1, missing, "one subject: an interval needs at least two")
    resampled = _resampled_means(means, num_resamples=num_resamples, seed=seed)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), n, len(means), missing)


def _require_measurable(array: NDArray[np.float64], *, num_groups: int, level: float, num_resamples: int) -> None:
    if len(array) != num_groups:
        raise MeasurementError(f"interval: expected one group per value, got {len(array)} values, {num_groups} groups.")
    if np.isinf(array).any():
        raise MeasurementError("interval: expected finite values or NaN, got an infinite one; mend the metric.")
    if not 0 < level < 1:
        raise MeasurementError(f"interval: expected a level between 0 and 1, got {level}; 0.95 is usual.")
    if num_resamples < 1:
        raise MeasurementError(f"interval: expected at least one resample, got {num_resamples}; 2000 is usual.")


def _group_means(values: NDArray[np.float64], groups: Sequence[Hashable]) -> NDArray[np.float64]:
    """One mean per group in ascending order, bit-identical for every order of the rows."""
    if not len(values):
        return np.empty(0)
    number: dict[Hashable, int] = {}
    index = np.array([number.setdefault(group, len(number)) for group in groups])
    order = np.lexsort((values, index))
    starts = np.searchsorted(index[order], np.arange(len(number)))
    return np.sort(np.add.reduceat(values[order], starts) / np.bincount(index))


def _resampled_means(means: NDArray[np.float64], *, num_resamples: int, seed: int) -> NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // len(means))
    sizes = [min(rows, num_resamples - start) for start in range(0, num_resamples, rows)]
    return np.concatenate([means[rng.integers(len(means), size=(size, len(means)))].mean(axis=1) for size in sizes])


def paired_difference(
    values_a: Mapping[str, float],
    values_b: Mapping[str, float],
    groups: Mapping[str, Hashable],
    *,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """The mean of a - b over the samples that both sides measured, joined by sample id, with its interval.

    A sample that only one side has, or that one side could not measure, counts as missing.
    Raises: DataError when a joined sample has no group, MeasurementError as for `mean_interval`.
    """
    joined = sorted(values_a.keys() & values_b.keys())
    ungrouped = [sample for sample in joined if sample not in groups]
    if ungrouped:
        raise DataError(f"paired difference: expected a subject for every sample, got none for {ungrouped[0]!r}.")
    differences = [values_a[sample] - values_b[sample] for sample in joined]
    interval = mean_interval(
        differences, [groups[sample] for sample in joined], level=level, num_resamples=num_resamples, seed=seed
    )
    one_sided = len(values_a.keys() ^ values_b.keys())
    return interval._replace(missing=interval.missing + one_sided)
