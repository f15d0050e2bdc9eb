"""Which metric chooses as people do: Kendall's tau-b per query between scores and votes, after a majority filter.

Source: Stellar (arXiv:2312.06116), section 5 and supplement: queries without a majority are left out, tau per query,
mean over queries. Differs: the variant of tau is not stated there, ours is tau-b; queries whose voters agree on "equal"
hold no order and are counted, not scored.
"""

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from likeness.core.errors import DataError
from likeness.core.files import numbered_lines, read_text
from likeness.core.rows import Frozen, json_object
from likeness.core.stats.intervals import Interval, mean_interval

EQUAL = "equal"
"""The vote for no difference."""


class Vote(Frozen):
    """One answer of one rater: which of `options` (names of methods) is best in a query, or "equal"."""

    query: str
    rater: str
    options: tuple[str, ...]
    choice: str
    question: str = "overall"


def read_votes(path: Path) -> list[Vote]:
    """The votes of a JSONL file, a row each: query, rater, options, choice and, where there are several, question.

    Raises: DataError naming the row for a choice that is no option, fewer than two options, a query with other options
    in another row, or a rater who answers a question of a query twice.
    """
    votes: list[Vote] = []
    options: dict[tuple[str, str], tuple[str, ...]] = {}
    seen: set[tuple[str, str, str]] = set()
    for number, line in numbered_lines(read_text(path)):
        try:
            vote = Vote.of_row(json_object(line))
            _require_sound(vote, options=options.setdefault((vote.query, vote.question), vote.options), seen=seen)
        except DataError as error:
            raise DataError(f"{path}:{number}: {error}") from None
        seen.add((vote.query, vote.question, vote.rater))
        votes.append(vote)
    return votes


def _require_sound(vote: Vote, *, options: tuple[str, ...], seen: set[tuple[str, str, str]]) -> None:
    if len(set(vote.options)) != len(vote.options) or len(vote.options) < 2:
        raise DataError(f"vote: expected two or more different options, got {list(vote.options)}; correct the row.")
    if vote.choice not in (*vote.options, EQUAL):
        wanted = f"expected one of {', '.join(vote.options)} or {EQUAL}"
        raise DataError(f"vote: {wanted}, got {vote.choice}; correct the row.")
    if set(options) != set(vote.options):
        raise DataError(f"vote: expected the options that query {vote.query} has elsewhere, got others; correct them.")
    if (vote.query, vote.question, vote.rater) in seen:
        raise DataError(f"vote: expected one per rater and question, got a second of {vote.rater}; keep one.")


def majority(choices: Sequence[str]) -> str | None:
    """The choice of more than half of the voters (of both, where there are two); None where there is none."""
    if not choices:
        return None
    choice, count = Counter(choices).most_common(1)[0]
    return choice if count > len(choices) / 2 else None


def choice_taus(values: Float[np.ndarray, "Q k"], chosen: Int[np.ndarray, " Q"]) -> Float[np.ndarray, " Q"]:
    """Kendall's tau-b of each row with the order "the chosen one above the rest, which tie".

    Of the pairs that the order decides, the k - 1 with the chosen one, those that the values decide alike less those
    that they decide otherwise, over the geometric mean of k - 1 and the pairs that the values decide. NaN where a value
    is missing or all are the same.
    """
    apart = np.sign(values[:, :, None] - values[:, None, :])
    decided = np.abs(apart).sum(axis=(1, 2)) / 2
    agreeing = apart[np.arange(len(values)), chosen].sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(decided > 0, agreeing / np.sqrt(decided * (values.shape[1] - 1)), math.nan)


class Agreement(NamedTuple):
    """Mean tau-b over queries with an interval over queries; how many queries had a majority, and for "equal".

    `not_scored` are queries whose metric is missing or the same for every option.
    """

    tau: Interval
    queries: int
    kept: int
    equal: int
    not_scored: int


def agreement(
    votes: Sequence[Vote], scores: Mapping[tuple[str, str], float], *, higher_is_better: bool = True
) -> Agreement:
    """How the order of `scores` (query, option) -> value agrees with the majority of the votes on one question.

    One chosen of k options is an order with ties: the choice above the rest. With four options and distinct scores
    tau-b is .71, .24, -.24 or -.71 when the choice has the best, second, third or worst score, so .71 is the most.
    """
    by_query: dict[str, list[Vote]] = {}
    for vote in votes:
        by_query.setdefault(vote.query, []).append(vote)
    winners = {query: majority([vote.choice for vote in some]) for query, some in by_query.items()}
    kept = {query: winner for query, winner in winners.items() if winner is not None}
    ordered = {query: winner for query, winner in kept.items() if winner != EQUAL}
    taus: dict[Hashable, float] = {}
    for query, winner in ordered.items():
        options = by_query[query][0].options
        values = np.array([[scores.get((query, option), math.nan) for option in options]])
        chosen = np.array([options.index(winner)])
        taus[query] = float(choice_taus(values if higher_is_better else -values, chosen)[0])
    found = mean_interval(list(taus.values()), list(taus))
    return Agreement(found, len(winners), len(kept), len(kept) - len(ordered), found.missing)
