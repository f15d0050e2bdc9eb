"""Faces of the drawn world's people: heads from the attribute probe, and a small ViT that says whose they are.

The ViT looks twice at each head of a person: at a square of fixed side, to find both eyes, and at the window that the
eyes say is upright and of the face's own size, as face recognition aligns photographs by landmarks.
Shapes: N windows, S side of the picture as the probe sees it, D length of an embedding. A point of the picture is a
complex number x + iy in shares of its sides. A frame (N, 2) holds a window's centre and the way from there to the
middle of its right edge, so that the point w of a window, in [-1, 1] both ways, is centre + w * way.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Complex, Float, Int
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import ViTForImageClassification

from likeness.encoders.base import encoder_id, in_batches, load_whole, unit_rows
from likeness.encoders.faces import FaceEncoder
from likeness.encoders.faces_seen import COSINE, Face
from likeness.encoders.packaged import told
from likeness.encoders.probe import AttributeProbe, crops, pixel_values
from likeness.encoders.reading import SubjectReading
from likeness.encoders.world_subjects import LEAST_SCORE, MOST_FOUND

NUM_EYES = 4
"""The first outputs of the ViT: x and y of the point between the eyes, and half the way from there to the eye on the
right, times EYE_UNIT, in its window. All others are the embedding."""
EYE_UNIT = 5.0
HEAD_SIDE = 0.56
"""Of the square around a head, as a share of the picture."""
REACH, RAISED = 4.3, 0.74
"""Of the upright window: half its side, and by how much its centre lies above the eyes, in half distances of the eyes.
It holds every hat and all hair, but little of a shirt."""
FACE_REACH, FACE_LOWERED = 2.6, 0.3
"""Of a face's box, in the same unit: the square around eyes and nose."""
EYE_LIMITS = (0.06, 0.5)
"""Half distances of the eyes that are believed, in half sides of a window."""
MOUTH, NOSE = (1.42 - 0.47j, 1.42 + 0.47j), 0.89
"""Corners of the mouth (down + across) and the nose below the eyes, in the same unit: equal in all people drawn."""
CROPS = (0.62, 0.9)
"""Of the windows in which the probe reads whose head it is, as shares of the picture. Photos show a head larger than
scenes do: in the first alone, 5 of 80 photos of people were read as animals, by the mean none, nor an animal as one."""
KIND, PERSON = "species", "person"

Eyes = Complex[np.ndarray, "N 2"]  # the point between the eyes, and half the way to the eye on the right


def windows(
    pixels: Float[Tensor, "B 3 S S"], *, picture: Int[Tensor, " N"], frames: Complex[np.ndarray, "N 2"], side: int
) -> Float[Tensor, "N 3 side side"]:
    """The window of each frame in picture number `picture`, bilinear; outside the picture is 0."""
    ticks = (np.arange(side) + 0.5) / side * 2 - 1
    places = frames[:, 0, None, None] + frames[:, 1, None, None] * (ticks[None] + 1j * ticks[:, None])
    grid = torch.from_numpy(np.stack([places.real, places.imag], axis=-1).astype(np.float32) * 2 - 1)
    return functional.grid_sample(pixels[picture], grid.to(pixels.device), align_corners=False)


def head_frames(heads: Complex[np.ndarray, " N"]) -> Complex[np.ndarray, "N 2"]:
    """Squares of HEAD_SIDE around heads."""
    return np.stack([heads, np.full_like(heads, HEAD_SIDE / 2)], axis=1)


def face_frames(eyes: Eyes) -> Complex[np.ndarray, "N 2"]:
    """Upright windows of faces."""
    between, half = eyes.T
    return np.stack([between - 1j * RAISED * half, REACH * half], axis=1)


def eyes_in(frames: Complex[np.ndarray, "N 2"], eyes: Eyes) -> Float[np.ndarray, "N 4"]:
    """What the ViT answers where it is right about eyes at these points of the picture."""
    centre, way = frames.T
    between, half = (eyes[:, 0] - centre) / way, eyes[:, 1] / way * EYE_UNIT
    return np.stack([between.real, between.imag, half.real, half.imag], axis=1).astype(np.float32)


def eyes_of(frames: Complex[np.ndarray, "N 2"], answers: Float[np.ndarray, "N 4"]) -> Eyes:
    """The eyes in the picture that the ViT's answers about windows mean, at a distance within EYE_LIMITS."""
    x, y, across, down = answers.astype(np.float64).T
    half = (across + 1j * down) / EYE_UNIT
    length = np.maximum(np.abs(half), 1e-9)
    half = np.where(np.abs(half) > 0, half, 1e-9) * np.clip(length, *EYE_LIMITS) / length
    return np.stack([frames[:, 0] + frames[:, 1] * (x + 1j * y), frames[:, 1] * half], axis=1)


