"""References, noise levels and sizes as UNO's inference script has them, and as options of a run."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from PIL import Image
from typer.testing import CliRunner

from likeness.backbones.base import TokenGrid
from likeness.backbones.flux.options import FluxOptions
from likeness.backbones.flux.tokens import schedule_shift, uno_sequence_length
from likeness.backbones.flux.uno import FluxUno
from likeness.cli import app
from likeness.core.errors import ConfigError
from likeness.core.files import read_json
from likeness.core.images import fit_reference
from likeness.generate.redraw import redraw

PROMPT = "A cat is hugging a duck in the forest."


def picture(seed: int, *, width: int = 96, height: int = 96) -> Image.Image:
    colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height))


# references ----------------------------------------------------------------------------------------------------------


def uno_reference(image: Image.Image, long_side: int) -> Image.Image:
    """note section 1.6: long side scaled, the other truncated, Lanczos, centre crop to 16 px, RGB last."""
    width, height = image.size
    size = (
        (long_side, int(long_side / width * height))
        if width >= height
        else (int(long_side / height * width), long_side)
    )
    scaled = image.resize(size, Image.Resampling.LANCZOS)
    kept = tuple(side - side % 16 for side in size)
    left, top = (size[0] - kept[0]) // 2, (size[1] - kept[1]) // 2
    return scaled.crop((left, top, left + kept[0], top + kept[1])).convert("RGB")


@pytest.mark.parametrize("long_side", [512, 320])
@pytest.mark.parametrize(
    "size", [(640, 480), (480, 640), (512, 512), (1000, 333), (77, 500), (320, 320), (1201, 800), (100, 99), (40, 64)]
)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_references_are_fitted_as_uno_does(size: tuple[int, int], long_side: int, mode: str) -> None:
    image = picture(1, width=size[0], height=size[1]).convert(mode)
    ours, theirs = fit_reference(image, long_side=long_side, multiple=16), uno_reference(image, long_side)
    assert ours.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_where_uno_loses_16_px_to_rounding_we_do_not() -> None:
    """int(512 / 49 * 49) is 511: UNO's code crops this square to 496 px on one side."""
    square = picture(1, width=49, height=49)
    assert uno_reference(square, 512).size != (512, 512)
    assert fit_reference(square, long_side=512, multiple=16).size == (512, 512)


def test_the_size_of_references_is_one_for_one_and_another_for_several(tiny: FluxUno) -> None:
    def sides(count: int, **asked: Any) -> set[tuple[int, int]]:
        images = [picture(seed) for seed in range(count)]
        return {image.size for image in tiny.fit_references(images, options=FluxOptions(**asked))}

    assert (sides(1), sides(2)) == ({(96, 96)}, {(64, 64)})  # the folder's own
    assert sides(1, reference_size=48) == sides(3, reference_size=48) == {(48, 48)}
    row = tiny.prepare(PROMPT, [picture(0, width=96, height=48)], options=FluxOptions(reference_size=64))
    assert row["reference0"].shape == (16, 4, 8)


def test_too_small_references_are_refused() -> None:
    with pytest.raises(ConfigError, match="reference_size: expected at least 16, got 8"):
        FluxOptions(reference_size=8)


# noise levels --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "length", "mu"), [((512, 512), 16, 0.459375), ((704, 704), 30, 0.461745)])
def test_unos_sequence_length_of_the_note(size: tuple[int, int], length: int, mu: float) -> None:
    tokens = (size[0] // 16) * (size[1] // 16)
    assert uno_sequence_length(tokens) == length == (size[0] // 8) * (size[1] // 8) // 256
    assert schedule_shift(length) == pytest.approx(mu, abs=1e-6)


@pytest.mark.parametrize("steps", [4, 25])
@pytest.mark.parametrize("grid", [(32, 32), (44, 44), (20, 48)])
def test_both_schedules_against_unos_formula(tiny: FluxUno, steps: int, grid: tuple[int, int]) -> None:
    """t' = e^mu / (e^mu + 1/t - 1) over linspace(1, 0, steps + 1): equal to 6e-8."""
    for name, length in {"uno": grid[0] * grid[1] // 64, "flux": grid[0] * grid[1]}.items():
        mu = 0.5 + (length - 256) * (1.15 - 0.5) / (4096 - 256)
        times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)[:-1]
        expected = torch.cat([math.exp(mu) / (math.exp(mu) + 1 / times - 1), torch.zeros(1)])
        shift = tiny.drawing_shift(TokenGrid(*grid), FluxOptions.model_validate({"schedule": name}))
        found = tiny.schedule(steps, grid=TokenGrid(*grid), mu=shift).sigmas
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=1e-7)


def test_how_far_apart_the_schedules_are() -> None:
    """note: 0.04 at 512 px, 0.17 at 1024 px, where the token count runs away from UNO's."""
    gaps: list[float] = []
    for side in (32, 64):
        sigmas: list[torch.Tensor] = []
        for length in (side * side, side * side // 64):
            scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
            scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 25, 25).tolist(), mu=schedule_shift(length))
            sigmas.append(torch.as_tensor(scheduler.sigmas))
        gaps.append(float((sigmas[0] - sigmas[1]).abs().max()))
    assert gaps == pytest.approx([0.043, 0.169], abs=0.003)


def test_the_default_is_the_schedule_of_flux(tiny: FluxUno) -> None:
    drawn = {
        name: np.asarray(tiny.generate(PROMPT, seed=1, options=FluxOptions.model_validate({"steps": 3} | asked)), int)
        for name, asked in {"none": {}, "flux": {"schedule": "flux"}, "uno": {"schedule": "uno"}}.items()
    }
    assert (drawn["none"] == drawn["flux"]).all()
    assert (drawn["none"] != drawn["uno"]).any()


# a whole run ---------------------------------------------------------------------------------------------------------


def test_a_run_that_is_not_square_records_its_options_and_can_be_drawn_again(tiny_folder: Path, tmp_path: Path) -> None:
    picture(1, width=96, height=64).save(tmp_path / "cat.png")
    fixed = ["--prompt", "a cat", "--ref", str(tmp_path / "cat.png"), "--model", str(tiny_folder), "--device", "cpu"]
    asked = ["--size", "48", "--width", "80", "--reference-size", "32", "--schedule", "uno", "--steps", "2"]
    run = tmp_path / "run"
    result = CliRunner().invoke(app, ["generate", *fixed, *asked, "--dtype", "float32", "--out", str(run)])
    assert result.exit_code == 0, result.output
    with Image.open(run / "images" / "prompt-0.png") as image:
        assert image.size == (80, 48)
    record = read_json(run / "run.json")
    for told in (record["settings"], record["settings_in_force"]):
        assert (told["size"], told["width"], told["schedule"]) == (48, 80, "uno")
    assert record["settings"]["reference_size"] == 32
    assert record["settings_in_force"]["reference_sizes"] == [32, 32]
    again = redraw(run, count=1, model=str(tiny_folder))
    assert [each.same_bytes for each in again.pictures] == [True]
