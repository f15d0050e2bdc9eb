"""Whose answers to look at twice: by known answers, by queries met again, by pace and by side."""

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from likeness.study.ballots import Ballot
from likeness.study.design import Query

__all__ = ["Check", "checks", "flagged"]

GOLD_RIGHT, REPEATS_SAME, FASTEST, ONE_SIDE = 0.7, 0.5, 1.5, 0.9
"""Below this share of known answers right, of repeats answered alike, of seconds an item; above this share one side."""
FEWEST, FEWEST_SIDES = 2, 10
"""Answers below which nothing is said of golds and repeats, and of sides."""


class Check(NamedTuple):
    """What is known of one rater's care. `flags` say what is wrong, in words; none means nothing was found."""

    rater: str
    votes: int
    golds: int
    golds_right: int
    repeats: int
    repeats_same: int
    seconds: float
    flags: tuple[str, ...]


def checks(ballots: Sequence[Ballot], *, queries: Mapping[str, Query]) -> list[Check]:
    """A check of every rater, in order of their first vote."""
    by_rater: dict[str, list[Ballot]] = {}
    for ballot in ballots:
        by_rater.setdefault(ballot.rater, []).append(ballot)
    return [_check(rater, mine, queries=queries) for rater, mine in by_rater.items()]


def flagged(found: Sequence[Check]) -> list[str]:
    """The raters with a flag."""
    return [check.rater for check in found if check.flags]


def _check(rater: str, ballots: Sequence[Ballot], *, queries: Mapping[str, Query]) -> Check:
    golds = [(b, (queries[b.query].gold or {}).get(b.question)) for b in ballots if b.kind == "gold"]
    right = [ballot.choice == answer for ballot, answer in golds if answer is not None]
    first = {(b.query, b.question): b.choice for b in ballots if b.kind == "query"}
    again = [b for b in ballots if b.kind == "repeat" and (b.query, b.question) in first]
    same = [first[b.query, b.question] == b.choice for b in again]
    seconds = median({ballot.item: ballot.seconds for ballot in ballots}.values())
    flags = [
        f"{sum(right)} of {len(right)} known answers right" * (_share(right) < GOLD_RIGHT),
        f"{sum(same)} of {len(same)} repeats answered alike" * (_share(same) < REPEATS_SAME),
        f"{seconds:.1f} s an item" * (seconds < FASTEST and len(ballots) >= FEWEST),
        _one_side(ballots),
    ]
    votes = sum(ballot.kind == "query" for ballot in ballots)
    return Check(rater, votes, len(right), sum(right), len(same), sum(same), seconds, tuple(filter(None, flags)))


def _share(answers: Sequence[bool]) -> float:
    return sum(answers) / len(answers) if len(answers) >= FEWEST else 1.0


def _one_side(ballots: Sequence[Ballot]) -> str:
    places = Counter(ballot.place for ballot in ballots if ballot.place is not None and len(ballot.options) > 1)
    if places.total() < FEWEST_SIDES:
        return ""
    place, most = places.most_common(1)[0]
    return f"{most} of {places.total()} answers in place {place + 1}" if most > ONE_SIDE * places.total() else ""
