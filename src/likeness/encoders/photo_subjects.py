"""The subjects of a photograph: OWL finds whatever a class word names, DINO says who each find is.

Every word is asked alone. Of boxes that overlap, whatever their words, the surest stays. Thresholds below are ours and
not calibrated on photographs, since none are at hand: choose them by the floor and ceiling rows of an evaluation.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from PIL import Image

from likeness.core.errors import WeightsError
from likeness.encoders.base import short_reason
from likeness.encoders.detections import Detections, apart
from likeness.encoders.owl import OwlDetector
from likeness.encoders.relations import JOINT
from likeness.encoders.subjects import Detection, SubjectEncoder
from likeness.encoders.vit import VitEncoder
from likeness.encoders.world_subjects import WorldSubjects

PARTS = ("detector", "vit")


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


WORDS = (
    *_words("person, cat, dog, rabbit, bear, bird, horse, cow, sheep, elephant, fox, frog, pig, duck, stuffed animal"),
    *_words("toy, doll, robot, cartoon, backpack, bag, hat, shoe, sneaker, boot, glasses, bowl, can, bottle, cup"),
    *_words("teapot, vase, candle, clock, lamp, chair, car, motorcycle, bicycle, plant, flower"),
)
"""What is looked for unless words are named: the classes of DreamBench and other common ones."""
LEAST_SCORE = 0.2
"""Below it only the surest find of a picture counts."""
MOST_FOUND = 8
SHARED = 0.5
"""From this intersection over union two boxes are one subject."""
SCALES = (1.0,)
ALIKE = 0.6


@runtime_checkable
class Finder(Protocol):
    """A detector of texts, as `encoders/owl.py:OwlDetector` is."""

    id: str

    def ask(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[Detections]:
        """Where each picture shows its text."""
        ...


class NamedThings:
    """What a detector finds of the given class words."""

    def __init__(self, owl: Finder, words: Sequence[str]) -> None:
        self.owl, self.words = owl, tuple(words)
        kept = f"at most {MOST_FOUND}, the surest and those from {LEAST_SCORE:g}, overlapping by at most {SHARED:g}"
        self.id = f"{owl.id}; words {', '.join(self.words)}; {kept}"

    def find(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        """The subjects of each picture, surest first."""
        return [self._of(image) for image in images]

    def _of(self, image: Image.Image) -> list[Detection]:
        answers = self.owl.ask([image] * len(self.words), self.words)
        boxes = np.concatenate([answer.boxes for answer in answers])
        scores = np.concatenate([answer.scores for answer in answers])
        names = [label for answer in answers for label in answer.labels]
        order = np.argsort(-scores, kind="stable")
        order = order[(boxes[order, 2:] > boxes[order, :2]).all(axis=1)]  # beyond the picture nothing is left of a box
        order = [i for rank, i in enumerate(order) if rank == 0 or scores[i] >= LEAST_SCORE]
        kept = [order[place] for place in apart(boxes[order], most=SHARED)][:MOST_FOUND]
        sides = np.array(image.size * 2, dtype=np.float64)
        return [_detection(boxes[i] / sides, float(scores[i]), names[i]) for i in kept]


def _detection(box: np.ndarray, score: float, name: str) -> Detection:
    left, top, right, bottom = (min(float(edge), 1.0) for edge in box)
    return Detection((left, top, right, bottom), score, name, np.zeros(0, np.float32))


class PhotoSubjects:
    """Loads the encoder `subjects` for photographs."""

    @staticmethod
    def load(spec: str | Path, *, device: str = "cpu") -> SubjectEncoder:
        """Of "DETECTOR+VIT", each an embedded name, a folder or a hub id; of "DETECTOR+VIT+cat,dog", which looks for
        these words instead of WORDS; or of a folder that holds the folders detector and vit.

        Raises: WeightsError when one of them cannot be had.
        """
        if Path(spec).expanduser().is_dir():
            detector, vit, words = *(str(Path(spec).expanduser() / part) for part in PARTS), ""
        else:
            detector, vit, words = (*str(spec).split(JOINT, 2), "")[:3]
        try:
            owl, embedder = OwlDetector.load(detector, device=device), VitEncoder.load(vit, device=device)
        except WeightsError as error:
            what = f"Subjects encoder {spec}: expected an OWL detector and a ViT, got {short_reason(error)}"
            raise WeightsError(f"{what}; pass DETECTOR{JOINT}VIT, or a folder that holds detector and vit.") from error
        named = [" ".join(word.split()) for word in words.split(",") if word.strip()]
        return SubjectEncoder(NamedThings(owl, named or WORDS), [embedder], scales=SCALES, alike=ALIKE)


class AnySubjects:
    """Loads the encoder `subjects`: for photographs where the weights name a detector, else for the drawn world."""

    @staticmethod
    def load(spec: str | Path, *, device: str = "cpu") -> SubjectEncoder:
        """As PhotoSubjects for "DETECTOR+VIT" and for a folder with a folder detector, as WorldSubjects for others.

        Raises: WeightsError as these do.
        """
        folder = Path(spec).expanduser()
        is_photo = (folder / PARTS[0]).is_dir() if folder.is_dir() else JOINT in str(spec)
        return (PhotoSubjects if is_photo else WorldSubjects).load(spec, device=device)
