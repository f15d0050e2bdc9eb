"""Detectors against the library's own classes on the same tiny weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
import torch
from PIL import Image
from transformers import (
    AutoTokenizer,
    GroundingDinoForObjectDetection,
    GroundingDinoProcessor,
    Owlv2ForObjectDetection,
    OwlViTForObjectDetection,
)
from transformers.models.grounding_dino.image_processing_pil_grounding_dino import GroundingDinoImageProcessorPil
from transformers.models.owlv2.image_processing_pil_owlv2 import Owlv2ImageProcessorPil
from transformers.models.owlvit.image_processing_pil_owlvit import OwlViTImageProcessorPil

from likeness.core.errors import WeightsError
from likeness.encoders.detections import MOST_BOXES, Detections, apart, best_boxes, competing, corners, overlaps
from likeness.encoders.grounding_dino import GroundingDinoDetector
from likeness.encoders.owl import OwlDetector

OWLS: dict[str, tuple[Any, Any, Any]] = {
    "owlvit": (tiny.write_owlvit, OwlViTForObjectDetection, OwlViTImageProcessorPil),
    "owlv2": (tiny.write_owlv2, Owlv2ForObjectDetection, Owlv2ImageProcessorPil),
}


@pytest.fixture(params=sorted(OWLS))
def owl(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[OwlDetector, Path, Any, Any]:
    write, model, processor = OWLS[request.param]
    folder = write(tmp_path / request.param)
    return OwlDetector.load(folder), folder, model.from_pretrained(folder), processor.from_pretrained(folder)


def stock_owl(
    image: Image.Image, labels: list[str], *, folder: Path, model: Any, processor: Any
) -> tuple[np.ndarray, np.ndarray]:
    """(N, L) sigmoids and (N, 4) boxes in px of the stock forward pass and the stock post-processing."""
    tokens = AutoTokenizer.from_pretrained(folder)(labels, padding="max_length", max_length=16, return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**tokens, **processor(image, return_tensors="pt"))
    found = processor.post_process_object_detection(outputs, threshold=-1.0, target_sizes=[image.size[::-1]])[0]
    return outputs.logits[0].double().sigmoid().numpy(), found["boxes"].numpy()


def inside(boxes: np.ndarray, image: Image.Image) -> np.ndarray:
    return np.clip(boxes, 0, [*image.size, *image.size])


def test_a_text_alone_gets_the_column_maximum_of_the_stock_model(owl: Any, images: list[Image.Image]) -> None:
    encoder, folder, model, processor = owl
    for image in images[:3]:
        scores, boxes = stock_owl(image, ["cat", "a dog"], folder=folder, model=model, processor=processor)
        for column, text in enumerate(("cat", "a dog")):
            found: Detections = encoder.ask([image], [text])[0]
            order = np.argsort(-scores[:, column], kind="stable")
            np.testing.assert_allclose(found.scores, scores[order, column], atol=1e-5)
            np.testing.assert_allclose(found.boxes[0], inside(boxes[order[0]], image), atol=1e-3)
            assert found.best(text) == pytest.approx(scores[:, column].max(), abs=1e-5)
            assert found.size == image.size
            assert set(found.labels) == {text}


def test_texts_in_one_question_compete_for_boxes(owl: Any, images: list[Image.Image]) -> None:
    encoder, folder, model, processor = owl
    labels = ["cat", "a dog", "hat"]
    for image in images:
        scores, _ = stock_owl(image, labels, folder=folder, model=model, processor=processor)
        found: Detections = encoder.ask([image], [competing(labels)])[0]
        winner = scores.argmax(axis=1)
        for column, label in enumerate(labels):
            own = scores[winner == column, column]
            assert found.best(label) == pytest.approx(own.max() if len(own) else 0.0, abs=1e-5)
        assert list(found.scores) == sorted(found.scores, reverse=True)


def test_boxes_of_a_padded_picture_count_in_its_longer_side(tmp_path: Path) -> None:
    boxes = np.array([[0.5, 0.25, 0.2, 0.1]], dtype=np.float32)
    np.testing.assert_allclose(corners(boxes, scale=(200, 200)), [[80, 40, 120, 60]], rtol=1e-6)
    np.testing.assert_allclose(corners(boxes, scale=(200, 100)), [[80, 20, 120, 30]], rtol=1e-6)


def test_a_picture_that_is_asked_twice_is_looked_at_once(
    owl: Any, images: list[Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, seen, look = owl[0], [], owl[0]._seen
    monkeypatch.setattr(encoder, "_seen", lambda picture: seen.append(picture.size) or look(picture))
    answers = encoder.ask([images[0], images[1], images[0].copy()], ["cat", "cat", "hat"])
    assert seen == [images[0].size, images[1].size]
    assert [answer.labels[0] for answer in answers] == ["cat", "cat", "hat"]


def test_grounding_dino_equals_the_stock_class(tmp_path: Path, images: list[Image.Image]) -> None:
    folder = tiny.write_grounding_dino(tmp_path / "dino")
    encoder = GroundingDinoDetector.load(folder)
    model = GroundingDinoForObjectDetection.from_pretrained(folder)
    processor: Any = GroundingDinoProcessor(
        GroundingDinoImageProcessorPil.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    )
    for image in images[:3]:
        inputs = processor(images=image, text=[["A Cat"]], return_tensors="pt")
        with torch.inference_mode():
            outputs = model(**inputs)
        stock = processor.post_process_grounded_object_detection(
            outputs, threshold=-1.0, text_threshold=0.0, target_sizes=[image.size[::-1]]
        )[0]
        found = encoder.ask([image], ["A Cat"])[0]
        order = np.argsort(-stock["scores"].numpy(), kind="stable")
        np.testing.assert_allclose(found.scores, stock["scores"].numpy()[order], atol=1e-5)
        np.testing.assert_allclose(found.boxes, inside(stock["boxes"].numpy()[order], image), atol=1e-3)


def test_grounding_dino_lets_texts_compete(tmp_path: Path, images: list[Image.Image]) -> None:
    encoder = GroundingDinoDetector.load(tiny.write_grounding_dino(tmp_path / "dino"))
    joined = encoder.ask(images[:1], ["cat\ndog"])[0]
    alone = {text: encoder.ask(images[:1], [text])[0] for text in ("cat", "dog")}
    assert joined.scores[0] == max(found.scores[0] for found in alone.values())
    assert len(joined.scores) == 12


def test_only_the_best_boxes_of_every_line_are_kept() -> None:
    scores = np.zeros((300, 2), dtype=np.float32)
    scores[:200, 0] = np.linspace(0.9, 0.1, 200)
    scores[200:, 1] = 0.05
    found = best_boxes("a\nb", size=(10, 10), boxes=np.full((300, 4), 20, dtype=np.float32), scores=scores)
    assert [found.labels.count(label) for label in "ab"] == [MOST_BOXES, MOST_BOXES]
    assert (found.scores[0], found.best("b"), found.best("c")) == (np.float32(0.9), np.float32(0.05), 0.0)
    assert found.boxes.max() == 10
    boxes, kept = found.at_least(0.5, most=3)
    assert (boxes.shape, len(kept)) == ((3, 4), 3)
    assert len(found.at_least(0.95, most=3)[1]) == 0


def test_another_model_in_the_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"expected an OwlViT.* got .*model_type clip \(known: owlvit, owlv2\)"):
        OwlDetector.load(tiny.write_clip(tmp_path / "clip"))


def test_a_preprocessor_of_another_size_is_told(tmp_path: Path) -> None:
    folder = tiny.write_owlvit(tmp_path / "owl")
    (folder / "preprocessor_config.json").write_text('{"size": [64, 64]}')
    with pytest.raises(WeightsError, match="a preprocessor config for 64 x 64 px"):
        OwlDetector.load(folder)


def test_overlaps_agree_with_transformers() -> None:
    from transformers.loss.loss_for_object_detection import box_iou

    rng = np.random.default_rng(0)
    corner = rng.random((2, 7, 2)) * 50
    boxes = np.concatenate([corner, corner + rng.random((2, 7, 2)) * 50 + 1], axis=2).astype(np.float32)
    expected, _ = box_iou(torch.from_numpy(boxes[0]), torch.from_numpy(boxes[1]))
    np.testing.assert_allclose(overlaps(boxes[0], boxes[1]), expected.numpy(), atol=1e-6)
    empty = np.zeros((1, 4), np.float32)
    assert overlaps(empty, empty).tolist() == [[0.0]]
    assert overlaps(boxes[0], boxes[1][:0]).shape == (7, 0)


def test_boxes_that_overlap_a_better_one_go_and_what_only_overlaps_those_stays() -> None:
    """10 x 10 boxes moved by 4 px share 6 / 14; the second goes, so the third, which overlaps it alone, stays."""
    boxes = np.array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10], [0, 0, 10, 10]], np.float32)
    assert apart(boxes, most=0.4) == [0, 2]
    assert apart(boxes, most=0.43) == [0, 1, 2]
    assert apart(boxes[:0], most=0.5) == []
