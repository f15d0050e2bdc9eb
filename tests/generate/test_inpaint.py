"""Regions drawn anew by a tiny FLUX: the original stays outside, references and seeds matter inside."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pair_oracle import may_differ
from PIL import Image

from likeness.backbones.base import TokenGrid
from likeness.backbones.flux.options import FluxOptions
from likeness.backbones.flux.uno import FluxUno
from likeness.core.errors import ConfigError, DataError
from likeness.core.pairs import read_pairs
from likeness.data.judging.gate import Thresholds
from likeness.data.judging.judges import Answers, Judge, SubjectView
from likeness.data.pairs.dip import make_pairs
from likeness.data.pairs.regeneration import RegenerationJob
from likeness.data.pairs.world_pairs import EDGE, INPAINT_EDGE
from likeness.generate.inpaint import FlowInpainter, LoadInpainter, region_latents
from likeness.pretrain.tiny_flux import build_tiny_flux

SIDE = 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return build_tiny_flux(tmp_path_factory.mktemp("tiny") / "flux", corpus=["a cat hugs a dog in the snow"])


@pytest.fixture(scope="module")
def backbone(folder: Path) -> FluxUno:
    return FluxUno.load(folder)


def job(*, seed: int = 1, region: np.ndarray | None = None, reference: str = "red") -> RegenerationJob:
    rng = np.random.default_rng(0)
    half = np.zeros((SIDE, SIDE), bool)
    half[:, : SIDE // 2] = True
    return RegenerationJob(
        rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8),
        half if region is None else region,
        "a cat in the snow",
        (Image.new("RGB", (SIDE, SIDE), reference),),
        seed,
    )


def test_a_token_is_free_when_the_region_touches_it() -> None:
    region = np.zeros((SIDE, SIDE), bool)
    region[16, 47] = True  # token row 1, column 2
    expected = torch.zeros(8, 8)
    expected[2:4, 4:6] = 1
    assert torch.equal(region_latents(region, grid=TokenGrid(4, 4), cells=2)[0, 0], expected)


def test_equal_jobs_give_equal_pixels_and_seeds_and_references_count(backbone: FluxUno) -> None:
    inpaint = FlowInpainter(backbone, options=FluxOptions(steps=3))
    first = inpaint(job())
    assert first.shape == (SIDE, SIDE, 3)
    assert first.dtype == np.uint8
    assert (inpaint(job()) == first).all()
    assert (inpaint(job(seed=2)) != first).any()
    assert (inpaint(job(reference="blue")) != first).any()


@torch.no_grad()
def test_outside_the_region_stand_the_latents_of_the_original(
    backbone: FluxUno, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, torch.Tensor] = {}
    encode, to_images = backbone.encode, backbone.to_images

    def watched_encode(pixels: torch.Tensor) -> torch.Tensor:
        latents = encode(pixels)
        seen.setdefault("x0", latents)  # references are encoded later
        return latents

    def watched_images(latents: torch.Tensor) -> list[Image.Image]:
        seen["result"] = latents
        return to_images(latents)

    monkeypatch.setattr(backbone, "encode", watched_encode)
    monkeypatch.setattr(backbone, "to_images", watched_images)
    FlowInpainter(backbone, options=FluxOptions(steps=4))(job())
    outside = seen["x0"].shape[-1] // 2
    assert torch.equal(seen["result"][..., outside:], seen["x0"][..., outside:])
    assert not torch.isclose(seen["result"][..., :outside], seen["x0"][..., :outside]).all()


@torch.no_grad()
@pytest.mark.parametrize("scales", [{}, {"cfg_scale": 2.0}, {"cfg_scale": 2.0, "reference_cfg_scale": 4.0}])
def test_a_region_over_the_whole_picture_from_pure_noise_is_plain_generation(
    backbone: FluxUno, scales: dict[str, Any]
) -> None:
    whole = job(region=np.ones((SIDE, SIDE), bool))
    options = FluxOptions(size=SIDE, steps=3, **scales)
    drawn = FlowInpainter(backbone, options=options, strength=1.0)(whole)
    plain = backbone.generate(whole.prompt, whole.references, seed=whole.seed, options=options)
    assert np.abs(drawn.astype(int) - np.asarray(plain).astype(int)).max() <= 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"strength": 0.0}, "strength: expected more than 0"), ({"strength": 1.1}, "got 1.1"), ({"steps": 0}, "steps:")],
)
def test_wrong_settings_are_told(folder: Path, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LoadInpainter(str(folder), device="cpu", **settings)()


def test_regions_and_pictures_that_do_not_fit_are_told(backbone: FluxUno) -> None:
    with pytest.raises(DataError, match=r"region: expected \(64, 64\)"):
        FlowInpainter(backbone, options=FluxOptions(steps=1))(job(region=np.ones((8, 8), bool)))
    odd = RegenerationJob(np.zeros((40, 40, 3), np.uint8), np.ones((40, 40), bool), "a cat", (), 0)
    with pytest.raises(ConfigError, match="multiples of 16"):
        FlowInpainter(backbone, options=FluxOptions(steps=1))(odd)


class _InTurn:
    """Preferred pictures get ten, rejected ones nothing."""

    id = "in turn"

    def __init__(self) -> None:
        self.is_preferred = False

    def answer(self, views: list[SubjectView]) -> list[Answers]:
        self.is_preferred = not self.is_preferred
        return [(self.is_preferred,) * 10 for _ in views]


class _Load:
    id = "in turn"

    def __call__(self) -> Judge:
        return _InTurn()  # type: ignore[return-value]


def test_the_loaded_inpainter_has_the_settings_of_its_id(folder: Path) -> None:
    load = LoadInpainter(str(folder), dtype="float32", steps=2, cfg_scale=2.0, reference_cfg_scale=4.0)
    assert "steps 2, strength 0.9, cfg 2.0, reference cfg 4.0" in load.id
    backbone = FluxUno.load(folder)
    expected = FlowInpainter(backbone, options=FluxOptions(steps=2, cfg_scale=2.0, reference_cfg_scale=4.0))(job())
    assert (load()(job()) == expected).all()
    assert (FlowInpainter(backbone, options=FluxOptions(steps=2, cfg_scale=2.0))(job()) != expected).any()


def test_pairs_with_regenerated_losers_keep_the_bytes_outside(folder: Path, tmp_path: Path) -> None:
    load = LoadInpainter(str(folder), device="cpu", dtype="float32", steps=2)
    make_pairs(12, out=tmp_path / "p", losers="mixed", size=SIDE, judge=_Load(), regenerate=load,
               thresholds=Thresholds(10, 6))  # fmt: skip
    found = read_pairs(tmp_path / "p").pairs
    sources = [pair.subjects[pair.disrupted[0]].disruption["source"] for pair in found]  # type: ignore[index]
    assert sources == ["drawn"] * 6 + ["regenerated"] * 6
    for pair, source in zip(found, sources, strict=True):
        assert pair.models["inpainter"] == (load.id if source == "regenerated" else "world")
        assert pair.prior_mask is not None
        with Image.open(pair.preferred) as one, Image.open(pair.rejected) as other, Image.open(pair.prior_mask) as mask:
            differs = (np.asarray(one) != np.asarray(other)).any(axis=2)
            prior = np.asarray(mask) > 0
        assert differs[prior].any()
        edge = INPAINT_EDGE if source == "regenerated" else EDGE
        assert not (differs & ~may_differ(pair, size=SIDE, edge=edge)).any()
