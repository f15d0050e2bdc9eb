"""Random weights in the layouts of published files, and what those files compute, in plain float64 numpy.

The names are written down here once more, from the notes on the public files, so that wrong ones show.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import BlipVisionModel, CLIPModel
from transformers.models.blip.modeling_blip_text import BlipTextModel

Array = NDArray[np.float64]


def as_open_clip(model: CLIPModel) -> dict[str, Tensor]:
    """The weights of a CLIPModel under the names of open_clip, query, key and value in one matrix."""
    weights, config = model.state_dict(), model.vision_model.config
    found = {
        "logit_scale": weights["logit_scale"],
        "text_projection": weights["text_projection.weight"].T,
        "visual.proj": weights["visual_projection.weight"].T,
        "visual.class_embedding": weights["vision_model.embeddings.class_embedding"],
        "visual.positional_embedding": weights["vision_model.embeddings.position_embedding.weight"],
        "visual.conv1.weight": weights["vision_model.embeddings.patch_embedding.weight"],
        "positional_embedding": weights["text_model.embeddings.position_embedding.weight"],
        "token_embedding.weight": weights["text_model.embeddings.token_embedding.weight"],
    }
    for kind in ("weight", "bias"):
        found[f"visual.ln_pre.{kind}"] = weights[f"vision_model.pre_layrnorm.{kind}"]
        found[f"visual.ln_post.{kind}"] = weights[f"vision_model.post_layernorm.{kind}"]
        found[f"ln_final.{kind}"] = weights[f"text_model.final_layer_norm.{kind}"]
        for ours, theirs in (("vision_model", "visual.transformer"), ("text_model", "transformer")):
            for layer in range(config.num_hidden_layers):
                old, new = f"{ours}.encoder.layers.{layer}", f"{theirs}.resblocks.{layer}"
                qkv = [weights[f"{old}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
                found |= {
                    f"{new}.attn.in_proj_{kind}": torch.cat(qkv),
                    f"{new}.attn.out_proj.{kind}": weights[f"{old}.self_attn.out_proj.{kind}"],
                    f"{new}.ln_1.{kind}": weights[f"{old}.layer_norm1.{kind}"],
                    f"{new}.ln_2.{kind}": weights[f"{old}.layer_norm2.{kind}"],
                    f"{new}.mlp.c_fc.{kind}": weights[f"{old}.mlp.fc1.{kind}"],
                    f"{new}.mlp.c_proj.{kind}": weights[f"{old}.mlp.fc2.{kind}"],
                }
    return {name: tensor.clone().contiguous() for name, tensor in found.items()}


class OpenClip:
    """What open_clip computes with these weights. `quick` chooses x * sigmoid(1.702 x) in place of the exact GELU."""

    def __init__(self, tensors: Mapping[str, Tensor], *, heads: int, quick: bool) -> None:
        self.weights = {name: tensor.double().numpy() for name, tensor in tensors.items()}
        self.heads = heads
        self.quick = quick

    def image(self, pixels: Array) -> Array:
        """The unit feature of a picture (3, S, S)."""
        kernel = self.weights["visual.conv1.weight"]
        size, side = kernel.shape[-1], pixels.shape[-1] // kernel.shape[-1]
        patches = pixels.reshape(3, side, size, side, size).transpose(1, 3, 0, 2, 4).reshape(side * side, -1)
        tokens = patches @ kernel.reshape(len(kernel), -1).T
        x = np.concatenate([self.weights["visual.class_embedding"][None], tokens])
        x = self._norm("visual.ln_pre", x + self.weights["visual.positional_embedding"])
        x = self._blocks("visual.transformer", x, mask=None)
        return _unit(self._norm("visual.ln_post", x[0]) @ self.weights["visual.proj"])

    def text(self, ids: list[int]) -> Array:
        """The unit feature of a text by its token ids, the last of which ends it."""
        x = self.weights["token_embedding.weight"][ids] + self.weights["positional_embedding"][: len(ids)]
        x = self._blocks("transformer", x, mask=np.triu(np.full((len(ids), len(ids)), -np.inf), 1))
        return _unit(self._norm("ln_final", x[-1]) @ self.weights["text_projection"])

    def _blocks(self, tower: str, x: Array, *, mask: Array | None) -> Array:
        number = 0
        while f"{tower}.resblocks.{number}.ln_1.weight" in self.weights:
            block = f"{tower}.resblocks.{number}"
            x = x + self._attention(block, self._norm(f"{block}.ln_1", x), mask=mask)
            hidden = self._linear(f"{block}.mlp.c_fc", self._norm(f"{block}.ln_2", x))
            hidden = hidden / (1 + np.exp(-1.702 * hidden)) if self.quick else gelu(hidden)
            x = x + self._linear(f"{block}.mlp.c_proj", hidden)
            number += 1
        return x

    def _attention(self, block: str, x: Array, *, mask: Array | None) -> Array:
        fused = x @ self.weights[f"{block}.attn.in_proj_weight"].T + self.weights[f"{block}.attn.in_proj_bias"]
        query, key, value = (each.reshape(len(x), self.heads, -1).transpose(1, 0, 2) for each in np.split(fused, 3, 1))
        logits = query @ key.transpose(0, 2, 1) / math.sqrt(query.shape[-1])
        seen = softmax(logits if mask is None else logits + mask) @ value
        return self._linear(f"{block}.attn.out_proj", seen.transpose(1, 0, 2).reshape(len(x), -1))

    def _linear(self, name: str, x: Array) -> Array:
        return x @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]

    def _norm(self, name: str, x: Array) -> Array:
        return layer_norm(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"], eps=1e-5)


def gelu(x: Array) -> Array:
    """The exact one."""
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def softmax(logits: Array) -> Array:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def layer_norm(x: Array, weight: Array, bias: Array, *, eps: float) -> Array:
    """Over the last axis."""
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps) * weight + bias


def _unit(x: Array) -> Array:
    return x / np.linalg.norm(x)


def linear_layers(width: int, *, seed: int = 0) -> list[tuple[Array, Array]]:
    """Five random layers, width-8-6-5-4-1, as (weight, bias)."""
    rng = np.random.default_rng(seed)
    sizes = [width, 8, 6, 5, 4, 1]
    pairs = zip(sizes[1:], sizes, strict=False)
    return [(rng.normal(size=(out, into)), rng.normal(size=out)) for out, into in pairs]


def named_layers(layers: list[tuple[Array, Array]], *, prefix: str) -> dict[str, Tensor]:
    """The layers as the public heads name them, dropouts counted."""
    found: dict[str, Tensor] = {}
    for place, (weight, bias) in zip((0, 2, 4, 6, 7), layers, strict=True):
        found[f"{prefix}{place}.weight"] = torch.from_numpy(weight).float()
        found[f"{prefix}{place}.bias"] = torch.from_numpy(bias).float()
    return found


def as_image_reward(vision: BlipVisionModel, text: BlipTextModel) -> dict[str, Tensor]:
    """Both parts of a BLIP under the names of ImageReward.pt, with what BLIP has for its other tasks; no head."""
    eyes = vision.state_dict()
    found = {
        "blip.visual_encoder.cls_token": eyes["embeddings.class_embedding"],
        "blip.visual_encoder.pos_embed": eyes["embeddings.position_embedding"],
        "blip.vision_proj.weight": torch.zeros(4, 24),
        "blip.text_proj.weight": torch.zeros(4, 16),
        "blip.text_encoder.embeddings.position_ids": torch.arange(64)[None],
    }
    inner = {
        "norm1": "layer_norm1",
        "norm2": "layer_norm2",
        "attn.qkv": "self_attn.qkv",
        "attn.proj": "self_attn.projection",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    }
    for kind in ("weight", "bias"):
        found[f"blip.visual_encoder.patch_embed.proj.{kind}"] = eyes[f"embeddings.patch_embedding.{kind}"]
        found[f"blip.visual_encoder.norm.{kind}"] = eyes[f"post_layernorm.{kind}"]
        for layer in range(vision.config.num_hidden_layers):
            for theirs, ours in inner.items():
                old = f"encoder.layers.{layer}.{ours}.{kind}"
                found[f"blip.visual_encoder.blocks.{layer}.{theirs}.{kind}"] = eyes[old]
    found |= {f"blip.text_encoder.{name}": tensor for name, tensor in text.state_dict().items()}
    return {name: tensor.clone().contiguous() for name, tensor in found.items()}
