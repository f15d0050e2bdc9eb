"""Whose keypoints are whose: rows of key poses are put in the order of the masks by a vote.

A detector lists whom it finds by confidence, not by the order of the prompt: 4 of DreamRelation's 10 released samples
have the rows of their target exchanged, so that the loss matches the joints of the tiger with those of the bear.
Shapes: N rows of key poses, S subjects, H x W pixels; points in shares.
"""

from collections.abc import Sequence
from itertools import permutations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from likeness.core.masks import union
from likeness.data.relations.keypoints import on_mask

__all__ = ["Order", "exclusive_votes", "voted_order"]


class Order(NamedTuple):
    """`rows[s]` is the row of key poses that belongs to subject s; votes for it, and for the rows as they were."""

    rows: tuple[int, ...]
    votes: int
    votes_as_given: int

    @property
    def is_as_given(self) -> bool:
        """Whether row s already is subject s."""
        return self.rows == tuple(range(len(self.rows)))

    @property
    def margin(self) -> int:
        """By how many votes the order beats the given one."""
        return self.votes - self.votes_as_given


def exclusive_votes(
    points: Sequence[Float[np.ndarray, "_ 2"]], masks: Sequence[Bool[np.ndarray, "H W"]]
) -> Int[np.ndarray, "N S"]:
    """How many points of row n lie on the mask of subject s and on no other mask."""
    own = [mask & ~_others(masks, index) for index, mask in enumerate(masks)]
    return np.array([[int(on_mask(row, mask, reach=0).sum()) for mask in own] for row in points])


def _others(masks: Sequence[Bool[np.ndarray, "H W"]], index: int) -> Bool[np.ndarray, "H W"]:
    rest = [mask for other, mask in enumerate(masks) if other != index]
    return union(rest) if rest else np.zeros_like(masks[index])


def voted_order(points: Sequence[Float[np.ndarray, "_ 2"]], masks: Sequence[Bool[np.ndarray, "H W"]]) -> Order:
    """The rows that belong to the subjects of `masks`, by most exclusive votes; of equal orders the given one.

    There may be more rows than masks, those of somebody in the background; the others are left over.
    Source: the repair that gives the right order on all ten released samples (design note, 3.1-d).
    """
    votes = exclusive_votes(points, masks)
    orders = permutations(range(len(points)), len(masks))

    def total(order: tuple[int, ...]) -> int:
        return int(votes[list(order), range(len(masks))].sum())

    best = max(orders, key=total)  # the first of equals, and permutations begin with the given order
    return Order(best, total(best), total(tuple(range(len(masks)))))
