"""What the owner sees while people answer."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple  # Any: rows for the page

from likeness.study.agree import more_votes, nominal_alpha, score_alpha, scores_of, share_row, shares, winners
from likeness.study.alpha import Alpha
from likeness.study.assignment import Plan, num_slots, plan_of
from likeness.study.ballots import Ballot, ballots_of, by_question, counted
from likeness.study.design import Query, Study, by_id
from likeness.study.raters import Check, checks
from likeness.study.store import Rater, StoredVote

__all__ = ["WITHIN", "Missing", "Progress", "QuestionProgress", "progress_of"]

WITHIN = 0.05
"""Half width of the interval of a share, in shares, that the page tells the missing votes for if asked for no other."""


class Missing(NamedTuple):
    """What an interval takes: the widest half width now, in shares, and the votes and raters to come to the one wanted.

    Votes are None where no interval is known yet. They count on raters and queries that differ as those so far do, so
    that the square of the width falls with their number.
    """

    half: float
    votes: int | None
    raters: int | None


class QuestionProgress(NamedTuple):
    """One question so far: its answers with shares, majorities, alpha, and what is missing for the interval wanted.

    `kept` is None for ratings, which have no majority: their shares are of the ten questions answered in favour.
    """

    name: str
    votes: int
    shares: list[dict[str, Any]]
    queries: int
    kept: int | None
    alpha: Alpha
    missing: Missing


class Progress(NamedTuple):
    """All of it: answered items of those asked for, raters, questions, and checks of raters."""

    answered: int
    wanted: int
    places: int
    joined: int
    finished: int
    questions: list[QuestionProgress]
    checks: list[Check]
    comments: list[str]


def progress_of(
    study: Study, *, raters: Sequence[Rater], votes: Sequence[StoredVote], within: float = WITHIN
) -> Progress:
    """The state of a study; `within` is the half width of shares that is wanted."""
    ballots = ballots_of(study, votes)
    kept, plan, queries = counted(ballots), plan_of(study), by_id(study.queries)
    if study.kind == "identity":
        questions = [_rating(kept, queries=queries, plan=plan, within=within)] if kept else []
    else:
        questions = [_question(name, some, plan=plan, within=within) for name, some in by_question(kept).items()]
    return Progress(
        answered=len({(ballot.rater, ballot.item) for ballot in kept}),
        wanted=len(plan.queries) * plan.votes,
        places=num_slots(plan),
        joined=len(raters),
        finished=sum(rater.finished is not None for rater in raters),
        questions=questions,
        checks=checks(ballots, queries=queries),
        comments=[rater.comment for rater in raters if rater.comment],
    )


def _question(name: str, ballots: Sequence[Ballot], *, plan: Plan, within: float) -> QuestionProgress:
    won, found = winners(ballots), shares(ballots)
    kept = sum(winner is not None for winner in won.values())
    missing = _missing(len(ballots), found, plan=plan, within=within)
    return QuestionProgress(name, len(ballots), found, len(won), kept, nominal_alpha(ballots), missing)


def _rating(ballots: Sequence[Ballot], *, queries: Mapping[str, Query], plan: Plan, within: float) -> QuestionProgress:
    """Of each side of the pairs, the share of the ten questions that was answered in its favour."""
    given = scores_of(ballots)
    rows: list[dict[str, Any]] = []
    for side in sorted({queries[query].options[0].run for query in given}):
        flat = [(q, r, s / 10) for q, by in given.items() if queries[q].options[0].run == side for r, s in by.items()]
        rows.append(
            share_row(side, [s for _, _, s in flat], queried=[q for q, _, _ in flat], raters=[r for _, r, _ in flat])
        )
    count = sum(len(by) for by in given.values())
    missing = _missing(count, rows, plan=plan, within=within)
    return QuestionProgress("identity", count, rows, len(given), None, score_alpha(given), missing)


def _missing(votes: int, found: Sequence[Mapping[str, Any]], *, plan: Plan, within: float) -> Missing:
    half = max((_half(row) for row in found if row["ci_low"] is not None), default=math.nan)
    more = more_votes(votes, half=half, wanted=within) if half < math.inf else None
    return Missing(half, more, None if more is None else math.ceil(more / plan.per_rater))


def _half(row: Mapping[str, Any]) -> float:
    """Half the width of an interval that was cut at 0 and 1: its longer side; infinite if cut at both."""
    is_cut = row["ci_low"] <= 0 and row["ci_high"] >= 1
    return math.inf if is_cut else max(row["ci_high"] - row["mean"], row["mean"] - row["ci_low"])
