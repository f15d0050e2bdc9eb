"""dlib: HOG face detector, five landmarks, and a ResNet that places faces of one person near each other.

Source: King, "Dlib-ml: A Machine Learning Toolkit" (JMLR 10, 2009) and dlib.net; weights from the package
face-recognition-models, of which only the five-point landmarks are used: the 68-point file there is non-commercial.
Differs: embeddings are compared by distance (two faces below 0.6 are one person to dlib's author; measured on party
photos: one person 0.22 to 0.44, two people 0.56 and more), so the similarity here is 1 - distance and 0.5 is the line.
"""

from typing import Any  # dlib is not typed

import numpy as np
from PIL import Image

from likeness.encoders.faces import FaceEncoder, named, shrunk
from likeness.encoders.faces_seen import DISTANCE, Face
from likeness.encoders.packaged import OFFLINE, packaged_file, required_library, told

PACKAGE = "face_recognition_models"
LANDMARKS = "models/shape_predictor_5_face_landmarks.dat"
EMBEDDER = "models/dlib_face_recognition_resnet_model_v1.dat"
LONGEST = 1024
"""px of the longer side that the detector sees, doubled once: faces of 1/25 of it and more are found."""
MIN_SCORE = 0.3
"""Of 15 variants of a photo: its face 0.51 to 1.42, what is none 0.03 to 0.15, in turned copies up to 0.84."""


class DlibFaces(FaceEncoder):
    """Faces by dlib; `score` is the margin of a linear classifier, above 0 for what it takes for a face."""

    measure = DISTANCE
    same_person = 0.5

    def __init__(self) -> None:
        """Raises: WeightsError without the extra `offline`, or when a file is damaged."""
        self._dlib: Any = required_library("dlib", noun="faces dlib", extra=OFFLINE)
        landmarks, embedder = (packaged_file(PACKAGE, file, noun="faces dlib") for file in (LANDMARKS, EMBEDDER))
        with told("faces", "dlib", wanted=f"whole files of {PACKAGE}", form="a whole installation of it"):
            self._detector = self._dlib.get_frontal_face_detector()
            self._landmarks = self._dlib.shape_predictor(str(landmarks))
            self._embedder = self._dlib.face_recognition_model_v1(str(embedder))
        parts = f"{named(landmarks, licence='CC0')} + {named(embedder, licence='CC0')}"
        detector = f"HOG detector of dlib {self._dlib.__version__} (Boost)"
        seen = f"RGB, longer side at most {LONGEST}, doubled once, score >= {MIN_SCORE}"
        self.id = f"faces dlib: {detector} + {parts}; {seen}; 1 - L2 distance; one picture at a time"

    def faces(self, image: Image.Image) -> list[Face]:
        """Detected in the shrunk picture, embedded from the whole one."""
        small, scale = shrunk(image, longest=LONGEST)
        boxes, scores, _ = self._detector.run(np.ascontiguousarray(small), 1, MIN_SCORE)
        pixels = np.ascontiguousarray(image)
        return [self._face(pixels, box, score=score, scale=scale) for box, score in zip(boxes, scores, strict=True)]

    def _face(self, pixels: np.ndarray, box: Any, *, score: float, scale: float) -> Face:
        sides = tuple(side / scale for side in (box.left(), box.top(), box.right() + 1, box.bottom() + 1))
        left, top, right, bottom = sides
        whole = self._dlib.rectangle(round(left), round(top), round(right) - 1, round(bottom) - 1)
        shape = self._landmarks(pixels, whole)
        embedding = np.asarray(self._embedder.compute_face_descriptor(pixels, shape), dtype=np.float32)
        points = np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float32)
        return Face((left, top, right, bottom), float(score), points, embedding)
