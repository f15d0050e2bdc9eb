"""Dense features against the stock models: hidden states, a block written out, and what each patch may depend on."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import CLIPModel, CLIPVisionModelWithProjection, Dinov2Model, ViTModel

from likeness.core.errors import ConfigError, WeightsError
from likeness.encoders.dense import (
    DENSE_ENCODERS,
    ClipGlobal,
    ClipLocal,
    dense_features,
    global_feature,
    global_patches,
    last_block_input,
    load_vision_tower,
    value_path,
)


@pytest.fixture(scope="module")
def tower(clip_folder: Path) -> CLIPVisionModelWithProjection:
    return load_vision_tower(clip_folder, device="cpu")


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    """Wider than the model was trained at, and not square."""
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def test_the_tower_of_a_whole_clip_is_its_picture_side(tower: CLIPVisionModelWithProjection, clip_folder: Path) -> None:
    whole: Any = CLIPModel.from_pretrained(clip_folder).eval()
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = F.normalize(whole.get_image_features(pixel_values=pixels).pooler_output, dim=-1)
        assert torch.equal(global_feature(tower, pixels), expected)


def test_the_tower_saved_alone_reads_back(tower: CLIPVisionModelWithProjection, tmp_path: Path) -> None:
    tower.save_pretrained(tmp_path)
    again = load_vision_tower(tmp_path, device="cpu")
    assert all(torch.equal(a, b) for a, b in zip(tower.parameters(), again.parameters(), strict=True))


@torch.no_grad()
def test_image_tokens_are_the_stock_models_last_hidden_state_but_one(
    tower: CLIPVisionModelWithProjection, pixels: torch.Tensor
) -> None:
    outputs: Any = tower(pixel_values=pixels, interpolate_pos_encoding=True, output_hidden_states=True)
    assert torch.equal(last_block_input(tower, pixels), outputs.hidden_states[-2])
    assert last_block_input(tower, pixels).shape == (2, 1 + 8 * 12, 16)


@torch.no_grad()
def test_global_patches_are_the_stock_models_tokens_behind_the_final_norm(
    tower: CLIPVisionModelWithProjection, pixels: torch.Tensor
) -> None:
    outputs: Any = tower(pixel_values=pixels, interpolate_pos_encoding=True)
    normed = tower.vision_model.post_layernorm(outputs.last_hidden_state[:, 1:])
    found = global_patches(tower, pixels, project=False)
    torch.testing.assert_close(found, F.normalize(normed, dim=-1).reshape(2, 8, 12, 16))


def by_hand(layer: Any, token: np.ndarray) -> np.ndarray:
    """The value path of one token, written out in float64."""

    def linear(module: Any, x: np.ndarray) -> np.ndarray:
        return module.weight.double().numpy() @ x + module.bias.double().numpy()

    def norm(module: Any, x: np.ndarray) -> np.ndarray:
        scaled = (x - x.mean()) / math.sqrt(x.var() + module.eps)
        return scaled * module.weight.double().numpy() + module.bias.double().numpy()

    attention = layer.self_attn
    x = token + linear(attention.out_proj, linear(attention.v_proj, norm(layer.layer_norm1, token)))
    hidden = linear(layer.mlp.fc1, norm(layer.layer_norm2, x))
    return x + linear(layer.mlp.fc2, hidden / (1 + np.exp(-1.702 * hidden)))  # quick_gelu


@torch.no_grad()
def test_the_value_path_is_that_of_each_token_by_hand(tower: CLIPVisionModelWithProjection) -> None:
    layer: Any = tower.vision_model.encoder.layers[-1]
    assert layer.mlp.config.hidden_act == "quick_gelu"
    tokens = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(2))
    found = value_path(layer, tokens)[0].double().numpy()
    for row in range(5):
        np.testing.assert_allclose(found[row], by_hand(layer, tokens[0, row].double().numpy()), atol=1e-5)


@torch.no_grad()
def test_the_value_path_is_attention_that_sees_only_itself(tower: CLIPVisionModelWithProjection) -> None:
    """Attention under a mask of the diagonal gives each token its own value."""
    layer: Any = tower.vision_model.encoder.layers[-1]
    tokens = torch.randn(2, 7, 16, generator=torch.Generator().manual_seed(3))
    mask = torch.full((7, 7), -math.inf).fill_diagonal_(0.0)[None, None].expand(2, 1, 7, 7)
    torch.testing.assert_close(value_path(layer, tokens), layer(tokens, attention_mask=mask))


@torch.no_grad()
def test_dense_features_are_unit_and_projected_on_demand(
    tower: CLIPVisionModelWithProjection, pixels: torch.Tensor
) -> None:
    wide, shared = (dense_features(tower, pixels, project=project) for project in (False, True))
    assert wide.shape == (2, 8, 12, 16)
    assert shared.shape == (2, 8, 12, tower.config.projection_dim)
    for found in (wide, shared):
        torch.testing.assert_close(found.norm(dim=-1), torch.ones(2, 8, 12))
    normed = tower.vision_model.post_layernorm(
        value_path(tower.vision_model.encoder.layers[-1], last_block_input(tower, pixels))
    )[:, 1:]
    expected = F.normalize(normed @ tower.visual_projection.weight.T, dim=-1)
    torch.testing.assert_close(shared.flatten(1, 2), expected)


def test_the_kinds_differ_and_keep_one_interface(
    clip_folder: Path, vit_folder: Path, images: list[Image.Image]
) -> None:
    folders = {"clip": clip_folder, "dino": vit_folder, "local": clip_folder}
    assert set(folders) == set(DENSE_ENCODERS)
    seen: dict[str, np.ndarray] = {}
    for name, folder in folders.items():
        encoder = DENSE_ENCODERS[name].load(folder)
        assert encoder.side == 4 * {"dino": 28}.get(name, 32)
        found = encoder.look(images[:3])
        cells = encoder.side // encoder.patch
        assert found.shape == (3, cells, cells, encoder.width)
        np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-5)
        np.testing.assert_array_equal(found[2], encoder.look([images[2]])[0])
        seen[name] = found
    assert np.abs(seen["clip"] - seen["local"]).max() > 0.01
    assert len({DENSE_ENCODERS[name].load(folder).id for name, folder in folders.items()}) == 3


@pytest.mark.parametrize("kind", ["vit", "dinov2"])
def test_dino_patches_are_the_stock_models(
    kind: str, vit_folder: Path, dinov2_folder: Path, images: list[Image.Image]
) -> None:
    folder = vit_folder if kind == "vit" else dinov2_folder
    encoder = DENSE_ENCODERS["dino"].load(folder)
    pixels = torch.from_numpy(encoder.pixel_values(images[0]))[None]
    stock: Any
    if kind == "vit":
        stock = ViTModel.from_pretrained(folder, add_pooling_layer=False).eval()
        options = {"interpolate_pos_encoding": True}
    else:
        stock, options = Dinov2Model.from_pretrained(folder).eval(), {}
    with torch.no_grad():
        tokens = F.normalize(stock(pixel_values=pixels, **options).last_hidden_state[0, 1:], dim=-1)
    np.testing.assert_array_equal(encoder.look(images[:1])[0].reshape(-1, encoder.width), tokens.numpy())


def test_pictures_are_squashed_to_the_side_that_is_asked_for(clip_folder: Path) -> None:
    encoder = ClipLocal.load(clip_folder).at(64)
    picture = Image.new("RGB", (100, 20), (255, 0, 128))
    assert encoder.pixel_values(picture).shape == (3, 64, 64)
    assert encoder.look([picture]).shape == (1, 8, 8, 16)
    with pytest.raises(ConfigError, match=r"side: expected a multiple of the patch, 8 px, got 60"):
        encoder.at(60)


def test_another_model_is_refused(vit_folder: Path) -> None:
    with pytest.raises(WeightsError, match=r"dense CLIP.*model_type vit"):
        ClipGlobal.load(vit_folder)
