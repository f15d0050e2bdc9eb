"""From candidates to a benchmark's prompts by their sentence features: filter, furthest points, people.

Features are unit vectors, so that 1 - cosine is half the squared distance and both give one order.
Source: Stellar (arXiv:2312.06116v1), section on Stellar-T: the third of the candidates that is least similar to
Stellar-H is dropped, 10,000 of the others are sampled by furthest points, and each person gets 50.
Differs: where the paper is silent, similarity is the largest cosine to any reference prompt, and the first point is the
one nearest the mean of all.
"""

import math
import random
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from likeness.core.errors import DataError
from likeness.core.jobs import Progress, unseen
from likeness.core.rng import seed_for

__all__ = ["Furthest", "assigned", "furthest_points", "largest_cosine", "most_similar"]

Features = Float[np.ndarray, "N D"]
ROWS = 4096
"""Candidates compared with all references at once."""
MARGIN = 1e-4
"""What float32 may be wrong by in a squared distance: where the shortcut is not sure, it computes."""


def largest_cosine(candidates: Features, references: Float[np.ndarray, "M D"]) -> Float[np.ndarray, " N"]:
    """Of each candidate the cosine to the nearest of the references, both in rows of unit length."""
    parts = range(0, len(candidates), ROWS)
    return np.concatenate([(candidates[first : first + ROWS] @ references.T).max(1) for first in parts])


def most_similar(similarity: Float[np.ndarray, " N"], *, dropped: float = 1 / 3) -> Int[np.ndarray, " K"]:
    """Places of the most similar ones in rising order, without the share `dropped`: for a third, K is ceil(2 N / 3).

    Of equal ones those that come first are kept. Raises: DataError for values that are no numbers.
    """
    if not np.isfinite(similarity).all():
        raise DataError("Similarity: expected a number for each prompt, got NaN; check the encoder's weights.")
    kept = len(similarity) - math.floor(round(len(similarity) * dropped, 6))
    return np.sort(np.argsort(-similarity, kind="stable")[:kept])


class Furthest(NamedTuple):
    """Places in the order of insertion, and how far each was from the nearest one before it.

    `radius` is 1 - cosine, in [0, 2]; it never rises. The first has none, and is given that of the second.
    """

    places: Int[np.ndarray, " K"]
    radius: Float[np.ndarray, " K"]


def furthest_points(features: Features, count: int, *, progress: Progress = unseen) -> Furthest:
    """`count` different rows of unit length, each the furthest from those before it; the first is nearest the mean.

    Of equally far ones the first in order is taken. Greedy k-centre (Gonzalez 1985), with a shortcut that changes no
    choice: a row within half the distance between its nearest point and the new one cannot be nearer to the new one.
    Raises: DataError for more than there are rows.
    """
    if not 1 <= count <= len(features):
        raise DataError(
            f"Furthest points: expected 1 to {len(features)} of as many prompts, got {count}; ask for fewer."
        )
    radius = np.zeros(count, np.float64)
    state = _Cover(features, count, first=int(np.argmax(features @ features.mean(0))))
    for number in range(1, count):
        place = int(np.argmax(state.distance))
        radius[number] = max(0.0, float(state.distance[place])) / 2
        state.insert(place, number=number)
        if number % 256 == 0 or number == count - 1:
            progress(number + 1, count)
    radius[0] = radius[1] if count > 1 else 0.0
    return Furthest(state.chosen, radius)


class _Cover:
    """The points chosen so far, and of every row its squared distance to the nearest of them (-1 for a chosen row)."""

    def __init__(self, features: Features, count: int, *, first: int) -> None:
        self.features = features
        self.chosen = np.empty(count, np.int64)
        self.points = np.empty((count, features.shape[1]), features.dtype)
        self.distance = _squared(features, features[first])
        self.nearest = np.zeros(len(features), np.int64)  # the number of that point
        self._take(first, number=0)

    def insert(self, place: int, *, number: int) -> None:
        """A row becomes the point `number`."""
        new = self.features[place]
        between = _squared(self.points[:number], new)
        rows = np.flatnonzero(4 * self.distance + MARGIN > between[self.nearest])
        if len(rows) * 3 > len(self.features):
            rows = np.arange(len(self.features))
            found = _squared(self.features, new)
        else:
            found = _squared(self.features[rows], new)
        is_nearer = found < self.distance[rows]
        self.distance[rows[is_nearer]] = found[is_nearer]
        self.nearest[rows[is_nearer]] = number
        self._take(place, number=number)

    def _take(self, place: int, *, number: int) -> None:
        self.chosen[number], self.points[number] = place, self.features[place]
        self.distance[place] = -1.0  # not chosen again, even where another row is equal to it


def _squared(rows: Float[np.ndarray, "M D"], point: Float[np.ndarray, " D"]) -> Float[np.ndarray, " M"]:
    """Squared distances of unit vectors, at least 0."""
    return np.maximum(2.0 - 2.0 * (rows @ point), 0.0)


def assigned(count: int, *, people: int, each: int, seed: int) -> list[list[int]]:
    """Of each person the places of `each` prompts out of `count`, no place twice for one person.

    Every prompt is handed out equally often, up to one, in an order drawn by the seed.
    Raises: DataError when a person would get a prompt twice.
    """
    if each > count:
        raise DataError(
            f"--each: expected at most {count} different prompts for each person, got {each}; ask for fewer."
        )
    order: Sequence[int] = list(range(count))
    random.Random(seed_for("stellar prompts", seed, "people")).shuffle(order)
    return [[order[(person * each + k) % count] for k in range(each)] for person in range(people)]
