"""Whose keypoints are whose: the vote against a plain count, for two and more subjects."""

from itertools import permutations

import numpy as np
import pytest
from published_relations import SAMPLES, SIDE, Sample, masks_of, poses_of

from likeness.data.relations.order import exclusive_votes, voted_order


def counted(points: np.ndarray, masks: list[np.ndarray]) -> list[list[int]]:
    """Pixel by pixel."""
    votes = [[0] * len(masks) for _ in points]
    for n, row in enumerate(points):
        for x, y in row:
            held = [s for s, mask in enumerate(masks) if mask[int(y * SIDE), int(x * SIDE)]]
            if len(held) == 1:
                votes[n][held[0]] += 1
    return votes


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.relation}-{sample.key}")
def test_all_ten_samples_are_put_in_the_right_order(sample: Sample) -> None:
    masks = masks_of(sample.relation)
    points = poses_of(sample, masks, np.random.default_rng(0))
    order = voted_order(list(points), masks)
    table = exclusive_votes(list(points), masks)
    assert (table[0, 0] + table[1, 1], table[0, 1] + table[1, 0]) == (sample.keep, sample.swap)
    assert order.rows == ((1, 0) if sample.swapped else (0, 1))
    assert order.votes == max(sample.keep, sample.swap)
    assert order.votes_as_given == sample.keep


def test_the_vote_is_a_count_of_pixels_and_the_best_order_that_of_a_search() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        masks = [rng.random((SIDE, SIDE)) < 0.4 for _ in range(3)]
        points = rng.uniform(0, 0.999, (4, 17, 2))
        votes = np.array(counted(points, masks))
        assert (exclusive_votes(list(points), masks) == votes).all()
        best = max(sum(votes[order[s], s] for s in range(3)) for order in permutations(range(4), 3))
        order = voted_order(list(points), masks)
        assert order.votes == sum(votes[order.rows[s], s] for s in range(3)) == best


def test_equal_votes_keep_the_order_and_points_outside_do_not_vote() -> None:
    masks = [np.zeros((8, 8), bool), np.zeros((8, 8), bool)]
    masks[0][:, :4] = masks[1][:, 4:] = True
    even = np.array([[[0.2, 0.5], [0.8, 0.5]], [[0.2, 0.5], [0.8, 0.5]]])
    assert voted_order(list(even), masks).is_as_given
    outside = np.array([[[0.2, -0.5], [1.8, 0.5]]] * 2)
    assert exclusive_votes(list(outside), masks).sum() == 0
    assert voted_order([even[0]], [masks[0]]).rows == (0,)
