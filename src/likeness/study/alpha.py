"""Krippendorff's alpha: how far raters agree beyond what chance would give, with any number of raters per query.

Source: Krippendorff, Computing Krippendorff's alpha-reliability (2011), sections C and D. Intervals: a bootstrap over
queries, whose shares of disagreement are drawn anew.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from likeness.core.stats.bootstrap import resampled_weights

__all__ = ["Alpha", "alpha", "counts_of"]

RESAMPLES = 1000


class Alpha(NamedTuple):
    """Alpha of `units` queries with two or more answers, with its 95% interval; NaN where `reason` says why."""

    value: float
    ci_low: float
    ci_high: float
    units: int
    reason: str = ""


def counts_of(
    units: Sequence[int], values: Sequence[int], *, num_units: int, num_values: int
) -> Float[np.ndarray, "U C"]:
    """How often each value was given to each unit."""
    flat = np.asarray(units) * num_values + np.asarray(values)
    return np.bincount(flat, minlength=num_units * num_values).reshape(num_units, num_values).astype(np.float64)


def alpha(counts: Float[np.ndarray, "U C"], *, scale: Float[np.ndarray, " C"] | None = None, seed: int = 0) -> Alpha:
    """Alpha of counts of values by unit: nominal, or with the squared distances of the values on a `scale`."""
    size = counts.shape[1]
    distance = 1.0 - np.eye(size) if scale is None else (scale[:, None] - scale[None, :]) ** 2
    counts = counts[counts.sum(axis=1) > 1]
    nan, units = math.nan, len(counts)
    if units < 2:
        return Alpha(nan, nan, nan, units, "fewer than two queries have two answers")
    answers = counts.sum(axis=1)
    within = np.einsum("uc,cd,ud->u", counts, distance, counts) / (answers - 1)

    def of(weights: Float[np.ndarray, "R U"]) -> Float[np.ndarray, " R"]:
        n, totals = weights @ answers, weights @ counts
        expected = np.einsum("rc,cd,rd->r", totals, distance, totals) / (n * (n - 1))
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(expected > 0, 1 - (weights @ within) / n / expected, nan)

    value = float(of(np.ones((1, units)))[0])
    if math.isnan(value):
        return Alpha(nan, nan, nan, units, "all answers are the same")
    drawn = np.concatenate([of(w) for w in resampled_weights(range(units), num_resamples=RESAMPLES, seed=seed)])
    drawn = drawn[~np.isnan(drawn)]
    if len(drawn) <= RESAMPLES / 2:
        return Alpha(value, nan, nan, units, "no interval: too few answers differ")
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Alpha(value, float(low), float(high), units)
