"""One optimal assignment against brute force over all partial pairings, thresholds, duplicates and extras by hand."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from likeness.metrics.assignment import assign, places_taken, similarities


def pairings(num_found: int, num_expected: int) -> Iterator[list[tuple[int, int]]]:
    """Every way to pair some found with some expected subjects, each at most once."""
    for count in range(min(num_found, num_expected) + 1):
        for found in itertools.permutations(range(num_found), count):
            for expected in itertools.combinations(range(num_expected), count):
                yield list(zip(found, expected, strict=True))


def worth(similarity: np.ndarray, pairs: list[tuple[int, int]], alike: float) -> float:
    return sum(max(float(similarity[pair]) - alike, 0.0) for pair in pairs)


@pytest.mark.parametrize("num_found", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("num_expected", [0, 1, 2, 3, 4])
def test_the_total_is_the_best_of_all_pairings(num_found: int, num_expected: int) -> None:
    rng = np.random.default_rng(10 * num_found + num_expected)
    for alike in (-1.0, 0.2, 0.6):
        similarity = rng.uniform(-0.2, 1, (num_found, num_expected))
        got = assign(similarity, alike=alike)
        pairs = [(f, e) for e, f in enumerate(got.cast) if f is not None]
        best = max(worth(similarity, some, alike) for some in pairings(num_found, num_expected))
        assert worth(similarity, pairs, alike) == pytest.approx(best, abs=1e-12)
        assert len({f for f, _ in pairs}) == len(pairs) == min(num_found, num_expected)
        assert got.present == tuple(f is not None and similarity[f, e] >= alike for e, f in enumerate(got.cast))
        present = {f for f, is_there in zip(got.cast, got.present, strict=True) if is_there}
        others = {f for f, _ in got.duplicated} | set(got.extra)
        assert present | others == set(range(num_found))
        assert not present & others


def test_those_below_the_threshold_are_paired_as_well_as_they_can_be() -> None:
    rng = np.random.default_rng(5)
    for _ in range(50):
        similarity = rng.uniform(-0.2, 0.6, (3, 3))
        got = assign(similarity, alike=0.9)
        total = sum(float(similarity[f, e]) for e, f in enumerate(got.cast) if f is not None)
        best = max(sum(float(similarity[p[e], e]) for e in range(3)) for p in itertools.permutations(range(3)))
        assert total == pytest.approx(best)
        assert got.num_missing == 3
        assert got.extra == (0, 1, 2)


def test_a_stranger_does_not_cost_another_subject_its_place() -> None:
    # the largest plain total is 0.59 + 0.59, which has nobody alike; with the threshold the sure one stands
    similarity = np.array([[0.9, 0.59], [0.59, 0.1]])
    got = assign(similarity, alike=0.6)
    assert got.cast == (0, 1)
    assert got.present == (True, False)
    assert got.extra == (1,)
    assert not got.is_exact


def test_missing_extra_and_duplicated() -> None:
    similarity = np.array([[0.9, 0.3], [0.8, 0.2], [0.1, 0.1], [0.3, 0.95]])
    got = assign(similarity, alike=0.6)
    assert (got.cast, got.present) == ((0, 3), (True, True))
    assert got.duplicated == ((1, 0),)
    assert got.extra == (2,)
    assert assign(similarity[:1], alike=0.6).num_missing == 1
    assert assign(similarity[[0, 3]], alike=0.6).is_exact
    assert assign(np.zeros((0, 2)), alike=0.6).cast == (None, None)


def test_exactly_alike_is_alike() -> None:
    got = assign(np.array([[0.6, 0.0], [0.0, 0.6]]), alike=0.6)
    assert got.is_exact


def test_similarities_are_mean_cosines() -> None:
    rng = np.random.default_rng(0)
    units = rng.normal(size=(6, 9))
    units = (units / np.linalg.norm(units, axis=1, keepdims=True)).astype(np.float32)
    got = similarities(list(units[:2]), [list(units[2:5]), list(units[5:])])
    expected = [[np.mean([a.astype(float) @ b for b in units[2:5]]), a.astype(float) @ units[5]] for a in units[:2]]
    np.testing.assert_allclose(got, expected, atol=1e-12)
    assert similarities([], [[units[0]]]).shape == (0, 1)


@pytest.mark.parametrize("num_found", [0, 1, 3, 4])
def test_places_are_taken_at_the_least_total_of_squares(num_found: int) -> None:
    rng = np.random.default_rng(num_found)
    found, places = rng.uniform(size=(num_found, 2)), rng.uniform(size=(3, 2))
    got = places_taken([(x, y) for x, y in found.tolist()], [(x, y) for x, y in places.tolist()])

    def cost(pairs: list[tuple[int, int]]) -> float:
        return sum(float(((found[f] - places[p]) ** 2).sum()) for f, p in pairs)

    pairs = [(f, p) for p, f in enumerate(got) if f is not None]
    full = [some for some in pairings(num_found, 3) if len(some) == min(num_found, 3)]
    assert cost(pairs) == pytest.approx(min(map(cost, full)))
    assert len(pairs) == min(num_found, 3)
