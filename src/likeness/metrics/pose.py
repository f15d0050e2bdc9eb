"""Whether subjects take the pose that the relation has in the true picture: what a loss on joints is to improve.

Source: DreamRelation (arXiv:2410.23280) trains joints and publishes no measure of them. Ours: joints of each body in
the body's own frame, so that neither its place in the picture nor its size counts.
Shapes: a body has 17 joints, (x, y) in shares of the picture's sides.
"""

import math

import numpy as np

from likeness.encoders.joints_seen import Body
from likeness.metrics.base import Evidence, Facts, Measured, Metric, Value, not_measured
from likeness.metrics.contact import JOINTS, body_at, counts
from likeness.metrics.slots import ENCODER, NOBODY, UNSEEN_TRUTH, slots_of, truth_slots

FEWEST_JOINTS = 4
"""Of one body in both pictures: fewer say nothing of a pose."""


def pose_error(here: Body, there: Body) -> Value:
    """The mean distance of the joints seen in both, in bodies: each body's joints minus their mean, over their spread.

    The spread is the root of the mean squared distance from the mean; the same pose elsewhere and larger has 0.
    """
    both = counts(here) & counts(there)
    if here.skeleton != there.skeleton or int(both.sum()) < FEWEST_JOINTS:
        return not_measured("too few joints were seen in both pictures", status="nothing_found")
    frames: list[np.ndarray] = []
    for body in (here, there):
        points = body.points[both].astype(np.float64)
        points = points - points.mean(axis=0)
        spread = math.sqrt(float(np.square(points).sum(axis=1).mean()))
        if spread == 0:
            return not_measured("all joints were seen at one place", status="nothing_found")
        frames.append(points / spread)
    return Value(float(np.linalg.norm(frames[0] - frames[1], axis=1).mean()))


def _measure(evidence: Evidence) -> Measured:
    """The mean over subjects; a subject that nobody plays has no pose."""
    true, slots = truth_slots(evidence), slots_of(evidence)
    if isinstance(true, Value) or evidence.truth is None:
        value = true if isinstance(true, Value) else UNSEEN_TRUTH
        return Measured(value, (value,) * len(evidence.subjects))
    each: list[Value] = []
    for number in range(len(evidence.subjects)):
        found, wanted = slots.of(number), true.of(number)
        here = None if found is None else body_at(evidence.picture, found.box)
        there = None if wanted is None else body_at(evidence.truth, wanted.box)
        each.append(NOBODY if here is None or there is None else pose_error(here, there))
    missing = [value for value in each if not value.measured]
    mean = missing[0] if missing else Value(math.fsum(value.value for value in each) / len(each))
    return Measured(mean, tuple(each))


POSE_ERROR = Metric(
    Facts(
        "pose_error",
        "Joints away from the true pose",
        "Pose error",
        "How far are the joints from those of the true picture, each body in its own frame?",
        (ENCODER, JOINTS),
        "prompt",
        unit="bodies",
        range=(0.0, math.inf),
        higher_is_better=False,
        protocol={"pose_error": "mean distance of joints seen in both pictures, each body centred and of one spread"},
        per_subject=True,
    ),
    _measure,
    compares_truth=True,
)
