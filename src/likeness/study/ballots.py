"""Votes in the words of the study: what a rater chose, by the name of the run, and what they chose among."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from likeness.study.design import NEITHER, Query, Study, by_id
from likeness.study.store import StoredVote

__all__ = ["Ballot", "ballots_of", "by_question", "counted"]


class Ballot(NamedTuple):
    """One answer to one question of a query: the name of a run, "equal", "neither", "yes" or "no".

    `place` is where the chosen option stood, None where no option was chosen; `kind` is query, repeat or gold.
    """

    query: str
    rater: str
    question: str
    kind: str
    options: tuple[str, ...]
    choice: str
    place: int | None
    item: int
    seconds: float


def ballots_of(study: Study, votes: Iterable[StoredVote]) -> list[Ballot]:
    """Every vote on a query that the study has, in order."""
    queries = by_id(study.queries)
    return [_ballot(queries[vote.query], vote) for vote in votes if vote.query in queries]


def _ballot(query: Query, vote: StoredVote) -> Ballot:
    options = tuple(option.run for option in query.options)
    chosen = vote.option
    choice = vote.answer if chosen is None else options[chosen]
    place = None if chosen is None else int(vote.answer)
    return Ballot(vote.query, vote.rater, vote.question, vote.kind, options, choice, place, vote.item, vote.seconds)


def counted(ballots: Sequence[Ballot], *, without: Iterable[str] = ()) -> list[Ballot]:
    """The ballots that results are made of: no repeats, no gold items, none of the raters in `without`."""
    left_out = frozenset(without)
    return [ballot for ballot in ballots if ballot.kind == "query" and ballot.rater not in left_out]


def by_question(ballots: Iterable[Ballot]) -> dict[str, list[Ballot]]:
    """Question -> its ballots."""
    found: dict[str, list[Ballot]] = {}
    for ballot in ballots:
        found.setdefault(ballot.question, []).append(ballot)
    return found


def names_of(ballots: Sequence[Ballot]) -> tuple[list[str], list[str]]:
    """The runs that could be chosen, and the other answers that were given, both in order of appearance."""
    runs = list(dict.fromkeys(name for options in dict.fromkeys(b.options for b in ballots) for name in options))
    others = sorted({ballot.choice for ballot in ballots} - set(runs), key=lambda name: (name == NEITHER, name))
    return runs, others
