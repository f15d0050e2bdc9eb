"""The matching loss against a double loop, and what counts as a match."""

import math
import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.contrastive import GROUP, AttributeReaders, _same_identity, match_loss, pair_batch
from likeness.world.identity import ATTRIBUTES, split_of_identity


def by_loops(a: Tensor, b: Tensor, positive: Tensor, scale: float) -> float:
    """Cross entropy of every row against its positives, then of every column; half of each mean."""
    rows, columns = [r.tolist() for r in a.double()], [c.tolist() for c in b.double()]
    weights = positive.tolist()
    logits = [[scale * sum(x * y for x, y in zip(r, c, strict=True)) for c in columns] for r in rows]

    def one_way(logits: list[list[float]], weights: list[list[float]]) -> float:
        total = 0.0
        for row, weight in zip(logits, weights, strict=True):
            normaliser = math.log(sum(math.exp(v) for v in row))
            total -= sum(w * (v - normaliser) for v, w in zip(row, weight, strict=True)) / sum(weight)
        return total / len(logits)

    flip = (
        [list(column) for column in zip(*logits, strict=True)],
        [list(column) for column in zip(*weights, strict=True)],
    )
    return 0.5 * (one_way(logits, weights) + one_way(*flip))


def example(seed: int, *, rows: int = 4, columns: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a = F.normalize(torch.randn(rows, 5, generator=generator, dtype=torch.float64), dim=1)
    b = F.normalize(torch.randn(columns, 5, generator=generator, dtype=torch.float64), dim=1)
    positive = torch.zeros(rows, columns, dtype=torch.float64)
    for column in range(columns):
        positive[column % rows, column] = 1
    positive[0, -1] = 1
    return a, b, positive


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_match_loss_equals_loops(seed: int, scale: float) -> None:
    a, b, positive = example(seed)
    assert float(match_loss(a, b, positive, scale=scale)) == pytest.approx(by_loops(a, b, positive, scale), rel=1e-10)


def test_match_loss_does_not_know_the_order() -> None:
    a, b, positive = example(0)
    loss = match_loss(a, b, positive, scale=7.0)
    rows, columns = torch.tensor([2, 0, 3, 1]), torch.tensor([5, 1, 0, 4, 2, 3])
    shuffled = match_loss(a[rows], b[columns], positive[rows][:, columns], scale=7.0)
    torch.testing.assert_close(loss, shuffled, rtol=1e-12, atol=0)
    torch.testing.assert_close(loss, match_loss(b, a, positive.T, scale=7.0), rtol=1e-12, atol=0)


def test_match_loss_by_hand() -> None:
    """Equal features say nothing: log of the number of candidates. Orthogonal pairs: log(1 + e^-scale)."""
    same, eye = torch.ones(3, 1), torch.eye(3)
    assert float(match_loss(same, same, eye, scale=5.0)) == pytest.approx(math.log(3), abs=1e-6)
    pair = torch.eye(2)
    assert float(match_loss(pair, pair, pair, scale=2.0)) == pytest.approx(math.log(1 + math.exp(-2)), abs=1e-6)
    assert float(match_loss(pair, pair.flip(0), pair, scale=2.0)) > 2


def test_pairs_come_in_groups_of_look_alikes_of_the_training_split() -> None:
    batch = pair_batch(100, 8, size=32)
    assert batch.scenes.shape == (8, 32, 32, 3)
    assert batch.portraits.shape == (len(batch.identities), 32, 32, 3)
    assert batch.owner == [i for i, s in enumerate(batch.scenarios) for _ in s.identities]
    assert all(split_of_identity(who) == "train" for who in batch.identities)
    firsts = [scenario.identities[0] for scenario in batch.scenarios]
    for i, who in enumerate(firsts):
        leader = firsts[i - i % GROUP]
        assert (who.species, who.body_color) == (leader.species, leader.body_color)
        assert (who == leader) == (i % GROUP == 0)


def test_same_identity_marks_every_picture_that_shows_the_subject() -> None:
    batch = pair_batch(7, 8, size=16)
    table = _same_identity(batch)
    assert table.shape == (8, len(batch.identities))
    for portrait, (who, owner) in enumerate(zip(batch.identities, batch.owner, strict=True)):
        assert table[owner, portrait] == 1
        for scene, scenario in enumerate(batch.scenarios):
            assert bool(table[scene, portrait]) == (who in scenario.identities)
    assert (table.sum(0) >= 1).all()
    assert (table.sum(1) >= 1).all()


def test_pairs_are_a_function_of_their_number() -> None:
    random.seed(0)
    first = pair_batch(40, 4, size=32, margin=256 / 224)
    random.seed(1)
    again = pair_batch(40, 4, size=32, margin=256 / 224)
    assert np.array_equal(first.scenes, again.scenes)
    assert np.array_equal(first.portraits, again.portraits)
    assert first.scenarios == again.scenarios


def test_readers_ask_for_every_attribute_of_portraits_and_of_subjects_alone(prepared: PretrainConfig) -> None:
    """Against cross entropies written out picture by picture; scenes with two subjects are left out."""
    batch = pair_batch(7, 8, size=16)
    torch.manual_seed(0)
    readers = AttributeReaders(6, config=prepared)
    scenes, portraits = torch.randn(8, 6), torch.randn(len(batch.identities), 6)
    asked = list(zip(portraits, batch.identities, strict=True))
    asked += [(f, s.identities[0]) for f, s in zip(scenes, batch.scenarios, strict=True) if len(s.identities) == 1]
    assert len(asked) > len(batch.identities)
    total = 0.0
    for name, labels in ATTRIBUTES.items():
        terms = [
            -readers.readers[name](feature).log_softmax(0)[labels.index(who.attributes()[name])].item()
            for feature, who in asked
            if who.attributes()[name] in labels
        ]
        total += sum(terms) / max(len(terms), 1)
    assert readers.loss(batch, scenes, portraits).item() == pytest.approx(total, rel=1e-5)
