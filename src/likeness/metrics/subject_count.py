"""Whether everybody who should be there is there once, and nobody else: missing, extra and duplicated subjects."""

from likeness.metrics.base import Evidence, Facts, Measured, Metric, Value
from likeness.metrics.slots import ENCODER, slots_of

PROTOCOL = "share of pictures where every subject is found once, alike enough to its photos, and nobody else is found"


def _measure(evidence: Evidence) -> Measured:
    """1 or 0; the parts count subjects: expected, found, missing, extra (like nobody) and duplicated."""
    slots = slots_of(evidence)
    assignment = slots.assignment
    parts = {
        "expected": len(slots.expected),
        "found": len(slots.found),
        "missing": assignment.num_missing,
        "extra": len(assignment.extra),
        "duplicated": len(assignment.duplicated),
    }
    wrong = [f"{parts[name]} {name}" for name in ("missing", "extra", "duplicated") if parts[name]]
    return Measured(Value(float(assignment.is_exact), ", ".join(wrong), parts=parts))


SUBJECT_COUNT = Metric(
    Facts(
        "subject_count",
        "Everybody there once",
        "Count",
        "Is every subject in the picture once, and nobody else?",
        (ENCODER,),
        "prompt",
        protocol={"subject_count": PROTOCOL},
        shown_as="yes_no",
    ),
    _measure,
)
