"""How strong each run is: Bradley and Terry's model with ties, for choices among two or more, with intervals.

A run i of a query S is chosen with probability proportional to exp(s_i), "equal" to exp(t + mean of s over S). With two
runs that is Davidson's model, without ties Luce's choice axiom. Intervals hold for new queries and new raters: the
covariance of the estimate is that of Cameron, Gelbach and Miller (2011), clustered by both.
Source: Davidson, On extending the Bradley-Terry model to accommodate ties (1970), Eq. 2.4; Luce, Individual Choice
Behavior (1959). Differs: ties among more than two runs take the geometric mean of all of them.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from likeness.study.ballots import Ballot, names_of

__all__ = ["Strength", "Strengths", "strengths"]

_STEPS, _DONE = 100, 1e-10


class Strength(NamedTuple):
    """The log-strength of a run (0 is the mean of all) with its interval, and the ranks that the data leave open."""

    run: str
    value: float
    ci_low: float
    ci_high: float
    rank: int
    rank_low: int
    rank_high: int


class Strengths(NamedTuple):
    """All runs, strongest first; `tie` is the log-weight of "equal", NaN where it was never said.

    Empty, with a `reason`, where no finite strengths fit.
    """

    runs: tuple[Strength, ...]
    tie: float
    reason: str = ""


class _Choices(NamedTuple):
    """Votes by kind: `sets` of runs, `table` of how often each set had each answer (the last column: equal)."""

    sets: Bool[np.ndarray, "P K"]
    table: Float[np.ndarray, "P C"]
    set_of: Int[np.ndarray, " n"]
    answer_of: Int[np.ndarray, " n"]
    queries: Int[np.ndarray, " n"]
    raters: Int[np.ndarray, " n"]


def strengths(ballots: Sequence[Ballot], *, level: float = 0.95) -> Strengths:
    """The strengths of the runs by votes on one question; every answer that names no run counts as "equal"."""
    names = names_of(ballots)[0]
    if len(names) < 2:
        return Strengths((), math.nan, "there is nothing to choose between")
    choices = _choices(ballots, names)
    if not _is_connected(choices):
        return Strengths((), math.nan, "some run was chosen always or never, so that no finite strength fits")
    has_ties = bool(choices.table[:, -1].any())
    basis = _basis(len(names), has_ties=has_ties)
    beta = _fit(choices, basis)
    covariance, freedom = _covariance(choices, basis, beta)
    values = (basis @ beta)[: len(names)]
    tie = float((basis @ beta)[-1]) if has_ties else math.nan
    return Strengths(_ranked(names, values, covariance, freedom=freedom, level=level), tie)


def _choices(ballots: Sequence[Ballot], names: Sequence[str]) -> _Choices:
    place = {name: k for k, name in enumerate(names)}
    kinds: dict[tuple[str, ...], int] = {}
    set_of = np.array([kinds.setdefault(tuple(sorted(b.options)), len(kinds)) for b in ballots])
    answer_of = np.array([place.get(ballot.choice, len(names)) for ballot in ballots])
    sets = np.array([[name in kind for name in names] for kind in kinds])
    width = len(names) + 1
    table = np.bincount(set_of * width + answer_of, minlength=len(kinds) * width).reshape(-1, width).astype(np.float64)
    return _Choices(
        sets, table, set_of, answer_of, _numbered([b.query for b in ballots]), _numbered([b.rater for b in ballots])
    )


def _numbered(names: Sequence[str]) -> Int[np.ndarray, " n"]:
    number: dict[str, int] = {}
    return np.array([number.setdefault(name, len(number)) for name in names])


def _is_connected(choices: _Choices) -> bool:
    """Whether each run beats each other, perhaps through others: then, and only then, the estimate is finite.

    Source: Ford, Solution of a ranking problem from binary comparisons (1957).
    """
    size = choices.sets.shape[1]
    beats = np.eye(size, dtype=bool)
    for members, counts in zip(choices.sets, choices.table, strict=True):
        winners = members if counts[-1] else members & (counts[:-1] > 0)
        beats |= winners[:, None] & members[None, :]
    for _ in range(size):
        beats = beats @ beats
    return bool(beats.all())


def _basis(size: int, *, has_ties: bool) -> Float[np.ndarray, "A p"]:
    """Columns: directions of strengths whose sum is 0, and the weight of ties."""
    centred = np.linalg.qr(np.eye(size) - 1 / size)[0][:, : size - 1]
    basis = np.zeros((size + 1, size - 1 + has_ties))
    basis[:size, : size - 1] = centred
    if has_ties:
        basis[size, size - 1] = 1
    return basis


def _features(choices: _Choices, *, has_ties: bool) -> tuple[Float[np.ndarray, "P C A"], Bool[np.ndarray, "P C"]]:
    """By set and answer: how its log-weight adds up from strengths and tie weight; which answers a set has."""
    sets = choices.sets
    count, size = sets.shape
    features = np.zeros((count, size + 1, size + 1))
    features[:, :size, :size] = np.eye(size)
    features[:, size, :size] = sets / sets.sum(axis=1, keepdims=True)
    features[:, size, size] = 1
    return features, np.concatenate([sets, np.full((count, 1), has_ties)], axis=1)


def _moments(
    choices: _Choices, basis: Float[np.ndarray, "A p"], beta: Float[np.ndarray, " p"]
) -> tuple[Float[np.ndarray, "P C p"], Float[np.ndarray, "p p"], float]:
    """By set and answer the derivative of its log-probability; the information of all votes; their log-likelihood."""
    features, allowed = _features(choices, has_ties=bool(choices.table[:, -1].any()))
    x = features @ basis
    logits = np.where(allowed, x @ beta, -np.inf)
    log_p = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)
    p = np.exp(log_p)
    scores = x - np.einsum("pc,pca->pa", p, x)[:, None, :]
    totals = choices.table.sum(axis=1)
    information = np.einsum("p,pc,pca,pcb->ab", totals, p, scores, scores)
    likelihood = float((choices.table * np.where(allowed, log_p, 0.0)).sum())
    return scores, information, likelihood


def _fit(choices: _Choices, basis: Float[np.ndarray, "A p"]) -> Float[np.ndarray, " p"]:
    """The most likely parameters, by Newton's steps, halved where they overshoot; the likelihood has one maximum."""
    beta = np.zeros(basis.shape[1])
    for _ in range(_STEPS):
        scores, information, before = _moments(choices, basis, beta)
        step = np.linalg.solve(information, np.einsum("pc,pca->a", choices.table, scores))
        while _moments(choices, basis, beta + step)[2] < before - 1e-9:
            step = step / 2
        beta = beta + step
        if np.abs(step).max() < _DONE:
            break
    return beta


