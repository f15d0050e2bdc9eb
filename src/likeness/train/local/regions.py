"""Regions of a picture for self-distillation: which, cut out for the teacher, and where the student finds them.

Source: CLIPSelf (arXiv:2310.01403), section 3.2, and its public training script (design note dreamrelation.md, 2.3).
Differs: the teacher's cells are padded on all sides alike, as open_clip pads; both paddings are black.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from PIL import Image
from torch import Tensor

from likeness.data.formats.coco import Box


@lru_cache
def grids(max_split: int) -> tuple[tuple[int, int], ...]:
    """(rows, columns) of every grid: columns from half the rows, rounded up, to twice the rows."""
    return tuple(
        (rows, columns)
        for rows in range(1, max_split + 1)
        for columns in range(-(-rows // 2), min(2 * rows, max_split) + 1)
    )


def grid_cells(t: float, order: Tensor, *, max_split: int, at_most: int) -> list[Box]:
    """The cells of the grid that `t` in (0, 1) chooses evenly; of more than `at_most`, those first in `order`.

    `order` has (max_split, max_split) numbers without ties; a cell is placed by its own.
    """
    choices = grids(max_split)
    rows, columns = choices[min(int(t * len(choices)), len(choices) - 1)]
    ranks = order[:rows, :columns].flatten().argsort()[:at_most]
    cells = [(rank % columns, rank // columns) for rank in sorted(ranks.tolist())]
    return [(x / columns, y / rows, (x + 1) / columns, (y + 1) / rows) for x, y in cells]


def chosen_boxes(boxes: Sequence[Box], order: Tensor, *, at_most: int) -> list[Box]:
    """The boxes; of more than `at_most`, those first in `order`, which has a number for each."""
    ranks = order.flatten()[: len(boxes)].argsort()[:at_most]
    return [boxes[i] for i in sorted(ranks.tolist())]


def cut_out(image: Image.Image, box: Box, *, side: int) -> Image.Image:
    """The region of the original picture with `side` px on its long side, in the middle of a black square."""
    (left, right), (top, bottom) = (_pixels(box[i], box[i + 2], image.size[i]) for i in (0, 1))
    region = image.crop((left, top, right, bottom))
    scaled = _with_long_side(region, side=side)
    square = Image.new("RGB", (side, side))
    square.paste(scaled, ((side - scaled.width) // 2, (side - scaled.height) // 2))
    return square


def _pixels(low: float, high: float, length: int) -> tuple[int, int]:
    """Whole px, at least one."""
    first = min(round(low * length), length - 1)
    return first, max(round(high * length), first + 1)


def in_corner(image: Image.Image, *, side: int) -> Image.Image:
    """The picture with `side` px on its long side, in the upper left corner of a black square."""
    square = Image.new("RGB", (side, side))
    square.paste(_with_long_side(image, side=side), (0, 0))
    return square


def corner_boxes(boxes: Sequence[Box], *, size: tuple[int, int]) -> np.ndarray:
    """The boxes of a picture of `size` (width, height) in shares of the square of `in_corner`: (N, 4) float32."""
    longest = max(size)
    scale = np.array([size[0], size[1]] * 2, dtype=np.float32) / longest
    return np.asarray(boxes, dtype=np.float32).reshape(-1, 4) * scale


def _with_long_side(image: Image.Image, *, side: int) -> Image.Image:
    longest = max(image.size)
    width, height = (max(1, round(length * side / longest)) for length in image.size)
    return image.resize((width, height), Image.Resampling.BICUBIC)


def draw_shape(max_split: int, at_most: int) -> tuple[int, int, int]:
    """Shape of the noise that a row draws: a number for every cell, and for boxes beyond those of `at_most` also."""
    side = max(max_split, int(np.ceil(np.sqrt(4 * at_most))))
    return (1, side, side)
