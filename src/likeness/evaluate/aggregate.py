"""Rows of samples in, rows of the table out: means with intervals by subject and prompt, never a silent gap."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any  # rows of scores.jsonl and summary.json are JSON

import numpy as np

from likeness.core.stats.intervals import Interval, mean_interval
from likeness.metrics import METRICS

Row = dict[str, Any]


def group_of(subject_ids: Sequence[str], *, case_id: str) -> str:
    """What counts as one: the subject, or the combination of subjects; a case without subjects is its own.

    With equally many samples per group the mean is UNO's mean over 30 subjects or 30 pairs.
    """
    return "+".join(sorted(subject_ids)) or case_id


def shown_in(row: Row) -> frozenset[str]:
    """The subjects of a row of scores, by which pictures are alike; a case without subjects is alike to itself only."""
    return frozenset(row["subjects"] or [row["group"]])


def summary_rows(rows: Mapping[str, Sequence[Row]], *, num_missing: int) -> list[Row]:
    """One row per metric, column and kind that any sample row has.

    `rows` maps "generated" and, where they were measured, "floor" and "ceiling" to sample rows; `num_missing` pictures
    were never there.
    """
    keys = [key for key in METRICS if any(key in row["values"] for kind in rows for row in rows[kind])]
    return [
        _summary_row(rows[kind], key=key, kind=kind, num_missing=num_missing if kind == "generated" else 0)
        for key in keys
        for kind in rows
    ]


def _summary_row(rows: Sequence[Row], *, key: str, kind: str, num_missing: int) -> Row:
    facts = METRICS[key].facts
    values = np.array([row["values"][key]["value"] for row in rows], dtype=np.float64)  # null becomes NaN
    interval = mean_interval(values, [shown_in(row) for row in rows], prompts=[row["prompt"] for row in rows])
    interval = interval.within(*facts.range)
    reason = "; ".join(reasons_of(rows, key=key, num_missing=num_missing)) or interval.reason
    return {
        "row": kind,
        "metric": facts.name,
        "column": facts.column,
        **to_json(interval._replace(missing=interval.missing + num_missing, reason=reason)),
        "unit": facts.unit,
        "higher_is_better": facts.higher_is_better,
    }


def table_of(summary: Mapping[str, Any]) -> list[Row]:
    """One row per metric and column of a summary's "rows": the pictures' numbers between the floor and the ceiling.

    A row holds `metric`, `column`, `label`, `mean`, `ci_low`, `ci_high` (95%), `floor`, `ceiling` (means, null where
    not measured), `n` and `missing` values, `reason`, `unit`, `higher_is_better`.
    """
    by_place = {(row["row"], row["metric"], row["column"]): row for row in summary["rows"]}
    labels = {(facts["name"], facts["column"]): facts["label"] for facts in summary["metrics"].values()}
    table: list[Row] = []
    for (kind, metric, column), row in by_place.items():
        if kind == "generated":
            bounds = {name: by_place.get((name, metric, column), {}).get("mean") for name in ("floor", "ceiling")}
            names = {"metric": metric, "column": column, "label": labels[metric, column]}
            numbers = {key: row[key] for key in ("mean", "ci_low", "ci_high")}
            more = {key: row[key] for key in ("n", "missing", "reason", "unit", "higher_is_better")}
            table.append({**names, **numbers, **bounds, **more})
    return table


def to_json(interval: Interval) -> Row:
    """The interval by the names of its parts, null in place of NaN."""
    return {name: value if value == value else None for name, value in interval._asdict().items()}  # NaN equals nothing


def reasons_of(rows: Sequence[Row], *, key: str, num_missing: int) -> list[str]:
    """Why values are missing, each reason once with its count."""
    notes = Counter(row["values"][key]["note"] for row in rows if row["values"][key]["value"] is None)
    reasons = [f"{count} x {note}" for note, count in sorted(notes.items(), key=lambda item: (-item[1], item[0]))]
    return reasons + ([f"{num_missing} x picture missing"] if num_missing else [])


def tallies(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """Table -> part -> share of subjects of which it is true, and of how many; for metrics that are tallied.

    A part is true or false, or says what was "expected" and what was "read"; then `balanced_accuracy` is the mean over
    the expected values of the share read right, null where only one value was ever expected.
    """
    return {
        metric.tallied: _tally(rows, key=key)
        for key, metric in METRICS.items()
        if metric.tallied and any(key in row["values"] for row in rows)
    }


def _tally(rows: Sequence[Row], *, key: str) -> dict[str, Row]:
    seen: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        for subject in row["per_subject"]:
            for name, part in subject["values"][key].get("parts", {}).items():
                seen[name].append(part)
    return {name: _counted(parts) for name, parts in seen.items()}


def _counted(parts: Sequence[Any]) -> Row:
    if not isinstance(parts[0], dict):
        return {"share_right": sum(parts) / len(parts), "n": len(parts)}
    right: dict[str, list[bool]] = defaultdict(list)
    for part in parts:
        right[part["expected"]].append(part["read"] == part["expected"])
    shares = [sum(answers) / len(answers) for answers in right.values()]
    balanced = sum(shares) / len(shares) if len(shares) > 1 else None
    share = sum(sum(answers) for answers in right.values()) / len(parts)
    return {"share_right": share, "n": len(parts), "balanced_accuracy": balanced}
