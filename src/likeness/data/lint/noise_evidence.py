"""Recompression noise told from changes, by what the background of the pair itself shows.

JPEG, WebP and a round trip through an autoencoder change almost every textured block by noise that averages out over a
few pixels; a change of content does not. So the difference is averaged over windows, and what the background shows in
the middle (the median, which a leak over less than half of it does not move) sets the threshold.
Measured on DreamBench photos, JPEG quality 50 to 95, one or both pictures compressed: the median is at most 2.0 grey
levels, the largest averaged difference at most 4 + 5 medians and 12 (figures/lint_calibration.py counts the errors).
Shapes: H x W pixels; masks are (H, W) bool, pictures (H, W, 3) uint8.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

__all__ = ["SPREAD", "Difference", "difference_of", "is_unchanged"]

BLOCK = 8  # px, the block of JPEG
TEXTURED = 8  # grey levels between the darkest and the lightest pixel of a block that compression changes
NOISY_SHARE = 0.6
"""Share of the textured blocks of the background that differ: of recompressed pictures almost all, of leaks a part."""
WINDOW = 13  # px, over which differences are averaged
SPREAD = 22
"""Px that a change inside the mask spreads: a 16 px block of subsampled colour and half a window."""
FLOOR, PER_MEDIAN, CEILING = 4.0, 5.0, 12.0
MOST_NOISE = 3.0
"""Averaged difference in the middle of the background, in grey levels, above which it is no noise."""
LOUDER = 3.0
"""Mean difference of a subject over that of the background from which it is changed."""


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
    background: Bool[np.ndarray, "H W"],
    differs: Bool[np.ndarray, "H W"],
) -> Difference:
    """`differs` as it is where the background has no noise, else where the averaged difference exceeds the noise."""
    if not _is_noisy(preferred, background=background, differs=differs):
        return Difference(differs, None, 0.0)
    averaged = _averaged(preferred, rejected)
    noise = float(np.median(averaged[background]))
    if noise > MOST_NOISE:
        return Difference(differs, None, 0.0)
    threshold = min(FLOOR + PER_MEDIAN * noise, CEILING)
    return Difference((averaged > threshold) & _near(differs), noise, threshold)


def _is_noisy(
    picture: UInt8[np.ndarray, "H W 3"], *, background: Bool[np.ndarray, "H W"], differs: Bool[np.ndarray, "H W"]
) -> bool:
    """Whether most textured blocks of the background differ; all blocks count where none is textured."""
    whole = _blocks(background).all(-1)
    levels = _blocks(picture.mean(-1))
    textured = whole & (np.ptp(levels, axis=-1) > TEXTURED)
    asked = textured if textured.any() else whole
    return bool(asked.any()) and float(_blocks(differs).any(-1)[asked].mean()) >= NOISY_SHARE


def _blocks(pixels: np.ndarray) -> np.ndarray:
    """Whole blocks of the picture, (rows, columns, BLOCK^2)."""
    rows, columns = pixels.shape[0] // BLOCK, pixels.shape[1] // BLOCK
    cut = pixels[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns, BLOCK)
    return cut.swapaxes(1, 2).reshape(rows, columns, BLOCK * BLOCK)


def _averaged(one: UInt8[np.ndarray, "H W 3"], other: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W"]:
    """The difference averaged over windows with its sign, in the channel where it is largest."""
    from scipy.ndimage import uniform_filter

    signed = one.astype(np.float32) - other.astype(np.float32)
    mean: Float[np.ndarray, "H W 3"] = np.asarray(uniform_filter(signed, (WINDOW, WINDOW, 0)))
    return np.abs(mean).max(-1)


def _near(differs: Bool[np.ndarray, "H W"]) -> Bool[np.ndarray, "H W"]:
    """Windows in which something differs."""
    from scipy.ndimage import maximum_filter

    return np.asarray(maximum_filter(differs, WINDOW))


def is_unchanged(
    preferred: UInt8[np.ndarray, "H W 3"],
    rejected: UInt8[np.ndarray, "H W 3"],
    *,
    subject: Bool[np.ndarray, "H W"],
    background: Bool[np.ndarray, "H W"],
) -> bool:
    """Whether a subject of two noisy pictures differs no more than their background does."""
    size = np.abs(preferred.astype(np.int16) - rejected).mean(-1)
    return bool(background.any()) and float(size[subject].mean()) < LOUDER * float(size[background].mean())
