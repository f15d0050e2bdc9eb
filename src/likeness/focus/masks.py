"""Masks on the token grid: from pixels to tokens, and one owner per token.

Shapes: B pictures, R subjects, L = rows * columns tokens in row-major order.
"""

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor
from torch.nn import functional

from likeness.core.errors import DataError


def token_mask(mask: Shaped[Tensor, "*batch H W"], grid: tuple[int, int]) -> Bool[Tensor, "*batch L"]:
    """Tokens of which the mask covers at least half; where that leaves a mask no token, every token it touches.

    `mask` is bool or a number per pixel, where anything but 0 is inside; `grid` is (rows, columns). Empty stays empty.
    Source: FocusDPO (arXiv:2509.01181) leaves the resampling open; area average, threshold 0.5.
    Raises: DataError for a mask without two sides.
    """
    if mask.ndim < 2 or 0 in mask.shape[-2:]:
        got = f"shape {tuple(mask.shape)}"
        raise DataError(f"token_mask: expected a mask (..., H, W), got {got}; load it as a picture.")
    pixels = (mask != 0).reshape(-1, 1, *mask.shape[-2:]).float()
    share = functional.interpolate(pixels, grid, mode="area").flatten(1)
    covered = share >= 0.5
    tokens = torch.where(covered.any(dim=1, keepdim=True), covered, share > 0)
    return tokens.reshape(*mask.shape[:-2], grid[0] * grid[1])


def resolve_overlaps(masks: Bool[Tensor, "B R L"]) -> Bool[Tensor, "B R L"]:
    """The masks with every shared token left to its smallest mask (equal areas: the first), so the union is the same.

    Source: FocusDPO does not say; the smaller instance is the one in front more often than not.
    """
    area = masks.sum(dim=-1, keepdim=True)
    owner = torch.where(masks, area, masks.shape[-1] + 1).argmin(dim=1, keepdim=True)
    subjects = torch.arange(masks.shape[1], device=masks.device)[None, :, None]
    return masks & (owner == subjects)
