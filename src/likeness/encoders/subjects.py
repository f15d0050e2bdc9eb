"""Several subjects in one picture: a detector says where they are, embedders say who each of them is.

The composition is general: a `Detector` is anything that finds boxes, an embedder is any encoder of pictures that gives
unit vectors (a ViT, CLIP), and it looks at squares around the middle of each box. What the detector itself knows about
its find (`Detection.traits`) counts as much as what an embedder sees.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from likeness.encoders.base import unit_rows
from likeness.encoders.subjects_seen import SubjectSeen, SubjectsSeen

SMALL_SIDE = 96
"""Of the longer side of `SubjectsSeen.small`, in px."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Detection:
    """A box (left, top, right, bottom in shares of the sides), its score in [0, 1], class name or "", and traits.

    `traits` is a unit vector of what the detector reads of the subject, or empty. `windows` are boxes of which one
    holds the whole body, where the box tells poorly how large it is; none where the box does.
    """

    box: Box
    score: float
    class_name: str
    traits: Float[np.ndarray, " T"]
    windows: tuple[Box, ...] = ()


@runtime_checkable
class Detector(Protocol):
    """Finds the subjects of pictures; `id` names weights, preprocessing and thresholds."""

    id: str

    def find(self, images: Sequence[Image.Image]) -> Sequence[Sequence[Detection]]:
        """The subjects of each picture, surest first, independent of the other pictures."""
        ...


@runtime_checkable
class Embedder(Protocol):
    """An encoder whose sight is one unit vector."""

    id: str

    def look(self, images: Sequence[Image.Image]) -> Sequence[np.ndarray] | np.ndarray:
        """One unit vector per picture."""
        ...


class SubjectEncoder:
    """What a detector and embedders say together. `scales` are the sides of the squares, as multiples of the box.

    Several scales, averaged, because a box tells poorly how large its subject is. `alike` is stated in SubjectsSeen.
    """

    sight: ClassVar[Any] = SubjectsSeen

    def __init__(
        self, detector: Detector, embedders: Sequence[Embedder], *, scales: Sequence[float], alike: float
    ) -> None:
        self.detector, self.embedders, self.scales, self.alike = detector, tuple(embedders), tuple(scales), alike
        parts = " + ".join(f"[{part.id}]" for part in (detector, *embedders))
        squares = ", ".join(f"{scale:g}" for scale in scales)
        squares = f"squares of {squares} boxes, mean; alike from {alike:g}"
        self.id = f"subjects {parts}; {squares}; RGB of {SMALL_SIDE} px, Pillow box filter"

    def look(self, images: Sequence[Image.Image]) -> list[SubjectsSeen]:
        """The subjects of each picture, surest first, independent of the other pictures."""
        pictures = [image.convert("RGB") for image in images]
        found = self.detector.find(pictures)
        places = [(picture, each) for picture, some in zip(pictures, found, strict=True) for each in some]
        identities = iter(self._identities(places) if places else ())
        return [
            SubjectsSeen(tuple(_seen(each, next(identities)) for each in some), self.alike, small(picture))
            for picture, some in zip(pictures, found, strict=True)
        ]

    def _identities(self, places: Sequence[tuple[Image.Image, Detection]]) -> Float[np.ndarray, "N D"]:
        """One unit vector per find: traits and each embedder's mean over scales, equally weighted."""
        squares = [square(picture, each.box, scale=scale) for picture, each in places for scale in self.scales]
        parts = [np.stack([each.traits for _, each in places])]
        for embedder in self.embedders:
            seen = np.asarray(embedder.look(squares), dtype=np.float64)
            parts.append(unit_rows(seen.reshape(len(places), len(self.scales), -1).mean(axis=1)))
        return unit_rows(np.concatenate(parts, axis=1))


def square(picture: Image.Image, box: Box, *, scale: float) -> Image.Image:
    """The square around the middle of a box whose side is `scale` times the box's longer side; outside is black."""
    left, top, right, bottom = (share * side for share, side in zip(box, picture.size * 2, strict=True))
    reach = scale * max(right - left, bottom - top) / 2
    x, y = (left + right) / 2, (top + bottom) / 2
    side = max(1, round(2 * reach))
    first = (round(x - reach), round(y - reach))
    return picture.crop((*first, first[0] + side, first[1] + side))


def small(picture: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """An RGB picture made SMALL_SIDE px long by a box filter; the shape is kept."""
    scale = SMALL_SIDE / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX), dtype=np.uint8)


def _seen(found: Detection, identity: Float[np.ndarray, " D"]) -> SubjectSeen:
    return SubjectSeen(found.box, found.score, found.class_name, identity)
