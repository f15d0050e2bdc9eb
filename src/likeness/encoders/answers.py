"""What models answer to questions about a picture, as plain data that needs no torch."""

import math
from dataclasses import dataclass

import numpy as np


def probability(log_odds: float) -> float:
    """p of log(p / (1 - p)), in [0, 1]."""
    e = math.exp(-abs(log_odds))
    return (1 if log_odds >= 0 else e) / (1 + e)


@dataclass(frozen=True)
class YesNo:
    """The answer to a yes/no question.

    log_odds: log P(yes) - log P(no) at the first place of the answer. mass: P(yes) + P(no); where it is far below 1
    the model wanted to say something else.
    """

    log_odds: float
    mass: float

    @property
    def yes(self) -> float:
        """P(yes) / (P(yes) + P(no)), in [0, 1]."""
        return probability(self.log_odds)


@dataclass(frozen=True)
class RelationAnswer:
    """Whether two things stand in each of several relations.

    subject, object: the best detection score of each, in [0, 1]; 0 where none reaches the threshold. log_odds: of each
    relation in the question's order; empty where one of the two was not found. box: left, top, right, bottom in px of
    the part of the picture that was asked about.
    """

    subject: float
    object: float
    log_odds: tuple[float, ...]
    box: tuple[float, ...] = ()


@dataclass(frozen=True)
class Pose:
    """The keypoints of whoever is in a box.

    points: (K, 2) x and y in px of the picture. scores: (K,) heights of the heatmaps' peaks. names: of the K points.
    """

    points: np.ndarray
    scores: np.ndarray
    names: tuple[str, ...]
