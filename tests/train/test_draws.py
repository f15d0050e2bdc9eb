"""Order, noise and times of a preference run, and the guard."""

import math
from collections import Counter
from pathlib import Path

import pytest
import torch

from likeness.core.errors import DivergenceError
from likeness.train.draws import PairOrder, draw_pair, draw_time
from likeness.train.guard import MIN_STEPS, SpikeGuard, checkpoint_text

SHAPES = ["one"] * 7 + ["two"] * 3 + ["three"]
SHIFT = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}


def test_a_batch_has_one_shape_and_an_epoch_has_every_pair() -> None:
    order = PairOrder(SHAPES, batch_size=4, seed=1)
    assert order.num_batches == 2 + 1 + 1
    epoch = [order.batch(step) for step in range(order.num_batches)]
    assert all(len(batch) == 4 and len({SHAPES[i] for i in batch}) == 1 for batch in epoch)
    seen = Counter(i for batch in epoch for i in batch)
    assert set(seen) == set(range(len(SHAPES)))
    assert seen[10] == 4  # the only pair of its shape fills its batch
    assert sum(seen[i] for i in range(7)) == 8


def test_the_order_is_a_function_of_seed_and_step() -> None:
    first, second = (PairOrder(SHAPES, batch_size=2, seed=1) for _ in range(2))
    steps = list(range(40))
    forward = [first.batch(step) for step in steps]
    assert [second.batch(step) for step in reversed(steps)] == forward[::-1]
    assert [PairOrder(SHAPES, batch_size=2, seed=2).batch(step) for step in steps] != forward
    assert forward[: first.num_batches] != forward[first.num_batches : 2 * first.num_batches]  # epochs differ


@pytest.mark.parametrize("sampler", ["uno_shift", "uniform", "logit_normal"])
def test_times_lie_inside_and_follow_their_law(sampler: str) -> None:
    generator = torch.Generator().manual_seed(0)
    times = [draw_time(generator, sampler=sampler, num_tokens=1024, shift=SHIFT) for _ in range(4000)]
    assert 1e-3 <= min(times) <= 0.05
    assert 0.95 <= max(times) <= 1 - 1e-3
    # note section 1.4: mean 0.604 for UNO's list at 1024 tokens; the others are symmetric about a half
    assert sum(times) / 4000 == pytest.approx(0.604 if sampler == "uno_shift" else 0.5, abs=0.015)


def test_uno_times_are_entries_1_to_998_of_its_list() -> None:
    plain = torch.linspace(1, 0, 1000, dtype=torch.float64)
    mu = 0.5 + (1024 - 256) * 0.65 / 3840
    shifted = math.exp(mu) / (math.exp(mu) + 1 / plain[1:999] - 1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        t = draw_time(generator, sampler="uno_shift", num_tokens=1024, shift=SHIFT)
        assert float((shifted - t).abs().min()) < 2e-4  # bfloat-free: only clamping and rounding


def test_noise_depends_on_step_and_position_alone() -> None:
    def draw(step: int, position: int) -> torch.Tensor:
        options = {"seed": 3, "shape": (4, 6, 6), "sampler": "uniform", "shift": SHIFT}
        return draw_pair(step=step, position=position, **options).eps

    assert torch.equal(draw(5, 1), draw(5, 1))
    assert not torch.equal(draw(5, 1), draw(5, 0))
    assert not torch.equal(draw(5, 1), draw(6, 1))


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
