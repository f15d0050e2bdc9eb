"""CLIP features: preprocessing by hand, batches equal single pictures, texts, ids and damaged folders."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPModel

from likeness.core.errors import MeasurementError, WeightsError
from likeness.encoders.base import unit_rows
from likeness.encoders.clip import ClipEncoder

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of OpenAI's CLIP code
STD = (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture(scope="module")
def clip(clip_folder: Path) -> ClipEncoder:
    return ClipEncoder.load(clip_folder)


def resized_and_cropped(image: Image.Image, *, edge: int, crop: int) -> np.ndarray:
    """The pictures' pixels after short side `edge` and centre crop, in [0, 1], (3, crop, crop)."""
    short = min(image.size)
    width, height = (edge if side == short else int(edge * side / short) for side in image.size)
    resized = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - crop) // 2, (height - crop) // 2
    return np.asarray(resized.crop((left, top, left + crop, top + crop)), np.float64).transpose(2, 0, 1) / 255


def test_preprocessing_is_clips_done_by_hand(clip: ClipEncoder, images: list[Image.Image]) -> None:
    for image in images:
        pixels = resized_and_cropped(image, edge=32, crop=32)
        expected = (pixels - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
        np.testing.assert_allclose(clip.pixel_values(image), expected, atol=1e-6)


def test_golden_pixels_of_a_plain_picture(clip: ClipEncoder) -> None:
    pixels = clip.pixel_values(Image.new("RGB", (100, 60), (255, 0, 128)))
    assert pixels.shape == (3, 32, 32)
    # (1 - 0.48145466) / 0.26862954, (0 - 0.4578275) / 0.26130258, (128/255 - 0.40821073) / 0.27577711
    np.testing.assert_allclose(pixels[:, 3, 7], (1.930336, -1.752097, 0.339956), atol=1e-5)
    assert (pixels == pixels[:, :1, :1]).all()


def test_features_of_a_picture_do_not_depend_on_its_neighbours(clip: ClipEncoder, images: list[Image.Image]) -> None:
    together = clip.look(images)
    for row, image in zip(together, images, strict=True):
        np.testing.assert_array_equal(row, clip.look([image])[0])
    np.testing.assert_array_equal(clip.look(images[::-1])[::-1], together)


def test_features_have_unit_length_and_equal_the_models(
    clip: ClipEncoder, images: list[Image.Image], clip_folder: Path
) -> None:
    features = clip.look(images[:2])
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-6)
    model = CLIPModel.from_pretrained(clip_folder).eval()
    pixels = torch.from_numpy(np.stack([clip.pixel_values(image) for image in images[:2]]))
    tokens = clip.tokenizer(["cat", "dog"], return_tensors="pt")
    with torch.inference_mode():
        expected = model(pixel_values=pixels, **tokens)
    np.testing.assert_allclose(features, expected.image_embeds.numpy(), atol=1e-5)
    np.testing.assert_allclose(
        [text.vector for text in clip.read(["cat", "dog"])], expected.text_embeds.numpy(), atol=1e-5
    )


def test_a_text_does_not_depend_on_longer_neighbours(clip: ClipEncoder) -> None:
    np.testing.assert_array_equal(clip.read(["cat", "a long text"])[0].vector, clip.read(["cat"])[0].vector)


def test_long_texts_are_cut_and_say_so(clip: ClipEncoder) -> None:
    whole, cut = clip.read(["a" * 14, "a" * 15])  # 14 letters, start and end: 16
    assert (whole.truncated, cut.truncated) == (False, True)
    np.testing.assert_array_equal(clip.read(["b" * 30])[0].vector, clip.read(["b" * 40])[0].vector)
    kept, changed = clip.read(["b " * 14, "b " * 13 + "c"])  # the last letter that is read counts
    assert not np.array_equal(kept.vector, changed.vector)


def test_the_id_names_content_and_preprocessing_but_no_path(
    clip: ClipEncoder, clip_folder: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(clip_folder, tmp_path / clip_folder.name)
    assert ClipEncoder.load(copy).id == clip.id
    assert str(clip_folder.parent) not in clip.id
    assert "tiny-clip@" in clip.id
    assert "short side 32" in clip.id
    (copy / "added.txt").write_text("other content")
    assert ClipEncoder.load(copy).id != clip.id


@pytest.mark.parametrize("damage", ["config.json", "preprocessor_config.json", "model.safetensors"])
def test_an_incomplete_folder_is_named(clip_folder: Path, tmp_path: Path, damage: str) -> None:
    copy = shutil.copytree(clip_folder, tmp_path / "broken")
    (copy / damage).unlink()
    with pytest.raises(WeightsError, match="broken"):
        ClipEncoder.load(copy)


def test_a_folder_with_pickled_weights_only_is_refused(clip_folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(clip_folder, tmp_path / "pickled")
    torch.save(CLIPModel.from_pretrained(clip_folder).state_dict(), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"pickled, got OSError: .*model\.safetensors found in directory"):
        ClipEncoder.load(copy)


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(MeasurementError, match="finite"):
        unit_rows(np.array([[np.nan, 1.0]]))
    with pytest.raises(MeasurementError, match="finite"):
        unit_rows(np.zeros((1, 3)))
    np.testing.assert_allclose(unit_rows(np.array([[3.0, 4.0]])), [[0.6, 0.8]])
