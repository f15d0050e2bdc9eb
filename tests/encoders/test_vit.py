"""DINO features: the DINO preprocessing by hand at the model's size, CLS after the norm, both model classes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import Dinov2Model, ViTModel

from likeness.core.errors import WeightsError
from likeness.encoders.vit import VitEncoder, dino_processor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def by_hand(image: Image.Image, *, edge: int, crop: int) -> np.ndarray:
    short = min(image.size)
    width, height = (edge if side == short else int(edge * side / short) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - crop) // 2, (height - crop) // 2
    pixels = np.asarray(resized.crop((left, top, left + crop, top + crop)), np.float64).transpose(2, 0, 1) / 255
    return (pixels - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))


def test_preprocessing_resizes_to_256_of_224(vit_folder: Path, images: list[Image.Image]) -> None:
    vit = VitEncoder.load(vit_folder)
    assert vit.processor.size["shortest_edge"] == 32  # 28 * 256 / 224
    for image in images:
        np.testing.assert_allclose(vit.pixel_values(image), by_hand(image, edge=32, crop=28), atol=1e-6)


def test_published_size_gives_256_and_224() -> None:
    processor = dino_processor(crop=224, mean=list(MEAN), std=list(STD))
    image = Image.fromarray(np.random.default_rng(1).integers(0, 256, (300, 450, 3), dtype=np.uint8))
    expected = by_hand(image, edge=256, crop=224)
    np.testing.assert_allclose(processor(image)["pixel_values"][0], expected, atol=1e-6)


def test_features_are_cls_after_the_norm_and_independent_of_the_batch(
    vit_folder: Path, images: list[Image.Image]
) -> None:
    vit = VitEncoder.load(vit_folder)
    together = vit.look(images)
    for row, image in zip(together, images, strict=True):
        np.testing.assert_array_equal(row, vit.look([image])[0])
    model = ViTModel.from_pretrained(vit_folder, add_pooling_layer=False).eval()
    with torch.inference_mode():
        cls = model(torch.from_numpy(vit.pixel_values(images[0]))[None]).last_hidden_state[0, 0].numpy()
    np.testing.assert_allclose(together[0], cls / np.linalg.norm(cls), atol=1e-6)


def test_dinov2_uses_its_crop_size_not_its_training_size(dinov2_folder: Path, images: list[Image.Image]) -> None:
    dino = VitEncoder.load(dinov2_folder)
    assert dino.pixel_values(images[0]).shape == (3, 28, 28)
    np.testing.assert_allclose(np.linalg.norm(dino.look(images[:1])), 1, atol=1e-6)
    assert dino.id.startswith("dinov2 tiny-dinov2@")


def test_another_kind_of_model_is_refused(vit_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(vit_folder, tmp_path / "broken")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"model_type": "bert"}))
    with pytest.raises(WeightsError, match="known: vit, dinov2"):
        VitEncoder.load(copy)


@pytest.mark.parametrize("model", [ViTModel, Dinov2Model])
def test_a_folder_with_pickled_weights_only_is_refused(
    vit_folder: Path, dinov2_folder: Path, tmp_path: Path, model: type[ViTModel | Dinov2Model]
) -> None:
    folder = vit_folder if model is ViTModel else dinov2_folder
    copy = shutil.copytree(folder, tmp_path / "pickled")
    torch.save(model.from_pretrained(folder).state_dict(), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"pickled, got OSError: .*model\.safetensors found in directory"):
        VitEncoder.load(copy)


def test_a_missing_preprocessor_is_refused(vit_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(vit_folder, tmp_path / "broken")
    (copy / "preprocessor_config.json").unlink()
    with pytest.raises(WeightsError, match="preprocessor_config"):
        VitEncoder.load(copy)
