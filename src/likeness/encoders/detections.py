"""What a detector answers to a text about a picture, as plain data that needs no torch."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

MOST_BOXES = 100
"""Boxes kept of each text: detectors without suppression give thousands, almost all of them with a score near 0."""


def competing(texts: list[str] | tuple[str, ...]) -> str:
    """The question in which several texts compete for the boxes: one text per line."""
    return "\n".join(texts)


@dataclass(frozen=True)
class Detections:
    """The best boxes of every line of a question, best first; no box is left out for overlapping another.

    size: (width, height) of the picture in px. boxes: (N, 4) left, top, right, bottom in px, inside the picture.
    scores: (N,) in [0, 1]. labels: the line of the question that each box answers. In a question of several lines a
    box answers only the line that fits it best.
    """

    size: tuple[int, int]
    boxes: np.ndarray
    scores: np.ndarray
    labels: tuple[str, ...]

    def best(self, label: str) -> float:
        """The largest score of the label's boxes, in [0, 1]; 0 where no box answers it."""
        return max(
            (float(score) for score, own in zip(self.scores, self.labels, strict=True) if own == label), default=0.0
        )

    def at_least(self, score: float, *, most: int) -> tuple[Float[np.ndarray, "N 4"], Float[np.ndarray, " N"]]:
        """Boxes and scores of the `most` best boxes whose score is at least `score`."""
        keep = np.flatnonzero(self.scores >= score)[:most]
        return self.boxes[keep], self.scores[keep]


def best_boxes(
    question: str,
    *,
    size: tuple[int, int],
    boxes: Float[np.ndarray, "N 4"],
    scores: Float[np.ndarray, "N L"],
) -> Detections:
    """The answer made of the scores of N boxes (px) for the L lines of the question.

    Boxes are cut to the picture. Of equal scores the first line and the first box come first.
    """
    lines = question.split("\n")
    winner, height = scores.argmax(axis=1), scores.max(axis=1)
    order = np.argsort(-height, kind="stable")
    kept = sorted(i for line in range(len(lines)) for i in np.flatnonzero(winner[order] == line)[:MOST_BOXES])
    chosen = order[np.array(kept, dtype=int)]
    limits = np.array([*size, *size], dtype=np.float32)
    inside = np.clip(boxes[chosen], 0, limits).astype(np.float32)
    return Detections(size, inside, height[chosen].astype(np.float32), tuple(lines[line] for line in winner[chosen]))


def corners(boxes: Float[np.ndarray, "N 4"], *, scale: tuple[float, float]) -> Float[np.ndarray, "N 4"]:
    """Boxes in px from centre and extent (cx, cy, w, h) in shares of `scale`, the width and height in px."""
    centre, half = boxes[:, :2], boxes[:, 2:] / 2
    return np.concatenate([centre - half, centre + half], axis=1) * np.array([*scale, *scale], dtype=boxes.dtype)


def overlaps(a: Float[np.ndarray, "N 4"], b: Float[np.ndarray, "M 4"]) -> Float[np.ndarray, "N M"]:
    """Intersection over union of every box (left, top, right, bottom) with every other; 0 where both are empty."""
    first, second = a.astype(np.float64)[:, None], b.astype(np.float64)[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    shared = np.maximum(sides, 0).prod(axis=-1)
    whole = sum((each[..., 2:] - each[..., :2]).prod(axis=-1) for each in (first, second)) - shared
    return np.divide(shared, whole, out=np.zeros_like(shared), where=whole > 0)


def apart(boxes: Float[np.ndarray, "N 4"], *, most: float) -> list[int]:
    """Which of the boxes, best first, stay when each that overlaps a better one by more than `most` (IoU) goes.

    Source: greedy non-maximum suppression, as in torchvision.ops.nms.
    """
    shared = overlaps(boxes, boxes)
    kept: list[int] = []
    for index in range(len(boxes)):
        if not kept or shared[index, kept].max() <= most:
            kept.append(index)
    return kept
