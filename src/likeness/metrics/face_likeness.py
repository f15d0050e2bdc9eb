"""What the metrics of faces share: whose faces are compared, and what is answered where there are none."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from likeness.encoders.faces_seen import FacesSeen
from likeness.metrics.base import Evidence, Facts, Measured, Metric, SubjectEvidence, Value, not_measured, of_subjects
from likeness.metrics.exclusion import excluding

FACES = "faces"
NO_FACE_IN_PHOTO = not_measured("no face was found in the photo")
NO_FACE = not_measured("no face was found in the picture", status="nothing_found")
NO_FACE_IS_0 = "no face was found in the picture: 0 in the paper"


def likeness_to(picture: FacesSeen, photo: FacesSeen) -> Value:
    """The largest similarity of a face of the picture to the photo's largest face, in [-1, 1].

    "missing" without a face in the photo, "nothing_found" without one in the picture. The parts say whose numbers
    these are and how many faces there were.
    """
    person = photo.largest
    if person is None:
        return NO_FACE_IN_PHOTO
    if not picture.faces:
        return NO_FACE
    found = max(picture.similarity(face, person) for face in picture.faces)
    parts = {"by": picture.by, "faces": len(picture.faces), "same_person": found >= picture.same_person}
    return Value(found, parts=parts)


def as_in_the_paper(value: Value, picture: FacesSeen) -> Value:
    """The value, but 0 where the picture has no face."""
    return Value(0.0, NO_FACE_IS_0, parts={"by": picture.by, "faces": 0}) if value.status == "nothing_found" else value


PerSubject = Callable[[Evidence, SubjectEvidence], Value]


def face_metrics(facts: Facts, *, fixed: PerSubject, paper: PerSubject) -> tuple[Metric, Metric, Metric]:
    """The columns "fixed", "paper" and "excluding" (paper, with the rule of exclusion.py) of a metric per subject."""

    def measure(one: PerSubject, evidence: Evidence) -> Measured:
        return of_subjects([one(evidence, subject) for subject in evidence.subjects])

    as_printed = Metric(replace(facts, column="paper"), partial(measure, paper))
    return (
        Metric(replace(facts, column="fixed"), partial(measure, fixed)),
        as_printed,
        excluding(as_printed, column="excluding"),
    )
