"""YuNet and SFace through OpenCV: five landmarks, an aligned crop of 112 px, 128 numbers compared by cosine.

Source: Wu et al., "YuNet: A Tiny Millisecond-level Face Detector" (2023); Zhong et al., "SFace" (arXiv:2205.12010);
the ONNX files of opencv/face_detection_yunet (MIT) and opencv/face_recognition_sface (Apache-2.0), with the thresholds
that OpenCV's own documentation gives: detections of 0.9 and more, one person from a cosine of 0.363.
"""

from pathlib import Path
from typing import Any  # OpenCV's types know neither class

import numpy as np
from PIL import Image

from likeness.encoders.base import unit_rows
from likeness.encoders.faces import FaceEncoder, named, shrunk
from likeness.encoders.faces_seen import COSINE, Face
from likeness.encoders.packaged import FACES, only_file, required_library, told

DETECTOR = ("face_detection_yunet*.onnx",)
EMBEDDER = ("face_recognition_sface*.onnx",)
LONGEST = 640
"""px of the longer side that the detector sees: it was trained on faces of 10 to 300 px."""
MIN_SCORE, MAX_OVERLAP, MOST = 0.9, 0.3, 5000


class OpenCvFaces(FaceEncoder):
    """Faces by a folder with one YuNet and one SFace file; `score` is YuNet's, in [0, 1]."""

    measure = COSINE
    same_person = 0.363

    def __init__(self, folder: Path, *, spec: str | Path) -> None:
        """Raises: WeightsError without OpenCV, or when a file is absent or damaged."""
        cv2: Any = required_library("cv2", noun="faces opencv", extra=FACES)
        wanted = f"{DETECTOR[0]} and {EMBEDDER[0]}"
        with told("faces", spec, wanted=wanted, form="a folder with one whole file of each"):
            detector, embedder = only_file(folder, DETECTOR, what="detector"), only_file(folder, EMBEDDER, what="SFace")
            size = (LONGEST, LONGEST)
            self._detector = cv2.FaceDetectorYN.create(str(detector), "", size, MIN_SCORE, MAX_OVERLAP, MOST)
            self._embedder = cv2.FaceRecognizerSF.create(str(embedder), "")
            self._embedder.feature(np.zeros((112, 112, 3), np.uint8))
            self._detector.detect(np.zeros((LONGEST, LONGEST, 3), np.uint8))
        parts = f"{named(detector, licence='MIT')} + {named(embedder, licence='Apache-2.0')}"
        seen = f"OpenCV {cv2.__version__}, BGR, longer side at most {LONGEST}, score >= {MIN_SCORE}"
        self.id = f"faces opencv: {parts}; {seen}; cosine; one picture at a time"

    def faces(self, image: Image.Image) -> list[Face]:
        """Detected in the shrunk picture, embedded from the whole one."""
        small, scale = shrunk(image, longest=LONGEST)
        self._detector.setInputSize(small.size)
        _, rows = self._detector.detect(_bgr(small))
        pixels = _bgr(image)
        return [self._face(pixels, row, scale=scale) for row in (() if rows is None else rows)]

    def _face(self, pixels: np.ndarray, row: np.ndarray, *, scale: float) -> Face:
        """Of a row of YuNet: left, top, width, height, five points, score."""
        whole = np.concatenate([row[:14] / scale, row[14:]]).astype(np.float32)
        aligned = self._embedder.alignCrop(pixels, whole[None])
        embedding = unit_rows(np.asarray(self._embedder.feature(aligned), np.float32).reshape(1, -1))[0]
        left, top, width, height = (float(side) for side in whole[:4])
        box = (left, top, left + width, top + height)
        return Face(box, float(whole[14]), whole[4:14].reshape(5, 2), embedding)


def _bgr(image: Image.Image) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(image)[:, :, ::-1])
