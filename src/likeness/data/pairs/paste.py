"""One picture inside a region, another outside it, byte for byte.

Shapes: H x W pixels; masks are (H, W) bool.
"""

import numpy as np
from jaxtyping import Bool, UInt8

__all__ = ["dilate", "paste"]


def dilate(mask: Bool[np.ndarray, "H W"], *, radius: int) -> Bool[np.ndarray, "H W"]:
    """`mask` grown by `radius` px to all eight sides."""
    from scipy.ndimage import maximum_filter

    return np.asarray(maximum_filter(mask, size=2 * radius + 1, mode="constant"))


def paste(
    inside: UInt8[np.ndarray, "H W 3"],
    outside: UInt8[np.ndarray, "H W 3"],
    *,
    region: Bool[np.ndarray, "H W"],
    feather: int = 0,
) -> UInt8[np.ndarray, "H W 3"]:
    """`outside` with the pixels of `region` taken from `inside`; every other byte is that of `outside`.

    Over the outermost `feather` px of the region the two are blended, so that no seam shows.
    """
    if not feather:
        return np.where(region[..., None], inside, outside)
    from scipy.ndimage import distance_transform_edt

    depth = np.asarray(distance_transform_edt(np.pad(region, 1, mode="edge")))[1:-1, 1:-1]
    weight = np.minimum(depth / (feather + 1), 1.0)[..., None]
    blended = np.rint(weight * inside + (1 - weight) * outside).astype(np.uint8)
    return np.where(region[..., None], blended, outside)
