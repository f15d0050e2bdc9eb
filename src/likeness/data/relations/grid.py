"""From a picture to the latent grid: which cell holds a keypoint, and where it is after a picture was fitted.

Points are x and y in shares of the picture's width and height, from the top left. A cell is (row, column).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

__all__ = ["Crop", "cells", "cropped", "fitted_crop", "legacy_cells"]


def cells(points: Float[np.ndarray, "*n 2"], *, grid: tuple[int, int]) -> Int[np.ndarray, "*n 2"]:
    """The cell that holds each point, on a latent grid of (rows, columns); points outside get the nearest cell.

    Source: keypoint matching loss, row floor(y * H) and column floor(x * W) of the latents (design note, 2.6).
    Differs: clamped, since the share 1.0 would be column W; rows count by the true height.
    """
    sides = np.array(grid)
    return np.clip(np.floor(points[..., ::-1] * sides).astype(np.int64), 0, sides - 1)


def legacy_cells(points: Float[np.ndarray, "*n 2"], *, last_axis: int) -> Int[np.ndarray, "*n 2"]:
    """The cells that the published code reads, which scales both coordinates by the last axis of the tensor.

    For the target this is the width W of the latents, right for a square grid. For the reference it comes after the
    channels were moved to the end, so that it is 4: every reference point falls into the 4 x 4 cells of the top left
    corner. Only for studying LoRAs that were trained so (design note, 3.1-a). Not clamped, as there.
    """
    return np.floor(points[..., ::-1] * last_axis).astype(np.int64)


class Crop(NamedTuple):
    """The part of a picture that becomes the whole new picture, in px of the old one; it may reach beyond (padding)."""

    left: float
    top: float
    width: float
    height: float


def cropped(
    points: Float[np.ndarray, "*n 2"], valid: Bool[np.ndarray, "*n"], *, size: tuple[int, int], crop: Crop
) -> tuple[Float[np.ndarray, "*n 2"], Bool[np.ndarray, "*n"]]:
    """Points of a picture of `size` (width, height) as they lie in its crop; those cut off are not valid.

    However the crop is scaled afterwards, the shares stay.
    Differs: the published data loader crops, shrinks and pads pictures and leaves their keypoints alone, which is right
    to less than a cell only because all its pictures are square (design note, 2.9).
    """
    moved = (points * np.array(size) - [crop.left, crop.top]) / [crop.width, crop.height]
    return moved, valid & ((moved >= 0) & (moved <= 1)).all(axis=-1)


def fitted_crop(size: tuple[int, int], *, long_side: int, multiple: int) -> Crop:
    """What `core/images.py:fit_reference` keeps of a picture of `size` (width, height)."""
    width, height = size
    longest = max(size)
    scaled = (long_side * width // longest, long_side * height // longest)
    kept = [side // multiple * multiple for side in scaled]
    left, top = ((side - part) // 2 for side, part in zip(scaled, kept, strict=True))
    across, down = width / scaled[0], height / scaled[1]
    return Crop(left * across, top * down, kept[0] * across, kept[1] * down)
