"""Filter, furthest points and people: invariants of the sampling, against plain float64 loops."""

import math
from collections import Counter

import numpy as np
import pytest
from jaxtyping import Float

from likeness.core.errors import DataError
from likeness.data.prompts.sampling import assigned, furthest_points, largest_cosine, most_similar


def unit(count: int, width: int, *, seed: int) -> Float[np.ndarray, "N D"]:
    rows = np.random.default_rng(seed).normal(size=(count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def clustered(count: int, *, seed: int, width: int = 8) -> Float[np.ndarray, "N D"]:
    """Rows around a few centres, where the shortcut has much to leave out."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(6, width))[rng.integers(0, 6, count)] + 0.05 * rng.normal(size=(count, width))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", [unit, clustered])
def test_every_point_is_the_furthest_by_a_plain_loop(make: object, seed: int) -> None:
    """All distances to all chosen points in float64; float32 may only choose another where both are equally far."""
    features = unit(300, 8, seed=seed) if make is unit else clustered(300, seed=seed)
    found = furthest_points(features, 120)
    rows = features.astype(np.float64)
    centre = rows @ rows.mean(0)
    assert centre[found.places[0]] == pytest.approx(centre.max(), abs=1e-6)
    for number in range(1, 120):
        chosen = found.places[:number]
        distance = np.min(1 - rows @ rows[chosen].T, axis=1)
        distance[chosen] = -1
        assert distance[found.places[number]] == pytest.approx(distance.max(), abs=1e-6)
        assert found.radius[number] == pytest.approx(max(distance.max(), 0), abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 50, 200])
def test_points_are_distinct_and_the_radius_never_rises(count: int) -> None:
    features = np.concatenate([clustered(150, seed=1), clustered(150, seed=1)[:50]])  # fifty come twice
    told: list[tuple[int, int]] = []
    found = furthest_points(features, count, progress=lambda done, total: told.append((done, total)))
    assert len(set(found.places.tolist())) == count
    assert (np.diff(found.radius) <= 0).all()
    assert np.isfinite(found.radius).all()
    assert not told or told[-1] == (count, count)


def test_the_first_point_is_nearest_the_mean_and_the_second_furthest_from_it() -> None:
    angles = np.radians([0.0, 10.0, 20.0, 100.0])  # the mean points to 25 degrees or so
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = furthest_points(features, 4)
    assert found.places.tolist() == [2, 3, 0, 1]
    expected = [1 - math.cos(math.radians(angle)) for angle in (80, 80, 20, 10)]
    np.testing.assert_allclose(found.radius, expected, atol=1e-6)


@pytest.mark.parametrize("count", [0, 6])
def test_more_points_than_rows_are_refused(count: int) -> None:
    with pytest.raises(DataError, match=f"1 to 5 of as many prompts, got {count}"):
        furthest_points(unit(5, 3, seed=0), count)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 100, 177_000])
def test_the_filter_keeps_two_thirds_rounded_up(count: int) -> None:
    kept = most_similar(np.arange(count, dtype=np.float32))
    assert len(kept) == math.ceil(2 * count / 3)
    assert kept.tolist() == list(range(count - len(kept), count))


def test_the_filter_drops_the_least_similar_and_prefers_the_first_of_equal_ones() -> None:
    assert most_similar(np.array([0.5, 0.1, 0.5, 0.9, 0.5, 0.5])).tolist() == [0, 2, 3, 4]
    with pytest.raises(DataError, match="got NaN"):
        most_similar(np.array([0.5, math.nan]))


def test_similarity_is_the_largest_cosine_to_any_reference() -> None:
    rows, references = unit(9000, 4, seed=1), unit(7, 4, seed=2)  # more than one part
    expected = [max(float(row @ ref) for ref in references) for row in rows[:20]]
    found = largest_cosine(rows, references)
    np.testing.assert_allclose(found[:20], expected, atol=1e-6)
    assert found.shape == (9000,)
    np.testing.assert_allclose(found[-1], (rows[-1] @ references.T).max(), atol=1e-6)


@pytest.mark.parametrize(("count", "people", "each"), [(10, 5, 2), (7, 5, 3), (50, 1, 50), (3, 9, 2)])
def test_people_get_different_prompts_and_every_prompt_equally_often(count: int, people: int, each: int) -> None:
    rows = assigned(count, people=people, each=each, seed=3)
    assert [len(set(row)) for row in rows] == [each] * people
    often = Counter(place for row in rows for place in row)
    assert set(often) <= set(range(count))
    assert max(often.values()) - min(often[place] for place in range(count)) <= 1
    assert rows == assigned(count, people=people, each=each, seed=3)


def test_a_prompt_is_never_handed_to_one_person_twice() -> None:
    with pytest.raises(DataError, match="at most 3 different prompts"):
        assigned(3, people=2, each=4, seed=0)
