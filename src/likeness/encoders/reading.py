"""What the attribute probe says about one picture, as plain data that needs no torch."""

from dataclasses import dataclass
from typing import NamedTuple


class Answer(NamedTuple):
    """The most probable value of one question and its probability in [0, 1]."""

    value: str
    probability: float


def best_answer(probabilities: dict[str, float]) -> Answer:
    """The most probable value; equal probabilities are decided by the order of the labels."""
    value = max(probabilities, key=lambda label: probabilities[label])
    return Answer(value, probabilities[value])


@dataclass(frozen=True)
class SubjectReading:
    """One subject found in a picture: where its head is and how probable each value of each attribute is.

    position: (x, y) of the head in [0, 1] of the picture. score: peak height of the head heatmap in [0, 1].
    attributes: attribute -> {value: probability}, each summing to 1.
    """

    position: tuple[float, float]
    score: float
    attributes: dict[str, dict[str, float]]

    def answers(self) -> dict[str, Answer]:
        """Attribute -> its most probable value with the probability."""
        return {name: best_answer(probabilities) for name, probabilities in self.attributes.items()}


@dataclass(frozen=True)
class Reading:
    """One picture read: probabilities of each action and scene, and the subjects found, strongest head first.

    `labels` are the values that the probe knows of each attribute.
    """

    action: dict[str, float]
    scene: dict[str, float]
    subjects: tuple[SubjectReading, ...]
    labels: dict[str, tuple[str, ...]]
