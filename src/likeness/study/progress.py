"""What the owner sees while people answer."""

from collections.abc import Sequence
from typing import Any, NamedTuple  # Any: rows for the page

from likeness.study.agree import more_votes, nominal_alpha, ratings_row, shares, winners
from likeness.study.alpha import Alpha
from likeness.study.assignment import num_slots, plan_of
from likeness.study.ballots import Ballot, ballots_of, by_question, counted
from likeness.study.design import Study, by_id
from likeness.study.raters import Check, checks
from likeness.study.store import Rater, StoredVote

__all__ = ["Progress", "QuestionProgress", "progress_of"]

WANTED = 0.05
"""Half width of a share, in shares, that the page tells the missing votes for."""


class QuestionProgress(NamedTuple):
    """One question so far: its answers with shares, majorities, alpha, and votes that are missing for +-WANTED."""

    name: str
    votes: int
    shares: list[dict[str, Any]]
    queries: int
    kept: int
    alpha: Alpha
    missing: int | None


class Progress(NamedTuple):
    """All of it: answered items of those asked for, raters, questions, and checks of raters."""

    answered: int
    wanted: int
    places: int
    joined: int
    finished: int
    questions: list[QuestionProgress]
    means: dict[str, float]
    checks: list[Check]
    comments: list[str]


def progress_of(study: Study, *, raters: Sequence[Rater], votes: Sequence[StoredVote]) -> Progress:
    """The state of a study."""
    ballots = ballots_of(study, votes)
    kept, plan, queries = counted(ballots), plan_of(study), by_id(study.queries)
    is_rating = study.kind == "identity"
    questions = [] if is_rating else [_question(name, some) for name, some in by_question(kept).items()]
    return Progress(
        answered=len({(ballot.rater, ballot.item) for ballot in kept}),
        wanted=len(plan.queries) * plan.votes,
        places=num_slots(plan),
        joined=len(raters),
        finished=sum(rater.finished is not None for rater in raters),
        questions=questions,
        means=ratings_row(kept, queries=queries)["means"] if is_rating and kept else {},
        checks=checks(ballots, queries=queries),
        comments=[rater.comment for rater in raters if rater.comment],
    )


def _question(name: str, ballots: Sequence[Ballot]) -> QuestionProgress:
    won, found = winners(ballots), shares(ballots)
    halves = [(row["ci_high"] - row["ci_low"]) / 2 for row in found if row["ci_low"] is not None]
    missing = more_votes(len(ballots), half=max(halves), wanted=WANTED) if halves else None
    kept = sum(winner is not None for winner in won.values())
    return QuestionProgress(name, len(ballots), found, len(won), kept, nominal_alpha(ballots), missing)