def _covariance(
    choices: _Choices, basis: Float[np.ndarray, "A p"], beta: Float[np.ndarray, " p"]
) -> tuple[Float[np.ndarray, "K K"], float]:
    """The covariance of the strengths for new queries and raters, and its degrees of freedom."""
    scores, information, _ = _moments(choices, basis, beta)
    each = scores[choices.set_of, choices.answer_of]
    both = choices.queries * (choices.raters.max() + 1) + choices.raters
    parts = [
        _clustered(each, ids) for ids in (choices.queries, choices.raters, np.unique(both, return_inverse=True)[1])
    ]
    inverse = np.linalg.inv(information)
    size = choices.sets.shape[1]
    own = basis[:size]
    by_query, by_rater, joint = (own @ inverse @ part @ inverse @ own.T for part in parts)
    two_way, widest = by_query + by_rater - joint, max(by_query, by_rater, key=np.trace)
    counts = [int(ids.max()) + 1 for ids in (choices.queries, choices.raters)]
    freedom = float(min((count for count in counts if count > 1), default=2) - 1)
    return (widest if (np.diag(two_way) < np.diag(widest)).any() else two_way), freedom


def _clustered(each: Float[np.ndarray, "n p"], ids: Int[np.ndarray, " n"]) -> Float[np.ndarray, "p p"]:
    """Squares of the derivatives summed by cluster, without the bias of few clusters."""
    count = int(ids.max()) + 1
    sums = np.stack([np.bincount(ids, weights=column, minlength=count) for column in each.T], axis=1)
    return sums.T @ sums * (count / (count - 1) if count > 1 else 1.0)


def _ranked(
    names: Sequence[str],
    values: Float[np.ndarray, " K"],
    covariance: Float[np.ndarray, "K K"],
    *,
    freedom: float,
    level: float,
) -> tuple[Strength, ...]:
    from scipy.special import stdtrit

    t = float(stdtrit(freedom, (1 + level) / 2))
    half = t * np.sqrt(np.diag(covariance))
    apart = values[:, None] - values[None, :]
    variance = np.diag(covariance)
    error = np.sqrt(np.maximum(variance[:, None] + variance[None, :] - 2 * covariance, 0))
    better = apart > t * error
    found: list[Strength] = []
    order: list[int] = np.argsort(-values, kind="stable").tolist()
    for rank, k in enumerate(order, start=1):
        ranks = 1 + int(better[:, k].sum()), len(names) - int(better[k].sum())
        found.append(
            Strength(names[k], float(values[k]), float(values[k] - half[k]), float(values[k] + half[k]), rank, *ranks)
        )
    return tuple(found)
