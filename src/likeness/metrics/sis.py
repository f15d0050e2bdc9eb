"""SIS, stability of identity: is the person in the picture the one of every photo, not only of the conditioning one?

Source: Stellar (arXiv:2312.06116). Fixed: the smallest IPS over the person's other photos. Paper: the smallest over all
photos, the conditioning one among them, so that SIS <= IPS; 0 where the picture has no face. Differs from the public
code: a photo without a face is a gap in the data and makes the value missing; there its term is 0.
"""

from collections.abc import Sequence

import numpy as np

from likeness.encoders.faces_seen import Face, FacesSeen
from likeness.metrics.base import Evidence, Facts, SubjectEvidence, Value, not_measured
from likeness.metrics.face_likeness import FACES, as_in_the_paper, face_metrics, likeness_to

PROTOCOL = "smallest IPS over the person's other photos; paper: over all photos, 0 without a face"
NO_OTHER = not_measured("the subject has no photo besides the conditioning one", status="not_applicable")


def smallest(values: Sequence[Value]) -> Value:
    """The smallest value; the first that was not measured, where there is one."""
    missing = [value for value in values if not value.measured]
    return missing[0] if missing else min(values, key=lambda value: value.value)


def is_same_picture(a: FacesSeen, b: FacesSeen) -> bool:
    """Whether the same was seen in both, number for number: the same picture under whatever name."""
    return a.size == b.size and len(a.faces) == len(b.faces) and all(map(_is_same_face, a.faces, b.faces))


def _is_same_face(a: Face, b: Face) -> bool:
    return a.box == b.box and np.array_equal(a.embedding, b.embedding)


def _fixed(evidence: Evidence, subject: SubjectEvidence) -> Value:
    given = subject.conditioning[FACES]
    others = [photo[FACES] for photo in subject.photos if not is_same_picture(photo[FACES], given)]
    return smallest([likeness_to(evidence.picture[FACES], photo) for photo in others]) if others else NO_OTHER


def _paper(evidence: Evidence, subject: SubjectEvidence) -> Value:
    picture = evidence.picture[FACES]
    photos = [subject.conditioning[FACES], *(photo[FACES] for photo in subject.photos)]
    if all(is_same_picture(photo, photos[0]) for photo in photos):
        return NO_OTHER
    return as_in_the_paper(smallest([likeness_to(picture, photo) for photo in photos]), picture)


SIS = face_metrics(
    Facts(
        name="sis",
        label="Stability of identity (SIS)",
        short="SIS",
        question="Is the person in the picture the one of every photo, not only of the conditioning one?",
        needs=(FACES,),
        kind="subject",
        unit="similarity",
        range=(-1.0, 1.0),
        protocol={"sis": PROTOCOL},
        per_subject=True,
    ),
    fixed=_fixed,
    paper=_paper,
)
