"""ONNX packs of the layout that insightface made common: SCRFD finds faces and five points, ArcFace embeds them.

Source: Guo et al., "Sample and Computation Redistribution for Efficient Face Detection" (arXiv:2105.04714); Deng et
al., "ArcFace" (arXiv:1801.07698): crops of 112 px on which the five points lie where the template has them.
Differs: the crop is cut by Pillow instead of OpenCV (bilinear as there; a grey level may differ by one).
"""

from pathlib import Path
from typing import Any, NamedTuple  # Any: onnxruntime is not typed

import numpy as np
from jaxtyping import Float
from PIL import Image

from likeness.encoders.base import unit_rows
from likeness.encoders.faces import FaceEncoder, named
from likeness.encoders.faces_seen import COSINE, Face
from likeness.encoders.packaged import only_file, onnx_session, told

DETECTOR = ("det_*.onnx", "scrfd_*.onnx")
EMBEDDER = ("w600k_*.onnx", "glintr100*.onnx", "*arcface*.onnx")
STRIDES = (8, 16, 32)
ANCHORS = 2
EDGE, CROP = 640, 112
MIN_SCORE, MAX_OVERLAP = 0.5, 0.4
MOST = 750
"""Detections that are compared with each other: the best; a damaged picture can give thousands."""
TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
"""Where ArcFace wants eyes, nose and corners of the mouth, in px of the crop (Deng et al., the public code)."""


class Found(NamedTuple):
    """Detections in px: boxes (N, 4) as left, top, right, bottom, scores (N,) in [0, 1], points (N, 5, 2)."""

    boxes: np.ndarray
    scores: np.ndarray
    points: np.ndarray


