"""What masks and difference images say about each other, as numbers: shifts, changes outside, tokens.

Shapes: H x W pixels; masks are (H, W) bool, pictures (H, W, 3) uint8, distances in px.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from scipy import ndimage

from likeness.data.lint.findings import HELD

__all__ = [
    "Outside",
    "Shift",
    "best_shift",
    "changed_pixels",
    "changes_outside",
    "distance_to",
    "held_shares",
    "moved",
    "shrink",
]

EDGE_LEVELS = 48.0
"""Grey levels from which an edge counts in full, so that one hard edge of the background weighs no more than others."""
NEAR = 1  # px that a mask's edge may lie beside the picture's, by anti-aliasing
COARSE_SIDE = 256  # larger pictures are shrunk before shifts are sought
SEARCH_SHARE = 0.11  # of the longer side
GAP_SIDE = 128
"""Changes count as touching across up to 2 px per so many px of side: thin lines end a pixel early on both sides."""


class Shift(NamedTuple):
    """How far (rows down, columns right, in px) a mask must move to lie on edges of the picture.

    `here` and `there` are the mean edge strength under its outline, from 0 to 1, in place and after the move.
    """

    rows: int
    columns: int
    here: float
    there: float

    @property
    def gain(self) -> float:
        """`there` over `here`: 0.24 to 0.55 for masks in place, at least 2.5 for moved ones (1,000 world pairs)."""
        return self.there / max(self.here, 1e-3)


def best_shift(picture: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]) -> Shift | None:
    """Where the outline of `mask` lies best on edges of `picture`, up to SEARCH_SHARE of the side away.

    "In place" is within NEAR px, anything else farther than that. None where the mask has no outline inside.
    """
    pixels, small, scale = shrink(picture, mask)
    reach = max(round(SEARCH_SHARE * max(small.shape)), 4)
    strengths = _edge_strength(pixels.astype(np.float32))
    outline = _outline(small)
    if not (outline[0].any() or outline[1].any()):
        return None
    found = _correlation(strengths, outline, reach=reach)
    offsets = np.abs(np.arange(-reach, reach + 1))
    away = np.maximum(offsets[:, None], offsets[None, :])
    there = np.where(away > NEAR + 1, found, 0.0)
    row, column = np.unravel_index(there.argmax(), there.shape)
    here = float(found[away <= NEAR].max())
    return Shift(int(row - reach) * scale, int(column - reach) * scale, here, float(there.max()))


def shrink(
    picture: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]
) -> tuple[UInt8[np.ndarray, "h w 3"], Bool[np.ndarray, "h w"], int]:
    """Picture and mask with every `scale`-th pixel, so that the longer side is at most COARSE_SIDE; and `scale`."""
    scale = -(-max(mask.shape) // COARSE_SIDE)
    return picture[::scale, ::scale], mask[::scale, ::scale], scale


def _edge_strength(pixels: Float[np.ndarray, "H W 3"]) -> tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]]:
    """Contrast in [0, 1] between each pixel and its right, and its lower neighbour."""
    right = np.abs(np.diff(pixels, axis=1, append=pixels[:, -1:])).max(-1)
    down = np.abs(np.diff(pixels, axis=0, append=pixels[-1:])).max(-1)
    return np.minimum(right / EDGE_LEVELS, 1), np.minimum(down / EDGE_LEVELS, 1)


def _outline(mask: Bool[np.ndarray, "H W"]) -> tuple[Bool[np.ndarray, "H W"], Bool[np.ndarray, "H W"]]:
    """Whether the mask ends between each pixel and its right, and its lower neighbour."""
    return np.diff(mask, axis=1, append=mask[:, -1:]), np.diff(mask, axis=0, append=mask[-1:])


def _correlation(
    strengths: tuple[Float[np.ndarray, "H W"], Float[np.ndarray, "H W"]],
    outline: tuple[Bool[np.ndarray, "H W"], Bool[np.ndarray, "H W"]],
    *,
    reach: int,
) -> Float[np.ndarray, "N N"]:
    """Mean strength under the outline moved by -reach..reach px; 0 where over 30% of it would leave the picture."""
    height, width = strengths[0].shape
    padded = (height + reach, width + reach)
    weights = [np.conj(np.fft.rfft2(part, s=padded)) for part in outline]
    inside = np.fft.rfft2(np.ones((height, width)), s=padded)
    total = sum(np.fft.rfft2(part, s=padded) * weight for part, weight in zip(strengths, weights, strict=True))
    offsets = np.arange(-reach, reach + 1)
    place = np.ix_(offsets, offsets)
    sums = np.fft.irfft2(total, s=padded)[place]
    counts = np.fft.irfft2(inside * (weights[0] + weights[1]), s=padded)[place]
    means = sums / np.maximum(counts, 1.0)
    means[counts < 0.7 * counts.max()] = 0
    return means


def moved(mask: Bool[np.ndarray, "H W"], *, rows: int, columns: int) -> Bool[np.ndarray, "H W"]:
    """`mask` moved down and right; what leaves the picture is lost, what enters is empty."""
    from scipy.ndimage import shift

    return np.asarray(shift(mask, (rows, columns), order=0))


def changed_pixels(
    preferred: UInt8[np.ndarray, "H W 3"], rejected: UInt8[np.ndarray, "H W 3"], *, tolerance: int
) -> Bool[np.ndarray, "H W"]:
    """Where some channel differs by more than `tolerance` grey levels."""
    larger, smaller = np.maximum(preferred, rejected), np.minimum(preferred, rejected)
    return np.asarray((larger - smaller > tolerance).any(-1), dtype=np.bool_)


class Outside(NamedTuple):
    """Changed pixels that a mask does not explain.

    `far` lie beyond the reach; `apart` belong to changes that nowhere touch the mask; `farthest` in px.
    """

    far: int
    apart: int
    farthest: int


def distance_to(mask: Bool[np.ndarray, "H W"]) -> Int[np.ndarray, "H W"]:
    """Px from each pixel to the mask, diagonals counting as one; 0 inside."""
    from scipy.ndimage import distance_transform_cdt

    return np.asarray(distance_transform_cdt(~mask, metric="chessboard"))


def changes_outside(
    changed: Bool[np.ndarray, "H W"],
    mask: Bool[np.ndarray, "H W"],
    *,
    reach: int,
    touched: Bool[np.ndarray, "H W"] | None = None,
) -> Outside:
    """Changed pixels farther than `reach` px from `mask`, and changed islands that do not touch it.

    `touched` is what counts as the mask for islands, where that is more than the mask.
    """
    from scipy.ndimage import binary_dilation, label

    if not (changed & ~mask).any():
        return Outside(0, 0, 0)
    distance, near = distance_to(mask), mask if touched is None else touched
    islands: Int[np.ndarray, "H W"] = np.zeros(mask.shape, np.int32)
    grown = binary_dilation(changed | near, np.ones((3, 3)), iterations=max(max(mask.shape) // GAP_SIDE, 1))
    label(grown, structure=np.ones((3, 3)), output=islands)
    apart = changed & ~np.isin(islands, islands[near])
    return Outside(int((changed & (distance > reach)).sum()), int(apart.sum()), int(distance[changed].max()))


def held_shares(
    preferred: UInt8[np.ndarray, "H W 3"],
    rejected: UInt8[np.ndarray, "H W 3"],
    mask: Bool[np.ndarray, "H W"],
    *,
    token: int,
) -> dict[str, float] | None:
    """Of the absolute difference of both pictures the share inside each of HELD; None for equal pictures.

    What a loss that is confined to the prior cannot learn from is the rest.
    """
    rows, columns = max(mask.shape[0] // token, 1), max(mask.shape[1] // token, 1)
    high, wide = min(token, mask.shape[0]), min(token, mask.shape[1])
    mask = mask[: rows * high, : columns * wide]
    difference = np.abs(preferred.astype(np.int32) - rejected).sum(-1)[: rows * high, : columns * wide]
    if not (total := int(difference.sum())):
        return None
    cells = mask.reshape(rows, high, columns, wide).mean((1, 3))
    by_token = difference.reshape(rows, high, columns, wide).sum((1, 3))
    tokens = {"half": cells >= 0.5, "any": cells > 0}
    around = np.ones((3, 3), dtype=bool)
    tokens |= {f"{name}_dilated": ndimage.binary_dilation(found, around) for name, found in tokens.items()}
    held = {name: float(by_token[found].sum() / total) for name, found in tokens.items()}
    return {name: float(difference[mask].sum() / total) if name == "mask" else held[name] for name in HELD}
