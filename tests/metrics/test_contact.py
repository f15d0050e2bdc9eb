"""Hands that do not meet, limbs that grew and looks that mix, planted in drawn joints; every number is by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slots_seen import ALIKE, A, B

from likeness.core.records import Case, Labels, Subject
from likeness.core.skeletons import AP10K
from likeness.encoders.joints_seen import Body, JointsSeen
from likeness.encoders.subjects_seen import SubjectSeen, SubjectsSeen
from likeness.metrics import METRICS
from likeness.metrics.base import Evidence, Measured, NotApplicableError, Seen, SubjectEvidence

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
RED, BLUE = (200, 0, 0), (0, 0, 200)
PAW = AP10K.index("left_front_paw")
SIDE = 96


def body(box: tuple[float, float, float, float], *, paw: tuple[float, float], limbs: int = 4) -> Body:
    """A body 0.3 wide and 0.4 high whose left front paw is inside that frame; the last limbs are unseen."""
    x = (box[0] + box[2]) / 2
    points = np.full((17, 2), (x, 0.5), dtype=np.float32)
    points[AP10K.index("nose")] = (x - 0.15, 0.3)
    points[AP10K.index("root_of_tail")] = (x + 0.15, 0.7)
    points[PAW] = paw
    points[AP10K.index("right_front_paw")] = (x, 0.65)
    scores = np.ones(17, dtype=np.float32)
    for limb in ((14, 15, 16), (11, 12, 13), (8, 9, 10), (5, 6, 7))[: 4 - limbs]:
        scores[list(limb)] = 0.05
    return Body(box, points, scores, "ap10k")


def looks(*places: tuple[tuple[float, float], tuple[int, int, int]]) -> np.ndarray:
    """Grey, with a square of 11 px of a colour around each place."""
    small = np.full((SIDE, SIDE, 3), 128, dtype=np.uint8)
    for (x, y), color in places:
        row, column = int(y * SIDE), int(x * SIDE)
        small[row - 5 : row + 6, column - 5 : column + 6] = color
    return small


def seen(*bodies: Body, identities: tuple[np.ndarray, ...], small: np.ndarray) -> Seen:
    finds = tuple(SubjectSeen(each.box, 0.9, "", who) for each, who in zip(bodies, identities, strict=True))
    return {"subjects": SubjectsSeen(finds, ALIKE, small), "joints": JointsSeen(bodies)}


def evidence(
    *,
    paws: tuple[tuple[float, float], tuple[float, float]] = ((0.4, 0.5), (0.6, 0.5)),
    colors: tuple[tuple[int, int, int], tuple[int, int, int]] = (RED, BLUE),
    limbs: tuple[int, int] = (4, 4),
    usual: tuple[int, int] = (4, 4),
    action: str | None = "shake_hands",
) -> Evidence:
    """A red and a blue one: paws, their colours there and limbs in the picture, and the limbs of the references."""
    subjects = tuple(Subject(id=name, class_name=name, reference_image=Path("x.png")) for name in ("cat", "dog"))
    photos: list[Seen] = []
    for who, color, count in zip((A, B), (RED, BLUE), usual, strict=True):
        own = body((0.0, 0.0, 1.0, 1.0), paw=(0.6, 0.5), limbs=count)
        photos.append(seen(own, identities=(who,), small=looks(((0.6, 0.5), color))))
    bodies = [body(box, paw=paw, limbs=n) for box, paw, n in zip((LEFT, RIGHT), paws, limbs, strict=True)]
    picture = seen(*bodies, identities=(A, B), small=looks(*zip(paws, colors, strict=True)))
    shown = tuple(SubjectEvidence(subject, (photo,), photo) for subject, photo in zip(subjects, photos, strict=True))
    case = Case(id="a", prompt="A cat and a dog.", subjects=subjects, labels=Labels(action=action))
    return Evidence(case, picture, {}, shown)


def measured(key: str, given: Evidence) -> Measured:
    return METRICS[key].measure(given)


@pytest.mark.parametrize(("paws", "gap"), [(((0.4, 0.5), (0.4, 0.5)), 0.0), (((0.35, 0.5), (0.65, 0.5)), 0.3)])
def test_the_distance_is_that_of_the_named_joints_in_bodies(paws: Any, gap: float) -> None:
    found = measured("contact_distance", evidence(paws=paws)).value
    assert found.value == pytest.approx(gap / math.hypot(0.3, 0.4), abs=1e-6)
    assert found.parts == {"joints": ["left_front_paw", "left_front_paw"]}
    assert found.note == ("no contact" if gap else "")


def test_a_kiss_is_of_noses_and_a_hug_of_a_hand_and_a_trunk() -> None:
    kiss = measured("contact_distance", evidence(action="kiss")).value
    assert kiss.parts == {"joints": ["nose", "nose"]}
    assert kiss.value == pytest.approx(0.5 / 0.5, abs=1e-6)
    hug = measured("contact_distance", evidence(action="hug")).value
    hand, root = hug.parts["joints"]
    assert {hand, root} & {"left_front_paw", "right_front_paw"}
    assert hug.value == pytest.approx(0.35 / 0.5, abs=1e-6), "from the paw at 0.4 to the trunk at 0.75"


def test_a_relation_without_contact_has_none() -> None:
    with pytest.raises(NotApplicableError, match="names no joints that touch"):
        measured("contact_distance", evidence(action="chase"))


def test_hands_that_the_other_hides_count_with_a_low_score() -> None:
    given = evidence(paws=((0.4, 0.5), (0.4, 0.5)))
    hidden = given.picture["joints"].bodies[0]
    hidden.scores[PAW] = 0.15
    assert measured("contact_distance", given).value.value == pytest.approx(0.0, abs=1e-6)


def test_a_body_of_which_no_joint_is_sure_has_no_size_to_measure_by() -> None:
    given = evidence(paws=((0.4, 0.5), (0.45, 0.5)))
    given.picture["joints"].bodies[1].scores[:] = 0.2
    found = measured("contact_distance", given).value
    assert (found.measured, found.status) == (False, "nothing_found")


def test_hands_that_were_not_seen_are_told() -> None:
    found = measured("contact_distance", evidence(limbs=(0, 4))).value
    assert (found.measured, found.status) == (False, "nothing_found")


def test_a_joint_of_a_subject_that_is_missing_is_not_measured() -> None:
    given = evidence()
    sight = given.picture["subjects"]
    alone = {**given.picture, "subjects": replace(sight, subjects=sight.subjects[:1])}
    assert measured("contact_distance", replace(given, picture=alone)).value.status == "nothing_found"


@pytest.mark.parametrize(("limbs", "usual", "grown"), [((4, 4), (4, 4), 0), ((2, 4), (0, 4), 1), ((3, 4), (4, 2), 1)])
def test_limbs_beyond_the_reference_count(limbs: Any, usual: Any, grown: float) -> None:
    """Both halves: 2 - 0 and 4 - 4 are 1 on average; a limb that is hidden takes nothing away from one that grew."""
    found = measured("limb_growth", evidence(limbs=limbs, usual=usual))
    assert found.value.value == grown
    assert found.value.note == ("limbs grew" if grown else "")
    assert [value.parts["picture"] for value in found.per_subject] == list(limbs)


@pytest.mark.parametrize(
    ("colors", "expected"), [((RED, BLUE), 0.0), ((BLUE, RED), 1.0), ((BLUE, BLUE), 0.5), (((100, 0, 100), BLUE), 0.25)]
)
def test_the_share_of_the_others_colour_where_they_touch(colors: Any, expected: float) -> None:
    found = measured("contact_leakage", evidence(colors=colors))
    assert found.value.value == pytest.approx(expected, abs=1e-9)
    assert len(found.per_subject) == 2
    assert found.value.note == "", "hands have no limit"


@pytest.mark.parametrize(("colors", "note"), [((RED, BLUE), ""), ((BLUE, RED), "mixed")])
def test_trunks_are_noted_as_mixed(colors: Any, note: str) -> None:
    given = evidence(colors=colors, paws=((0.25, 0.5), (0.75, 0.5)), action="back_to_back")
    for subject, color in zip(given.subjects, (RED, BLUE), strict=True):
        subject.conditioning["subjects"].small[:] = color
    assert measured("contact_leakage", given).value.note == note


def test_subjects_of_one_colour_cannot_be_told_apart() -> None:
    given = evidence()
    twin = given.subjects[0].conditioning
    same = replace(given.subjects[1], conditioning={**given.subjects[1].conditioning, "subjects": replace(
        given.subjects[1].conditioning["subjects"], small=twin["subjects"].small)})  # fmt: skip
    found = measured("contact_leakage", replace(given, subjects=(given.subjects[0], same))).value
    assert found.status == "not_applicable"
