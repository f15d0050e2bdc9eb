"""Masks on the token grid: from pixels to tokens, and one owner per token.

Shapes: B pictures, R subjects, L = rows * columns tokens in row-major order.
"""

from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.nn import functional

from likeness.core.errors import ConfigError, DataError

Coverage = Literal["any", "half", "soft"]
COVERAGES: tuple[str, ...] = get_args(Coverage)


def token_mask(mask: Shaped[Tensor, "*batch H W"], grid: tuple[int, int]) -> Bool[Tensor, "*batch L"]:
    """Tokens of which the mask covers at least half; where that leaves a mask no token, every token it touches.

    `mask` is bool or a number per pixel, where anything but 0 is inside; `grid` is (rows, columns). Empty stays empty.
    Source: FocusDPO (arXiv:2509.01181) leaves the resampling open; area average, threshold 0.5.
    Raises: DataError for a mask without two sides.
    """
    return covered_tokens(token_shares(mask, grid))


def token_shares(mask: Shaped[Tensor, "*batch H W"], grid: tuple[int, int]) -> Float[Tensor, "*batch L"]:
    """Of each token of `grid` (rows, columns) the share in [0, 1] that the mask covers: the area average.

    Source: FocusDPO leaves the resampling open. Raises: DataError for a mask without two sides.
    """
    if mask.ndim < 2 or 0 in mask.shape[-2:]:
        got = f"shape {tuple(mask.shape)}"
        raise DataError(f"token_mask: expected a mask (..., H, W), got {got}; load it as a picture.")
    pixels = (mask != 0).reshape(-1, 1, *mask.shape[-2:]).float()
    share = functional.interpolate(pixels, grid, mode="area")
    return share.reshape(*mask.shape[:-2], grid[0] * grid[1])


def covered_tokens(shares: Float[Tensor, "*batch L"], *, coverage: str = "half") -> Bool[Tensor, "*batch L"]:
    """Tokens that count as covered: by "half" or more (any touch, where that leaves a mask none), or by "any" part.

    Of "soft", too, every touched token counts; by how much is the share itself.
    Raises: ConfigError for another coverage.
    """
    if coverage not in COVERAGES:
        raise ConfigError(f"coverage: expected one of {', '.join(COVERAGES)}, got {coverage!r}; choose one.")
    touched = shares > 0
    if coverage != "half":
        return touched
    covered = shares >= 0.5
    return torch.where(covered.any(dim=-1, keepdim=True), covered, touched)


def dilated(shares: Float[Tensor, "*batch L"], *, grid: tuple[int, int], tokens: int) -> Float[Tensor, "*batch L"]:
    """Shares grown by so many tokens in all eight directions: each token takes the largest share within reach.

    `grid` is (rows, columns). Source: none; FocusDPO does not grow its masks (docs/log.md says what that leaves out).
    """
    if tokens == 0:
        return shares
    pictures = shares.reshape(-1, 1, *grid)
    return functional.max_pool2d(pictures, 2 * tokens + 1, stride=1, padding=tokens).reshape(shares.shape)


def resolve_overlaps(masks: Bool[Tensor, "B R L"]) -> Bool[Tensor, "B R L"]:
    """The masks with every shared token left to its smallest mask (equal areas: the first), so the union is the same.

    Source: FocusDPO does not say; the smaller instance is the one in front more often than not.
    """
    area = masks.sum(dim=-1, keepdim=True)
    owner = torch.where(masks, area, masks.shape[-1] + 1).argmin(dim=1, keepdim=True)
    subjects = torch.arange(masks.shape[1], device=masks.device)[None, :, None]
    return masks & (owner == subjects)
