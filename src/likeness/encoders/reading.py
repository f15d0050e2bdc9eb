"""What the attribute probe says about one picture, as plain data that needs no torch."""

from collections.abc import Mapping
from dataclasses import dataclass


def best_answer(probabilities: Mapping[str, float]) -> str:
    """The most probable value; equal probabilities are decided by the order of the labels."""
    return max(probabilities, key=lambda label: probabilities[label])


@dataclass(frozen=True)
class SubjectReading:
    """One subject found in a picture: where its head is and how probable each value of each attribute is.

    position: (x, y) of the head in [0, 1] of the picture. score: peak height of the head heatmap in [0, 1].
    attributes: attribute -> {value: probability}, each summing to 1.
    """

    position: tuple[float, float]
    score: float
    attributes: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Reading:
    """One picture read: probabilities of each action and scene, and the subjects found, strongest head first.

    `labels` are the values that the probe knows of each attribute.
    """

    action: dict[str, float]
    scene: dict[str, float]
    subjects: tuple[SubjectReading, ...]
    labels: dict[str, tuple[str, ...]]
