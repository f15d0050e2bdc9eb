"""A judge of any picture: a vision-language model that sees reference and subject side by side.

Source: FocusDPO (arXiv:2509.01181v1), appendix on DIP quality control; P(yes) as in VQAScore (arXiv:2404.01291).
Differs: an open model and its probabilities instead of a closed one and its words; all questions ask for sameness.
Shapes: S side of a picture in px.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any  # the model is whatever answers yes or no

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from likeness.core.errors import MeasurementError
from likeness.core.hash_cache import remembered_sha256
from likeness.core.hashing import short
from likeness.core.weights import public_name
from likeness.data.judging.judges import Answers, Judge, SubjectView
from likeness.data.judging.questions import QUESTIONS
from likeness.encoders.answers import YesNo

__all__ = ["LoadVlmJudge", "VlmJudge", "side_by_side"]

SIDE, GAP = 448, 16
"""Height in px at which both halves are shown, and the white between them."""
MARGIN = 0.08
"""Around the box of a subject, as a share of its longer side."""
INTRODUCTION = (
    "The picture has two halves. The left half is the reference, the right half is the crop. {} Answer yes or no."
)


@dataclass(frozen=True)
class LoadVlmJudge:
    """Loads the judge from a folder or hub id. P(yes) from `sure` on is a yes, up to `doubt` a no.

    Between them, or where yes and no together are less probable than `least_mass`, it is not sure.
    """

    model: str
    sure: float = 0.5
    doubt: float = 0.5
    least_mass: float = 0.0
    device: str = "auto"

    @property
    def id(self) -> str:
        """By the content of the weights. Raises: WeightsError."""
        from likeness.encoders.base import weights_folder

        limits = f"sure {self.sure:g}, doubt {self.doubt:g}, mass {self.least_mass:g}"
        return f"vlm judge {public_name(self.model)}@{short(remembered_sha256(weights_folder(self.model)))}; {limits}"

    def __call__(self) -> Judge:
        """The loaded judge. Raises: WeightsError."""
        from likeness.core.devices import pick_device
        from likeness.encoders.vlm import YesNoModel

        return VlmJudge(YesNoModel.load(self.model, device=pick_device(self.device)), load=self)


class VlmJudge:
    """Asks a model (of the contract `PairEncoder[YesNo]`) each question alone."""

    def __init__(self, model: Any, *, load: LoadVlmJudge) -> None:
        self._model, self._limits, self.id = model, load, load.id

    def answer(self, views: Sequence[SubjectView]) -> list[Answers]:
        """Ten answers per view. Raises: MeasurementError for a view without reference."""
        found: list[Answers] = []
        for view in views:
            if view.reference is None:
                raise MeasurementError("VlmJudge: expected views with a reference picture, got one without; pass it.")
            shown = side_by_side(view.reference, cropped(view.picture, view.box))
            texts = [INTRODUCTION.format(question.text) for question in QUESTIONS[view.category]]
            found.append(tuple(map(self._read, self._model.ask([shown] * len(texts), texts))))
        return found

    def _read(self, told: YesNo) -> bool | None:
        if told.mass < self._limits.least_mass or self._limits.doubt < told.yes < self._limits.sure:
            return None
        return told.yes >= self._limits.sure


def cropped(picture: UInt8[np.ndarray, "H W 3"], box: tuple[float, float, float, float]) -> UInt8[np.ndarray, "h w 3"]:
    """What is in the box (left, top, right, bottom in shares of the sides) and a margin around it."""
    height, width = picture.shape[:2]
    left, top, right, bottom = (share * side for share, side in zip(box, (width, height) * 2, strict=True))
    margin = MARGIN * max(right - left, bottom - top)
    rows = slice(max(0, int(top - margin)), int(np.ceil(bottom + margin)))
    return picture[rows, max(0, int(left - margin)) : int(np.ceil(right + margin))]


def side_by_side(left: UInt8[np.ndarray, "H W 3"], right: UInt8[np.ndarray, "h w 3"]) -> Image.Image:
    """Both pictures at one height, white between them."""
    halves = [Image.fromarray(half) for half in (left, right)]
    scaled = [half.resize((max(1, round(half.width * SIDE / half.height)), SIDE)) for half in halves]
    sheet = Image.new("RGB", (scaled[0].width + GAP + scaled[1].width, SIDE), "white")
    sheet.paste(scaled[0], (0, 0))
    sheet.paste(scaled[1], (scaled[0].width + GAP, 0))
    return sheet
