"""PatchDPO, re-implemented: regression on both pictures, weighted by how good each patch is.

Despite its name this is no direct preference optimisation: there is neither a reference policy nor a log-sigmoid.
Source: PatchDPO (arXiv:2412.03177) and its training code, L = mean of w * (eps_hat - eps)^2.
Differs: the published patch qualities come from a backbone trained further on patches, of which neither code nor data
is public. Here the caller brings features of any frozen encoder (DINO's patch tokens, say), so numbers are not theirs.
There the reference photo is the preferred half; here it is the pair's preferred picture.

Shapes: B pairs, N patches of a picture, D features, L tokens of the latent grid.
"""

import math
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from likeness.core.errors import DataError
from likeness.objectives.base import Objective, PairLoss, PairSeen, PatchWeights, Weights
from likeness.objectives.pair import denoising_errors

_FLAT = 1e-6  # range of similarities below which all patches are alike


def _best_match(features: Tensor, others: Tensor, mask: Tensor | None = None) -> Float[Tensor, "B N"]:
    """Largest cosine of each patch with any patch of the other picture, inside its mask if that has any."""
    cosine = functional.normalize(features.float(), dim=-1) @ functional.normalize(others.float(), dim=-1).mT
    if mask is not None:
        inside = torch.where(mask.any(dim=1, keepdim=True), mask, True)
        cosine = cosine.masked_fill(~inside[:, None], -math.inf)
    return cosine.amax(dim=-1)


def _on_grid(quality: Float[Tensor, "B N"], *, grid: tuple[int, int], patches: tuple[int, int]) -> Float[Tensor, "B L"]:
    """Qualities scaled to [0, 1] per picture (0.5 if all are alike), resized to the grid."""
    least, largest = quality.amin(dim=1, keepdim=True), quality.amax(dim=1, keepdim=True)
    span = largest - least
    scaled = torch.where(span < _FLAT, 0.5, (quality - least) / span.clamp_min(_FLAT))
    picture = scaled.reshape(-1, 1, *patches)
    return functional.interpolate(picture, grid, mode="bilinear", align_corners=False).flatten(1)


@torch.no_grad()
def patch_weights(
    features_preferred: Float[Tensor, "B N D"],
    features_rejected: Float[Tensor, "B N D"],
    *,
    features_reference: Float[Tensor, "B Nr D"],
    reference_mask: Bool[Tensor, "B Nr"] | None,
    grid: tuple[int, int],
    patches: tuple[int, int] | None = None,
) -> PatchWeights:
    """1 - q of the preferred picture and q of the rejected one, on `grid` = (rows, columns) of tokens.

    q of a rejected patch is its best cosine with a subject patch of the references (all their patches in one
    sequence); q of a preferred patch its best cosine with the rejected picture, so that what the two pictures share
    weighs little. `patches` is the encoder's (rows, columns), square by default. No gradient.
    Source: PatchDPO (arXiv:2412.03177), quality as maximum patch similarity; rescaling and resizing are ours.
    Raises: DataError when N is not rows * columns.
    """
    count = features_preferred.shape[1]
    side = math.isqrt(count)
    patches = (side, side) if patches is None else patches
    if patches[0] * patches[1] != count:
        raise DataError(f"patch_weights: expected {patches[0]} x {patches[1]} patches, got {count}; pass `patches`.")
    found = _best_match(features_preferred, features_rejected)
    good = _best_match(features_rejected, features_reference, reference_mask)
    return PatchWeights(1 - _on_grid(found, grid=grid, patches=patches), _on_grid(good, grid=grid, patches=patches))


def patch_dpo_loss(
    *,
    prediction_preferred: Float[Tensor, "B ..."],
    target_preferred: Float[Tensor, "B ..."],
    prediction_rejected: Float[Tensor, "B ..."],
    target_rejected: Float[Tensor, "B ..."],
    weights: PatchWeights,
) -> Float[Tensor, " B"]:
    """Mean of w * (v_hat - v)^2 over all elements of both pictures; w enters linearly, without reference policy.

    Source: PatchDPO's training code (see above).
    """
    preferred = denoising_errors(prediction_preferred, target_preferred, weights.preferred, weight_power=1)
    rejected = denoising_errors(prediction_rejected, target_rejected, weights.rejected, weight_power=1)
    return (preferred + rejected) / 2


class PatchDpo(Objective):
    """Squared error weighted by patch quality, on both pictures; `patch_encoder` is the ViT that gives the patches."""

    label: ClassVar[str] = "PatchDPO"
    weights: ClassVar[Weights] = "patch"

    kind: Literal["patch_dpo"] = "patch_dpo"
    patch_encoder: str = "dino"

    def loss(self, seen: PairSeen) -> PairLoss:
        """`patch_dpo_loss` of every pair. Raises: DataError without the rejected picture or patch weights."""
        if seen.patches is None or seen.policy_rejected is None or seen.target_rejected is None:
            raise DataError("PatchDPO: expected patch weights in the cache, got none; encode the pairs with them.")
        loss = patch_dpo_loss(
            prediction_preferred=seen.policy_preferred,
            target_preferred=seen.target_preferred,
            prediction_rejected=seen.policy_rejected,
            target_rejected=seen.target_rejected,
            weights=seen.patches,
        )
        return PairLoss(loss)
