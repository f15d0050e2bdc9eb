"""What the metrics of several subjects share: the subjects found in a picture beside those that should be there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from likeness.encoders.subjects_seen import SubjectSeen, SubjectsSeen
from likeness.metrics.assignment import Assignment, assign, similarities
from likeness.metrics.base import Evidence, NotApplicableError, Seen, Value, not_measured

ENCODER = "subjects"
NOT_FOUND = "not found"
NO_TRUTH = not_measured("the case has no true picture", status="not_applicable")
UNSEEN_TRUTH = not_measured("not every subject was found in the true picture", status="nothing_found")
NOBODY = not_measured(NOT_FOUND, status="nothing_found")


class UnseenPhotoError(NotApplicableError):
    """No subject was found in the photos of one that should be there, so nobody can be compared with it."""


@dataclass(frozen=True)
class Slots:
    """A picture's finds, how like the case's subjects they are, and who plays whom.

    expected: the identities in each subject's photos. similarity: (F, E) mean cosines.
    """

    found: tuple[SubjectSeen, ...]
    expected: tuple[tuple[Float[np.ndarray, " D"], ...], ...]
    similarity: Float[np.ndarray, "F E"]
    alike: float
    assignment: Assignment

    def of(self, subject: int) -> SubjectSeen | None:
        """Who plays a subject, like it or not; None when nobody is left for it."""
        place = self.assignment.cast[subject]
        return None if place is None else self.found[place]


def slots_of(evidence: Evidence) -> Slots:
    """The slots of the picture. Raises: NotApplicableError without subjects; UnseenPhotoError."""
    return slots_in(evidence.picture[ENCODER], evidence)


def slots_in(seen: SubjectsSeen, evidence: Evidence) -> Slots:
    """The slots of a picture of the case, such as the true one. Raises: as `slots_of` does."""
    expected = tuple(identities(subject.photos) for subject in evidence.subjects)
    if not expected:
        raise NotApplicableError("the case has no subject")
    if unseen := [s.subject.id for s, some in zip(evidence.subjects, expected, strict=True) if not some]:
        raise UnseenPhotoError(f"no subject was found in the photos of {unseen[0]}")
    similarity = similarities([each.identity for each in seen.subjects], expected)
    return Slots(seen.subjects, expected, similarity, seen.alike, assign(similarity, alike=seen.alike))


def identities(photos: Sequence[Seen]) -> tuple[Float[np.ndarray, " D"], ...]:
    """The one identity in each photo where a subject was found."""
    sights: list[SubjectsSeen] = [photo[ENCODER] for photo in photos]
    return tuple(sight.surest.identity for sight in sights if sight.surest is not None)


def truth_slots(evidence: Evidence) -> Slots | Value:
    """The slots of the true picture, or why there are none: the case has none, or somebody was not found in it."""
    if evidence.truth is None:
        return NO_TRUTH
    slots = slots_in(evidence.truth[ENCODER], evidence)
    return UNSEEN_TRUTH if slots.assignment.num_missing else slots


def several(evidence: Evidence) -> Slots:
    """The slots of a case of two subjects or more. Raises: NotApplicableError for fewer."""
    if len(evidence.subjects) < 2:
        raise NotApplicableError("fewer than two subjects: nobody to be taken for another")
    return slots_of(evidence)
