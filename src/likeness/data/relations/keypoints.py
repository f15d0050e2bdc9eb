"""Which keypoints can be trusted, and keypoints carried from one skeleton to another.

Shapes: H x W pixels; points (17, 2) are x and y in shares of the picture's sides.
"""

import math

import numpy as np
from jaxtyping import Bool, Float

from likeness.core.skeletons import LIMBS, Skeleton

__all__ = ["REACH", "ap10k_of_coco", "at_edge", "in_picture", "num_limbs", "on_mask", "piled"]

REACH = 0.02
"""Share of the longer side within which a mask must come for a point to lie on it."""
PILE = 0.01
"""Share of the sides within which points count as one place."""
FEWEST_IN_PILE = 3
EDGE = 0.005
"""Share of the sides from an edge of the picture within which a joint is taken for one that the frame cuts off."""


def in_picture(points: Float[np.ndarray, "K 2"]) -> Bool[np.ndarray, " K"]:
    """Which points lie in the picture; the right and lower edge belong to it."""
    return np.all((points >= 0) & (points <= 1), axis=1)


def on_mask(
    points: Float[np.ndarray, "K 2"], mask: Bool[np.ndarray, "H W"], *, reach: float = REACH
) -> Bool[np.ndarray, " K"]:
    """Which points lie in the picture with a pixel of the mask within `reach` (a square of that half side)."""
    height, width = mask.shape
    radius = max(1, round(reach * max(mask.shape))) if reach else 0
    near = np.zeros(len(points), dtype=bool)
    for index in np.flatnonzero(in_picture(points)):
        x, y = points[index]
        column, row = min(math.floor(x * width), width - 1), min(math.floor(y * height), height - 1)
        rows = slice(max(row - radius, 0), row + radius + 1)
        near[index] = mask[rows, max(column - radius, 0) : column + radius + 1].any()
    return near


def at_edge(points: Float[np.ndarray, "K 2"]) -> Bool[np.ndarray, " K"]:
    """Which points lie on the frame or beyond, where detectors put joints that the picture does not show.

    Source: the concepts of shake/4, whose hind legs lie at x up to 0.998 (design note, 2.11).
    """
    return np.any((points <= EDGE) | (points >= 1 - EDGE), axis=1)


def piled(points: Float[np.ndarray, "K 2"]) -> Bool[np.ndarray, " K"]:
    """Which points share their place with two or more others: hind legs of a close-up that all lie on its edge.

    Source: the released pictures shake/4 of DreamRelation, whose invisible joints are guessed that way (design note,
    2.11).
    """
    apart = np.abs(points[:, None] - points[None]).max(axis=-1)
    return (apart <= PILE).sum(axis=1) >= FEWEST_IN_PILE


def num_limbs(*seen: Bool[np.ndarray, " 17"], skeleton: Skeleton) -> int:
    """Limbs whose root, joint and end are valid in each of the pictures."""
    both = np.logical_and.reduce(seen)
    return sum(bool(both[list(limb)].all()) for limb in LIMBS[skeleton])


_FROM_COCO = (
    *((1,), (2,), (0,), (5, 6), (11, 12)),
    *((5,), (7,), (9,), (6,), (8,), (10,)),
    *((11,), (13,), (15,), (12,), (14,), (16,)),
)


def ap10k_of_coco(
    points: Float[np.ndarray, "17 2"], valid: Bool[np.ndarray, " 17"]
) -> tuple[Float[np.ndarray, "17 2"], Bool[np.ndarray, " 17"]]:
    """COCO's points in the order of AP-10K: neck between the shoulders, root of tail between the hips, no ears.

    A point between two is valid where both are. Source: design note, 7.2.
    """
    moved = np.stack([points[list(origin)].mean(axis=0) for origin in _FROM_COCO])
    return moved, np.array([valid[list(origin)].all() for origin in _FROM_COCO])