class WorldFaces(FaceEncoder):
    """Faces of people of the drawn world; `score` is the probe's height of the head's peak, in [0, 1]."""

    measure = COSINE

    def __init__(self, folder: Path, *, spec: str | Path, probe: AttributeProbe | None = None) -> None:
        """The probe is the given one, or in the folder `probe` of this one, or the embedded one.

        Raises: WeightsError when the folder holds another model or there is no probe.
        """
        inside = folder / "probe"
        self.probe = probe or AttributeProbe.load(inside if inside.is_dir() else "probe")
        self.probe.most_subjects = MOST_FOUND  # more heads than a case may have people
        with told("faces", spec, wanted="a ViT with eyes and embedding as its answers", form="a folder of world faces"):
            self._vit = load_whole(ViTForImageClassification, folder, device="cpu")
            self._side = int(self._vit.config.image_size)
            if PERSON not in self.probe.config.attributes.get(KIND, ()):
                raise ValueError(f"a probe that does not know the {KIND} {PERSON}")
            self.same_person = float(self._vit.config.to_dict()["same_person"])
        read = "+".join(f"{crop:g}" for crop in CROPS)
        how = (
            f"heads of people from {LEAST_SCORE:g} by {read}, windows of {HEAD_SIDE:g}, then upright of {self._side} px"
        )
        self.id = f"{encoder_id('faces', spec=spec, folder=folder, preprocessing=how)}; {self.probe.id}"

    def faces(self, image: Image.Image) -> list[Face]:
        """One face for every head that the probe takes for a person's."""
        pixels = pixel_values(image, size=self.probe.config.image_size)[None]
        heads = [
            each for i, each in enumerate(self.probe.look([image])[0].subjects) if i == 0 or each.score >= LEAST_SCORE
        ]
        people = [each for each, is_person in zip(heads, self._are_people(pixels, heads), strict=True) if is_person]
        if not people:
            return []
        squares = head_frames(np.array([complex(*each.position) for each in people]))
        upright = face_frames(eyes_of(squares, self._answers(pixels, squares)[:, :NUM_EYES]))
        answers = self._answers(pixels, upright)
        eyes, embeddings = eyes_of(upright, answers[:, :NUM_EYES]), unit_rows(answers[:, NUM_EYES:])
        return [
            _face(image.size, both, score=each.score, embedding=row)
            for both, each, row in zip(eyes, people, embeddings, strict=True)
        ]

    @torch.inference_mode()
    def _are_people(self, pixels: Float[Tensor, "1 3 S S"], heads: Sequence[SubjectReading]) -> list[bool]:
        """Whether the probe takes each head for a person's, by the mean of its probabilities over CROPS."""
        if not heads:
            return []
        config, places = self.probe.config, torch.tensor([each.position for each in heads])
        first = torch.zeros(len(heads), dtype=torch.long)
        sizes = [config.model_copy(update={"crop": side}) for side in CROPS]
        rows = torch.cat([crops(pixels, picture=first, heads=places, config=each) for each in sizes]).numpy()
        kinds = in_batches(list(rows), lambda some: self.probe.read_crops(some)[KIND].softmax(1), device="cpu")
        means = kinds.reshape(len(CROPS), len(heads), -1).mean(axis=0)
        return [bool(best == config.attributes[KIND].index(PERSON)) for best in means.argmax(axis=1)]

    @torch.inference_mode()
    def _answers(
        self, pixels: Float[Tensor, "1 3 S S"], frames: Complex[np.ndarray, "N 2"]
    ) -> Float[np.ndarray, "N K"]:
        first = torch.zeros(len(frames), dtype=torch.long)
        rows = windows(pixels, picture=first, frames=frames, side=self._side).numpy()
        return in_batches(list(rows), lambda some: self._vit(pixel_values=some).logits, device="cpu")


def face_box(eyes: Complex[np.ndarray, " 2"]) -> tuple[float, float, float, float]:
    """The upright square around eyes and nose (left, top, right, bottom) in shares of the sides."""
    middle, reach = eyes[0] + 1j * FACE_LOWERED * eyes[1], FACE_REACH * abs(eyes[1])
    left, top, right, bottom = middle.real - reach, middle.imag - reach, middle.real + reach, middle.imag + reach
    return float(left), float(top), float(right), float(bottom)


def _face(
    size: tuple[int, int], eyes: Complex[np.ndarray, " 2"], *, score: float, embedding: Float[np.ndarray, " D"]
) -> Face:
    """Landmarks: the eye on the right, the other, the nose, and the mouth's corners, which follow from the eyes."""
    between, half = eyes
    points = [between + half, between - half, between + 1j * NOSE * half]
    points += [between + half * 1j * place for place in MOUTH]
    landmarks = np.array([(point.real * size[0], point.imag * size[1]) for point in points], dtype=np.float32)
    left, top, right, bottom = (share * side for share, side in zip(face_box(eyes), size * 2, strict=True))
    return Face((left, top, right, bottom), score, landmarks, embedding)
