"""The faces of one picture and how alike two of them are, as plain data that needs no torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from likeness.core.errors import MeasurementError

COSINE = "cosine"
DISTANCE = "1 - distance"


@dataclass(frozen=True)
class Face:
    """One face.

    box: left, top, right, bottom in px of the picture; it may reach outside. score: the detector's own, on its own
    scale. landmarks: five points (x, y) in px of the picture, in the detector's own order. embedding: who it is; of
    unit length where embeddings are compared by cosine, as the embedder gives it where they are compared by distance.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: Float[np.ndarray, "5 2"]
    embedding: Float[np.ndarray, " D"]

    @property
    def area(self) -> float:
        """Of its box, in square px."""
        left, top, right, bottom = self.box
        return max(0.0, right - left) * max(0.0, bottom - top)


@dataclass(frozen=True)
class FacesSeen:
    """The faces found in a picture, the largest first.

    by: detector, embedder, their hashes and licences in one line. size: width and height of the picture in px.
    measure: how embeddings are compared, COSINE or DISTANCE. same_person: the similarity from which the embedder's
    authors take two faces for one person.
    """

    by: str
    size: tuple[int, int]
    measure: str
    same_person: float
    faces: tuple[Face, ...]

    @property
    def largest(self) -> Face | None:
        """The face with the largest box; None where there is none."""
        return self.faces[0] if self.faces else None

    def similarity(self, a: Face, b: Face) -> float:
        """How alike two faces are, in [-1, 1], by this picture's measure."""
        return face_similarity(a.embedding, b.embedding, measure=self.measure)


def largest_first(faces: Sequence[Face]) -> tuple[Face, ...]:
    """The faces by falling area; equal ones by falling score, then from left to right."""
    return tuple(sorted(faces, key=lambda face: (-face.area, -face.score, face.box)))


def face_similarity(a: Float[np.ndarray, " D"], b: Float[np.ndarray, " D"], *, measure: str) -> float:
    """COSINE: the cosine. DISTANCE: 1 minus the Euclidean distance, at least -1. Symmetric; 1 for equal embeddings.

    Raises: MeasurementError for another measure, and for embeddings of two lengths: those of two embedders.
    """
    if a.shape != b.shape:
        got = f"{a.shape[0]} and {b.shape[0]}"
        raise MeasurementError(f"Faces: expected embeddings of one embedder, got {got} numbers; measure with one.")
    a, b = a.astype(np.float64), b.astype(np.float64)
    # plain sums, not BLAS: a dot product there may change with the number of threads
    if measure == COSINE:
        cosine = float((a * b).sum()) / math.sqrt(float((a * a).sum()) * float((b * b).sum()))
        return min(1.0, max(-1.0, cosine))
    if measure == DISTANCE:
        return max(-1.0, 1.0 - math.sqrt(float(((a - b) ** 2).sum())))
    raise MeasurementError(f"Faces: expected the measure {COSINE} or {DISTANCE}, got {measure!r}; correct the encoder.")
