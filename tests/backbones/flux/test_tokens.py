"""Packing, position ids and the time shift: arithmetic against diffusers and the worked example of the UNO code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

from likeness.backbones.base import TokenGrid
from likeness.backbones.flux.tokens import (
    TIME_LAWS,
    draw_time,
    pack_latents,
    schedule_shift,
    time_shift,
    token_grid,
    uno_position_ids,
    unpack_latents,
)


def test_packing_is_that_of_flux_pipeline() -> None:
    latents = torch.randn(2, 16, 6, 10)
    assert torch.equal(pack_latents(latents), FluxPipeline._pack_latents(latents, 2, 16, 6, 10))


def test_unpacking_inverts_packing_on_a_rectangle() -> None:
    latents = torch.randn(2, 16, 6, 10)
    assert token_grid(latents) == TokenGrid(rows=3, columns=5)
    assert torch.equal(unpack_latents(pack_latents(latents), token_grid(latents)), latents)


def test_ids_of_the_worked_example() -> None:
    ids = uno_position_ids((4, 6), [(5, 3), (2, 4)])
    first, second = 4 * 6, 4 * 6 + 5 * 3
    assert ids.dtype == torch.float32
    assert ids[0].tolist() == [0, 0, 0]
    assert ids[first - 1].tolist() == [0, 3, 5]
    assert ids[first].tolist() == [0, 4, 6]
    assert ids[second - 1].tolist() == [0, 8, 8]
    assert ids[second].tolist() == [0, 9, 9]
    assert ids[-1].tolist() == [0, 10, 12]


def test_target_ids_are_those_of_flux_pipeline() -> None:
    stock = FluxPipeline._prepare_latent_image_ids(1, 4, 6, torch.device("cpu"), torch.float32)
    assert torch.equal(uno_position_ids((4, 6)), stock)


def test_diagonal_ids_are_all_distinct() -> None:
    ids = uno_position_ids((3, 7), [(5, 2), (2, 9), (4, 4)])
    assert len({tuple(row) for row in ids.tolist()}) == len(ids)


@pytest.mark.parametrize("num_tokens", [64, 256, 1024, 4096])
def test_shift_is_that_of_flux_pipeline(num_tokens: int) -> None:
    assert schedule_shift(num_tokens) == pytest.approx(calculate_shift(num_tokens), abs=1e-12)


def test_shift_of_the_note() -> None:
    assert schedule_shift(1024) == pytest.approx(0.63)


def test_time_shift_is_that_of_the_scheduler() -> None:
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    sigmas = np.linspace(1.0, 1 / 25, 25)
    scheduler.set_timesteps(sigmas=sigmas.tolist(), mu=0.63)
    assert scheduler.sigmas is not None
    torch.testing.assert_close(time_shift(torch.from_numpy(sigmas), mu=0.63).float(), scheduler.sigmas[:-1])


def test_time_shift_keeps_both_ends() -> None:
    assert time_shift(torch.tensor([0.0, 1.0]), mu=0.63).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("law", TIME_LAWS)
def test_times_lie_inside_and_follow_their_law(law: str) -> None:
    generator = torch.Generator().manual_seed(0)
    times = [draw_time(generator, law=law, mu=schedule_shift(1024)) for _ in range(4000)]
    assert 1e-3 <= min(times) <= 0.05
    assert 0.95 <= max(times) <= 1 - 1e-3
    # note section 1.4: mean 0.604 for UNO's list at 1024 tokens; the others are symmetric about a half
    assert sum(times) / 4000 == pytest.approx(0.604 if law == "uno_shift" else 0.5, abs=0.015)
    inside = sum(0.25 < t < 0.75 for t in times) / 4000
    # a normal number's sigmoid lies there when the number lies within log 3 = 1.0986 of 0
    assert law == "uno_shift" or inside == pytest.approx(0.5 if law == "uniform" else 0.728, abs=0.025)


def test_uno_times_are_entries_1_to_998_of_its_list() -> None:
    plain = torch.linspace(1, 0, 1000, dtype=torch.float64)
    mu = 0.5 + (1024 - 256) * 0.65 / 3840
    shifted = math.exp(mu) / (math.exp(mu) + 1 / plain[1:999] - 1)
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        t = draw_time(generator, law="uno_shift", mu=mu)
        assert float((shifted - t).abs().min()) < 2e-4  # only clamping and rounding
