"""Subjects found in pictures: a detector for the phrases, a segmenter for the boxes, ViTPose for the joints.

Source: the data engine of DreamRelation (arXiv:2410.23280) with the substitutes for X-Pose of design note, 7.2.
Differs: one box a phrase, so that the order of subjects is that of the phrases; keypoints on another mask are put
right by a vote; a keypoint counts only where score, picture and mask agree.
Shapes: H x W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple, Protocol, runtime_checkable  # Any: encoders of several kinds

import numpy as np
from jaxtyping import Bool
from PIL import Image

from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.hash_cache import remembered_sha256
from likeness.core.hashing import short
from likeness.core.skeletons import NUM_KEYPOINTS, Skeleton, skeleton_of
from likeness.data.relations.making import Shown, bounds, shown_keypoints
from likeness.data.relations.order import Order, voted_order

__all__ = ["BOX", "DETECTORS", "LoadLook", "Look", "Seen", "look_named"]

DETECTORS = ("grounding_dino", "owl")
SAM2, BOX = "sam2", "box"
LEAST_FOUND = {"grounding_dino": 0.3, "owl": 0.2}
"""Score from which a detector has found its phrase; not calibrated on photographs, since none are at hand."""
LEAST_KEYPOINT = 0.3
"""Height of a heatmap's peak from which a keypoint is seen (design note, 7.2)."""
CANDIDATES = 5
"""Best boxes of a phrase that are tried."""
SAME = 0.8
"""Intersection over union from which two boxes are one thing."""
SMALLEST = 0.005
"""Share of the picture that a mask must cover."""


class Seen(NamedTuple):
    """The subjects of a picture in the order of the phrases; `order` tells whether keypoints had to be exchanged."""

    subjects: tuple[Shown, ...]
    order: Order


@runtime_checkable
class Asked(Protocol):
    """A model that answers texts about pictures: a detector, a segmenter or ViTPose of `encoders`."""

    def ask(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[Any]:
        """The answer to each picture and its text."""
        ...


@dataclass(frozen=True)
class Look:
    """The loaded models. `segmenter` None: masks are the boxes themselves."""

    detector: Asked
    segmenter: Asked | None
    pose: Asked
    least_found: float

    def subjects(
        self, image: Image.Image, phrases: Sequence[str], *, masks: Sequence[Bool[np.ndarray, "H W"] | None] = ()
    ) -> Seen:
        """Where each phrase is in the picture; given masks are used instead of detector and segmenter.

        Raises: DataError naming the phrase that is not found, or two that cannot be told apart.
        """
        given = masks or [None] * len(phrases)
        wanted = [phrase for phrase, mask in zip(phrases, given, strict=True) if mask is None]
        found = iter(self._boxes(image, wanted))
        whole: list[tuple[Bool[np.ndarray, "H W"], float | None]] = []
        for mask, phrase in zip(given, phrases, strict=True):
            if mask is not None:
                whole.append((mask, None))
                continue
            box, score = next(found)
            whole.append((self._mask(image, box, phrase=phrase), score))
        return self._posed(image, whole)

    def _boxes(self, image: Image.Image, phrases: Sequence[str]) -> list[tuple[np.ndarray, float]]:
        """Box (px) and score of each phrase: different boxes, of the largest sum of scores."""
        if not phrases:
            return []
        if len({phrase.lower() for phrase in phrases}) < len(phrases):
            wanted = "phrases that tell the subjects apart, or masks"
            raise DataError(f"subjects: expected {wanted}, got {', '.join(phrases)}; supply masks of the target.")
        answers = self.detector.ask([image] * len(phrases), list(phrases))
        kept = [answer.at_least(self.least_found, most=CANDIDATES) for answer in answers]
        for phrase, answer, (boxes, _) in zip(phrases, answers, kept, strict=True):
            if not len(boxes):
                best = answer.best(phrase)
                wanted = f"{phrase}: expected a box with a score of {self.least_found:g}"
                raise DataError(f"{wanted}, got {best:.2f} at best; supply a mask, or use another picture.")
        choices = [
            choice
            for choice in product(*(range(len(boxes)) for boxes, _ in kept))
            if _are_apart([kept[i][0][j] for i, j in enumerate(choice)])
        ]
        if not choices:
            raise DataError(
                f"subjects: expected a box for each of {', '.join(phrases)}, got one for all; supply masks."
            )
        best = max(choices, key=lambda choice: sum(float(kept[i][1][j]) for i, j in enumerate(choice)))
        return [(kept[i][0][j], float(kept[i][1][j])) for i, j in enumerate(best)]

    def _mask(self, image: Image.Image, box: np.ndarray, *, phrase: str) -> Bool[np.ndarray, "H W"]:
        """What of the box is the subject. Raises: DataError for next to nothing."""
        from likeness.encoders.pose import box_text

        if self.segmenter is None:
            mask = np.zeros((image.height, image.width), dtype=bool)
            left, top, right, bottom = (round(float(edge)) for edge in box)
            mask[top:bottom, left:right] = True
        else:
            mask = self.segmenter.ask([image], [box_text(_sides(box))])[0].mask
        if mask.mean() < SMALLEST:
            wanted = f"{phrase}: expected a mask over {SMALLEST:.1%} of the picture"
            raise DataError(f"{wanted}, got {mask.mean():.2%}; supply a mask, or use another picture.")
        return mask

    def _posed(self, image: Image.Image, whole: Sequence[tuple[Bool[np.ndarray, "H W"], float | None]]) -> Seen:
        """Keypoints of each mask's box, given to whose mask they lie on."""
        from likeness.encoders.pose import box_text

        sides = np.array(image.size)
        boxes = [tuple(float(edge) for edge in np.array(bounds(mask)) * [*sides, *sides]) for mask, _ in whole]
        poses = self.pose.ask([image] * len(boxes), [box_text(_sides(np.array(box))) for box in boxes])
        points = [np.asarray(pose.points, dtype=np.float64) / sides for pose in poses]
        order = voted_order(points, [mask for mask, _ in whole])
        subjects: list[Shown] = []
        for (mask, score), row in zip(whole, order.rows, strict=True):
            seen = np.asarray(poses[row].scores) >= LEAST_KEYPOINT
            skeleton = _skeleton(poses[row].names)
            subjects.append(Shown(mask, shown_keypoints(points[row], seen=seen, mask=mask, skeleton=skeleton), score))
        return Seen(tuple(subjects), order)


def _sides(box: np.ndarray) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(edge) for edge in box)
    return left, top, right, bottom


