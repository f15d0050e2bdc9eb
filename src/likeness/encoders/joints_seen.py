"""The joints of whoever was found in one picture, as plain data that needs no torch."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Body:
    """One subject: its box and its 17 joints (x, y) in shares of the picture's sides, scores, and whose skeleton."""

    box: tuple[float, float, float, float]
    points: Float[np.ndarray, "17 2"]
    scores: Float[np.ndarray, " 17"]
    skeleton: str


@dataclass(frozen=True)
class JointsSeen:
    """The bodies of one picture, in the order in which the encoder `subjects` with the same detector finds them."""

    bodies: tuple[Body, ...]
