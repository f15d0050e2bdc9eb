"""The adapter: where it sits, that off means absent, and that stock diffusers reads our file exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import safe_open

from likeness.backbones.base import BackboneFacts
from likeness.backbones.flux.options import FluxOptions
from likeness.backbones.flux.uno import FluxUno
from likeness.backbones.lora import (
    FILE_NAME,
    adapter_off,
    adapter_parameters,
    add_adapter,
    load_adapter,
    save_adapter,
)
from likeness.core.errors import ConfigError, WeightsError

T, L, REFERENCE = 6, 16, 4


@pytest.fixture
def transformer(tiny_folder: Path) -> FluxTransformer2DModel:
    return FluxTransformer2DModel.from_pretrained(tiny_folder / "transformer").eval().requires_grad_(False)


@pytest.fixture(scope="session")
def facts(tiny: FluxUno) -> BackboneFacts:
    return tiny.facts


@pytest.fixture
def inputs() -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    ids = torch.cat([torch.cartesian_prod(torch.tensor([0.0]), torch.arange(4.0), torch.arange(4.0)), torch.ones(4, 3)])
    return {
        "hidden_states": draw(2, L + REFERENCE, 64),
        "encoder_hidden_states": draw(2, T, 128),
        "pooled_projections": draw(2, 128),
        "timestep": torch.tensor([0.3, 0.8]),
        "guidance": torch.ones(2),
        "img_ids": ids,
        "txt_ids": torch.zeros(T, 3),
        "return_dict": False,
    }


def shake(transformer: FluxTransformer2DModel, name: str, *, seed: int) -> None:
    """B away from 0, so that the adapter changes the output."""
    generator = torch.Generator().manual_seed(seed)
    for key, parameter in adapter_parameters(transformer, name).items():
        if "lora_B" in key:
            parameter.data = 0.05 * torch.randn(parameter.shape, generator=generator)


@torch.no_grad()
def answer(transformer: Any, inputs: dict[str, Any]) -> torch.Tensor:
    return transformer(**inputs)[0]


def test_a_fresh_adapter_changes_nothing_and_sits_on_attention_only(
    transformer: FluxTransformer2DModel, inputs: dict[str, Any], facts: BackboneFacts
) -> None:
    base = answer(transformer, inputs)
    add_adapter(transformer, facts=facts, rank=4, alpha=4.0)
    assert torch.equal(answer(transformer, inputs), base)
    layers = {key.split(".lora_")[0] for key in adapter_parameters(transformer, "focus")}
    # 2 double blocks x 8 layers (q, k, v, out for pictures and for text), 3 single blocks x (q, k, v, proj_out)
    assert len(layers) == 2 * 8 + 3 * 4
    assert not isinstance(transformer.proj_out, BaseTunerLayer)
    trainable = {key for key, parameter in transformer.named_parameters() if parameter.requires_grad}
    assert trainable == set(adapter_parameters(transformer, "focus"))


def test_the_start_depends_on_the_seed_alone(tiny_folder: Path, facts: BackboneFacts) -> None:
    def start(*, init_seed: int, noise: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(noise)
        fresh = FluxTransformer2DModel.from_pretrained(tiny_folder / "transformer")
        state = torch.get_rng_state()
        add_adapter(fresh, facts=facts, rank=4, alpha=4.0, init_seed=init_seed)
        assert torch.equal(torch.get_rng_state(), state)
        return {key: p.detach() for key, p in adapter_parameters(fresh, "focus").items()}

    first, again, other = start(init_seed=1, noise=1), start(init_seed=1, noise=2), start(init_seed=2, noise=1)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)
    spread = torch.cat([value.flatten() for key, value in first.items() if "lora_A" in key]).std()
    assert spread == pytest.approx(1 / 4, rel=0.02)  # N(0, 1/rank): peft's "gaussian"


def test_off_equals_no_adapter_and_disabled_adapters_and_scaling_0(
    transformer: FluxTransformer2DModel, inputs: dict[str, Any], facts: BackboneFacts
) -> None:
    base = answer(transformer, inputs)
    add_adapter(transformer, facts=facts, rank=4, alpha=8.0)
    shake(transformer, "focus", seed=1)
    tuned = answer(transformer, inputs)
    assert not torch.allclose(tuned, base, atol=1e-4)
    with adapter_off(transformer, "focus"):
        assert torch.equal(answer(transformer, inputs), base)
    assert torch.equal(answer(transformer, inputs), tuned)
    layers: list[Any] = [layer for layer in transformer.modules() if isinstance(layer, BaseTunerLayer)]
    for layer in layers:
        layer.scaling["focus"] = 0.0
    assert torch.equal(answer(transformer, inputs), base)
    for layer in layers:
        layer.scaling["focus"] = 8 / 4
    transformer.disable_adapters()
    assert torch.equal(answer(transformer, inputs), base)


def test_off_leaves_every_flag_as_it_was_also_after_an_error(
    transformer: FluxTransformer2DModel, facts: BackboneFacts
) -> None:
    add_adapter(transformer, facts=facts, rank=2, alpha=2.0, name="uno")
    add_adapter(transformer, facts=facts, rank=4, alpha=4.0)

    def flags() -> list[Any]:
        layers: list[Any] = [layer for layer in transformer.modules() if isinstance(layer, BaseTunerLayer)]
        return [(layer.active_adapters, dict(layer.scaling), layer.disable_adapters) for layer in layers] + [
            parameter.requires_grad for parameter in transformer.parameters()
        ]

    before = flags()
    with pytest.raises(ZeroDivisionError), adapter_off(transformer, "focus"):
        _ = 1 / (flags() == before)  # they differ inside, so this fails there
    assert flags() == before


def test_uno_stays_on_and_frozen_beside_ours(
    transformer: FluxTransformer2DModel, inputs: dict[str, Any], facts: BackboneFacts
) -> None:
    add_adapter(transformer, facts=facts, rank=2, alpha=2.0, name="uno")
    shake(transformer, "uno", seed=1)
    with_uno = answer(transformer, inputs)
    add_adapter(transformer, facts=facts, rank=4, alpha=4.0)
    assert torch.equal(answer(transformer, inputs), with_uno)  # ours starts at 0, uno is still active
    shake(transformer, "focus", seed=2)
    both = answer(transformer, inputs)
    assert not torch.allclose(both, with_uno, atol=1e-4)
    with adapter_off(transformer, "focus"):
        assert torch.equal(answer(transformer, inputs), with_uno)
    transformer(**inputs)[0].square().mean().backward()
    assert all(p.grad is None for p in adapter_parameters(transformer, "uno").values())
    assert all(p.grad is not None for p in adapter_parameters(transformer, "focus").values() if p.requires_grad)


def test_gradients_do_not_change_under_checkpointing_with_the_reference_pass_before(
    transformer: FluxTransformer2DModel, inputs: dict[str, Any], facts: BackboneFacts
) -> None:
    add_adapter(transformer, facts=facts, rank=4, alpha=4.0)
    shake(transformer, "focus", seed=1)

    def gradients() -> list[torch.Tensor]:
        transformer.zero_grad()
        with torch.no_grad(), adapter_off(transformer, "focus"):
            transformer(**inputs)
        transformer(**inputs)[0].square().mean().backward()
        found = [p.grad for p in adapter_parameters(transformer, "focus").values()]
        return [gradient.clone() for gradient in found if gradient is not None]

    plain = gradients()
    transformer.enable_gradient_checkpointing()
    assert all(torch.equal(a, b) for a, b in zip(gradients(), plain, strict=True))
    assert len(plain) == len(adapter_parameters(transformer, "focus"))


@pytest.fixture
def saved(
    transformer: FluxTransformer2DModel, inputs: dict[str, Any], tmp_path: Path, facts: BackboneFacts
) -> tuple[Path, torch.Tensor]:
    """An adapter with alpha != rank on disk, and the output of the network that carries it."""
    add_adapter(transformer, facts=facts, rank=4, alpha=6.0)
    shake(transformer, "focus", seed=3)
    save_adapter(
        transformer, tmp_path / "lora", facts=facts, metadata={"base_sha256": "abc", "config": {"beta": 2000.0}}
    )
    return tmp_path / "lora", answer(transformer, inputs)


def _with_pipeline(folder: Path, lora: Path) -> Any:
    pipeline = FluxPipeline.from_pretrained(folder)
    pipeline.load_lora_weights(str(lora))
    return pipeline.transformer


def _with_adapter(folder: Path, lora: Path) -> Any:
    fresh = FluxTransformer2DModel.from_pretrained(folder / "transformer")
    fresh.load_lora_adapter(str(lora), weight_name=FILE_NAME)
    return fresh


def _with_house_loader(folder: Path, lora: Path) -> Any:
    fresh = FluxUno.load(folder)
    load_adapter(fresh, lora)
    return fresh.network


def _with_generation(folder: Path, lora: Path) -> Any:
    return FluxUno.load(folder, loras=[lora]).network


@pytest.mark.parametrize("load", [_with_pipeline, _with_adapter, _with_house_loader, _with_generation])
def test_every_loader_gives_the_very_same_output(
    load: Callable[[Path, Path], Any], tiny_folder: Path, saved: tuple[Path, torch.Tensor], inputs: dict[str, Any]
) -> None:
    lora, expected = saved
    assert torch.equal(answer(load(tiny_folder, lora).eval(), inputs), expected)


def test_the_header_says_what_the_adapter_belongs_to(saved: tuple[Path, torch.Tensor]) -> None:
    with safe_open(saved[0] / FILE_NAME, framework="pt") as opened:
        facts = opened.metadata()
    assert facts["likeness.base_sha256"] == "abc"
    assert json.loads(facts["likeness.config"]) == {"beta": 2000.0}
    assert facts["likeness.version"]


def test_saving_twice_gives_the_same_bytes(tiny_folder: Path, saved: tuple[Path, torch.Tensor], tmp_path: Path) -> None:
    fresh = FluxUno.load(tiny_folder)
    load_adapter(fresh, saved[0], trainable=True)
    assert all(p.requires_grad for p in adapter_parameters(fresh.network, "focus").values())
    first, second = (save_adapter(fresh.network, tmp_path / name, facts=fresh.facts).read_bytes() for name in "ab")
    assert first == second


def test_what_cannot_be_is_said(transformer: FluxTransformer2DModel, facts: BackboneFacts) -> None:
    with pytest.raises(ConfigError, match="rank: expected at least 1, got 0"):
        add_adapter(transformer, facts=facts, rank=0, alpha=1.0)
    with pytest.raises(WeightsError, match="expected an adapter of the transformer, got none"):
        adapter_parameters(transformer, "focus")
    add_adapter(transformer, facts=facts, rank=1, alpha=1.0)
    with pytest.raises(ConfigError, match="expected a new name"):
        add_adapter(transformer, facts=facts, rank=1, alpha=1.0)


@pytest.mark.slow
def test_the_embedded_model_draws_the_same_picture_with_stock_diffusers(tmp_path: Path) -> None:
    """Without references and guidance our sampler equals FluxPipeline; with the adapter it still does."""
    import numpy as np

    from likeness.core.weights import embedded

    ours = FluxUno.load("flux")
    add_adapter(ours.network, facts=ours.facts, rank=4, alpha=4.0)
    shake(ours.network, "focus", seed=4)
    save_adapter(ours.network, tmp_path, facts=ours.facts)
    stock: Any = FluxPipeline.from_pretrained(embedded("flux"))
    stock.set_progress_bar_config(disable=True)
    stock.load_lora_weights(str(tmp_path))
    picture = ours.generate("a cat in the snow", seed=3, options=FluxOptions(steps=4, cfg_scale=1.0))
    generator = torch.Generator().manual_seed(3)
    settings = ours.settings
    expected = stock(
        "a cat in the snow", height=settings.size, width=settings.size, num_inference_steps=4,
        guidance_scale=settings.guidance, max_sequence_length=settings.max_sequence_length, generator=generator,
    ).images[0]  # fmt: skip
    assert np.array_equal(np.asarray(picture), np.asarray(expected))
