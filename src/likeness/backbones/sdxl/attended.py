"""Boxes by the model's own text attention: where it begins to draw what a phrase names, before any reference is read.

Source: MS-Diffusion's public code (design note dreamrelation.md, 1.6): attention to each phrase over the first five
steps, scaled to 0 to 1, at least one half. DreamRelation's copy of it is broken (3.3-f).
Differs: here the picture then begins anew with the boxes, where the code goes on with them; the first steps are those
of the prompt alone, without guidance.

Shapes: n phrases, T text tokens, h x w the latent grid.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from likeness.backbones.base import TokenGrid

STEPS = 5
THRESHOLD = 0.5


# Any: an SdxlBackbone of any kind of adapter
@torch.no_grad()
def attention_to(
    backbone: Any, prompt: str, phrases: tuple[str, ...], *, seed: int, grid: TokenGrid, steps: int
) -> Float[Tensor, "n h w"]:
    """The share of text attention that each phrase's tokens get, a mean over layers and the first of `steps` steps."""
    words = torch.stack([backbone.word_columns(prompt, phrase) for phrase in phrases]).to(backbone.device)
    condition = backbone.collate([backbone.prepare(prompt)] * len(phrases))
    scheduler: Any = type(backbone.parts.scheduler).from_config(backbone.parts.scheduler.config)
    scheduler.set_timesteps(steps, device=backbone.device)
    x = backbone.initial_noise((seed,), grid=grid) * scheduler.init_noise_sigma
    found: list[Tensor] = []
    for timestep in scheduler.timesteps[:STEPS]:
        scaled = scheduler.scale_model_input(x, timestep).expand(len(phrases), -1, -1, -1)
        with backbone.text_attention(words, grid=grid) as seen:
            answer = backbone.answer(scaled, timestep, condition)
        found += [functional.interpolate(each[:, None].float(), tuple(grid), mode="bilinear") for each in seen.maps()]
        x = scheduler.step(answer[:1], timestep, x).prev_sample
    return torch.stack(found).mean(dim=0)[:, 0].cpu()


def box_around(attention: Float[Tensor, "h w"]) -> tuple[float, float, float, float]:
    """The least box around all cells of at least THRESHOLD, once the least is 0 and the most 1; all of a flat map."""
    low, high = attention.min(), attention.max()
    is_seen = (attention - low) >= THRESHOLD * (high - low)
    rows, columns = (is_seen.any(dim=axis).nonzero()[:, 0] for axis in (1, 0))
    height, width = attention.shape
    left, right = int(columns[0]) / width, (int(columns[-1]) + 1) / width
    return (left, int(rows[0]) / height, right, (int(rows[-1]) + 1) / height)
