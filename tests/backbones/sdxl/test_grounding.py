"""The grounding resampler against its formulas in float64, and its blocks against diffusers' own."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.loaders.unet import UNet2DConditionLoadersMixin
from tiny_ms import TOKENS, published_groups
from tiny_sdxl import IMAGE_WIDTH, UNET
from torch import Tensor
from torch.nn import functional

from likeness.backbones.sdxl.grounding import GroundingResampler
from likeness.backbones.sdxl.ms_adapter import make_resampler

Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def weights() -> Weights:
    unet: Any = UNet2DConditionModel(**UNET)
    groups = published_groups(unet, text_width=UNET["cross_attention_dim"])
    return {name: tensor.double() for name, tensor in groups["image_proj"].items()}


@pytest.fixture(scope="module")
def resampler(weights: Weights) -> GroundingResampler:
    return make_resampler({f"image_proj.{name}": tensor for name, tensor in weights.items()})


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


BOXES = torch.tensor([[0.0, 0.2, 0.55, 0.85], [0.55, 0.26, 0.95, 0.9]], dtype=torch.float64)


def norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    return functional.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])


def by_hand(weights: Weights, features: Tensor, latents: Tensor) -> Tensor:
    """The note's section 1.2 for one reference, head by head, the scale as a fourth root on both sides."""
    x = features @ weights["proj_in.weight"].T + weights["proj_in.bias"]
    for number in range(4):
        block = f"layers.{number}"
        seen, asking = norm(x, weights, f"{block}.0.norm1"), norm(latents, weights, f"{block}.0.norm2")
        joined = torch.cat([seen, asking])
        query = asking @ weights[f"{block}.0.to_q.weight"].T
        both = joined @ weights[f"{block}.0.to_kv.weight"].T
        key, value = both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]
        heads: list[Tensor] = []
        for head in range(query.shape[1] // 64):
            part, root = slice(64 * head, 64 * head + 64), 64**-0.25
            logits = (query[:, part] * root) @ (key[:, part] * root).T
            heads.append(logits.softmax(dim=-1) @ value[:, part])
        latents = latents + torch.cat(heads, dim=1) @ weights[f"{block}.0.to_out.weight"].T
        wide = norm(latents, weights, f"{block}.1.0") @ weights[f"{block}.1.1.weight"].T
        wide = wide * 0.5 * (1 + torch.erf(wide / math.sqrt(2)))
        latents = latents + wide @ weights[f"{block}.1.3.weight"].T
    out = norm(latents, weights, "attention_norm") @ weights["proj_out.weight"].T + weights["proj_out.bias"]
    return norm(out, weights, "norm_out")


def queries_by_hand(weights: Weights, box: Tensor, phrase: Tensor) -> Tensor:
    waves = [f(100 ** (k / 8) * float(c)) for k in range(8) for f in (math.sin, math.cos) for c in box]
    told = torch.cat([phrase, torch.tensor(waves, dtype=torch.float64)])
    wide = functional.gelu(told @ weights["latent_proj.0.weight"].T + weights["latent_proj.0.bias"])
    flat = wide @ weights["latent_proj.2.weight"].T + weights["latent_proj.2.bias"]
    return norm(flat.reshape(TOKENS, -1), weights, "latent_norm")


def test_grounded_tokens_are_those_of_the_formulas(resampler: GroundingResampler, weights: Weights) -> None:
    features, phrases = drawn(2, 17, IMAGE_WIDTH, seed=0), drawn(2, 32, seed=1)
    found = resampler(features, BOXES, phrases)
    for number in range(2):
        latents = queries_by_hand(weights, BOXES[number], phrases[number])
        expected = by_hand(weights, features[number], latents)
        # the boxes go through fp32, as they are kept
        torch.testing.assert_close(found[number], expected, rtol=0, atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 0.1


def test_without_box_and_phrase_the_learned_queries_ask(resampler: GroundingResampler, weights: Weights) -> None:
    features = drawn(2, 17, IMAGE_WIDTH, seed=0)
    found = resampler(features)
    expected = torch.stack([by_hand(weights, each, weights["grounding_latents"][0]) for each in features])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


def test_the_blocks_are_those_of_diffusers_ip_adapter(resampler: GroundingResampler, weights: Weights) -> None:
    """Its resampler lacks the last norm of the latents, which is put before its projection."""
    names = [name for name in weights if not name.startswith(("latent_", "attention_norm", "grounding_latents"))]
    given = {name: weights[name] for name in names} | {"latents": weights["grounding_latents"]}
    loader: Any = UNet2DConditionLoadersMixin()
    stock = loader._convert_ip_adapter_image_proj_to_diffusers(given, low_cpu_mem_usage=False).double()
    last = torch.nn.LayerNorm(stock.proj_out.in_features).double()
    last.load_state_dict({part: weights[f"attention_norm.{part}"] for part in ("weight", "bias")})
    stock.proj_out = torch.nn.Sequential(last, stock.proj_out)
    features = drawn(2, 17, IMAGE_WIDTH, seed=0)
    with torch.no_grad():
        torch.testing.assert_close(resampler(features), stock(features), rtol=0, atol=1e-10)


def test_any_number_of_tokens_in_any_order_is_read(resampler: GroundingResampler) -> None:
    """Note, check 4: 257 tokens of CLIP, or 273 with local ones, whose order is nothing to the queries."""
    features, phrases = drawn(1, 273, IMAGE_WIDTH, seed=0), drawn(1, 32, seed=1)
    found = resampler(features, BOXES[:1], phrases)
    order = torch.randperm(273, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(resampler(features[:, order], BOXES[:1], phrases), found, rtol=0, atol=1e-10)
    fewer = resampler(features[:, :257], BOXES[:1], phrases)
    assert fewer.shape == found.shape == (1, TOKENS, 64)
    assert (fewer - found).abs().max() > 1e-3
