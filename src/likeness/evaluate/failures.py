"""Which pictures of a run fail as DreamRelation's supplement shows: shares with intervals, reasons, and the worst.

The categories are those of metrics/failures.py, over rows of scores.jsonl. A picture counts in a category where its
case can fail so and its reading was measured; the others are counted by why not.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any  # rows of scores.jsonl and summary.json are JSON

from likeness.core.records import Case
from likeness.core.stats.intervals import wilson
from likeness.metrics.base import Measured, NotApplicableError, Value, not_measured
from likeness.metrics.failures import FAILURES, Failure
from likeness.metrics.relations import relation_words

Row = dict[str, Any]
NUM_WORST = 4
"""Pictures of a category that a page shows."""


def failures_of(rows: Sequence[Row], *, cases: Sequence[Case]) -> dict[str, list[Row]]:
    """{"failures": a row per category} of the cases that relate two or more subjects; {} where there is none.

    A row holds `name`, `label`, `metric`, `unit`, `limit`, `definition`; `n` pictures with a reading, of which
    `failed`; `share` with `ci_low` and `ci_high` (Wilson's 95% interval for independent pictures), null without a
    reading; `not_measured` and `not_applicable`, reason -> pictures; `worst`, failed pictures with the largest readings
    first: `id`, `case_id`, `value`.
    """
    related = {case.id: case for case in cases if len(case.subjects) > 1 and relation_words(case)}
    shown = [row for row in rows if row["case_id"] in related]
    return {"failures": [_counted(failure, shown, cases=related) for failure in FAILURES]} if related else {}


def _counted(failure: Failure, rows: Sequence[Row], *, cases: Mapping[str, Case]) -> Row:
    found = [(row, _reading(failure, row, cases[row["case_id"]])) for row in rows]
    measured = [(row, value) for row, value in found if value.measured]
    failed = sorted((each for each in measured if each[1].value >= failure.limit), key=lambda each: -each[1].value)
    n, why = len(measured), {"not_measured": Counter[str](), "not_applicable": Counter[str]()}
    for _, value in found:
        if not value.measured:
            why["not_applicable" if value.status == "not_applicable" else "not_measured"][value.note] += 1
    if absent := len(cases.keys() - {row["case_id"] for row in rows}):
        why["not_measured"]["no picture of the case"] = absent
    share = wilson(len(failed) / n, n) if n else None
    return {
        **{key: getattr(failure, key) for key in ("name", "label", "metric", "limit", "unit", "definition")},
        **{"n": n, "failed": len(failed), "share": share and share.mean},
        **{"ci_low": share and share.ci_low, "ci_high": share and share.ci_high},
        **{name: dict(reasons.most_common()) for name, reasons in why.items()},
        "worst": [
            {"id": row["id"], "case_id": row["case_id"], "value": value.value} for row, value in failed[:NUM_WORST]
        ],
    }


def _reading(failure: Failure, row: Row, case: Case) -> Value:
    """What is compared with the limit, or why there is nothing."""
    try:
        failure.require(case)
    except NotApplicableError as error:
        return not_measured(str(error), status="not_applicable")
    if failure.metric not in row["values"]:
        return not_measured(f"not asked for; likeness evaluate RUN --metric {failure.metric}")
    subjects = [subject["values"] for subject in row["per_subject"]]
    each = tuple(Value.from_json(values[failure.metric]) for values in subjects if failure.metric in values)
    return failure.reading(Measured(Value.from_json(row["values"][failure.metric]), each), case)
