"""Poses planted in joints; every number is by hand or by a loop."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from slots_seen import ALIKE, A, B

from likeness.core.records import Case, Subject
from likeness.encoders.joints_seen import Body, JointsSeen
from likeness.encoders.subjects_seen import SubjectSeen, SubjectsSeen
from likeness.metrics import METRICS
from likeness.metrics.base import Evidence, Seen, SubjectEvidence
from likeness.metrics.pose import pose_error

LEFT, RIGHT = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
SMALL = np.zeros((8, 8, 3), dtype=np.uint8)


def body(points: np.ndarray, *, box: tuple[float, float, float, float] = LEFT, unseen: tuple[int, ...] = ()) -> Body:
    scores = np.ones(17, dtype=np.float32)
    scores[list(unseen)] = 0.1
    return Body(box, points.astype(np.float32), scores, "ap10k")


def pose(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.1, 0.4, (17, 2))


def by_loop(one: np.ndarray, other: np.ndarray) -> float:
    def framed(points: np.ndarray) -> list[list[float]]:
        middle = [sum(float(p[axis]) for p in points) / len(points) for axis in (0, 1)]
        moved = [[float(p[0]) - middle[0], float(p[1]) - middle[1]] for p in points]
        spread = math.sqrt(sum(x * x + y * y for x, y in moved) / len(moved))
        return [[x / spread, y / spread] for x, y in moved]

    pairs = list(zip(framed(one), framed(other), strict=True))
    return sum(math.hypot(a[0] - b[0], a[1] - b[1]) for a, b in pairs) / len(pairs)


def test_the_same_pose_elsewhere_and_larger_has_no_error() -> None:
    assert pose_error(body(pose(0)), body(0.3 + 2 * pose(0))).value == pytest.approx(0, abs=1e-5)


def test_the_error_is_the_mean_distance_in_the_bodies_own_frames() -> None:
    assert pose_error(body(pose(0)), body(pose(1))).value == pytest.approx(by_loop(pose(0), pose(1)), abs=1e-5)


def test_only_joints_that_both_show_count() -> None:
    found = pose_error(body(pose(0), unseen=(0, 1)), body(pose(1), unseen=(1, 2)))
    assert found.value == pytest.approx(by_loop(pose(0)[3:], pose(1)[3:]), abs=1e-5)
    few = pose_error(body(pose(0), unseen=tuple(range(14))), body(pose(1)))
    assert few.status == "nothing_found"


def seen(*bodies: Body) -> Seen:
    finds = tuple(SubjectSeen(each.box, 0.9, "", who) for each, who in zip(bodies, (A, B), strict=False))
    return {"subjects": SubjectsSeen(finds, ALIKE, SMALL), "joints": JointsSeen(bodies)}


def evidence(picture: Seen, truth: Seen | None) -> Evidence:
    names = ("cat", "dog")
    subjects = tuple(Subject(id=name, class_name=name, reference_image=Path("x.png")) for name in names)
    alone = [
        {"subjects": SubjectsSeen((SubjectSeen(LEFT, 0.9, "", who),), ALIKE, SMALL), "joints": JointsSeen(())}
        for who in (A, B)
    ]
    shown = tuple(SubjectEvidence(who, (photo,), photo) for who, photo in zip(subjects, alone, strict=True))
    case = Case(id="a", prompt="A cat and a dog.", subjects=subjects)
    return Evidence(case, picture, {}, shown, truth=truth)


def test_each_subject_is_compared_with_itself() -> None:
    picture = seen(body(pose(0)), body(pose(1), box=RIGHT))
    truth = seen(body(pose(2)), body(pose(1) + 0.2, box=RIGHT))
    found = METRICS["pose_error"].measure(evidence(picture, truth))
    first = by_loop(pose(0), pose(2))
    assert [each.value for each in found.per_subject] == pytest.approx([first, 0.0], abs=1e-5)
    assert found.value.value == pytest.approx(first / 2, abs=1e-5)


def test_somebody_missing_has_no_pose_and_a_case_without_truth_no_error() -> None:
    both = seen(body(pose(0)), body(pose(1), box=RIGHT))
    alone = METRICS["pose_error"].measure(evidence(seen(body(pose(0))), both))
    assert [each.status for each in alone.per_subject] == ["measured", "nothing_found"]
    assert alone.value.status == "nothing_found"
    assert METRICS["pose_error"].measure(evidence(both, None)).value.status == "not_applicable"
