"""Boxes of subjects: as numbers for a network, and as the cells of a grid that lie in them.

Source: MS-Diffusion (arXiv:2406.07209) and the design note, sections 1.2 and 1.5; GLIGEN's Fourier features.

Shapes: B pictures, n boxes (left, top, right, bottom, in shares of the sides), rows x columns cells.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likeness.backbones.base import TokenGrid

FREQUENCIES = 8
FOURIER_WIDTH = FREQUENCIES * 2 * 4
"""Sine and cosine of four coordinates at each frequency."""


def fourier(boxes: Float[Tensor, "*n 4"]) -> Float[Tensor, "*n 64"]:
    """sin(w x) and cos(w x) at w = 100^(k/8), k = 0 to 7: frequencies outermost, the coordinates innermost.

    Unlike in GLIGEN's paper, w has no factor 2 pi.
    """
    powers = 100 ** (torch.arange(FREQUENCIES, device=boxes.device, dtype=boxes.dtype) / FREQUENCIES)
    angles = boxes[..., None, :] * powers[:, None]
    return torch.stack([angles.sin(), angles.cos()], dim=-2).flatten(-3)


def inside_boxes(boxes: Float[Tensor, "B n 4"], grid: TokenGrid) -> Bool[Tensor, "B n cells"]:
    """The cells that a box touches, row by row: floor(left * columns) <= column < ceil(right * columns), likewise rows.

    A box without area touches none.
    """
    left, top, right, bottom = boxes.unbind(dim=-1)
    columns = _between(left, right, count=grid.columns)
    rows = _between(top, bottom, count=grid.rows)
    return (rows[..., :, None] & columns[..., None, :]).flatten(-2)


def _between(low: Tensor, high: Tensor, *, count: int) -> Bool[Tensor, "B n count"]:
    places = torch.arange(count, device=low.device)
    touched = ((low * count).floor()[..., None] <= places) & (places < (high * count).ceil()[..., None])
    return touched & (low < high)[..., None]
