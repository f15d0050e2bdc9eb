"""ImageReward: names there and back, the library's own BLIP on the same weights, texts that are too long."""

from pathlib import Path

import numpy as np
import pytest
import tiny_encoders as tiny
import torch
from PIL import Image
from published_files import as_image_reward, linear_layers, named_layers
from torch import Tensor
from transformers import BlipConfig, BlipForImageTextRetrieval

from likeness.core.errors import WeightsError
from likeness.encoders.blip import (
    DEVIATION,
    IMAGE_REWARD,
    MEAN,
    BlipHeads,
    ImageRewardEncoder,
    blip_configs,
    split_tensors,
    write_image_reward,
)

HEADS = BlipHeads(vision=2, text=2)
LAYERS = linear_layers(16)


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """The layout of ImageReward.pt."""
    return as_image_reward(*tiny.tiny_blip()) | named_layers(LAYERS, prefix="mlp.layers.")


@pytest.fixture(scope="module")
def encoder(published: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> ImageRewardEncoder:
    folder = tmp_path_factory.mktemp("reward")
    base, made = tiny.write_image_reward(folder / "base"), folder / "made"
    made.mkdir()
    write_image_reward(published, folder=made, heads=HEADS, base=str(base))
    return ImageRewardEncoder.load(made)


def test_names_and_tensors_come_back_as_they_were(published: dict[str, Tensor]) -> None:
    found, parts = split_tensors(published), tiny.tiny_blip()
    for ours, model in zip(found, parts, strict=False):
        expected = model.state_dict()
        assert ours.keys() == expected.keys()
        assert all(torch.equal(ours[name], tensor) for name, tensor in expected.items())
    assert len(found[2]) == 10


def test_the_published_settings() -> None:
    """What the class does not assume by itself: eps of timm's towers, and 12 heads where BLIP's default is 8."""
    vision, text = tiny.tiny_blip()
    configs = blip_configs(vision.state_dict(), text.state_dict(), heads=HEADS)
    assert IMAGE_REWARD == (16, 12)
    assert configs[0].layer_norm_eps == 1e-6
    assert (configs[0].image_size, configs[0].patch_size, configs[0].hidden_size) == (32, 8, 24)
    assert (configs[1].encoder_hidden_size, configs[1].vocab_size) == (24, len(tiny.tiny_words()))
    assert (configs[1].max_position_embeddings, configs[1].layer_norm_eps) == (64, 1e-12)
    assert (MEAN, DEVIATION) == (0.16717362830052426, 1.0333394966054072)


def whole_model() -> BlipForImageTextRetrieval:
    """The library's own class with the same weights."""
    vision, text = tiny.tiny_blip()
    config = BlipConfig(vision_config=vision.config.to_dict(), text_config=text.config.to_dict())
    model = BlipForImageTextRetrieval(config)
    model.vision_model.load_state_dict(vision.state_dict())
    model.text_encoder.load_state_dict(text.state_dict())
    return model.eval()


def test_the_score_is_that_of_the_librarys_blip(encoder: ImageRewardEncoder, images: list[Image.Image]) -> None:
    texts = ["a cat", "dogs on a beach", "x" * 60]
    model, words = whole_model(), tiny.tiny_words()
    expected: list[float] = []
    for image, text in zip(images, texts, strict=False):
        pixels = torch.from_numpy(encoder.processor(image)["pixel_values"][0])[None]
        tokens = words(text, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
        with torch.inference_mode():
            found = model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"], pixel_values=pixels)
        state = found.question_embeds[0, 0].double().numpy()
        for weight, bias in LAYERS:
            state = weight.astype(np.float32).astype(np.float64) @ state + bias.astype(np.float32)
        expected.append((state[0] - 0.16717362830052426) / 1.0333394966054072)
    answers = encoder.ask(images[:3], texts)
    scale = np.abs(encoder.head.weight).sum()  # a random head magnifies the rounding of float32 features
    np.testing.assert_allclose([answer.score for answer in answers], expected, atol=1e-6 * scale)
    assert np.ptp(expected) > 0.01 * scale  # and they do differ


def test_a_text_beyond_35_tokens_is_cut_and_says_so(encoder: ImageRewardEncoder, images: list[Image.Image]) -> None:
    whole, cut = encoder.ask([images[0], images[0]], ["a" * 33, "a" * 34])  # with [CLS] and [SEP]: 35 and 36
    assert (whole.truncated, cut.truncated) == (False, True)
    longer = encoder.ask([images[0]], ["a" * 50])[0]
    assert longer == cut


def test_the_picture_and_the_text_both_count(encoder: ImageRewardEncoder, images: list[Image.Image]) -> None:
    one, other_text, other_picture = encoder.ask([images[0], images[0], images[1]], ["a cat", "a dog", "a cat"])
    assert len({one.score, other_text.score, other_picture.score}) == 3


@pytest.mark.parametrize("name", ["blip.visual_encoder.blocks.0.odd.weight", "other.weight"])
def test_a_tensor_of_another_model_is_named(name: str, published: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match=f"got a tensor {name}"):
        split_tensors(published | {name: torch.zeros(1)})


def test_an_absent_tensor_is_named(published: dict[str, Tensor], tmp_path: Path) -> None:
    base = str(tiny.write_image_reward(tmp_path / "base"))
    for gone, told in (
        ("blip.text_encoder.encoder.layer.1.output.dense.bias", r"encoder\.layer\.1\.output\.dense\.bias"),
        ("blip.visual_encoder.patch_embed.proj.weight", r"embeddings\.patch_embedding\.weight"),
        ("mlp.layers.4.bias", r"mlp\.layers\.4\.bias"),
    ):
        short = {name: tensor for name, tensor in published.items() if name != gone}
        with pytest.raises(WeightsError, match=told):
            write_image_reward(short, folder=tmp_path / "made", heads=HEADS, base=base)
