"""Skeletons of 17 keypoints: their names in order, and which three of them are a limb.

Left and right are the subject's own. AP-10K is that of animals (arXiv:2108.12617) and of DreamRelation's key poses,
COCO that of people and of ViTPose as published.
"""

import re
from typing import Literal

Skeleton = Literal["ap10k", "coco"]
NUM_KEYPOINTS = 17

AP10K = (
    *("left_eye", "right_eye", "nose", "neck", "root_of_tail", "left_shoulder", "left_elbow", "left_front_paw"),
    *("right_shoulder", "right_elbow", "right_front_paw", "left_hip", "left_knee", "left_back_paw"),
    *("right_hip", "right_knee", "right_back_paw"),
)
COCO = (
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee"),
    *("left_ankle", "right_ankle"),
)
NAMES: dict[Skeleton, tuple[str, ...]] = {"ap10k": AP10K, "coco": COCO}

LIMBS: dict[Skeleton, tuple[tuple[int, int, int], ...]] = {
    "ap10k": ((5, 6, 7), (8, 9, 10), (11, 12, 13), (14, 15, 16)),
    "coco": ((5, 7, 9), (6, 8, 10), (11, 13, 15), (12, 14, 16)),
}
"""Root, joint and end of each limb: front left, front right, back left, back right."""


def skeleton_of(names: tuple[str, ...]) -> Skeleton | None:
    """Whose keypoints have these names, in any of the spellings "left_eye", "L_Eye" and "Left eye"; None for others."""
    plain = tuple(_plain(name) for name in names)
    return next((skeleton for skeleton, known in NAMES.items() if known == plain), None)


def _plain(name: str) -> str:
    words = re.sub(r"[\W_]+", "_", name.lower())
    return re.sub(r"^(l|r)_", lambda side: "left_" if side[1] == "l" else "right_", words)
