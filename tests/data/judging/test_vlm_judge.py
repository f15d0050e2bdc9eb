"""The judge by a vision-language model: what it shows, what it asks, and how probabilities become answers."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image

from likeness.core.errors import MeasurementError
from likeness.data.judging.judges import SubjectView
from likeness.data.judging.questions import QUESTIONS
from likeness.data.judging.vlm_judge import GAP, SIDE, LoadVlmJudge, VlmJudge, cropped, side_by_side
from likeness.encoders.answers import YesNo


class Parrot:
    """Says yes with a probability that its list holds, in the order of the questions."""

    def __init__(self, chances: Sequence[float], mass: float = 1.0) -> None:
        self.chances, self.mass = chances, mass
        self.shown: list[Image.Image] = []
        self.asked: list[str] = []

    def ask(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[YesNo]:
        self.shown += images
        self.asked += texts
        return [YesNo(math.log(p / (1 - p)), self.mass) for p in self.chances]


class Limits(LoadVlmJudge):
    """Limits of a judge whose weights nobody has."""

    @property
    def id(self) -> str:
        return "parrot"


def view(**changes: Any) -> SubjectView:
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[20:60, 100:150] = 255
    reference = np.full((50, 25, 3), 90, np.uint8)
    given: dict[str, Any] = {"picture": picture, "category": "animal", "box": (0.5, 0.2, 0.75, 0.6)}
    given |= {"reference": reference} | changes
    return SubjectView(**given)


def test_probabilities_become_answers() -> None:
    chances = [0.05, 0.29, 0.31, 0.5, 0.69, 0.71, 0.95, 0.95, 0.95, 0.95]
    limits = Limits("x", sure=0.7, doubt=0.3, least_mass=0.2)
    (answers,) = VlmJudge(Parrot(chances), load=limits).answer([view()])
    assert answers == (False, False, None, None, None, True, True, True, True, True)
    (unsure,) = VlmJudge(Parrot(chances, mass=0.1), load=limits).answer([view()])
    assert unsure == (None,) * 10


def test_reference_and_crop_stand_side_by_side_under_every_question() -> None:
    parrot = Parrot([0.9] * 10)
    VlmJudge(parrot, load=Limits("x")).answer([view()])
    assert len({id(picture) for picture in parrot.shown}) == 1
    for question, text in zip(QUESTIONS["animal"], parrot.asked, strict=True):
        assert question.text in text
        assert "left half is the reference" in text
    shown = np.asarray(parrot.shown[0])
    assert shown.shape[0] == SIDE
    half = SIDE // 2  # the reference is twice as high as wide
    assert (shown[:, : half - 1] == 90).all()
    assert (shown[:, half : half + GAP] == 255).all()
    assert shown[SIDE // 2, half + GAP + (shown.shape[1] - half - GAP) // 2].tolist() == [255] * 3


def test_the_crop_has_a_margin_and_ends_at_the_picture() -> None:
    picture = np.arange(100 * 200 * 3, dtype=np.uint32).astype(np.uint8).reshape(100, 200, 3)
    assert np.array_equal(cropped(picture, (0.5, 0.2, 0.75, 0.6)), picture[16:64, 96:154])
    assert cropped(picture, (0.0, 0.0, 1.0, 1.0)).shape == picture.shape
    assert side_by_side(picture, picture).size == (2 * 2 * SIDE + GAP, SIDE)


def test_a_view_without_reference_is_refused() -> None:
    with pytest.raises(MeasurementError, match="expected views with a reference picture"):
        VlmJudge(Parrot([0.5] * 10), load=Limits("x")).answer([view(reference=None)])
