"""A declared set: fixed photos with their prompts, and how far the photos themselves fit them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from likeness.core.errors import MeasurementError


@dataclass(frozen=True)
class DeclaredSet:
    """A fixed set of photos with their prompts: its name, how many, the CLIP, and the deviation of its clip_n.

    Another CLIP, or other photos and prompts, make another set.
    """

    name: str
    n: int
    clip: str
    sigma: float

    @property
    def protocol(self) -> str:
        """The rule in one line."""
        return f"0 unless clip_t > clip_n + 2 x {self.sigma:.6g}, deviation over {self.name} ({self.n}, {self.clip})"


def declared_set(name: str, clip_n: Sequence[float], *, clip: str) -> DeclaredSet:
    """The set whose cosines of prompt and conditioning photo are `clip_n`; sigma divides by n - 1.

    Raises: MeasurementError for fewer than two, and for numbers that are not finite.
    """
    values = np.asarray(clip_n, dtype=np.float64)
    if values.size < 2 or not np.isfinite(values).all():
        got = f"{values.size} of which {int(np.isfinite(values).sum())} are finite"
        raise MeasurementError(f"Declared set {name}: expected two finite cosines or more, got {got}; measure all.")
    return DeclaredSet(name, int(values.size), clip, float(values.std(ddof=1)))
