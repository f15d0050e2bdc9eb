"""Mixtures, maps and neighbours on planted data."""

import math
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float

from likeness.core.errors import ConfigError, MeasurementError
from likeness.data.prompts.density import best_mixture, map_of, nearest
from likeness.data.prompts.describe import Space, describe
from likeness.data.prompts.files import PromptSet
from likeness.data.prompts.tagger import Word

pytest.importorskip("sklearn")


def planted(count: int, *, centres: int, width: int = 6, seed: int = 0) -> Float[np.ndarray, "N D"]:
    rng = np.random.default_rng(seed)
    return (10 * rng.normal(size=(centres, width)))[rng.integers(0, centres, count)] + rng.normal(size=(count, width))


@pytest.mark.parametrize("centres", [1, 3, 5])
def test_bic_finds_how_many_were_planted(centres: int) -> None:
    found = best_mixture(planted(400, centres=centres, seed=centres), sizes=range(1, 8), covariances=("spherical",))
    assert (found.best.size, found.best.covariance) == (centres, "spherical")
    assert found.best.bic == min(fit.bic for fit in found.tried)
    assert len(found.tried) == 7
    assert found.best.converged
    assert all(math.isfinite(fit.bic) for fit in found.tried)


def test_bic_finds_the_kind_of_covariance() -> None:
    rows = planted(500, centres=2, seed=3) * np.array([1, 4, 0.2, 1, 3, 0.5])
    assert best_mixture(rows, sizes=(1, 2, 3), covariances=("spherical", "diag")).best[:2] == (2, "diag")


def test_a_mixture_of_one_is_the_normal_density() -> None:
    rows = np.random.default_rng(2).normal(3.0, 2.0, size=(300, 1))
    found = best_mixture(rows, sizes=(1,), covariances=("diag",))
    variance = float(rows.var()) + 1e-5
    density = -0.5 * (math.log(2 * math.pi * variance) + ((rows - rows.mean()) ** 2 / variance).mean())
    assert found.likelihood(rows) == pytest.approx(density, abs=1e-6)
    assert found.best.bic == pytest.approx(2 * math.log(300) - 2 * 300 * density, rel=1e-6)
    assert found.likelihood(rows) > found.likelihood(rows + 5)


def test_too_few_prompts_are_refused() -> None:
    with pytest.raises(MeasurementError, match="two prompts or more, got 1"):
        best_mixture(np.ones((1, 3)))
    with pytest.raises(MeasurementError, match="five prompts or more, got 4"):
        map_of({"a": np.ones((2, 3)), "b": np.ones((2, 3))})


def test_the_map_has_equally_many_of_each_and_keeps_what_is_apart_apart() -> None:
    sets = {"a": planted(30, centres=1, seed=1), "b": planted(25, centres=1, seed=1) + 40}
    found = map_of(sets, most=20, seed=1)
    assert {name: rows.shape for name, rows in found.items()} == {"a": (20, 2), "b": (20, 2)}
    assert all(np.isfinite(rows).all() for rows in found.values())
    inside = max(float(np.linalg.norm(rows - rows.mean(0), axis=1).mean()) for rows in found.values())
    assert np.linalg.norm(found["a"].mean(0) - found["b"].mean(0)) > 2 * inside
    assert all(np.array_equal(rows, map_of(sets, most=20, seed=1)[name]) for name, rows in found.items())


def test_neighbours_are_those_of_a_sorted_list() -> None:
    rng = np.random.default_rng(4)
    rows, others = rng.normal(size=(6, 5)), rng.normal(size=(40, 5))
    texts, among = [f"t{k}" for k in range(6)], [f"a{k}" for k in range(40)]
    found = nearest(rows, others, texts=texts, among=among, count=4, most=3, seed=1)
    assert len({each.prompt for each in found}) == 4
    for each in found:
        ranked = sorted(
            ((float(rows[int(each.prompt[1:])] @ other), k) for k, other in enumerate(others)), reverse=True
        )
        assert [text for text, _ in each.found] == [f"a{k}" for _, k in ranked[:3]]
        assert [cosine for _, cosine in each.found] == pytest.approx([cosine for cosine, _ in ranked[:3]])


def test_sets_described_together(sums: Any, tmp_path: Any) -> None:
    def tagged(texts: Any) -> list[list[Word]]:
        return [[Word(word, "NOUN") for word in text.split()] for text in texts]

    sets = [
        PromptSet("h", {"": tuple(f"{{}} one {k}" for k in range(12))}),
        PromptSet("t", {"000": ("{} two", "{} one 3", "{} one")}),
    ]
    space = Space(sums, tmp_path, sizes=(1, 2), covariances=("diag",))
    found = describe(sets, tagger=tagged, space=space, vocabularies={"mine": ["two", "four"]})
    assert [each["num_prompts"] for each in found["sets"]] == [12, 3]
    assert [each["num_people"] for each in found["sets"]] == [None, 1]
    shares = {row["set"]: (row["share"], row["named"]) for row in found["coverage"]}
    assert shares == {"h": (0.0, 0.0), "t": (1 / 3, 1 / 2)}
    assert [row["set"] for row in found["mixture"]["likelihood"]] == ["h", "t"]
    assert [len(rows) for rows in found["map"].values()] == [3, 3]
    row = next((row for row in found["neighbours"]["t"] if row["prompt"] == "a person one 3"), None)
    assert row is None or row["found"][0] == {"prompt": "a person one 3", "cosine": pytest.approx(1.0)}
    assert describe(sets, tagger=tagged, space=None)["mixture"] is None
    with pytest.raises(ConfigError, match="different names"):
        describe([sets[0], sets[0]], tagger=tagged, space=None)
