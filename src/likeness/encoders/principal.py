"""Features of patches as colours: their first three principal components, as DreamRelation's Fig. 5 shows them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

COMPONENTS = 3


class PrincipalColors(NamedTuple):
    """`colors` of the patches, and the `shares` of the variance that their three channels hold."""

    colors: UInt8[np.ndarray, "h w 3"]
    shares: Float[np.ndarray, " 3"]


def principal_colors(features: Float[np.ndarray, "h w D"]) -> PrincipalColors:
    """The first three principal components of one picture's patches, each stretched to 0 ... 255.

    The sign of a component is that with which its largest loading, by size, is positive: equal features give equal
    colours on every machine. A component without variance is 128 everywhere. Colours of two pictures or two encoders
    have nothing to do with each other.
    """
    height, width, depth = features.shape
    rows = features.reshape(-1, depth).astype(np.float64)
    centred = rows - rows.mean(0)
    _, strengths, axes = np.linalg.svd(centred, full_matrices=False)
    axes, strengths = _padded(axes, COMPONENTS), _padded(strengths[:, None], COMPONENTS)[:, 0]
    largest = np.abs(axes).argmax(1)
    signs = np.where(np.take_along_axis(axes, largest[:, None], 1)[:, 0] < 0, -1.0, 1.0)
    scores = centred @ (axes * signs[:, None]).T
    total = float(np.square(centred).sum())
    shares = np.square(strengths) / total if total > 0 else np.zeros(COMPONENTS)
    low, high = scores.min(0), scores.max(0)
    is_flat = (high - low) <= 1e-9 * max(1.0, float(np.abs(rows).max()))
    stretched = np.where(is_flat, 0.5, (scores - low) / np.where(is_flat, 1.0, high - low))
    colors = np.rint(stretched * 255).astype(np.uint8).reshape(height, width, COMPONENTS)
    return PrincipalColors(colors, shares)


def _padded(rows: np.ndarray, count: int) -> np.ndarray:
    """The first `count` rows; rows of zeros where there are fewer."""
    return np.concatenate([rows, np.zeros((max(0, count - len(rows)), rows.shape[1]))])[:count]
