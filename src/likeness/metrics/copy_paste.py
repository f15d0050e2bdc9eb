"""Copy-paste angle: is the generated subject nearer to its reference photo than to the true picture?

Source: Xu et al., "WithAnyone" (arXiv:2510.14975): (angle to truth - angle to reference) / angle between those two.
Differs: subjects are matched once, by the mean of both likenesses, and nothing is trimmed; the released script matches
truth and reference separately, and drops outliers and pictures with another number of faces.
"""

import math

import numpy as np
from jaxtyping import Float

from likeness.encoders.subjects_seen import SubjectSeen
from likeness.metrics.assignment import assign, similarities
from likeness.metrics.base import COSINE, Evidence, Facts, Measured, Metric, Value, cosine, not_measured, of_subjects
from likeness.metrics.slots import ENCODER, NOBODY, Slots, identities, slots_of, truth_slots

PROTOCOL = "(angle to truth - angle to conditioning photo) / angle between both, one joint assignment, none left out"
LEAST_ANGLE = math.radians(1.0)
"""Below it truth and reference are one picture, and the quotient is rounding."""
ONE_PICTURE = not_measured("the true subject and the reference look the same", status="not_applicable")
NO_PHOTO = not_measured("no subject was found in the conditioning photo", status="nothing_found")

Identity = Float[np.ndarray, " D"]


def angle(a: Identity, b: Identity) -> float:
    """The angle between two identities, in radians, in [0, pi]."""
    return math.acos(min(max(cosine(a, b), -1.0), 1.0))


def copy_angle(made: Identity, *, true: Identity, reference: Identity) -> Value:
    """-1 where `made` is the true one, 1 where it is the reference; not applicable where these are the same."""
    apart = angle(true, reference)
    if apart < LEAST_ANGLE:
        return ONE_PICTURE
    return Value(min(max((angle(made, true) - angle(made, reference)) / apart, -1.0), 1.0))


def _measure(evidence: Evidence) -> Measured:
    slots, truth = slots_of(evidence), truth_slots(evidence)
    if isinstance(truth, Value):
        return of_subjects([truth] * len(slots.expected))
    true = [_cast(truth, subject) for subject in range(len(slots.expected))]
    made = _joint(slots, true)
    return of_subjects([_angle(made[i], true[i], evidence, i) for i in range(len(true))])


def _cast(truth: Slots, subject: int) -> Identity:
    found = truth.of(subject)
    assert found is not None, "everybody is found in the slots of a truth"
    return found.identity


def _joint(slots: Slots, true: list[Identity]) -> list[SubjectSeen | None]:
    """Who plays each subject by the mean of the likeness to its photos and to the true one."""
    to_truth = similarities([each.identity for each in slots.found], [[each] for each in true])
    cast = assign((slots.similarity + to_truth) / 2, alike=slots.alike).cast
    return [None if place is None else slots.found[place] for place in cast]


def _angle(made: SubjectSeen | None, true: Identity, evidence: Evidence, subject: int) -> Value:
    references = identities([evidence.subjects[subject].conditioning])
    if not references:
        return NO_PHOTO
    return NOBODY if made is None else copy_angle(made.identity, true=true, reference=references[0])


COPY_PASTE = Metric(
    Facts(
        "copy_paste",
        "Copied from the reference (angle)",
        "Copy angle",
        "Is each subject nearer to its reference photo than to the true picture of the scene?",
        (ENCODER,),
        "subject",
        "share of the angle",
        COSINE[1],
        higher_is_better=False,
        protocol={"copy_paste": PROTOCOL},
        per_subject=True,
    ),
    _measure,
    compares_truth=True,
)
