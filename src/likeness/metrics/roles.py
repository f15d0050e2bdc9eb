"""Who is where, who does what: does each subject stand in its own place, or in another's?

Everything else here matches subjects by how they look, so a complete exchange of two look-alikes is invisible to it.
Places come from the case's layout. Without one they come from the true picture, where the case names an action, a
predicate or triplets: who does what is then fixed by the sentence, and in the world's pictures so is who stands where.
"""

from likeness.core.records import Case
from likeness.metrics.assignment import places_taken
from likeness.metrics.base import (
    Evidence,
    Facts,
    Measured,
    Metric,
    NotApplicableError,
    Value,
    of_subjects,
)
from likeness.metrics.places import layout_places, places_of
from likeness.metrics.slots import ENCODER, NOT_FOUND, several, truth_slots

PROTOCOL = "share of subjects that stand in their own place: looks by one assignment, places by the least squares"


def _is_fixed(case: Case) -> bool:
    labels = case.labels
    return layout_places(case) is not None or bool(labels.action or labels.predicate or labels.triplets)


def _measure(evidence: Evidence) -> Measured:
    """1 or 0 per subject, 0 for one that was not found; the parts name who stands in whose place."""
    slots, case = several(evidence), evidence.case
    if not _is_fixed(case):
        raise NotApplicableError("neither a layout nor the sentence fixes who is where")
    places = places_of(evidence, truth_slots(evidence))
    if isinstance(places, Value):
        return of_subjects([places] * len(case.subjects))
    standing = places_taken([each.centre for each in slots.found], places)
    cast, present = slots.assignment.cast, slots.assignment.present
    names = [subject.id for subject in case.subjects]
    by_find: dict[int | None, str] = {f: names[i] for i, f in enumerate(cast) if f is not None and present[i]}
    values = [
        _value(present[i], is_right=cast[i] == standing[i], instead=by_find.get(standing[i], ""))
        for i in range(len(names))
    ]
    return of_subjects(values)


def _value(is_present: bool, *, is_right: bool, instead: str) -> Value:
    if not is_present:
        return Value(0.0, NOT_FOUND)
    return Value(float(is_right), "" if is_right else f"in its place: {instead or 'nobody known'}")


ROLES = Metric(
    Facts(
        "roles",
        "Everybody in their own role",
        "Roles",
        "Does each subject stand in its own place, where the layout or the sentence fixes it?",
        (ENCODER,),
        "subject",
        protocol={"roles": PROTOCOL},
        shown_as="percent",
        per_subject=True,
    ),
    _measure,
    compares_truth=True,
)
