"""Pure arithmetic of FLUX.2: patches, position ids, the schedule's time shift. Nothing has weights.

Shapes: B pictures, C latent channels, H x W token grid, L = H*W tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.backbones.base import TokenGrid

REFERENCE_STEP = 10
"""Along the time axis between the picture, at 0, and each reference after the other."""


def to_patches(latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C4 H W"]:
    """2 x 2 patches as channels, ordered (c, dy, dx). Source: diffusers 0.42 `_patchify_latents`."""
    return torch.nn.functional.pixel_unshuffle(latents, 2)


def from_patches(patches: Float[Tensor, "B C4 H W"]) -> Float[Tensor, "B C h w"]:
    """The exact inverse of `to_patches`."""
    return torch.nn.functional.pixel_shuffle(patches, 2)


def pack(patches: Float[Tensor, "B C4 H W"]) -> Float[Tensor, "B L C4"]:
    """Tokens in row-major order."""
    return patches.flatten(2).transpose(1, 2)


def unpack(tokens: Float[Tensor, "B L C4"], grid: TokenGrid) -> Float[Tensor, "B C4 H W"]:
    """The exact inverse of `pack`."""
    return tokens.transpose(1, 2).unflatten(2, (grid.rows, grid.columns))


def text_ids(length: int) -> Float[Tensor, "T 4"]:
    """Ids (0, 0, 0, place) of the text's tokens."""
    return torch.cat([torch.zeros(length, 3), torch.arange(length)[:, None].float()], dim=1)


def image_ids(target: TokenGrid, references: Sequence[TokenGrid] = ()) -> Float[Tensor, "tokens 4"]:
    """Ids (time, row, column, 0): the picture at time 0, reference i (from 0) at 10 (i + 1) on its own grid.

    Source: diffusers 0.42 `_prepare_latent_ids` and `_prepare_image_ids`.
    """
    return torch.cat(
        [
            torch.cartesian_prod(*map(torch.arange, (1, *grid, 1))).float()
            + torch.tensor([number * REFERENCE_STEP, 0.0, 0.0, 0.0])
            for number, grid in enumerate((target, *references))
        ]
    )


def schedule_shift(num_tokens: int, *, steps: int) -> float:
    """mu of the schedule, by the number of target tokens and of steps.

    Source: diffusers 0.42 `compute_empirical_mu`: linear in tokens at 10 and at 200 steps, linear in steps between;
    above 4,300 tokens the line of 200 steps alone.
    """
    at_200 = 0.00016927 * num_tokens + 0.45666666
    if num_tokens > 4300:
        return at_200
    at_10 = 8.73809524e-05 * num_tokens + 1.89833333
    slope = (at_200 - at_10) / 190
    return slope * steps + at_200 - 200 * slope
