"""Learning rate, averaged weights and PSNR against hand arithmetic."""

import math

import pytest
import torch
from torch import nn

from likeness.train.schedule import Ema, learning_rate_factor, psnr


@pytest.mark.parametrize(
    ("seen", "factor"),
    [
        (0, 1 / 100),  # (0 + 1) / 100
        (49, 0.5),
        (99, 1.0),
        (100, 1.0),
        (600, 1.0),  # the fall begins after 1000 (1 - 0.4)
        (700, 0.75),  # 1 - 100 / 400
        (800, 0.5),
        (992, 0.02),  # 1 - 392 / 400, the floor exactly
        (999, 0.02),
        (1000, 0.02),
        (5000, 0.02),
    ],
)
def test_warm_up_flat_fall(seen: int, factor: float) -> None:
    assert learning_rate_factor(seen, total=1000, warmup=100, decay_share=0.4) == pytest.approx(factor, abs=1e-12)


def test_corners_of_the_schedule() -> None:
    assert learning_rate_factor(0, total=10, warmup=0, decay_share=0.0) == 1.0
    assert learning_rate_factor(10, total=10, warmup=0, decay_share=0.0) == 1.0
    assert learning_rate_factor(5, total=10, warmup=0, decay_share=1.0) == 0.5
    # warm-up wins where it overlaps the fall
    assert learning_rate_factor(7, total=10, warmup=10, decay_share=1.0) == pytest.approx(0.8)


def test_a_larger_total_continues_the_flat_stretch() -> None:
    flat = [learning_rate_factor(n, total=2000, warmup=100, decay_share=0.4) for n in range(100, 1201, 100)]
    assert set(flat) == {1.0}


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.998])
def test_ema_equals_a_float64_loop(decay: float) -> None:
    """decay_k = min(decay, (1 + k) / (10 + k)); average = decay_k average + (1 - decay_k) weight."""
    torch.manual_seed(0)
    net = nn.Linear(3, 2)
    named = list(net.named_parameters())
    ema = Ema(named, decay=decay)
    expected = {name: p.detach().double().clone() for name, p in named}
    for k in range(1, 40):
        with torch.no_grad():
            for _, p in named:
                p.add_(torch.randn_like(p))
        ema.update(named)
        for name, p in named:
            d = min(decay, (1 + k) / (10 + k))
            expected[name] = d * expected[name] + (1 - d) * p.detach().double()
    for name, _ in named:
        torch.testing.assert_close(ema.averages[name].double(), expected[name], atol=1e-5, rtol=1e-5)


def test_ema_copies_and_restores() -> None:
    net = nn.Linear(3, 2)
    named = list(net.named_parameters())
    ema = Ema(named, decay=0.9)
    before = {name: p.detach().clone() for name, p in named}
    with torch.no_grad():
        for _, p in named:
            p.fill_(7.0)
    other = Ema(named, decay=0.9)
    other.restore(ema.state())
    assert other.updates == 0
    other.copy_to(named)
    assert all(torch.equal(p, before[name]) for name, p in named)


def test_ema_keeps_fp32_averages_of_half_weights() -> None:
    named = list(nn.Linear(3, 2).to(torch.bfloat16).named_parameters())
    ema = Ema(named, decay=0.9)
    ema.update(named)
    assert {average.dtype for average in ema.averages.values()} == {torch.float32}


def test_psnr_by_hand() -> None:
    assert psnr(0.04) == pytest.approx(20.0)  # span 2: 4 / 0.04 = 100
    assert psnr(4.0) == pytest.approx(0.0)
    assert psnr(0.01, span=1.0) == pytest.approx(20.0)
    assert psnr(1.0, span=255) == pytest.approx(10 * math.log10(255**2))
    assert psnr(0.0) == math.inf
