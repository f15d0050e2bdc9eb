"""Rows of samples in, rows of the table out: means with intervals resampled by subject, never a silent gap."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any  # rows of scores.jsonl and summary.json are JSON

from likeness.core.stats import mean_interval
from likeness.metrics import METRICS

Row = dict[str, Any]

# Key of a sample's values -> (metric, column), in the order of the table.
TABLE: dict[str, tuple[str, str]] = {
    "clip_t": ("clip_t", ""),
    "clip_i": ("clip_i", "all_photos"),
    "clip_i_conditioning_photo": ("clip_i", "conditioning_photo"),
    "dino": ("dino", "all_photos"),
    "dino_conditioning_photo": ("dino", "conditioning_photo"),
    "attribute_accuracy": ("attribute_accuracy", ""),
    "leakage": ("leakage", ""),
    "action_recognised": ("action_recognised", ""),
    "scene_recognised": ("scene_recognised", ""),
}


def group_of(subject_ids: Sequence[str], *, case_id: str) -> str:
    """What is resampled as one: the subject, or the combination of subjects; a case without subjects is its own.

    With equally many samples per group the mean is UNO's mean over 30 subjects or 30 pairs.
    """
    return "+".join(sorted(subject_ids)) or case_id


def summary_rows(rows: Mapping[str, Sequence[Row]], *, num_missing: int) -> list[Row]:
    """One row per metric, column and kind that any sample row has.

    `rows` maps "generated" and, where they were measured, "floor" and "ceiling" to sample rows; `num_missing` pictures
    were never there.
    """
    keys = [key for key in TABLE if any(key in row["values"] for kind in rows for row in rows[kind])]
    return [
        _summary_row(rows[kind], key=key, kind=kind, num_missing=num_missing if kind == "generated" else 0)
        for key in keys
        for kind in rows
    ]


def _summary_row(rows: Sequence[Row], *, key: str, kind: str, num_missing: int) -> Row:
    metric, column = TABLE[key]
    values = [math.nan if row["values"][key]["value"] is None else row["values"][key]["value"] for row in rows]
    interval = mean_interval(values, [row["group"] for row in rows])
    return {
        "row": kind,
        "metric": metric,
        "column": column,
        "mean": _or_none(interval.mean),
        "ci_low": _or_none(interval.ci_low),
        "ci_high": _or_none(interval.ci_high),
        "n": interval.n,
        "n_subjects": interval.n_subjects,
        "missing": interval.missing + num_missing,
        "reason": "; ".join(_reasons(rows, key=key, num_missing=num_missing)) or interval.reason,
        "unit": METRICS[metric].unit,
        "higher_is_better": METRICS[metric].higher_is_better,
    }


def _reasons(rows: Sequence[Row], *, key: str, num_missing: int) -> list[str]:
    """Why values are missing, each reason once with its count."""
    counts: dict[str, int] = defaultdict(int)
    for row in rows:
        if row["values"][key]["value"] is None:
            counts[row["values"][key]["note"]] += 1
    reasons = [f"{count} x {note}" for note, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]
    return reasons + ([f"{num_missing} x picture missing"] if num_missing else [])


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def attribute_rows(rows: Sequence[Row]) -> dict[str, Row]:
    """Attribute -> share of subjects that read right, and of how many."""
    right: dict[str, list[bool]] = defaultdict(list)
    for row in rows:
        for subject in row["per_subject"]:
            for name, is_right in subject.get("right_attributes", {}).items():
                right[name].append(is_right)
    return {name: {"share_right": sum(seen) / len(seen), "n": len(seen)} for name, seen in right.items()}
