"""Masks: read from pictures, joined, counted in tokens. A pixel of 128 or more of 255 is inside.

Shapes: H x W pixels.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Bool
from PIL import Image

from likeness.core.errors import DataError
from likeness.core.images import load_image


def load_mask(path: Path, *, size: tuple[int, int] | None = None, what: str = "mask") -> Image.Image:
    """The mask as a grey picture, still to be fitted as its picture is. `what` is the word for it in messages.

    Raises: DataError for a file that is no whole picture, or has another `size` (width, height) than wanted.
    """
    image = load_image(path)
    if size is not None and image.size != size:
        wanted, got = f"{size[0]} x {size[1]} px", f"{image.width} x {image.height}"
        raise DataError(f"{what} {path}: expected {wanted} as its picture has, got {got}; make the mask again.")
    return image.convert("L")


def inside(mask: Image.Image) -> Bool[np.ndarray, "H W"]:
    """Where a grey picture shows what it is the mask of."""
    return np.asarray(mask.convert("L")) >= 128


def read_mask(path: Path, *, size: tuple[int, int] | None = None, what: str = "mask") -> Bool[np.ndarray, "H W"]:
    """What the mask in a file covers. Raises: DataError as `load_mask`."""
    return inside(load_mask(path, size=size, what=what))


def union(masks: Iterable[Bool[np.ndarray, "H W"]]) -> Bool[np.ndarray, "H W"]:
    """What one or more masks cover together."""
    return np.logical_or.reduce(list(masks))


def covered_tokens(mask: Bool[np.ndarray, "H W"], *, token: int) -> tuple[int, int]:
    """Tokens of `token` x `token` px that the mask covers by half or more, and all tokens.

    Source: the binarisation of masks that the focus maps use (design note, 4.10).
    """
    rows, columns = max(mask.shape[0] // token, 1), max(mask.shape[1] // token, 1)
    height, width = min(rows * token, mask.shape[0]), min(columns * token, mask.shape[1])
    cells = mask[:height, :width].reshape(rows, height // rows, columns, width // columns).mean((1, 3))
    return int((cells >= 0.5).sum()), rows * columns
