"""Masks: read from pictures, joined, counted in tokens. A pixel of 128 or more of 255 is inside.

Shapes: H x W pixels.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageOps

from likeness.core.errors import DataError
from likeness.core.images import load_image


class FoundMask(NamedTuple):
    """A mask as a grey picture, still to be fitted as its picture is, and how it was read where that is unusual."""

    image: Image.Image
    note: str | None


def find_mask(path: Path, *, size: tuple[int, int] | None = None, what: str = "mask") -> FoundMask:
    """The mask of a file: its colours, or its alpha channel where the colours carry none; 0 and 1 count as 0 and 255.

    Raises: DataError for a file that is no whole picture, has another `size` (width, height) than wanted, or whose
    colours and alpha channel are two different masks. `what` is the word for the mask in messages.
    """
    image = load_image(path)
    if size is not None and image.size != size:
        wanted, got = f"{size[0]} x {size[1]} px", f"{image.width} x {image.height}"
        raise DataError(f"{what} {path}: expected {wanted} as its picture has, got {got}; make the mask again.")
    colours, alpha = _channels(path, image)
    if alpha is None or alpha.min() == alpha.max():
        return _scaled(colours)
    if colours.min() == colours.max():
        found = _scaled(alpha)
        return found._replace(note=f"the alpha channel is the mask{'; ' + found.note if found.note else ''}")
    if not np.array_equal(inside(_scaled(colours).image), inside(_scaled(alpha).image)):
        wanted = "the alpha channel is the mask when colour carries none"
        raise DataError(f"{what} {path}: {wanted}, got two different ones; save the one you mean as a grey PNG.")
    return _scaled(colours)


def _channels(path: Path, image: Image.Image) -> tuple[UInt8[np.ndarray, "H W"], UInt8[np.ndarray, "H W"] | None]:
    """Lightness and alpha of a file that `load_image` has read as `image`; its palette or 16 bits are resolved."""
    with Image.open(path) as raw:
        if raw.mode.startswith("I") and int(np.asarray(raw).max()) == 1:
            return (np.asarray(ImageOps.exif_transpose(raw)) > 0).astype(np.uint8), None
        if not raw.has_transparency_data:
            return np.asarray(image.convert("L")), None
        rgba = ImageOps.exif_transpose(raw).convert("RGBA")
    return np.asarray(rgba.convert("RGB").convert("L")), np.asarray(rgba.getchannel("A"))


def _scaled(levels: UInt8[np.ndarray, "H W"]) -> FoundMask:
    if levels.max() == 1:
        return FoundMask(Image.fromarray(levels * 255), "values 0 and 1; multiplied by 255")
    return FoundMask(Image.fromarray(levels), None)


def load_mask(path: Path, *, size: tuple[int, int] | None = None, what: str = "mask") -> Image.Image:
    """The grey picture of `find_mask`. Raises: DataError as there."""
    return find_mask(path, size=size, what=what).image


def inside(mask: Image.Image) -> Bool[np.ndarray, "H W"]:
    """Where a grey picture shows what it is the mask of."""
    return np.asarray(mask.convert("L")) >= 128


def read_mask(path: Path, *, size: tuple[int, int] | None = None, what: str = "mask") -> Bool[np.ndarray, "H W"]:
    """What the mask in a file covers. Raises: DataError as `find_mask`."""
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
