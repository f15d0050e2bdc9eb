"""DDPM's path from picture to noise, in times of [0, 1].

The N steps of training, 0 to N - 1, share the interval: step k has the times from k / N up to (k + 1) / N, and its own
is the middle one. Everything here depends on the step alone.

Shapes: B pictures, N training steps.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor


def steps_of(t: Float[Tensor, "*batch"], *, count: int) -> Int[Tensor, "*batch"]:
    """The training step of each time; t = 1 belongs to the last one."""
    return (t * count).long().clamp(0, count - 1)


def draw_time(generator: torch.Generator, *, count: int) -> float:
    """The time of a step drawn uniformly. Source: Diffusion-DPO's and PatchDPO's training scripts."""
    return (int(torch.randint(count, (), generator=generator)) + 0.5) / count


def draw_focal_time(generator: torch.Generator, *, count: int) -> float:
    """The time of step k drawn with a probability that grows as 1 - cos(pi k / N) / 2: three times as often at the end.

    Noisy steps decide how things stand to each other. Source: ReVersion (arXiv:2303.13495), relation-focal importance
    sampling with alpha = 0.5.
    """
    shares = focal_shares(count).cumsum(0)
    place = torch.rand((), generator=generator, dtype=torch.float64) * shares[-1]
    return (min(int(torch.searchsorted(shares, place, right=True)), count - 1) + 0.5) / count


def focal_shares(count: int) -> Float[Tensor, " N"]:
    """The probability of each step in `draw_focal_time`; fp64."""
    shares = 1 - 0.5 * torch.cos(math.pi * torch.arange(count, dtype=torch.float64) / count)
    return shares / shares.sum()


def bound_weights(alphas_cumprod: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """N times what a squared error of the noise counts in the variational bound, at each step; fp32.

    SNR(k - 1) / (2 SNR(k)) - 1/2 = beta_k / (2 alpha_k (1 - alpha_bar_{k-1})), the KL divergence of Gaussians with
    the variance of the posterior. Step 0, whose term is a likelihood, counts as step 1.
    Source: DDPM (arXiv:2006.11239) Eqs. 8-12; VDM (arXiv:2107.00630) Eq. 13: its density in t is this as N grows.
    """
    signal = alphas_cumprod.double()
    log_snr = signal.log() - (-signal).log1p()
    weights = 0.5 * len(signal) * torch.expm1(-log_snr.diff())
    return torch.cat([weights[:1], weights]).float()
