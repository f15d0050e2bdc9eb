"""Which subjects were found in one picture, as plain data that needs no torch."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8


@dataclass(frozen=True)
class SubjectSeen:
    """One subject found in a picture.

    box: left, top, right and bottom in shares of the picture's sides. score: how sure the detector is, in [0, 1].
    class_name: what the detector takes it for, "" when it does not say. identity: unit vector; the cosine of two tells
    how alike they look.
    """

    box: tuple[float, float, float, float]
    score: float
    class_name: str
    identity: Float[np.ndarray, " D"]

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the middle of the box, in shares of the picture's sides."""
        left, top, right, bottom = self.box
        return (left + right) / 2, (top + bottom) / 2


@dataclass(frozen=True)
class SubjectsSeen:
    """The subjects found in one picture, surest first.

    `alike` is the cosine from which this encoder takes two for the same subject, calibrated with its weights.
    `small` is the picture made small, RGB, 0 to 255: what a copied place is looked for in.
    """

    subjects: tuple[SubjectSeen, ...]
    alike: float
    small: UInt8[np.ndarray, "h w 3"]

    @property
    def surest(self) -> SubjectSeen | None:
        """The one subject of a reference photo; None where nothing was found."""
        return self.subjects[0] if self.subjects else None
