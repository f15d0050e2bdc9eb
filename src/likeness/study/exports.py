"""What leaves a study as one table, and what comes back: votes, raters for Prolific, links, answers of elsewhere."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple  # Any: rows of JSON

from likeness.core.errors import DataError
from likeness.core.rows import LeftOut
from likeness.core.stats.agreement import EQUAL
from likeness.study.ballots import Ballot, counted
from likeness.study.design import Query, Study
from likeness.study.guard import completion_code
from likeness.study.platforms.task import Answers
from likeness.study.raters import Check
from likeness.study.store import Rater, Store, StoredVote
from likeness.study.tables_csv import read_csv

__all__ = ["add_answers", "all_rows", "prolific_decisions", "rater_rows", "vote_rows"]


def vote_rows(study: Study, ballots: Sequence[Ballot], *, queries: Mapping[str, Query]) -> list[dict[str, Any]]:
    """The votes as `likeness compare --votes` reads them: of the first picture of each case, "neither" as "equal".

    Raises: DataError where a case was asked with several sets of runs, which that command does not take.
    """
    kept = [ballot for ballot in counted(ballots) if queries[ballot.query].about.get("sample", "").endswith("-0")]
    sets = {(queries[b.query].case, b.options) for b in kept}
    repeated = [case for case, count in Counter(case for case, _ in sets).items() if count > 1]
    if repeated:
        what = f"votes: expected each case with one set of runs, got {repeated[0]} with several"
        raise DataError(f"{what}; use --to csv, or likeness study agree, which reads the metrics as well.")
    return [
        {
            "query": queries[ballot.query].case,
            "rater": ballot.rater,
            "options": list(ballot.options),
            "choice": ballot.choice if ballot.choice in ballot.options else EQUAL,
            "question": ballot.question,
        }
        for ballot in kept
    ]


def all_rows(ballots: Sequence[Ballot], *, queries: Mapping[str, Query]) -> list[dict[str, Any]]:
    """Every answer with what was shown, repeats and gold items included."""
    return [
        {
            "query": ballot.query,
            "case": queries[ballot.query].case,
            "kind": ballot.kind,
            "question": ballot.question,
            "rater": ballot.rater,
            "options": " | ".join(ballot.options),
            "choice": ballot.choice,
            "place": "" if ballot.place is None else ballot.place + 1,
            "seconds": round(ballot.seconds, 3),
            "prompt": queries[ballot.query].prompt,
        }
        for ballot in ballots
    ]


def rater_rows(raters: Sequence[Rater], *, checks: Sequence[Check], secret: str) -> list[dict[str, Any]]:
    """A row a rater: who they are on their platform, their completion code, and what was found."""
    by_rater = {check.rater: check for check in checks}
    return [
        {
            "source": rater.source,
            "participant": rater.external,
            "rater": rater.id,
            "finished": rater.finished is not None,
            "code": completion_code(secret, rater.id),
            "votes": by_rater[rater.id].votes if rater.id in by_rater else 0,
            "minutes": round(((rater.finished or rater.seen) - rater.joined) / 60, 1),
            "flags": "; ".join(by_rater[rater.id].flags) if rater.id in by_rater else "",
            "comment": rater.comment,
        }
        for rater in raters
    ]


class Decision(NamedTuple):
    """What to do with a submission on Prolific: "approve", or "look" with a reason."""

    participant: str
    decision: str
    reason: str


def prolific_decisions(path: Path, *, rows: Sequence[Mapping[str, Any]]) -> list[Decision]:
    """For each submission of Prolific's CSV that awaits one; nobody is rejected by a program.

    Its table has the columns Participant id, Status and Completion code. Raises: DataError for another table.
    """
    known = {row["participant"]: row for row in rows if row["source"] == "prolific"}
    found: list[Decision] = []
    for row in read_csv(path, needed=("Participant id", "Status", "Completion code")):
        if row["Status"].upper() in ("APPROVED", "REJECTED", "RETURNED", "TIMED-OUT", "TIMED OUT", "ACTIVE"):
            continue
        name = row["Participant id"]
        found.append(_decision(name, known.get(name), code=row["Completion code"]))
    return found


def _decision(name: str, rater: Mapping[str, Any] | None, *, code: str) -> Decision:
    if rater is None:
        return Decision(name, "look", "never began here")
    if not rater["finished"]:
        return Decision(name, "look", f"answered {rater['votes']} and stopped")
    if rater["flags"]:
        return Decision(name, "look", rater["flags"])
    if code.strip().upper() not in (rater["code"], "NOCODE", ""):
        return Decision(name, "approve", "finished, with another code")
    return Decision(name, "approve", "")


class Added(NamedTuple):
    """How many answers of elsewhere are new, and what of the file could not be read."""

    num_votes: int
    num_raters: int
    left_out: tuple[LeftOut, ...]


def add_answers(study: Study, store: Store, found: Answers, *, source: str) -> Added:
    """The answers stand among the votes, once, however often they are added; raters keep their names of there."""
    now, items = time.time(), {query.id: k for k, query in enumerate(study.queries)}
    raters: dict[str, Rater] = {}
    votes: list[StoredVote] = []
    for answer in found.answers:
        name = f"{source[:12]}:{sha256(answer.rater.encode()).hexdigest()[:16]}"
        raters.setdefault(name, Rater(name, -1, source, answer.rater[:200], now, now, now, ""))
        common = (name, items[answer.shown.query], answer.shown.query)
        votes += [
            StoredVote(*common, question, answer.shown.kind, answer.shown.order, text, answer.seconds, now)
            for question, text in answer.answers.items()
        ]
    new = store.add_raters(list(raters.values()), votes, origin=source)
    return Added(new, len(raters), found.left_out)
