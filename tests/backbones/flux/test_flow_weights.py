"""What squared velocity errors count, against the derivatives of the path."""

import pytest
import torch

from likeness.backbones.flux.uno import FluxUno
from likeness.core.errors import ConfigError

WEIGHTINGS = ("uniform", "eps", "elbo")


def test_velocity_errors_become_noise_errors_and_the_bound(tiny: FluxUno) -> None:
    draw = torch.Generator().manual_seed(0)
    x0, eps, guess = torch.randn(3, 4, 32, dtype=torch.float64, generator=draw)
    t = torch.tensor([0.05, 0.3, 0.6, 0.95], dtype=torch.float64)[:, None]
    x_t, velocity = (1 - t) * x0 + t * eps, eps - x0
    error = (velocity - guess).square().sum(1)
    eps_hat, x0_hat = x_t + (1 - t) * guess, x_t - t * guess
    eps_error = (eps - eps_hat).square().sum(1)
    weights = {kind: tiny.error_weight(t[:, 0], kind).double() for kind in WEIGHTINGS}
    torch.testing.assert_close(weights["uniform"] * error, error)
    torch.testing.assert_close(weights["eps"] * error, eps_error, rtol=1e-6, atol=0)
    torch.testing.assert_close((x0 - x0_hat).square().sum(1), t[:, 0].square() * error)
    moving = t[:, 0].clone().requires_grad_()
    log_snr = 2 * torch.log((1 - moving) / moving)
    (slope,) = torch.autograd.grad(log_snr.sum(), moving)
    torch.testing.assert_close(weights["elbo"] * error, 0.5 * -slope * eps_error, rtol=1e-6, atol=0)


def test_weights_at_the_ends(tiny: FluxUno) -> None:
    ends = torch.tensor([0.0, 0.01, 0.02, 1.0])
    assert tiny.error_weight(ends, "uniform").tolist() == [1.0] * 4
    assert tiny.error_weight(ends, "eps")[[0, 3]].tolist() == [1.0, 0.0]
    torch.testing.assert_close(tiny.error_weight(ends, "elbo"), torch.tensor([50.0, 49.5, 49.0, 0.0]))
    with pytest.raises(ConfigError, match="expected one of uniform, eps, elbo, got 'snr'"):
        tiny.error_weight(ends, "snr")