def _are_apart(boxes: Sequence[np.ndarray]) -> bool:
    from likeness.encoders.detections import overlaps

    shared = overlaps(np.stack(boxes), np.stack(boxes))
    return float(np.triu(shared, 1).max()) < SAME


def _skeleton(names: tuple[str, ...]) -> Skeleton:
    """Raises: WeightsError for a model whose keypoints are neither COCO's nor AP-10K's."""
    found = skeleton_of(names)
    if found is None:
        wanted = f"pose: expected a model of the {NUM_KEYPOINTS} keypoints of COCO or AP-10K"
        raise WeightsError(f"{wanted}, got {len(names)}: {', '.join(names[:6])} ...; use another.")
    return found


@dataclass(frozen=True)
class LoadLook:
    """Loads the models in any process. Weights: embedded names, folders or hub ids; None means the published ones."""

    detector: str = DETECTORS[0]
    detector_weights: str | None = None
    segmenter: str = SAM2
    segmenter_weights: str | None = None
    pose_weights: str | None = None
    device: str = "auto"

    @property
    def sources(self) -> dict[str, str]:
        """Who says where each field comes from, by the content of the weights. Raises: WeightsError."""
        named = self._named(self.detector, self.detector_weights)
        boxes = f"{named}, from {LEAST_FOUND[self.detector]:g}"
        masks = BOX if self.segmenter == BOX else self._named(SAM2, self.segmenter_weights)
        points = f"{self._named('pose', self.pose_weights)}, from {LEAST_KEYPOINT:g}, on the mask"
        return {"boxes": "the mask's", "masks": f"{boxes}; {masks}", "keypoints": points}

    @property
    def id(self) -> str:
        """All models in one line. Raises: WeightsError where weights are not there."""
        return "; ".join(f"{field}: {source}" for field, source in self.sources.items())

    def _named(self, name: str, weights: str | None) -> str:
        from likeness.encoders.base import weights_folder

        folder = weights_folder(self._spec(name, weights))
        return f"{name} {folder.name}@{short(remembered_sha256(folder))}"

    def _spec(self, name: str, weights: str | None) -> str:
        from likeness.encoders import ENCODERS

        return weights or str(ENCODERS[name].published)

    def __call__(self) -> Look:
        """The loaded models. Raises: WeightsError."""
        from likeness.core.devices import pick_device
        from likeness.encoders import load_encoder

        def load(name: str, weights: str | None) -> Any:
            return load_encoder(name, self._spec(name, weights), device=pick_device(self.device))

        segmenter = None if self.segmenter == BOX else load(SAM2, self.segmenter_weights)
        detector = load(self.detector, self.detector_weights)
        return Look(detector, segmenter, load("pose", self.pose_weights), LEAST_FOUND[self.detector])


def look_named(*, detector: str, segmenter: str, pose: str | None, device: str = "auto") -> LoadLook:
    """Of NAME or NAME:WEIGHTS for detector (grounding_dino, owl) and segmenter (sam2, box), and weights of ViTPose.

    Raises: ConfigError for another name.
    """
    found, _, found_weights = detector.partition(":")
    cut, _, cut_weights = segmenter.partition(":")
    for flag, name, known in (("--detector", found, DETECTORS), ("--segmenter", cut, (SAM2, BOX))):
        if name not in known:
            raise ConfigError(f"{flag}: expected {' or '.join(known)}, or NAME:WEIGHTS, got {name!r}; correct it.")
    return LoadLook(found, found_weights or None, cut, cut_weights or None, pose, device)


@runtime_checkable
class LooksAt(Protocol):
    """What sources need of a loader: `LoadLook`, or another with the same answers."""

    @property
    def id(self) -> str: ...

    @property
    def sources(self) -> dict[str, str]: ...

    def __call__(self) -> Look:
        """The loaded models."""
        ...
