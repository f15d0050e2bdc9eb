"""Recompression noise told from changes, by what the background of the pair itself shows.

JPEG, WebP and a round trip through an autoencoder change almost every textured block by noise that averages out over a
few pixels; a change of content does not. So the difference is averaged over windows, and what the background shows in
the middle (the median, which a leak over less than half of it does not move) sets the threshold.
Measured on DreamBench photos, JPEG quality 50 to 95, one or both pictures compressed: the median is at most 2 grey
levels, the largest averaged difference under 4 + 5 medians (12 at most) and 0.04 of the range of colours around it, as
colours are stored at half the resolution (figures/lint_calibration.py counts the errors).
Shapes: H x W pixels; masks are (H, W) bool, pictures (H, W, 3) uint8.
"""

from typing import Any, NamedTuple  # Any: blocks of masks and of levels alike

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from numpy.typing import NDArray

__all__ = ["SPREAD", "Difference", "background_of", "difference_of"]

BLOCK = 8  # px, the block of JPEG
COLOUR_BLOCK, UPSAMPLED = 16, 2  # px of a block of subsampled colour, and how far its values are blended with others
FEWEST_BLOCKS, FEWEST_SPILT = 16, 4  # textured blocks that tell
TEXTURED = 8  # grey levels between the darkest and the lightest pixel of a block that compression changes
NOISY_SHARE = 0.6
"""Share of the textured blocks of the background that differ: of recompressed pictures almost all, of leaks a part."""
WINDOW = 13  # px, over which differences are averaged
SPREAD = 22
"""Px that a change inside the mask spreads: a 16 px block of subsampled colour and half a window."""
FLOOR, PER_MEDIAN, CEILING, PER_COLOUR = 4.0, 5.0, 12.0, 0.04
MOST_NOISE = 3.0
"""Averaged difference in the middle of the background, in grey levels, above which it is no noise."""


class Difference(NamedTuple):
    """Where two pictures differ beyond noise; `noise` is the median of the averaged difference, None without noise.

    `threshold` is in grey levels of the averaged difference, 0 without noise.
    """

    changed: Bool[np.ndarray, "H W"]
    noise: float | None
    threshold: float

    @property
    def spread(self) -> int:
        """Px around a mask in which a compressed change of its inside may show."""
        return 0 if self.noise is None else SPREAD


def difference_of(
    preferred: UInt8[np.ndarray, "H W 3"],
    rejected: UInt8[np.ndarray, "H W 3"],
    *,
    distance: Int[np.ndarray, "H W"],
    differs: Bool[np.ndarray, "H W"],
    reach: int,
) -> Difference:
    """`differs` as it is where the background has no noise, else where the averaged difference exceeds the noise.

    `distance` is how far each pixel lies from the prior, in px; a change may reach `reach` px beyond it.
    """
    is_noisy = _is_noisy(preferred, differs=differs, distance=distance, reach=reach)
    if not is_noisy and not _is_spill(preferred, distance=distance, differs=differs):
        return Difference(differs, None, 0.0)
    background = background_of(distance, reach=reach)
    averaged = _averaged(preferred, rejected)
    noise = float(np.median(averaged[background]))
    if noise > MOST_NOISE:
        return Difference(differs, None, 0.0)
    threshold = min(FLOOR + PER_MEDIAN * noise, CEILING)
    allowed = threshold + PER_COLOUR * _colour_range(preferred)
    return Difference((averaged > allowed) & _near(differs), noise, threshold)


def background_of(distance: Int[np.ndarray, "H W"], *, reach: int) -> Bool[np.ndarray, "H W"]:
    """Where no change of the inside shows, even compressed; all outside where nothing lies as far away."""
    beyond = distance > reach + SPREAD
    return beyond if beyond.any() else distance > 0


def _is_noisy(
    picture: UInt8[np.ndarray, "H W 3"],
    *,
    differs: Bool[np.ndarray, "H W"],
    distance: Int[np.ndarray, "H W"],
    reach: int,
) -> bool:
    """Whether most textured blocks of the background differ.

    Where the background has few, those within the reach of compressed changes count; where there are none, all blocks.
    """
    changed: NDArray[np.bool_] = np.asarray(_blocks(differs).any(-1), dtype=np.bool_)
    textured = _textured(picture)
    far = _blocks(background_of(distance, reach=reach)).all(-1)
    near = _blocks(distance > reach).all(-1)
    few = int((far & textured).sum()) < FEWEST_BLOCKS
    asked = (near if few else far) & textured
    asked = asked if asked.any() else far
    return bool(asked.any()) and float(np.mean(changed[asked])) >= NOISY_SHARE


def _is_spill(
    picture: UInt8[np.ndarray, "H W 3"], *, differs: Bool[np.ndarray, "H W"], distance: Int[np.ndarray, "H W"]
) -> bool:
    """Whether all changes outside lie in the blocks of subsampled colour that the prior touches, and fill them.

    Two pictures compressed alike differ in no other block.
    """
    from scipy.ndimage import maximum_filter

    grid = tuple(-(-side // COLOUR_BLOCK) * COLOUR_BLOCK for side in distance.shape)
    padded = np.pad(distance == 0, [(0, wide - side) for wide, side in zip(grid, distance.shape, strict=True)])
    touched = _blocks(padded, side=COLOUR_BLOCK).any(-1).repeat(COLOUR_BLOCK, 0).repeat(COLOUR_BLOCK, 1)
    zone: Bool[np.ndarray, "H W"] = touched[: distance.shape[0], : distance.shape[1]]
    if (differs & ~np.asarray(maximum_filter(zone, 2 * UPSAMPLED + 1), bool)).any():
        return False
    asked = _blocks(zone & (distance > 0)).all(-1) & _textured(picture)
    return int(asked.sum()) >= FEWEST_SPILT and float(np.asarray(_blocks(differs).any(-1))[asked].mean()) >= NOISY_SHARE


def _textured(picture: UInt8[np.ndarray, "H W 3"]) -> NDArray[np.bool_]:
    """Whether each block has light and dark pixels that compression changes."""
    levels = _blocks(picture.mean(-1))
    return np.asarray(levels.max(-1) - levels.min(-1) > TEXTURED, dtype=np.bool_)


def _blocks(pixels: NDArray[Any], *, side: int = BLOCK) -> NDArray[Any]:
    """Whole blocks of the picture, (rows, columns, side^2)."""
    rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
    cut = pixels[: rows * side, : columns * side].reshape(rows, side, columns, side)
    return cut.swapaxes(1, 2).reshape(rows, columns, side * side)


def _averaged(one: UInt8[np.ndarray, "H W 3"], other: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W"]:
    """The difference averaged over windows with its sign, in the channel where it is largest."""
    from scipy.ndimage import uniform_filter

    signed = one.astype(np.float32) - other.astype(np.float32)
    means = [np.abs(uniform_filter(signed[..., channel], WINDOW)) for channel in range(3)]
    return np.maximum.reduce(means)


def _colour_range(picture: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W"]:
    """How far the colours around each pixel lie apart, lightness aside, in grey levels of the widest channel."""
    from scipy.ndimage import maximum_filter, minimum_filter

    colours = picture - picture.astype(np.float32).mean(-1, keepdims=True)
    around = (WINDOW + COLOUR_BLOCK, WINDOW + COLOUR_BLOCK, 1)
    wide: Float[np.ndarray, "H W 3"] = maximum_filter(colours, around) - minimum_filter(colours, around)
    return wide.max(-1)


def _near(differs: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Windows in which something differs."""
    from scipy.ndimage import maximum_filter

    return np.asarray(maximum_filter(differs, WINDOW))
