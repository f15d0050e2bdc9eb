"""Krippendorff's alpha: how far raters agree beyond what chance would give, with any number of raters per query.

Alpha is 1 - D_o / D_e, the disagreement within queries over that between any two answers. Its interval is a t interval
of log(D_o / D_e) for new queries and raters: the influence of each answer on it is summed by query, and by rater; the
variance is that between queries and what raters add to that of single answers.
Source: Krippendorff, Computing Krippendorff's alpha-reliability (2011), sections C and D; influences as in Hampel, The
influence curve and its role in robust estimation (1974). Measured coverage: docs/study.md.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

__all__ = ["Alpha", "alpha"]


class Alpha(NamedTuple):
    """Alpha of `units` queries with two or more answers, with its 95% interval; NaN where `reason` says why."""

    value: float
    ci_low: float
    ci_high: float
    units: int
    reason: str = ""


class _Answers(NamedTuple):
    """n answers to queries with at least two: query, value and rater of each, numbered from 0 on."""

    units: Int[np.ndarray, " n"]
    values: Int[np.ndarray, " n"]
    raters: Int[np.ndarray, " n"]


def alpha(
    units: Sequence[int],
    values: Sequence[int],
    raters: Sequence[int],
    *,
    scale: Float[np.ndarray, " C"] | None = None,
) -> Alpha:
    """Alpha of one value by each rater of each unit: nominal, or with squared distances of the values on a `scale`."""
    nan = math.nan
    answers = _paired(np.asarray(units, dtype=int), np.asarray(values, dtype=int), np.asarray(raters, dtype=int))
    num_units = int(answers.units.max()) + 1 if len(answers.units) else 0
    if num_units < 2:
        return Alpha(nan, nan, nan, num_units, "fewer than two queries have two answers")
    size = int(answers.values.max()) + 1 if scale is None else len(scale)
    distance = 1.0 - np.eye(size) if scale is None else (scale[:, None] - scale[None, :]) ** 2
    observed, expected, own, chance = _disagreements(answers, distance)
    if expected == 0:
        return Alpha(nan, nan, nan, num_units, "all answers are the same")
    if observed == 0:
        return Alpha(1.0, nan, nan, num_units, "no interval: nobody disagrees")
    error = math.sqrt(_variance(answers, own=own / observed - 1, chance=2 * (chance / expected - 1)))
    return _interval(observed / expected, error, num_units)


def _paired(units: Int[np.ndarray, " n"], values: Int[np.ndarray, " n"], raters: Int[np.ndarray, " n"]) -> _Answers:
    """The answers to units that have two or more, all numbered without gaps."""
    if not len(units):
        return _Answers(units, values, raters)
    kept = np.bincount(units)[units] > 1
    numbered = [np.unique(each[kept], return_inverse=True)[1] for each in (units, raters)]
    return _Answers(numbered[0], values[kept], numbered[1])


def _disagreements(
    answers: _Answers, distance: Float[np.ndarray, "C C"]
) -> tuple[float, float, Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """D_o and D_e, and what each answer has of them: its mean distance in its unit, and from all answers."""
    size, count = len(distance), len(answers.units)
    flat = answers.units * size + answers.values
    counts = np.bincount(flat, minlength=(int(answers.units.max()) + 1) * size).reshape(-1, size)
    totals = counts.sum(axis=0)
    own = (counts @ distance)[answers.units, answers.values] / (counts.sum(axis=1)[answers.units] - 1)
    chance = (distance @ totals)[answers.values] / (count - 1)
    return float(own.mean()), float(chance.mean()), own, chance


def _variance(answers: _Answers, *, own: Float[np.ndarray, " n"], chance: Float[np.ndarray, " n"]) -> float:
    """Of log(D_o / D_e): an answer moves its unit by `own` once, and by as much again the answers beside it."""
    by_unit = _squares((own - chance), answers.units)
    alone = 2 * own - chance
    raters = _squares(alone, answers.raters) - _squares(alone, np.arange(len(alone)))
    return (by_unit + max(0.0, raters)) / len(own) ** 2


def _squares(influence: Float[np.ndarray, " n"], ids: Int[np.ndarray, " n"]) -> float:
    """Squares of the sums by id, without the bias of few ids."""
    sums = np.bincount(ids, weights=influence)
    return float((sums**2).sum()) * (len(sums) / (len(sums) - 1) if len(sums) > 1 else 1.0)


def _interval(ratio: float, error: float, num_units: int) -> Alpha:
    from scipy.special import stdtrit

    half = float(stdtrit(num_units - 1, 0.975)) * error
    return Alpha(1 - ratio, 1 - ratio * math.exp(half), 1 - ratio * math.exp(-half), num_units)
