"""The numbers of a card, each with its interval and with how many values it is of."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from likeness.core.stats.intervals import mean_interval

NUM_RESAMPLES = 2000
FIRST = 900_000  # seeds of calibration pictures, apart from every benchmark's

Card = dict[str, object]


def share(values: Sequence[float], groups: Sequence[str]) -> Card:
    """A mean with its interval, which stays within 0 and 1 where all values do.

    A number that could not be computed is null, and `reason` says why.
    """
    interval = mean_interval(list(values), list(groups))
    if all(0 <= value <= 1 for value in values if not math.isnan(value)):
        interval = interval.within(0, 1)
    numbers = {"mean": interval.mean, "ci_low": interval.ci_low, "ci_high": interval.ci_high}
    rounded = {name: None if math.isnan(value) else round(value, 4) for name, value in numbers.items()}
    return {**rounded, "n": interval.n, "n_subjects": interval.n_subjects, "reason": interval.reason}


def auc(own: Sequence[float], others: NDArray[np.floating]) -> Card:
    """The chance that one of `own` (N,) exceeds one of `others` (N, K), ties half, with its interval over the N rows.

    Source: Mann-Whitney U over the number of pairs; rows (subjects) are resampled as wholes.
    """
    ranked = np.sort(others, axis=1)
    below = [[np.searchsorted(row, value, side) for row in ranked] for side in ("left", "right") for value in own]
    wins = np.reshape(below, (2, len(own), len(own))).mean(0) / others.shape[1]  # (of own, of others)
    count = len(own)
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), size=NUM_RESAMPLES)
    low, high = np.quantile(((drawn @ wins) * drawn).sum(1) / count**2, [0.025, 0.975])
    return {"mean": round(float(wins.mean()), 4), "ci_low": round(low, 4), "ci_high": round(high, 4), "n": count}


def grouped_auc(right: Sequence[float], wrong: Sequence[float], *, groups: tuple[Sequence[str], Sequence[str]]) -> Card:
    """The chance that one of `right` exceeds one of `wrong`, ties half.

    `groups` are the picture or subject of each right and of each wrong value; the interval resamples these as wholes.
    `n` are the right values, `n_wrong` the others. Where there is no number or no interval, `reason` says why.
    """
    names = {name: i for i, name in enumerate(dict.fromkeys([*groups[0], *groups[1]]))}
    counts: Card = {"n": len(right), "n_wrong": len(wrong), "n_groups": len(names)}
    nothing: Card = {"mean": None, "ci_low": None, "ci_high": None}
    if not right or not wrong:
        return {**nothing, **counts, "reason": f"nothing is {'wrong' if right else 'right'}"}
    values, is_right = np.array([*right, *wrong], dtype=np.float64), np.arange(len(right) + len(wrong)) < len(right)
    mean = round(_weighted_auc(values, is_right, np.ones(len(values))), 4)
    if min(len(set(some)) for some in groups) < 2:
        return {**nothing, "mean": mean, **counts, "reason": "one group: an interval needs at least two"}
    member = np.array([names[name] for some in groups for name in some])
    drawn = np.random.default_rng(0).multinomial(len(names), np.full(len(names), 1 / len(names)), size=NUM_RESAMPLES)
    resampled = [_weighted_auc(values, is_right, weights[member]) for weights in drawn.astype(np.float64)]
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return {"mean": mean, "ci_low": round(float(low), 4), "ci_high": round(float(high), 4), **counts, "reason": ""}


def _weighted_auc(values: NDArray[np.float64], is_right: NDArray[np.bool_], weights: NDArray[np.float64]) -> float:
    """Weighted share of pairs that the right value wins; NaN where the weights leave no pair."""
    _, place = np.unique(values, return_inverse=True)
    right, wrong = (np.bincount(place, weights * part) for part in (is_right, ~is_right))
    pairs = right.sum() * wrong.sum()
    return float((right * (np.cumsum(wrong) - wrong / 2)).sum() / pairs) if pairs else math.nan
