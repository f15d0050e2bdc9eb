"""StellarNet's loss: the noise's error where the person is, and small words.

Source: StellarNet (arXiv:2312.06116v1), its loss and Fig. 11; ELITE's public code for the error by area and the L1 norm
of words (design note stellar.md, 6.5).

Shapes: B pictures, C latent channels, h x w latent grid, K words of a branch, E their width.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

Normalised = Literal["pixels", "area"]


def masked_error(
    prediction: Float[Tensor, "B C h w"],
    target: Float[Tensor, "B C h w"],
    mask: Bool[Tensor, "B h w"],
    *,
    normalised: Normalised,
) -> Float[Tensor, " B"]:
    """The squared error, a mean over channels, summed within the mask and divided by h w or by the mask's cells.

    "pixels" is the paper's form, in which a larger person weighs more; "area" is ELITE's. An empty mask gives 0.
    """
    errors = (prediction.float() - target.float()).square().mean(dim=1)
    inside = torch.where(mask, errors, 0.0).sum(dim=(1, 2))
    cells = float(mask[0].numel()) if normalised == "pixels" else mask.sum(dim=(1, 2)).clamp_min(1)
    return inside / cells


def latent_mask(mask: Bool[Tensor, "B H W"], *, grid: tuple[int, int]) -> Bool[Tensor, "B h w"]:
    """The mask on the latent grid, by nearest pixels."""
    return functional.interpolate(mask[:, None].float(), grid, mode="nearest")[:, 0] > 0.5


def word_size(words: Sequence[Float[Tensor, "B _ _"]], *, summed: bool) -> Float[Tensor, " B"]:
    """Mean absolute value of a picture's words in each branch, and of those the mean, or the sum where `summed`.

    Differs: whether the paper sums or averages over branches is not stated.
    """
    each = torch.stack([branch.float().abs().mean(dim=(1, 2)) for branch in words])
    return each.sum(dim=0) if summed else each.mean(dim=0)
