"""The card of "pose": how near the keypoints of test subjects are, and whether it knows which are in sight."""

import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

from likeness.core.skeletons import AP10K
from likeness.encoders.pose import PoseEncoder, box_text
from likeness.pretrain.cards.numbers import Card, grouped_auc, share
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.pose import jittered
from likeness.world.render import Rendering

REACH = 0.1
"""Of the longer side of the subject's box: a keypoint this near is correct (PCK@0.1)."""


class Read(NamedTuple):
    """Keypoints of one subject: distance to the truth in px, score, and the truth's visibility."""

    subject: str
    side: float
    distance: Float[np.ndarray, " 17"]
    score: Float[np.ndarray, " 17"]
    visible: Float[np.ndarray, " 17"]


def pose_card(config: PretrainConfig, pictures: Sequence[Rendering], *, device: str) -> Card:
    """By the true box of each subject, and by that box moved and scaled as detected ones are."""
    encoder = PoseEncoder.load(config.export / "pose", device=device)
    return {
        "true_box": keypoints_card([_read(encoder, p, i, moved=False) for p in pictures for i in _everybody(p)]),
        "moved_box": keypoints_card([_read(encoder, p, i, moved=True) for p in pictures for i in _everybody(p)]),
        "keypoints": list(AP10K),
    }


def _everybody(picture: Rendering) -> range:
    return range(len(picture.labels.subjects))


def _read(encoder: PoseEncoder, picture: Rendering, index: int, *, moved: bool) -> Read:
    subject, size = picture.labels.subjects[index], len(picture.image)
    left, top, right, bottom = (size * float(edge) for edge in subject.box)
    side = max(right - left, bottom - top)
    if moved:
        left, top, width, height = jittered(subject.box, size=size, rng=random.Random(f"card/{subject.id}"))
        right, bottom = left + width, top + height
    (found,) = encoder.ask([Image.fromarray(picture.image)], [box_text((left, top, right, bottom))])
    truth = subject.keypoints.astype(np.float64)
    distance = np.hypot(*(found.points - truth[:, :2] * size).T)
    return Read(subject.id, side, distance, found.scores, truth[:, 2])


def keypoints_card(reads: Sequence[Read]) -> Card:
    """PCK@0.1 and mean error in px over visible keypoints, of all and by name; AUC of visible against hidden ones."""
    each = [(read, k) for read in reads for k in range(len(AP10K))]
    seen = [(read, k) for read, k in each if read.visible[k] > 0]
    near = [float(read.distance[k] <= REACH * read.side) for read, k in seen]
    names = [read.subject for read, _ in seen]
    hidden = [(read, k) for read, k in each if read.visible[k] == 0]
    right, wrong = ([float(read.score[k]) for read, k in some] for some in (seen, hidden))
    return {
        "pck_at_0.1": share(near, names),
        "error_px": share([float(read.distance[k]) for read, k in seen], names),
        "visible_auc": grouped_auc(right, wrong, groups=(names, [read.subject for read, _ in hidden])),
        "pck_by_keypoint": {name: _of_keypoint(number, near, seen) for number, name in enumerate(AP10K)},
    }


def _of_keypoint(number: int, near: Sequence[float], seen: Sequence[tuple[Read, int]]) -> Card:
    own = [(value, read.subject) for value, (read, k) in zip(near, seen, strict=True) if k == number]
    return share([value for value, _ in own], [subject for _, subject in own])
