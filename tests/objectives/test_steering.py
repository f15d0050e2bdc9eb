"""ReVersion's steering loss against loops in float64."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from likeness.objectives.steering import steering_loss

TAU = 0.07


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_hand(word: Tensor, prepositions: Tensor, entities: Tensor, *, temperature: float) -> float:
    """-log(sum of exp over prepositions / sum of exp over all), number by number."""

    def cosine(row: Tensor) -> float:
        pairs = [(float(a), float(b)) for a, b in zip(word, row, strict=True)]
        lengths = math.sqrt(sum(a * a for a, _ in pairs)) * math.sqrt(sum(b * b for _, b in pairs))
        return sum(a * b for a, b in pairs) / lengths

    near = [math.exp(cosine(row) / temperature) for row in prepositions]
    far = [math.exp(cosine(row) / temperature) for row in entities]
    return -math.log(sum(near) / (sum(near) + sum(far)))


@pytest.mark.parametrize("temperature", [TAU, 1.0])
def test_the_share_of_prepositions(temperature: float) -> None:
    word, prepositions, entities = drawn(6, seed=0), drawn(5, 6, seed=1), 3 * drawn(4, 6, seed=2)
    entities = torch.cat([entities, entities[:1]])  # twice
    found = steering_loss(word, prepositions=prepositions, entities=entities, temperature=temperature)
    np.testing.assert_allclose(float(found), by_hand(word, prepositions, entities, temperature=temperature), rtol=1e-5)
    longer = steering_loss(7 * word, prepositions=2 * prepositions, entities=entities, temperature=temperature)
    torch.testing.assert_close(longer, found)  # directions alone count


def test_one_of_each_at_right_angles() -> None:
    one, other = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 5.0])
    for word, expected in ((one, math.log1p(math.exp(-1 / TAU))), (other, 1 / TAU + math.log1p(math.exp(-1 / TAU)))):
        found = steering_loss(word, prepositions=one[None], entities=other[None], temperature=TAU)
        np.testing.assert_allclose(float(found), expected, rtol=1e-5, atol=1e-6)


def test_without_entities_it_is_zero() -> None:
    found = steering_loss(
        drawn(3, seed=0), prepositions=drawn(2, 3, seed=1), entities=torch.empty(0, 3), temperature=TAU
    )
    assert float(found) == 0.0


def test_the_word_alone_is_steered_and_to_the_prepositions() -> None:
    word = drawn(8, seed=0).requires_grad_()
    prepositions, entities = drawn(3, 8, seed=1).requires_grad_(), drawn(3, 8, seed=2).requires_grad_()

    def cosines(rows: Tensor) -> float:
        return float(torch.nn.functional.cosine_similarity(rows, word[None]).detach().max())

    before = cosines(prepositions), cosines(entities)
    for _ in range(50):
        loss = steering_loss(word, prepositions=prepositions, entities=entities, temperature=TAU)
        (slope,) = torch.autograd.grad(loss, word)
        with torch.no_grad():
            word -= 0.05 * slope
    assert prepositions.grad is None
    assert entities.grad is None
    assert cosines(prepositions) > before[0]
    assert cosines(entities) < cosines(prepositions)
