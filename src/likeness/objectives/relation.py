"""What a relation LoRA is taught beside the noise error: joints that match the references, and where its word looks.

Source: DreamRelation (arXiv:2410.23280). The keypoint matching loss is named there; its formula, threshold (step 333 of
1000) and weight 0.1 are those of the published code, as is the predicate's attention loss with its weight 0.001 (design
note, 2.6 and 2.7).

Shapes: B pictures, R subjects, K keypoints of each, C latent channels, H x W the latent grid.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from likeness.core.errors import DataError

_EPS = 1e-5  # of a mean over a mask that may be empty


def keypoint_matching_loss(
    clean: Float[Tensor, "B C H W"],
    shown: Float[Tensor, "B R K C"],
    *,
    cells: Int[Tensor, "B R K 2"],
    valid: Bool[Tensor, "B R K"],
    gate: Bool[Tensor, " B"],
) -> Float[Tensor, " B"]:
    """Squared difference of the clean estimate at the target's joints and the references at the same joints.

    `clean` is the estimate of x0 in the prediction, through which alone the gradient flows; `shown` are the references'
    latents at their joints (`latents_at`), `cells` those of the joints in the target. `gate` says for which pictures t
    lies at or below the threshold. A picture's value is the mean over its valid joints and over channels; 0 where the
    gate is shut or no joint is valid.
    Differs: the published code averages over joints that nobody sees, reads references at a wrong cell (`legacy_cells`
    of data/relations/grid.py) and takes one gate for a batch.
    Raises: DataError for a cell outside of the grid.
    """
    wanted = valid & gate[:, None, None]
    found = latents_at(clean[:, None].expand(-1, cells.shape[1], -1, -1, -1), cells).float()
    errors = (found - shown.detach().float()).square().mean(dim=-1)
    count = wanted.sum(dim=(1, 2))
    return torch.where(wanted, errors, 0.0).sum(dim=(1, 2)) / count.clamp_min(1)


def latents_at(latents: Float[Tensor, "*n C h w"], cells: Int[Tensor, "*n K 2"]) -> Float[Tensor, "*n K C"]:
    """The latents at cells (row, column). Raises: DataError for a cell outside of the grid."""
    rows, columns = latents.shape[-2:]
    if not ((cells >= 0) & (cells < torch.tensor([rows, columns], device=cells.device))).all():
        wanted = f"cells: expected rows and columns of a grid of {rows} x {columns}, got one outside"
        raise DataError(f"{wanted}; take them from data/relations/grid.py:cells, which clamps.")
    places = (cells[..., 0] * columns + cells[..., 1]).unsqueeze(-2)
    found = latents.flatten(-2).gather(-1, places.expand(*places.shape[:-2], latents.shape[-3], -1))
    return found.transpose(-1, -2)


def predicate_attention_loss(
    attention: Sequence[Float[Tensor, "B _ _"]], objects: Bool[Tensor, "B H W"]
) -> Float[Tensor, " B"]:
    """How much more the predicate's word attends to the background than to the subjects; lower is better.

    `attention` holds, per layer, the share of attention that the predicate's tokens get at each place, a mean over
    heads and tokens; zeros where the prompt has no predicate. `objects` is the union of the subjects' masks. A layer
    counts the mean over the background minus that over the objects; the value is the mean over layers.
    Differs: each layer resizes the mask itself, where the published code resizes what the layer before it left, and
    each picture has a value of its own.
    Raises: DataError without a layer.
    """
    if not attention:
        raise DataError("predicate_attention_loss: expected a layer, got none; watch the prediction.")
    terms: list[Tensor] = []
    for seen in attention:
        inside = functional.interpolate(objects[:, None].float(), seen.shape[-2:], mode="nearest")[:, 0]
        terms.append(_mean(seen.float(), 1 - inside) - _mean(seen.float(), inside))
    return torch.stack(terms).mean(dim=0)


def _mean(values: Float[Tensor, "B h w"], weights: Float[Tensor, "B h w"]) -> Float[Tensor, " B"]:
    return (values * weights).sum(dim=(1, 2)) / (weights.sum(dim=(1, 2)) + _EPS)
