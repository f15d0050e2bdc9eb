"""Order, noise and times of a run, and the guard."""

import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from likeness.core.errors import DivergenceError
from likeness.train.draws import RowOrder, draw_row
from likeness.train.guard import MIN_STEPS, SpikeGuard, checkpoint_text

SHAPES = ["one"] * 7 + ["two"] * 3 + ["three"]


def test_a_batch_has_one_shape_and_an_epoch_has_every_row() -> None:
    order = RowOrder(SHAPES, batch_size=4, seed=1)
    assert order.num_batches == 2 + 1 + 1
    epoch = [order.batch(step) for step in range(order.num_batches)]
    assert all(len(batch) == 4 and len({SHAPES[i] for i in batch}) == 1 for batch in epoch)
    seen = Counter(i for batch in epoch for i in batch)
    assert set(seen) == set(range(len(SHAPES)))
    assert seen[10] == 4  # the only row of its shape fills its batch
    assert sum(seen[i] for i in range(7)) == 8


def test_the_order_is_a_function_of_seed_and_step() -> None:
    first, second = (RowOrder(SHAPES, batch_size=2, seed=1) for _ in range(2))
    steps = list(range(40))
    forward = [first.batch(step) for step in steps]
    assert [second.batch(step) for step in reversed(steps)] == forward[::-1]
    assert [RowOrder(SHAPES, batch_size=2, seed=2).batch(step) for step in steps] != forward
    assert forward[: first.num_batches] != forward[first.num_batches : 2 * first.num_batches]  # epochs differ


class Clock:
    """Of a backbone, what draws need: latents per token, and times that show grid, law and generator."""

    facts = SimpleNamespace(latents_per_token=2)

    def draw_t(self, generator: torch.Generator, *, grid: tuple[int, int], law: str) -> float:
        assert (grid, law) == ((3, 4), "uniform")
        return float(torch.rand((), generator=generator))


@pytest.mark.usefixtures("unchecked")  # the clock is no whole backbone
def test_noise_and_time_depend_on_seed_step_and_position_alone() -> None:
    def draw(step: int, position: int, *, seed: int = 3) -> tuple[list[float], float]:
        backbone: Any = Clock()
        found = draw_row(backbone, seed=seed, step=step, position=position, shape=(4, 6, 8), law="uniform")
        assert found.eps.shape == (4, 6, 8)
        return found.eps.flatten().tolist(), found.t

    assert draw(5, 1) == draw(5, 1)
    for other in (draw(5, 0), draw(6, 1), draw(5, 1, seed=4)):
        assert other[0] != draw(5, 1)[0]
        assert other[1] != draw(5, 1)[1]


def check(guard: SpikeGuard, step: int, loss: float) -> None:
    guard.check(step, {"loss": loss, "gradient norm": 1.0}, checkpoint="runs/x/state (step 4)")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_non_finite_numbers_stop_at_once(bad: float) -> None:
    said = r"step 1: expected a finite number as loss, got .*runs/x/state \(step 4\).*lower train.learning_rate"
    with pytest.raises(DivergenceError, match=said):
        check(SpikeGuard(factor=0), 1, bad)


def test_a_spike_stops_and_the_normal_spread_does_not() -> None:
    guard = SpikeGuard(factor=10)
    for step in range(1, MIN_STEPS):
        check(guard, step, 0.7)
    check(guard, MIN_STEPS, 500.0)  # too early to tell
    check(guard, MIN_STEPS + 1, 6.9)  # below 10 x 0.7
    with pytest.raises(DivergenceError, match=r"expected at most 7 as loss, got 7\.1"):
        check(guard, MIN_STEPS + 2, 7.1)


def test_a_learnt_loss_near_0_does_not_make_a_hard_pair_a_spike() -> None:
    guard = SpikeGuard(factor=10)
    for step in range(300):
        check(guard, step, 0.7 if step < MIN_STEPS else 1e-6)
    check(guard, 301, 5.0)


def test_the_guard_goes_on_where_it_was() -> None:
    guard, other = SpikeGuard(factor=10), SpikeGuard(factor=10)
    for step in range(MIN_STEPS):
        check(guard, step, 0.7)
    other.restore(guard.state())
    with pytest.raises(DivergenceError):
        check(other, MIN_STEPS, 8.0)
    assert checkpoint_text(Path("state"), step=0) == "none yet"
    assert checkpoint_text(Path("state"), step=5) == "state (step 5)"
