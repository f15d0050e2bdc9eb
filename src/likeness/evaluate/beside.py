"""What stands beside the table of a comparison: the cases that differ most, correlations, votes, leakage matrices."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any  # JSON

import numpy as np

from likeness.core.errors import DataError
from likeness.core.stats.agreement import Vote, agreement, read_votes
from likeness.core.stats.correlation import KINDS, matrix, pearson_matrix
from likeness.evaluate.aggregate import shown_in, to_json
from likeness.evaluate.scored import Method

Row = dict[str, Any]
Facts = Mapping[str, Mapping[str, Any]]
NUM_CASES = 12
"""Cases listed per method and direction; a page shows the first of them."""


def most_apart(methods: Sequence[Method], *, base: Method, facts: Facts) -> list[Row]:
    """The cases where a method is furthest above or below the base, by turns, each case once.

    By the metric that ranks cases first; its mean over the pictures of a case in the first training.
    """
    ranked = [key for key in facts if facts[key]["ranks"] is not None]
    metric = min(ranked, key=lambda key: facts[key]["ranks"], default=next(iter(facts), ""))
    turns = [
        turn
        for method in methods
        if method is not base
        for turn in _both_ways(case_means(method, metric), case_means(base, metric), method=method.name)
    ]
    found: dict[str, Row] = {}
    for place in range(NUM_CASES):
        for turn in turns:
            fresh = [row for row in turn[place:] if row["case"] not in found]
            if fresh:
                found[fresh[0]["case"]] = {**fresh[0], "metric": metric}
    return list(found.values())


def _both_ways(here: Mapping[str, float], there: Mapping[str, float], *, method: str) -> tuple[list[Row], list[Row]]:
    """Rows of the cases above the base, furthest first, and of those below it."""
    apart = {case: here[case] - there[case] for case in here if case in there}
    ordered = sorted((case for case in apart if apart[case]), key=lambda case: (-abs(apart[case]), case))
    above, below = ([case for case in ordered if (apart[case] > 0) == is_above] for is_above in (True, False))
    rows = {case: {"case": case, "method": method, "difference": apart[case]} for case in ordered}
    return [rows[case] for case in above], [rows[case] for case in below]


def case_means(method: Method, key: str) -> dict[str, float]:
    """Case id -> mean over its pictures, of the first training, of those cases that have a value."""
    by_case: dict[str, list[float]] = defaultdict(list)
    for row in method.runs[0].rows:
        value = row["values"].get(key, {}).get("value")
        if value is not None:
            by_case[row.get("case_id", row["id"])].append(float(value))
    return {case: sum(values) / len(values) for case, values in by_case.items()}


def correlations(methods: Sequence[Method], *, facts: Facts) -> Row:
    """Pearson, Spearman and Kendall matrices of the metrics over the pictures of all methods together.

    Pearson's have 95% intervals by subject and prompt: "pearson_ci_low" and "pearson_ci_high", null where
    "pearson_reason" says why.
    """
    rows = [row for method in methods for run in method.runs for row in run.rows]
    columns = {key: [_number(row["values"].get(key, {}).get("value")) for row in rows] for key in facts}
    found: Row = {"metrics": list(facts)}
    for kind in KINDS:
        cells = matrix(columns, kind=kind)
        found[kind] = [[_null(cells[a, b][0]) for b in facts] for a in facts]
        found["n"] = [[cells[a, b][1] for b in facts] for a in facts]
    ends = pearson_matrix(columns, groups=[shown_in(row) for row in rows], prompts=[row["prompt"] for row in rows])
    found["pearson_ci_low"] = [[_null(ends[a, b].ci_low) for b in facts] for a in facts]
    found["pearson_ci_high"] = [[_null(ends[a, b].ci_high) for b in facts] for a in facts]
    found["pearson_reason"] = [[ends[a, b].reason for b in facts] for a in facts]
    return found


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _null(value: float) -> float | None:
    return None if math.isnan(value) else value


def agreements(path: Path, methods: Sequence[Method], *, facts: Facts) -> list[Row]:
    """By question and metric, how the order of the methods in a case agrees with the votes, which name cases.

    Raises: DataError for a vote on a case or a method that was not compared.
    """
    votes, names = read_votes(path), [method.name for method in methods]
    cases = {row.get("case_id", row["id"]) for row in methods[0].runs[0].rows}
    for vote in votes:
        _require_compared(vote, path=path, names=names, cases=cases)
    by_question: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_question[vote.question].append(vote)
    return [
        {"question": question, "metric": key, **_agreement(some, methods, key=key, higher=facts[key])}
        for question, some in by_question.items()
        for key in facts
    ]


def _require_compared(vote: Vote, *, path: Path, names: Sequence[str], cases: set[str]) -> None:
    if vote.query not in cases:
        raise DataError(f"{path}: expected the id of a case as query, got {vote.query}; correct the row.")
    if strangers := [option for option in vote.options if option not in names]:
        what = f"{path}: expected options among {', '.join(names)}, got {strangers[0]} for {vote.query}"
        raise DataError(f"{what}; name the runs as the votes do, or correct the votes.")


def _agreement(votes: Sequence[Vote], methods: Sequence[Method], *, key: str, higher: Mapping[str, Any]) -> Row:
    scores = {(case, method.name): value for method in methods for case, value in case_means(method, key).items()}
    found = agreement(votes, scores, higher_is_better=higher["higher_is_better"])
    counts = {name: getattr(found, name) for name in ("queries", "kept", "equal", "not_scored")}
    return {**{f"tau_{name}": value for name, value in _ends(to_json(found.tau)).items()}, **counts}


def _ends(row: Row) -> Row:
    return {name: row[name] for name in ("mean", "ci_low", "ci_high", "n", "reason")}


def leakage_matrices(methods: Sequence[Method]) -> list[Row]:
    """The mean of the leakage matrices of each method's pictures, by how many places they have."""
    found: list[Row] = []
    for method in methods:
        by_places: dict[int, list[Any]] = defaultdict(list)
        for row in (row for run in method.runs for row in run.rows):
            parts = row["values"].get("leakage_matrix", {}).get("parts") or {}
            if "matrix" in parts:
                by_places[len(parts["matrix"])].append(parts["matrix"])
        for places, matrices in sorted(by_places.items()):
            mean = np.mean(np.array(matrices, dtype=np.float64), axis=0).tolist()
            found.append({"method": method.name, "places": places, "n": len(matrices), "matrix": mean})
    return found
