"""Times, steps and the weights of the variational bound, against rewrites in float64."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from diffusers import DDPMScheduler
from tiny_sdxl import SCHEDULER

from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.backbones.sdxl.noising import bound_weights, draw_focal_time, draw_time, focal_shares, steps_of
from likeness.core.errors import ConfigError


def test_each_step_has_its_share_of_the_interval() -> None:
    steps = torch.arange(1000)
    assert torch.equal(steps_of((steps + 0.5) / 1000, count=1000), steps)
    ends = torch.tensor([0.0, 0.00099, 0.0011, 0.9989, 0.9991, 1.0])
    assert steps_of(ends, count=1000).tolist() == [0, 0, 1, 998, 999, 999]


def test_every_step_is_drawn_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = Counter(math.floor(draw_time(generator, count=10) * 10) for _ in range(5000))
    assert sorted(counts) == list(range(10))
    assert max(abs(count - 500) for count in counts.values()) < 5 * math.sqrt(500)


def test_noisy_steps_are_drawn_three_times_as_often() -> None:
    """p(t) of ReVersion, by a loop; its ratio of the ends and its share of the cleaner half."""
    shares = focal_shares(1000)
    raw = [1 - 0.5 * math.cos(math.pi * k / 1000) for k in range(1000)]
    torch.testing.assert_close(shares, torch.tensor(raw, dtype=torch.float64) / sum(raw), rtol=1e-12, atol=0)
    assert float(shares[999] / shares[0]) == pytest.approx(3.0, abs=1e-4)
    assert float(shares[:500].sum()) == pytest.approx(0.341, abs=5e-4)


def test_steps_are_drawn_by_their_shares() -> None:
    generator = torch.Generator().manual_seed(0)
    counts = Counter(round(draw_focal_time(generator, count=10) * 10 - 0.5) for _ in range(5000))
    for step, share in enumerate(focal_shares(10).tolist()):
        assert abs(counts[step] - 5000 * share) < 5 * math.sqrt(5000 * share)
    assert sum(counts.values()) == sum(counts[step] for step in range(10))


def test_the_bound_is_the_divergence_of_the_posteriors() -> None:
    """KL(q(x_{k-1} | x_k, x0) || p) of two Gaussians of the posterior's variance, means by DDPM Eqs. 7 and 11."""
    alphas_cumprod = DDPMScheduler(**SCHEDULER).alphas_cumprod
    weights = bound_weights(alphas_cumprod)
    bars = alphas_cumprod.double().tolist()
    for k in (1, 2, 10, 300, 999):
        before, now = bars[k - 1], bars[k]
        alpha = now / before
        x0, eps, guess = 0.3, -0.7, 0.4
        x_k = math.sqrt(now) * x0 + math.sqrt(1 - now) * eps
        x0_hat = (x_k - math.sqrt(1 - now) * guess) / math.sqrt(now)
        means = [
            (math.sqrt(before) * (1 - alpha) * clean + math.sqrt(alpha) * (1 - before) * x_k) / (1 - now)
            for clean in (x0, x0_hat)
        ]
        variance = (1 - before) / (1 - now) * (1 - alpha)
        divergence = (means[0] - means[1]) ** 2 / (2 * variance)
        assert weights[k].item() * (eps - guess) ** 2 == pytest.approx(1000 * divergence, rel=1e-4)
    assert weights[0] == weights[1]


def test_the_bound_in_steps_nears_the_density_in_time() -> None:
    """With log-SNR 2 ln((1 - t) / t), where the flow's weight of a velocity error is (1 - t) / t."""
    t = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    signal = (1 - t).square() / ((1 - t).square() + t.square())
    weights = bound_weights(signal).double()
    inside = (t > 0.05) & (t < 0.95)
    # a path whose noise is not of variance 1 - signal has the same bound: only the log-SNR counts
    velocity_error_of_noise_error = 1 / (1 - t).square()
    expected = (1 - t) / t * velocity_error_of_noise_error
    torch.testing.assert_close(weights[inside], expected[inside], rtol=2e-3, atol=0)


def test_what_errors_of_the_noise_count(sdxl: SdxlIpAdapter) -> None:
    t = torch.tensor([0.0005, 0.3, 0.9995])
    assert sdxl.error_weight(t, "uniform").tolist() == [1.0] * 3
    assert sdxl.error_weight(t, "eps").tolist() == [1.0] * 3
    expected = bound_weights(DDPMScheduler(**SCHEDULER).alphas_cumprod)[[0, 300, 999]]
    torch.testing.assert_close(sdxl.error_weight(t, "elbo"), expected)
    with pytest.raises(ConfigError, match="expected one of uniform, eps, elbo, got 'snr'"):
        sdxl.error_weight(t, "snr")
