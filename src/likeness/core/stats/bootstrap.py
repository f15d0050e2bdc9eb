"""Bootstraps that draw whole subjects and whole prompts anew, for what is no mean: correlations, ratios, ranks.

For means `intervals.py` covers better; docs/statistics.md has both measured.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from likeness.core.errors import MeasurementError
from likeness.core.rng import seed_for

_CHUNK = 4_000_000  # weights held at once


def resampled_weights(
    groups: Sequence[Hashable],
    *,
    prompts: Sequence[Hashable] | None = None,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Iterator[Float[np.ndarray, "R n"]]:
    """How often each of n rows is drawn in each resample, some resamples at a time.

    Subjects and prompts are drawn with replacement, each kind by itself; a row counts as often as the product of how
    often its subjects (a frozenset holds several) and its prompt were drawn.
    Source: the pigeonhole bootstrap (Owen, The pigeonhole bootstrap, 2007).
    Raises: MeasurementError for lengths that differ or no resamples.
    """
    if (prompts is not None and len(prompts) != len(groups)) or num_resamples < 1:
        raise MeasurementError("bootstrap: expected one prompt per group and at least one resample, got fewer.")
    rng = np.random.default_rng(seed_for("cluster bootstrap", seed))
    sets = [group if isinstance(group, frozenset) else frozenset([group]) for group in groups]
    kinds = [_incidence(sets)]
    if prompts is not None and len(set(prompts)) > 1:
        kinds.append(_incidence([frozenset([prompt]) for prompt in prompts]))
    rows = max(1, _CHUNK // max(1, len(groups)))
    for first in range(0, num_resamples, rows):
        count = min(rows, num_resamples - first)
        weights = np.ones((count, len(groups)))
        for members, number in kinds:
            drawn = rng.multinomial(number, np.full(number, 1 / number), size=count).astype(np.float64)
            drawn = np.concatenate([drawn, np.ones((count, 1))], axis=1)  # stands for "no further member"
            weights *= drawn[:, members].prod(axis=2)
        yield weights


def _incidence(sets: Sequence[frozenset[Hashable]]) -> tuple[NDArray[np.intp], int]:
    """The member numbers of each row, filled up with their count, and that count."""
    names = sorted({name for each in sets for name in each}, key=repr)
    number = {name: i for i, name in enumerate(names)}
    most = max((len(each) for each in sets), default=1)
    rows = [sorted(number[name] for name in each) for each in sets]
    return np.array([ids + [len(names)] * (most - len(ids)) for ids in rows], dtype=np.intp), len(names)


def bootstrap_interval(
    statistic: Callable[[Float[np.ndarray, " n"]], float],
    groups: Sequence[Hashable],
    *,
    prompts: Sequence[Hashable] | None = None,
    level: float = 0.95,
    num_resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile interval of `statistic(weights)`, a function of how often each row counts.

    Resamples of which the statistic is NaN (a correlation of one distinct row) are left out; (NaN, NaN) where more than
    half are.
    Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), 13.3.
    """
    drawn = resampled_weights(groups, prompts=prompts, num_resamples=num_resamples, seed=seed)
    found = np.array([statistic(weights) for chunk in drawn for weights in chunk])
    found = found[~np.isnan(found)]
    if len(found) <= num_resamples / 2:
        return np.nan, np.nan
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
