"""The subjects of a drawn picture: heads and attributes from the attribute probe, looks from DINO, no new weights.

A head's box is a square of fixed side (the probe tells where a head is, not how large). Who a subject is: the square
roots of the probe's probabilities (their inner product is the mean Bhattacharyya coefficient of the attributes) beside
DINO of the squares around the head. Measured on 100 hard test pictures (two of one species and colour) against photos:
AUC of the same against the other subject 0.958 by traits, 0.933 by DINO, 0.972 by both.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from likeness.core.errors import WeightsError
from likeness.encoders.base import short_reason, weights_folder
from likeness.encoders.probe import AttributeProbe
from likeness.encoders.reading import SubjectReading, best_answer
from likeness.encoders.subjects import Box, Detection, SubjectEncoder
from likeness.encoders.vit import VitEncoder

NAME = "subjects"
SIDE = 0.5
"""Of a head's box, as a share of the picture; its middle lies DROP below the head."""
DROP = 0.09
WINDOWS = (0.7, 1.0, 1.4, 1.9)
"""Sides of the windows in which a body is looked for, as multiples of SIDE: in photos it is larger than in scenes."""
SCALES = (0.72, 0.96, 1.28, 1.7)
LEAST_SCORE = 0.5
"""Measured on 300 validation pictures: true heads score 0.66 and more, false heads less. In photos, which show one
subject larger than scenes do, the one head may score less: below LEAST_SCORE the surest alone counts."""
MOST_FOUND = 8
ALIKE = 0.6
"""Measured on 100 validation pictures against photos: the same subject 0.64 and more, one of another case up to 0.60;
the other subject of a hard picture, of the same species and colour, 0.43 in the middle and up to 0.85."""
CLASS = "species"


class HeadDetector:
    """The heads that an attribute probe finds, also more than a case may have."""

    def __init__(self, probe: AttributeProbe) -> None:
        probe.most_subjects = MOST_FOUND
        self.probe = probe
        heads = f"at most {MOST_FOUND} heads, the surest and those from {LEAST_SCORE:g}"
        self.id = f"{probe.id}; {heads}; boxes of {SIDE:g}, {DROP:g} below the head"

    def find(self, images: Sequence[Image.Image]) -> list[list[Detection]]:
        """The heads of each picture, surest first."""
        return [
            [_detection(each) for i, each in enumerate(reading.subjects) if i == 0 or each.score >= LEAST_SCORE]
            for reading in self.probe.look(images)
        ]


def _detection(reading: SubjectReading) -> Detection:
    windows = tuple(_square(reading.position, SIDE * scale) for scale in WINDOWS)
    kind = best_answer(reading.attributes[CLASS]) if CLASS in reading.attributes else ""
    return Detection(_square(reading.position, SIDE), reading.score, kind, traits(reading), windows)


def _square(head: tuple[float, float], side: float) -> Box:
    """Its middle lies below the head, by DROP where the side is SIDE; what is outside of the picture is cut off."""
    x, y, reach = head[0], head[1] + DROP * (side / SIDE), side / 2
    box = [min(max(edge, 0.0), 1.0) for edge in (x - reach, y - reach, x + reach, y + reach)]
    return box[0], box[1], box[2], box[3]


def traits(reading: SubjectReading) -> Float[np.ndarray, " T"]:
    """Square roots of all probabilities, as one unit vector."""
    roots = np.sqrt(np.concatenate([[*values.values()] for values in reading.attributes.values()]))
    return (roots / np.sqrt(len(reading.attributes))).astype(np.float32)


class WorldSubjects:
    """Loads the encoder `subjects` of the drawn world."""

    @staticmethod
    def load(spec: str | Path, *, device: str = "cpu") -> SubjectEncoder:
        """Of "subjects", the embedded probe and DINO; of a folder, those in its folders `probe` and `dino`.

        Raises: WeightsError when there are none or they hold other models.
        """
        folder = None if str(spec).removeprefix("embedded:") == NAME else weights_folder(spec)
        try:
            probe = AttributeProbe.load(folder / "probe" if folder else "probe", device=device)
            embedder = VitEncoder.load(folder / "dino" if folder else "dino", device=device)
        except WeightsError as error:
            what = f"Subjects encoder {spec}: expected a probe in its folder probe and a ViT in its folder dino"
            raise WeightsError(f"{what}, got {short_reason(error)}; pass a folder that holds both.") from error
        return SubjectEncoder(HeadDetector(probe), [embedder], scales=SCALES, alike=ALIKE)
