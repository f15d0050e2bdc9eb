"""Pure arithmetic of FLUX: packing, UNO position ids, the schedule's time shift, training times. Nothing has weights.

Shapes: B pictures, C latent channels, h x w latent grid, H x W = h/2 x w/2 token grid, L = H*W tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.backbones.base import TokenGrid

TIME_LAWS = ("uno_shift", "uniform", "logit_normal")
T_MIN, T_MAX = 1e-3, 1 - 1e-3
UNO_ENTRIES = 1000
"""Length of UNO's list of times; entries 1 to 998 are drawn, since the first is pure noise and the last the picture."""


def pack_latents(latents: Float[Tensor, "B C h w"]) -> Float[Tensor, "B L C4"]:
    """Tokens in row-major order, each a 2x2 patch with channel order (c, dy, dx).

    Source: diffusers 0.42 FluxPipeline._pack_latents.
    """
    batch, channels, height, width = latents.shape
    patches = latents.reshape(batch, channels, height // 2, 2, width // 2, 2).permute(0, 2, 4, 1, 3, 5)
    return patches.reshape(batch, (height // 2) * (width // 2), channels * 4)


def unpack_latents(tokens: Float[Tensor, "B L C4"], grid: TokenGrid) -> Float[Tensor, "B C h w"]:
    """Latents whose packing on `grid` is `tokens`: the exact inverse of `pack_latents`."""
    batch, _, width4 = tokens.shape
    patches = tokens.reshape(batch, grid.rows, grid.columns, width4 // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return patches.reshape(batch, width4 // 4, grid.rows * 2, grid.columns * 2)


def token_grid(latents: Float[Tensor, "B C h w"]) -> TokenGrid:
    """The token grid of latents."""
    return TokenGrid(latents.shape[-2] // 2, latents.shape[-1] // 2)


def uno_position_ids(
    target_hw: tuple[int, int], reference_hws: Sequence[tuple[int, int]] = ()
) -> Float[Tensor, "tokens 3"]:
    """Ids (0, row, column) of target tokens, then of each reference, so that no two images share a position.

    Reference n starts where the target and references 0..n-1 end, in both axes. Grids are (rows, columns) in tokens.
    Always fp32: bf16 counts to 256 only.
    Source: UNO (arXiv:2504.02160) UnoPE, diagonal; target 4x6 with references 5x3, 2x4 starts at (4,6) and (9,9).
    """
    parts: list[Tensor] = []
    row = column = 0
    for rows, columns in (target_hw, *reference_hws):
        own_rows, own_columns = torch.arange(row, row + rows), torch.arange(column, column + columns)
        parts.append(torch.cartesian_prod(torch.zeros(1), own_rows.float(), own_columns.float()))
        row, column = row + rows, column + columns
    return torch.cat(parts)


def schedule_shift(
    num_tokens: int,
    *,
    base_image_seq_len: int = 256,
    max_image_seq_len: int = 4096,
    base_shift: float = 0.5,
    max_shift: float = 1.15,
) -> float:
    """mu of the resolution-dependent schedule, linear in the number of target tokens.

    Source: diffusers 0.42 `calculate_shift`; FLUX.1-dev numbers.
    """
    slope = (max_shift - base_shift) / (max_image_seq_len - base_image_seq_len)
    return num_tokens * slope + (base_shift - slope * base_image_seq_len)


def uno_sequence_length(num_tokens: int) -> int:
    """What UNO's inference script takes for the number of target tokens: (H/8 * W/8) / 256 in whole numbers.

    It is 16 at 512 px, where there are 1024 tokens, so that mu is 0.459 instead of 0.63 and noise levels are lower.
    Source: UNO's public code, `get_schedule` in its inference pipeline; its training counts the tokens themselves.
    """
    return num_tokens // 64


def time_shift(t: Float[Tensor, "*any"], *, mu: float) -> Float[Tensor, "*any"]:
    """`t` in [0, 1] moved towards noise: e^mu / (e^mu + 1/t - 1), with both ends kept.

    Source: FLUX sampling, "exponential" shift of FlowMatchEulerDiscreteScheduler, written so that both ends are exact.
    """
    return t / (t + (1 - t) * math.exp(-mu))


def draw_time(generator: torch.Generator, *, law: str, mu: float) -> float:
    """One time in [0.001, 0.999]: UNO's list, shifted by `mu`, without its ends; uniform; a normal number's sigmoid.

    Source: UNO's training script (note section 1.4); logit-normal as in Stable Diffusion 3 (arXiv:2403.03206).
    """
    if law == "uno_shift":
        entry = torch.randint(1, UNO_ENTRIES - 1, (), generator=generator)
        t = time_shift(1 - entry.double() / (UNO_ENTRIES - 1), mu=mu)
    elif law == "uniform":
        t = torch.rand((), generator=generator, dtype=torch.float64)
    else:
        t = torch.sigmoid(torch.randn((), generator=generator, dtype=torch.float64))
    return min(max(float(t), T_MIN), T_MAX)
