"""Subjects of photographs: what a stand-in detector answers becomes finds, and tiny stock models load by name."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
from PIL import Image

from likeness.core.errors import WeightsError
from likeness.encoders import load_encoder
from likeness.encoders.detections import Detections
from likeness.encoders.photo_subjects import WORDS, NamedThings
from likeness.encoders.subjects import square
from likeness.encoders.vit import VitEncoder


class Answers:
    """An OWL that answers every picture alike: boxes in px and scores by word."""

    id = "answers"

    def __init__(self, **found: list[tuple[list[float], float]]) -> None:
        self.found = found

    def ask(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[Detections]:
        return [self._one(image, text) for image, text in zip(images, texts, strict=True)]

    def _one(self, image: Image.Image, text: str) -> Detections:
        boxes, scores = [box for box, _ in self.found[text]], [score for _, score in self.found[text]]
        array = np.array(boxes, np.float32).reshape(-1, 4)
        return Detections(image.size, array, np.array(scores, np.float32), (text,) * len(boxes))


def finds(**found: list[tuple[list[float], float]]) -> list[tuple[Any, ...]]:
    (some,) = NamedThings(Answers(**found), list(found)).find([Image.new("RGB", (100, 50))])
    return [(each.class_name, round(each.score, 3), tuple(round(side, 3) for side in each.box)) for each in some]


def test_the_surest_word_keeps_a_place_and_boxes_are_shares_of_the_sides() -> None:
    left, almost, right = [0.0, 0.0, 40.0, 40.0], [0.0, 0.0, 40.0, 36.0], [60.0, 10.0, 100.0, 50.0]
    assert finds(cat=[(left, 0.6), (right, 0.25)], dog=[(right, 0.9), (almost, 0.5)]) == [
        ("dog", 0.9, (0.6, 0.2, 1.0, 1.0)),
        ("cat", 0.6, (0.0, 0.0, 0.4, 0.8)),
    ]


def test_faint_finds_go_but_for_the_surest_and_boxes_without_area_always() -> None:
    box, other, line = [0.0, 0.0, 10.0, 10.0], [50.0, 0.0, 60.0, 10.0], [100.0, 0.0, 100.0, 10.0]
    assert [name for name, *_ in finds(cat=[(box, 0.2)], dog=[(other, 0.19)])] == ["cat"]
    assert [name for name, *_ in finds(cat=[(box, 0.1)], dog=[(other, 0.05)])] == ["cat"]
    assert [name for name, *_ in finds(cat=[(line, 0.9)], dog=[(other, 0.3)])] == ["dog"]
    assert finds(cat=[], dog=[(line, 0.9)]) == []


def test_no_more_than_eight_are_found() -> None:
    boxes = [([10.0 * i, 0.0, 10.0 * i + 9, 9.0], 0.9 - 0.01 * i) for i in range(10)]
    assert len(finds(cat=boxes)) == 8


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_photo_subjects(tmp_path_factory.mktemp("photo") / "subjects")


def test_a_find_is_who_the_vit_sees_in_its_square(parts: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    (seen,) = load_encoder("subjects", f"{parts / 'detector'}+{parts / 'vit'}+cat, dog").look([picture])
    assert 1 <= len(seen.subjects) <= 8
    vit = VitEncoder.load(parts / "vit")
    for each in seen.subjects:
        assert each.class_name in ("cat", "dog")
        expected = vit.look([square(picture, each.box, scale=1.0)])[0]
        np.testing.assert_allclose(each.identity, expected, atol=1e-5)
    scores = [each.score for each in seen.subjects]
    assert scores == sorted(scores, reverse=True)


def test_folders_and_names_load_the_same_and_words_are_in_the_id(parts: Path) -> None:
    of_folder = load_encoder("subjects", str(parts))
    of_names = load_encoder("subjects", f"{parts / 'detector'}+{parts / 'vit'}")
    assert of_folder.id == of_names.id
    assert f"words {', '.join(WORDS)};" in of_folder.id
    named = load_encoder("subjects", f"{parts / 'detector'}+{parts / 'vit'}+stuffed  animal,dog")
    assert "words stuffed animal, dog;" in named.id
    assert load_encoder("subjects", str(tiny.write_subjects(parts / "world"))).id != of_folder.id


def test_other_weights_are_told(parts: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"expected an OWL detector and a ViT, got .*; pass DETECTOR\+VIT"):
        load_encoder("subjects", f"{parts / 'vit'}+{parts / 'vit'}")
    (tmp_path / "detector").mkdir()
    with pytest.raises(WeightsError, match="expected an OWL detector and a ViT"):
        load_encoder("subjects", str(tmp_path))
