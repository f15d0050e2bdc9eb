"""open_clip's names to CLIPModel's: there and back, equal features, and what open_clip computes, in plain numpy."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
import torch
from PIL import Image
from published_files import OpenClip, as_open_clip
from torch import Tensor
from transformers import CLIPModel

from likeness.core.errors import WeightsError
from likeness.encoders import load_encoder
from likeness.encoders.open_clip import VIT_H_14, VIT_L_14, ClipHeads, clip_config, clip_tensors, write_clip

TINY_HEADS = ClipHeads(vision=2, text=2, activation="quick_gelu")


def spread(model: CLIPModel) -> CLIPModel:
    """The model with biases and norms that are not 0 and 1, so that a mix-up shows."""
    torch.manual_seed(0)
    for tensor in model.parameters():
        with torch.no_grad():
            tensor += 0.2 * torch.randn_like(tensor)
    return model.eval()


@pytest.fixture(scope="module")
def model() -> CLIPModel:
    return spread(tiny.tiny_clip(hidden_act="quick_gelu"))


@pytest.fixture(scope="module")
def published(model: CLIPModel) -> dict[str, Tensor]:
    return as_open_clip(model)


def test_names_and_tensors_come_back_as_they_were(model: CLIPModel, published: dict[str, Tensor]) -> None:
    found, expected = clip_tensors(published), model.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def test_the_architecture_is_read_off_the_tensors(model: CLIPModel, published: dict[str, Tensor]) -> None:
    config: Any = clip_config(published, heads=TINY_HEADS)  # its towers are typed as many things
    for tower in ("vision_config", "text_config"):
        ours, theirs = getattr(config, tower), getattr(model.config, tower)
        for name in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "hidden_act"):
            assert getattr(ours, name) == getattr(theirs, name), name
    assert (config.vision_config.image_size, config.vision_config.patch_size) == (32, 8)
    assert (config.text_config.eos_token_id, config.text_config.max_position_embeddings) == (53, 16)
    assert config.projection_dim == 12


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_the_folder_computes_what_open_clip_does(
    activation: str, published: dict[str, Tensor], images: list[Image.Image], tmp_path: Path
) -> None:
    base = tiny.write_clip(tmp_path / "base")
    write_clip(published, folder=tmp_path / "made", heads=TINY_HEADS._replace(activation=activation), base=str(base))
    name = "hps_v1" if activation == "quick_gelu" else "hps_v2"
    encoder = load_encoder(name, str(tmp_path / "made"))
    oracle = OpenClip(published, heads=2, quick=activation == "quick_gelu")
    expected = [oracle.image(encoder.pixel_values(image).astype(np.float64)) for image in images]
    np.testing.assert_allclose(encoder.look(images), expected, atol=1e-5)
    other = OpenClip(published, heads=2, quick=activation != "quick_gelu")
    assert np.abs(encoder.look(images[:1])[0] - other.image(encoder.pixel_values(images[0]).astype(float))).max() > 1e-4
    for text in ("cat", "a dog on a beach"):
        ids = encoder.tokenizer(text, truncation=True, max_length=16)["input_ids"]
        np.testing.assert_allclose(encoder.read([text])[0].vector, oracle.text(ids), atol=1e-5)


def test_constants_beside_the_weights_are_left_out(published: dict[str, Tensor]) -> None:
    extra = {"attn_mask": torch.zeros(16, 16), "context_length": torch.tensor(16)}
    assert clip_tensors(published | extra).keys() == clip_tensors(published).keys()


@pytest.mark.parametrize("name", ["visual.head.weight", "transformer.resblocks.0.attn.odd", "classifier.weight"])
def test_a_tensor_of_another_model_is_named(name: str, published: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match=f"got a tensor {name}; give another file"):
        clip_tensors(published | {name: torch.zeros(1)})


@pytest.mark.parametrize("name", ["visual.conv1.weight", "text_projection", "transformer.resblocks.0.mlp.c_fc.weight"])
def test_a_tensor_that_tells_the_architecture_must_be_there(name: str, published: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match=f"expected a tensor {name}, got"):
        clip_config({key: value for key, value in published.items() if key != name}, heads=TINY_HEADS)


def test_an_absent_tensor_is_not_filled_with_chance(published: dict[str, Tensor], tmp_path: Path) -> None:
    base = tiny.write_clip(tmp_path / "base")
    short = {key: value for key, value in published.items() if key != "visual.ln_post.bias"}
    with pytest.raises(WeightsError, match=r"vision_model\.post_layernorm\.bias"):
        write_clip(short, folder=tmp_path / "made", heads=TINY_HEADS, base=str(base))


def test_heads_of_the_published_models() -> None:
    # OpenAI's ViT-L/14: 1024 / 64 and 768 / 64; open_clip's ViT-H/14: 1280 / 80 and 1024 / 64
    assert VIT_L_14 == (16, 12, "quick_gelu")
    assert VIT_H_14 == (16, 16, "gelu")


def test_a_version_of_hps_is_not_taken_for_another(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"HPS v1 encoder .* got ValueError: a CLIP with gelu \(where quick_gelu"):
        load_encoder("hps_v1", str(tiny.write_hps_v2(tmp_path / "v2")))
    folder = tiny.write_hps_v21(tmp_path / "v21")
    (folder / "fetched.json").write_text('{"name": "hps_v21"}')
    load_encoder("hps_v21", str(folder))
    with pytest.raises(WeightsError, match=r"HPS v2\.0 encoder .* got ValueError: the weights of hps_v21"):
        load_encoder("hps_v2", str(folder))
