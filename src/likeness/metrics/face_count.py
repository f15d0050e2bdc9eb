"""Faces counted: is there a face at all, and are there as many as the case has people?

People of a case are the subjects whose conditioning photo shows a face; whose face is whose is not asked.
"""

from likeness.encoders.faces_seen import FacesSeen
from likeness.metrics.base import Evidence, Facts, Measured, Metric, Value, not_measured
from likeness.metrics.face_likeness import FACES

NO_PERSON = not_measured("no subject's photo shows a face", status="not_applicable")


def _counts(evidence: Evidence) -> tuple[int, FacesSeen]:
    """How many faces are expected, and the faces of the picture."""
    expected = sum(subject.conditioning[FACES].largest is not None for subject in evidence.subjects)
    return expected, evidence.picture[FACES]


def face_count(evidence: Evidence) -> Measured:
    """1 where as many faces are found as there are people, else 0; the parts count those missing and extra."""
    expected, picture = _counts(evidence)
    if not expected:
        return Measured(NO_PERSON)
    found = len(picture.faces)
    numbers = {"expected": expected, "found": found}
    numbers |= {"missing": max(0, expected - found), "extra": max(0, found - expected)}
    return Measured(Value(float(found == expected), parts={"by": picture.by, **numbers}))


def face_found(evidence: Evidence) -> Measured:
    """1 where the picture has a face, else 0; its mean over a run is the detection rate."""
    expected, picture = _counts(evidence)
    return Measured(Value(float(bool(picture.faces)), parts={"by": picture.by}) if expected else NO_PERSON)


FACE_COUNTS = (
    Metric(
        Facts(
            name="face_count",
            label="As many faces as people",
            short="Face count",
            question="Does the picture have as many faces as the case has people?",
            needs=(FACES,),
            kind="prompt",
            protocol={"face_count": "faces found against subjects whose conditioning photo shows one; 1 where equal"},
            shown_as="percent",
        ),
        face_count,
    ),
    Metric(
        Facts(
            name="face_found",
            label="Face found (detection rate)",
            short="Face found",
            question="Does the picture have a face where the case has a person?",
            needs=(FACES,),
            kind="prompt",
            shown_as="percent",
        ),
        face_found,
    ),
)
