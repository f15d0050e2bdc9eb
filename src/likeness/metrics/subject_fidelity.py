"""Per-subject fidelity: the find that plays a subject against the photos of that subject alone.

Differs: DINO and CLIP-I compare the whole picture with each photo, so that a picture of the other subject scores too.
A subject for whom somebody is left, however unlike, is measured; only where nobody is left there is no number.
"""

from likeness.metrics.base import COSINE, Evidence, Facts, Measured, Metric, Value, of_subjects
from likeness.metrics.slots import ENCODER, NOBODY, Slots, slots_of

PROTOCOL = "mean cosine of the subject found, by one optimal assignment, to the subject in each of its photos"


def _fidelity(slots: Slots, subject: int) -> Value:
    place = slots.assignment.cast[subject]
    if place is None:
        return NOBODY
    note = "" if slots.assignment.present[subject] else f"below {slots.alike:g}: somebody else"
    return Value(min(max(float(slots.similarity[place, subject]), -1.0), 1.0), note)


def _measure(evidence: Evidence) -> Measured:
    slots = slots_of(evidence)
    return of_subjects([_fidelity(slots, subject) for subject in range(len(slots.expected))])


SUBJECT_FIDELITY = Metric(
    Facts(
        "subject_fidelity",
        "Fidelity of each subject found",
        "Per subject",
        "How like its photos is the one in the picture that plays each subject?",
        (ENCODER,),
        "subject",
        *COSINE,
        protocol={"subject_fidelity": PROTOCOL},
        per_subject=True,
    ),
    _measure,
)
