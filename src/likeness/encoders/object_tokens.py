"""Local tokens: what dense features say of one object, as a few tokens, pooled within its box or mask.

Source: DreamRelation (arXiv:2410.23280), supplement; its public code pools a 4 x 4 grid of equal cells of the whole
reference image by RoIAlign, which for cells of whole patches is their mean (design note dreamrelation.md, 2.1).
Differs: the exact mean by area for any box, where RoIAlign samples; every object from its own picture, where the public
code reads the first picture of the batch for all (`first_picture_for_all` repeats that); a mask may leave out patches.

Shapes: P pictures of h x w patches of width D, N objects, k x k cells each. Boxes are (left, top, right, bottom) in
shares of the sides.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.core.errors import DataError

CELLS = 4
"""Cells in a row and in a column of an object: 16 local tokens."""


class ObjectTokens(NamedTuple):
    """`tokens` of N objects, row by row; `valid` is False, and the token 0, for cells of which the mask has nothing."""

    tokens: Float[Tensor, "N L D"]
    valid: Bool[Tensor, "N L"]


def whole_pictures(count: int) -> Float[Tensor, "N 4"]:
    """The box of the whole picture, `count` times."""
    return torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(count, 1)


def object_tokens(
    dense: Float[Tensor, "P h w D"],
    boxes: Float[Tensor, "N 4"],
    *,
    picture: Int[Tensor, " N"],
    cells: int = CELLS,
    mask: Float[Tensor, "N h w"] | None = None,
    first_picture_for_all: bool = False,
) -> ObjectTokens:
    """Means of the dense features over the cells of each object's box in its own `picture` (an index into P).

    `mask` is the share of each patch that belongs to the object, by which patches count. Features are not scaled to
    unit length again, so that a cell of unlike patches has a short token.
    Raises: DataError for a box without area or beyond the picture, a mask without a patch in its box, or an index
    beyond P.
    """
    _check(dense, boxes, picture)
    rows = _overlap(boxes[:, 1], boxes[:, 3], cells=cells, patches=dense.shape[1])
    columns = _overlap(boxes[:, 0], boxes[:, 2], cells=cells, patches=dense.shape[2])
    own = dense[torch.zeros_like(picture) if first_picture_for_all else picture]
    weight = torch.einsum("nky,nlx->nklyx", rows.to(dense), columns.to(dense))
    if mask is not None:
        weight = weight * mask.to(dense)[:, None, None]
    total = weight.sum((-2, -1))
    empty = total.flatten(1).sum(1) == 0
    if bool(empty.any()):
        number = int(empty.nonzero()[0, 0])
        raise DataError(f"object {number}: expected a mask with a patch inside the box, got none; check the mask.")
    summed = torch.einsum("nklyx,nyxd->nkld", weight, own)
    tokens = summed / torch.where(total > 0, total, 1.0)[..., None]
    return ObjectTokens(tokens.flatten(1, 2), (total > 0).flatten(1))


def _check(dense: Tensor, boxes: Tensor, picture: Tensor) -> None:
    if len(picture) and not 0 <= int(picture.min()) <= int(picture.max()) < len(dense):
        raise DataError(f"picture: expected indices below {len(dense)}, got {picture.tolist()}; check the batch.")
    ends = (boxes[:, 2:] - boxes[:, :2]).amin(1) > 0
    inside = (boxes.amin(1) >= 0) & (boxes.amax(1) <= 1)
    if not bool((ends & inside).all()):
        number = int((~(ends & inside)).nonzero()[0, 0])
        wanted = "left < right and top < bottom within 0 to 1"
        raise DataError(f"box {number}: expected {wanted}, got {boxes[number].tolist()}; correct the box.")


def _overlap(
    low: Float[Tensor, " N"], high: Float[Tensor, " N"], *, cells: int, patches: int
) -> Float[Tensor, "N cells patches"]:
    """How much of each patch lies in each of the equal cells between `low` and `high`, in patches."""
    steps = torch.arange(cells + 1, device=low.device) / cells
    edges = (low[:, None] + (high - low)[:, None] * steps) * patches
    starts = torch.arange(patches, device=low.device)
    return (torch.minimum(edges[:, 1:, None], starts + 1.0) - torch.maximum(edges[:, :-1, None], starts)).clamp(min=0)
