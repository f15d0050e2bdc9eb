"""Joints of every subject: which window of a find is believed, with stand-ins of both models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from likeness.core.skeletons import AP10K
from likeness.encoders.answers import Pose
from likeness.encoders.joints import JointsEncoder
from likeness.encoders.pose import PoseEncoder
from likeness.encoders.reading import SubjectReading
from likeness.encoders.subjects import Detection
from likeness.encoders.world_subjects import DROP, SIDE, WINDOWS, _detection

BOX, SMALL, LARGE = (0.25, 0.25, 0.75, 0.75), (0.4, 0.4, 0.6, 0.6), (0.0, 0.0, 1.0, 1.0)


class Detector:
    id = "detector"

    def __init__(self, *windows: tuple[float, float, float, float]) -> None:
        self.windows = windows

    def find(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        return [[Detection(BOX, 0.9, "", np.zeros(0, np.float32), self.windows)] for _ in images]


class PoseModel(PoseEncoder):
    """All joints in the left upper corner of the window, with a score that is told for it in px; no network."""

    def __init__(self, scores: dict[str, float]) -> None:
        self.id, self.names = "pose", AP10K
        self.scores, self.asked = scores, list[str]()

    def ask(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[Pose]:
        self.asked += texts
        corners = [np.array([float(side) for side in text.split()[:2]], np.float32) for text in texts]
        return [
            Pose(np.tile(corner, (17, 1)), np.full(17, self.scores[text], np.float32), AP10K)
            for corner, text in zip(corners, texts, strict=True)
        ]


def looked(detector: Detector, pose: PoseModel) -> Any:
    encoder = JointsEncoder(detector, pose)
    return encoder.look([Image.new("RGB", (80, 40))])[0].bodies[0]


def test_the_surest_window_counts_and_the_body_goes_by_its_find() -> None:
    pose = PoseModel({"32 16 48 24": 0.5, "0 0 80 40": 0.4, "20 10 60 30": 0.1})
    body = looked(Detector(SMALL, LARGE, BOX), pose)
    assert body.box == BOX
    assert body.scores[0] == np.float32(0.5)
    np.testing.assert_allclose(body.points, np.tile([0.4, 0.4], (17, 1)), atol=1e-6)
    assert pose.asked == ["32 16 48 24", "0 0 80 40", "20 10 60 30"]


def test_of_equally_sure_windows_the_first_counts() -> None:
    body = looked(Detector(LARGE, SMALL), PoseModel({"32 16 48 24": 0.5, "0 0 80 40": 0.5}))
    np.testing.assert_allclose(body.points, 0, atol=1e-6)


def test_without_windows_the_box_is_looked_at() -> None:
    pose = PoseModel({"20 10 60 30": 0.1})
    looked(Detector(), pose)
    assert pose.asked == ["20 10 60 30"]


@pytest.mark.parametrize("head", [(0.5, 0.3), (0.05, 0.9)])
def test_windows_of_drawn_heads_are_squares_around_them_cut_at_the_edge(head: tuple[float, float]) -> None:
    found = _detection(SubjectReading(head, 0.9, {"species": {"cat": 1.0}}))
    assert WINDOWS[1] == 1
    assert found.windows[1] == found.box
    for scale, (left, top, right, bottom) in zip(WINDOWS, found.windows, strict=True):
        reach, middle = SIDE * scale / 2, head[1] + DROP * scale
        assert (left, right) == pytest.approx((max(0, head[0] - reach), min(1, head[0] + reach)))
        assert (top, bottom) == pytest.approx((max(0, middle - reach), min(1, middle + reach)))
