"""The models behind pairs from models: FLUX Fill equals stock diffusers, backbones draw, and flow backbones redraw."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxFillPipeline
from PIL import Image
from tiny_klein import build_tiny_klein
from tiny_pair_models import build_fill, build_flux
from tiny_qwen import build_tiny_qwen
from tiny_sdxl import build_tiny_sdxl

from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.data.pairs.regeneration import RegenerationJob
from likeness.generate.inpaint import LoadInpainter
from likeness.generate.pair_costs import num_parameters
from likeness.generate.pair_models import LoadBackbonePainter, LoadFill

SIDE = 64


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return build_flux(tmp_path_factory.mktemp("flux") / "flux")


@pytest.fixture(scope="module")
def fill(flux: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_fill(tmp_path_factory.mktemp("fill") / "fill", flux=flux)


def job(*, height: int = SIDE, seed: int = 1) -> RegenerationJob:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (height, SIDE, 3), dtype=np.uint8)
    region = np.zeros((height, SIDE), bool)
    region[16:48, :32] = True
    return RegenerationJob(picture, region, "a dog in the snow", (Image.new("RGB", (SIDE, SIDE), "red"),), seed)


def test_filling_equals_stock_diffusers(fill: Path) -> None:
    load = LoadFill(str(fill), dtype="float32", steps=2, guidance=7.0, device="cpu")
    ours = load()(job(seed=5))
    stock: Any = FluxFillPipeline.from_pretrained(fill)
    (theirs,) = stock(
        prompt="a dog in the snow", image=Image.fromarray(job().picture), height=SIDE, width=SIDE,
        mask_image=Image.fromarray(job().region), num_inference_steps=2, guidance_scale=7.0,
        generator=torch.Generator().manual_seed(5), max_sequence_length=32,
    ).images  # fmt: skip
    assert np.array_equal(ours, np.asarray(theirs))
    assert f"flux_fill fill@{load.id[15:27]}; steps 2, guidance 7, strength 1; cpu float32" == load.id


def test_seed_and_caption_count_and_odd_sides_are_refused(fill: Path) -> None:
    draw = LoadFill(str(fill), dtype="float32", steps=1, device="cpu")()
    first = draw(job(seed=1))
    assert not np.array_equal(first, draw(job(seed=2)))
    assert np.array_equal(first, draw(job(seed=1)))
    with pytest.raises(DataError, match="expected sides that are multiples of 16 px, got 64 x 60"):
        draw(job(height=60))


def test_another_folder_is_refused(flux: Path) -> None:
    with pytest.raises(WeightsError, match=r"expected a diffusers FluxFillPipeline folder, got FluxPipeline; name"):
        LoadFill(str(flux), device="cpu")()
    with pytest.raises(WeightsError, match="got one without model_index"):
        LoadFill(str(flux / "vae"), device="cpu")()


# -- the backbone's own ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "build", "options"),
    [
        ("flux2_klein", build_tiny_klein, {"cfg_scale": 1.0}),
        pytest.param("qwen_image_edit", build_tiny_qwen, {"cfg_scale": 2.0}, marks=pytest.mark.slow),
    ],
)
def test_flow_backbones_redraw_a_region(
    kind: str, build: Callable[[Path], Path], options: dict[str, float], tmp_path: Path
) -> None:
    load = LoadInpainter(str(build(tmp_path / "model")), device="cpu", dtype="float32", steps=2, **options)  # type: ignore[arg-type]
    assert load.id.startswith(f"{kind} model@")
    draw = load()
    first = draw(job(seed=1))
    assert np.array_equal(first, draw(job(seed=1)))
    other = draw(job(seed=2))
    assert first.shape == (SIDE, SIDE, 3)
    apart = np.abs(first.astype(int) - other).sum(-1) > 0
    assert apart[16:48, :32].mean() > 0.5


def test_what_cannot_redraw_says_so(tmp_path: Path) -> None:
    load = LoadInpainter(str(build_tiny_sdxl(tmp_path / "sdxl")), device="cpu", dtype="float32")
    with pytest.raises(ConfigError, match=r"expected a model on a straight path .* got sdxl_ip_adapter"):
        load()
    klein = LoadInpainter(str(build_tiny_klein(tmp_path / "klein")), guidance=3.0)
    with pytest.raises(ConfigError, match="guidance: expected an option among"):
        klein.options()


# -- pictures --------------------------------------------------------------------------------------------------
def test_a_painter_draws_with_and_without_references(flux: Path) -> None:
    load = LoadBackbonePainter(str(flux), dtype="float32", device="cpu")
    draw = load()
    options = {"size": SIDE, "steps": 1}
    alone = draw("a dog", (), seed=3, options=options)
    shown = draw("a dog", (Image.new("RGB", (SIDE, SIDE), "red"),), seed=3, options=options)
    assert alone.size == shown.size == (SIDE, SIDE)
    assert alone.tobytes() != shown.tobytes()
    assert alone.tobytes() == draw("a dog", (), seed=3, options=options).tobytes()
    assert load.id.startswith("flux_uno flux@")
    with pytest.raises(ConfigError, match="stepps: expected an option among"):
        load.require_options({"stepps": 2})


# -- costs -----------------------------------------------------------------------------------------------------
def test_parameters_are_counted_as_they_are_loaded(fill: Path) -> None:
    stock: Any = FluxFillPipeline.from_pretrained(fill)
    parts = (stock.transformer, stock.vae, stock.text_encoder, stock.text_encoder_2)
    assert num_parameters(fill) == sum(p.numel() for part in parts for p in part.parameters())