class OnnxFaces(FaceEncoder):
    """Faces by a folder with one SCRFD and one ArcFace file; `score` is SCRFD's, in [0, 1]."""

    measure = COSINE
    same_person = 0.28

    def __init__(self, folder: Path, *, spec: str | Path, licence: str = "licence of its source") -> None:
        """Raises: WeightsError without onnxruntime, or when a file is absent, damaged, or another model."""
        wanted = f"one of {', '.join(DETECTOR)} and one of {', '.join(EMBEDDER)}"
        with told("faces", spec, wanted=wanted, form="a folder with one whole file of each"):
            detector, embedder = (
                only_file(folder, some, what=what) for some, what in ((DETECTOR, "detector"), (EMBEDDER, "embedder"))
            )
            self._detector = onnx_session(detector, noun="faces")
            self._embedder = onnx_session(embedder, noun="faces")
            self._detect(np.zeros((EDGE, EDGE, 3), np.uint8))
            self._embedding(np.zeros((CROP, CROP, 3), np.uint8))
        name = folder.name if Path(spec).is_dir() else str(spec)
        parts = f"{named(detector, licence=licence)} + {named(embedder, licence=licence)}"
        seen = f"RGB, fitted into {EDGE} x {EDGE}, score >= {MIN_SCORE}, five-point crop of {CROP}"
        self.id = f"faces {name}: {parts}; {seen}; cosine; one picture at a time"

    def faces(self, image: Image.Image) -> list[Face]:
        """Detected in the picture fitted into a square, embedded from the whole one."""
        square, scale = fitted(image, edge=EDGE)
        found = best_apart(self._detect(np.asarray(square)))
        return [
            self._face(image, box / scale, score=float(score), points=points / scale)
            for box, score, points in zip(found.boxes, found.scores, found.points, strict=True)
        ]

    def _face(self, image: Image.Image, box: np.ndarray, *, score: float, points: np.ndarray) -> Face:
        embedding = self._embedding(np.asarray(aligned(image, points)))
        left, top, right, bottom = (float(side) for side in box)
        return Face((left, top, right, bottom), score, points.astype(np.float32), embedding)

    def _detect(self, pixels: np.ndarray) -> Found:
        given = ((pixels.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)[None]
        outputs = self._detector.run(None, {self._detector.get_inputs()[0].name: given})
        if len(outputs) != 3 * len(STRIDES):
            raise ValueError(f"a detector with {len(outputs)} outputs instead of 9: scores, boxes, points by stride")
        return decoded(outputs)

    def _embedding(self, crop: np.ndarray) -> Float[np.ndarray, " D"]:
        given = ((crop.astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)[None]
        (found,) = self._embedder.run(None, {self._embedder.get_inputs()[0].name: given})
        return unit_rows(np.asarray(found, np.float32).reshape(1, -1))[0]


def fitted(image: Image.Image, *, edge: int) -> tuple[Image.Image, float]:
    """The picture in the upper left of a black square of `edge` px, and by what its sides were multiplied."""
    scale = edge / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    square = Image.new("RGB", (edge, edge))
    square.paste(image.resize((width, height), Image.Resampling.BILINEAR))
    return square, scale


def decoded(outputs: list[Any]) -> Found:
    """Detections above MIN_SCORE from scores, distances to the sides and points of each stride, in that order."""
    boxes, scores, points = [np.zeros((0, 4))], [np.zeros(0)], [np.zeros((0, 5, 2))]
    for index, stride in enumerate(STRIDES):
        height = width = EDGE // stride
        rows, columns = np.mgrid[:height, :width]
        centres = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2).repeat(ANCHORS, axis=1).reshape(-1, 2) * stride
        score, sides, offsets = (np.asarray(outputs[index + 3 * k], np.float64) for k in range(3))
        score, sides, offsets = score.reshape(-1), sides.reshape(-1, 4) * stride, offsets.reshape(-1, 5, 2) * stride
        kept = score >= MIN_SCORE
        boxes.append(np.concatenate([centres - sides[:, :2], centres + sides[:, 2:]], axis=1)[kept])
        scores.append(score[kept])
        points.append((centres[:, None] + offsets)[kept])
    return Found(np.concatenate(boxes), np.concatenate(scores), np.concatenate(points))


def best_apart(found: Found) -> Found:
    """The detections from the best on, without those that overlap a better one by more than MAX_OVERLAP (IoU)."""
    left = np.argsort(-found.scores, kind="stable")[:MOST]
    kept: list[int] = []
    while len(left):
        best, left = int(left[0]), left[1:]
        kept.append(best)
        left = left[overlaps(found.boxes[best], found.boxes[left]) <= MAX_OVERLAP]
    return Found(found.boxes[kept], found.scores[kept], found.points[kept])


def overlaps(box: Float[np.ndarray, " 4"], boxes: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, " N"]:
    """Intersection over union of a box with each of others, in [0, 1]; 0 where neither has an area."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = np.maximum(sides, 0).prod(axis=1)
    union = _areas(boxes) + _areas(box[None]) - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0.0)


def _areas(boxes: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, " N"]:
    return np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)


def similarity_transform(
    source: Float[np.ndarray, "N 2"], target: Float[np.ndarray, "N 2"]
) -> Float[np.ndarray, "2 3"]:
    """The turn, scale and shift (2, 3) that bring points nearest to their targets in squares.

    Source: Umeyama, "Least-squares estimation of transformation parameters" (1991).
    """
    here, there = source.astype(np.float64), target.astype(np.float64)
    middle, goal = here.mean(axis=0), there.mean(axis=0)
    left, strengths, right = np.linalg.svd((there - goal).T @ (here - middle) / len(here))
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    turn = left @ np.diag(signs) @ right
    scale = (strengths * signs).sum() / ((here - middle) ** 2).sum(axis=1).mean()
    return np.concatenate([scale * turn, (goal - scale * turn @ middle)[:, None]], axis=1)


def aligned(image: Image.Image, points: Float[np.ndarray, "5 2"]) -> Image.Image:
    """The crop of 112 px in which the five points lie as in TEMPLATE; black outside the picture."""
    back = np.linalg.inv(np.concatenate([similarity_transform(points, TEMPLATE), [[0.0, 0.0, 1.0]]]))[:2]
    # the template counts from centres of pixels, Pillow from their corners
    shift = back[:, 2] + 0.5 - back[:, :2].sum(axis=1) / 2
    numbers = (*back[0, :2], shift[0], *back[1, :2], shift[1])
    return image.transform((CROP, CROP), Image.Transform.AFFINE, numbers, Image.Resampling.BILINEAR)
