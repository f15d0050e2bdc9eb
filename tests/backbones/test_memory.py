"""Merged, quantised and offloaded models: what they answer, what stays untouched, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flux_original import uno_lora
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from likeness.backbones.base import TokenGrid
from likeness.backbones.fitting import load_fitted, offload, quantise
from likeness.backbones.flux.options import FluxOptions
from likeness.backbones.flux.uno import FluxUno
from likeness.backbones.lora import adapter_off, adapter_parameters, add_adapter
from likeness.backbones.memory import Memory, Quantise
from likeness.backbones.open import open_backbone
from likeness.core.errors import ConfigError, WeightsError
from likeness.core.files import read_json
from likeness.core.records import Case
from likeness.generate.redraw import redraw
from likeness.generate.run import generate_run

PROMPT = "A cat is hugging a duck in the forest."
PACKAGES: dict[Quantise, str] = {"nf4": "bitsandbytes", "int8": "torchao", "fp8": "torchao"}
FAR: dict[Quantise, float] = {"nf4": 0.2, "int8": 0.02, "fp8": 0.08}
"""How far a velocity may be off: 16 steps in a block of weights, 254 in a row, 3 bits behind the point of each."""


@pytest.fixture(scope="module")
def uno(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uno") / "dit_lora.safetensors"
    save_file(uno_lora(width=256, num_double=2, num_single=3, rank=4), path)
    return path


def opened(folder: Path, *loras: Path, **memory: Any) -> FluxUno:
    found = open_backbone(folder, device="cpu", dtype="float32", loras=loras, memory=Memory(**memory))
    assert isinstance(found, FluxUno)
    return found


def velocity(backbone: FluxUno) -> Tensor:
    colours = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    condition = backbone.condition(PROMPT, [Image.fromarray(colours)] * 2)
    noise = backbone.initial_noise([3], grid=TokenGrid(4, 6)).float()
    return backbone.predict(noise, torch.tensor(0.6), condition)


def distance(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).detach().norm() / expected.norm())


def shake(backbone: FluxUno) -> None:
    draw = torch.Generator().manual_seed(1)
    for parameter in adapter_parameters(backbone.network, "focus").values():
        parameter.data = 0.05 * torch.randn(parameter.shape, generator=draw)


# merging -------------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_merged_equals_unmerged(tiny_folder: Path, tiny: FluxUno, uno: Path) -> None:
    beside, merged = opened(tiny_folder, uno), opened(tiny_folder, uno, merge_lora=True)
    assert not any("lora_" in name for name, _ in merged.network.named_parameters())
    expected = velocity(beside)
    assert float((velocity(merged) - expected).abs().max()) <= 1e-5
    assert distance(velocity(tiny), expected) > 1e-2


@torch.no_grad()
def test_policy_and_reference_policy_stand_on_the_merged_base(tiny_folder: Path, uno: Path) -> None:
    beside, merged = opened(tiny_folder, uno), opened(tiny_folder, uno, merge_lora=True)
    before = velocity(merged)
    for backbone in (beside, merged):
        add_adapter(backbone.network, facts=backbone.facts, rank=4, alpha=4)
    assert torch.equal(velocity(merged), before)  # B = 0
    for backbone in (beside, merged):
        shake(backbone)
    assert distance(velocity(merged), before) > 1e-2
    assert float((velocity(merged) - velocity(beside)).abs().max()) <= 1e-5
    with adapter_off(merged.network, "focus"):
        assert torch.equal(velocity(merged), before)


def test_merging_rounds_once_in_half_precision(tiny_folder: Path, tiny: FluxUno, uno: Path) -> None:
    """The sum in fp32, then bf16; adding a change that was rounded before is another number for some weights."""
    half = open_backbone(tiny_folder, device="cpu", dtype="bfloat16", loras=[uno], memory=Memory(merge_lora=True))
    tensors = uno_lora(width=256, num_double=2, num_single=3, rank=4)
    name = "double_blocks.0.processor.proj_lora1"
    delta = tensors[f"{name}.up.weight"] @ tensors[f"{name}.down.weight"]
    before = tiny.network.get_submodule("transformer_blocks.0.attn.to_out.0").weight.bfloat16()
    found = half.network.get_submodule("transformer_blocks.0.attn.to_out.0").weight
    assert isinstance(found, Tensor)
    assert torch.equal(found, (before.float() + delta).bfloat16())
    assert not torch.equal(found, before + delta.bfloat16())


def test_nothing_to_merge_is_said(tiny_folder: Path) -> None:
    with pytest.raises(ConfigError, match="merge-lora: expected a LoRA to merge, got none"):
        opened(tiny_folder, merge_lora=True)


def test_the_network_is_merged_when_it_is_first_needed(tiny_folder: Path, uno: Path) -> None:
    backbone = opened(tiny_folder, uno, merge_lora=True)
    backbone.prepare(PROMPT)
    assert set(backbone.parts.stored.present()) == {"text_encoder", "text_encoder_2"}
    backbone.put_encoders_away()
    assert not backbone.parts.stored.present()
    assert backbone.network is backbone.parts.stored.present()["transformer"]


def test_a_lora_that_does_not_fit_is_refused_before_the_network_is_read(tiny_folder: Path, tmp_path: Path) -> None:
    save_file(uno_lora(width=128, num_double=2, num_single=3, rank=4), tmp_path / "narrow.safetensors")
    for memory in ({}, {"merge_lora": True}):
        with pytest.raises(WeightsError, match="narrow"):
            opened(tiny_folder, tmp_path / "narrow.safetensors", **memory)


# fewer bits ----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=sorted(PACKAGES))
def kind(request: pytest.FixtureRequest) -> Quantise:
    pytest.importorskip(PACKAGES[request.param], exc_type=ImportError)
    return request.param


def stored(backbone: FluxUno) -> dict[str, Tensor]:
    """Copies of the frozen weights as they are kept."""
    named = backbone.network.named_parameters()
    return {name: p.detach().clone() for name, p in named if ".lora_" not in name}


def equal(one: Tensor, other: Tensor) -> bool:
    plain = [t.dequantize() if hasattr(t, "qdata") else t for t in (one, other)]
    return torch.equal(*plain)


def test_a_quantised_base_is_near_trains_an_adapter_and_stays_as_it_is(
    tiny_folder: Path, tiny: FluxUno, uno: Path, kind: Quantise
) -> None:
    backbone, exact = opened(tiny_folder, uno, quantise=kind), opened(tiny_folder, uno)
    with torch.no_grad():
        far = distance(velocity(backbone), velocity(exact))
    assert 1e-5 < far < FAR[kind]
    add_adapter(backbone.network, facts=backbone.facts, rank=4, alpha=4)
    before, parameters = stored(backbone), adapter_parameters(backbone.network, "focus")
    target, losses = torch.zeros(1, 16, 8, 12), list[float]()
    optimizer = torch.optim.AdamW(parameters.values(), lr=3e-3)
    for _ in range(3):
        loss = (velocity(backbone) - target).square().mean()
        loss.backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in parameters.values())
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    after = {name: tensor for name, tensor in stored(backbone).items() if name in before}
    assert all(equal(after[name], tensor) for name, tensor in before.items())
    assert not any(p.requires_grad for name, p in backbone.network.named_parameters() if ".focus." not in name)


def test_blocks_are_quantised_and_nothing_else(tiny_folder: Path, kind: Quantise) -> None:
    backbone = FluxUno.load(tiny_folder)
    quantise(backbone.network, kind, device="cpu", dtype=torch.float32)
    linear = {name: m for name, m in backbone.network.named_modules() if isinstance(m, torch.nn.Linear)}
    changed = {
        name for name, m in linear.items() if type(m.weight) is not torch.nn.Parameter or type(m) is not torch.nn.Linear
    }
    if kind != "nf4":  # torchao keeps the layer and changes its weight
        changed = {name for name, m in linear.items() if hasattr(m.weight, "qdata")}
    assert changed == {name for name in linear if "blocks." in name}


def test_frozen_adapters_have_the_precision_of_the_rest(tiny_folder: Path, uno: Path, kind: Quantise) -> None:
    backbone = open_backbone(tiny_folder, device="cpu", dtype="bfloat16", loras=[uno], memory=Memory(quantise=kind))
    adapters = [p for name, p in backbone.network.named_parameters() if ".lora_" in name]
    assert len(adapters) == 2 * (2 * 8 + 3 * 4)
    assert {parameter.dtype for parameter in adapters} == {torch.bfloat16}


def test_a_quantised_run_is_recorded_and_drawn_again(
    tiny_folder: Path, uno: Path, tmp_path: Path, kind: Quantise
) -> None:
    case, memory = Case(id="one", prompt="a cat", seed=1), Memory(quantise=kind, merge_lora=True)
    options: dict[str, Any] = {"steps": 1, "size": 64}
    generate_run(
        [case], out=tmp_path / "run", model=str(tiny_folder), loras=[uno], options=options, device="cpu",
        dtype="bfloat16", memory=memory,
    )  # fmt: skip
    record = read_json(tmp_path / "run" / "run.json")
    settings = record["settings"]
    assert record["versions"][PACKAGES[kind]]
    assert (settings["quantise"], settings["merge_lora"]) == (kind, True)
    again = redraw(tmp_path / "run", count=1, model=str(tiny_folder), loras=[str(uno)])
    assert [each.same_bytes for each in again.pictures] == [True]


@pytest.mark.parametrize(("asked", "package"), PACKAGES.items())
def test_a_missing_package_is_named_with_its_extra(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, asked: Quantise, package: str
) -> None:
    monkeypatch.setattr("likeness.backbones.memory.find_spec", lambda _: None)
    said = rf"quantise {asked}: expected the package {package}, got none; pip install 'likeness\[quantise\]'"
    with pytest.raises(ConfigError, match=said):
        opened(tiny_folder, quantise=asked)


# waiting in main memory ----------------------------------------------------------------------------------------------


def test_offloading_on_the_cpu_is_refused(tiny_folder: Path) -> None:
    with pytest.raises(ConfigError, match="--offload group: expected the device cuda, got cpu; leave it out"):
        opened(tiny_folder, offload="group")


def test_blocks_of_nf4_do_not_wait_in_groups() -> None:
    with pytest.raises(ConfigError, match=r"--offload group: expected a base .* got nf4, .*; take --offload model"):
        Memory(offload="group", quantise="nf4").require_usable(device="cuda", num_loras=0)


def test_what_is_read_later_comes_to_the_device_as_well(tiny_folder: Path) -> None:
    backbone, device = FluxUno.load(tiny_folder), torch.device("meta")
    stored = backbone.parts.stored
    backbone.encode_exactly()
    assert stored.get("vae").device.type == "cpu"
    offload(backbone, "none", device=device)
    assert set(stored.present()) == {"vae"}
    assert backbone.device == device
    for _ in range(2):
        assert {stored.get(name).device.type for name in stored.names} == {"meta"}
        backbone.put_encoders_away()
        assert set(stored.present()) == {"transformer"}


def drawn(backbone: FluxUno) -> np.ndarray:
    colours = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    options = FluxOptions(size=64, steps=2, cfg_scale=2.0)
    return np.asarray(backbone.generate(PROMPT, [Image.fromarray(colours)], seed=3, options=options))


@pytest.mark.parametrize("kind", ["model", "group"])
def test_hooks_change_no_picture(tiny_folder: Path, uno: Path, kind: Any) -> None:
    """The hooks at work, with the CPU as the card: what they move is told below, and on a card by the test after."""
    expected = drawn(opened(tiny_folder, uno))
    backbone = FluxUno.load(tiny_folder, loras=[uno])
    offload(backbone, kind, device=torch.device("cpu"))
    for _ in range(2):
        np.testing.assert_array_equal(drawn(backbone), expected)


def test_one_part_at_a_time_is_on_the_card(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card is a name here: parts are counted where they would be, in the order of a picture."""
    backbone = FluxUno.load(tiny_folder)
    parts = {name: getattr(backbone.parts, name) for name in ("vae", "text_encoder", "text_encoder_2", "transformer")}
    names = {id(part): name for name, part in parts.items()}
    on_card: set[str] = set()
    visits: list[str] = []

    def move(module: torch.nn.Module, device: torch.device) -> None:
        name = names[id(module)]
        if device.type == "cpu":
            on_card.discard(name)
        else:
            on_card.add(name)
            visits.extend([name] if visits[-1:] != [name] else [])
        assert len(on_card) <= 1

    def stay(inputs: Any, _: object) -> Any:
        return inputs

    monkeypatch.setattr("likeness.backbones.fitting._move", move)
    monkeypatch.setattr("likeness.backbones.fitting.send_to_device", stay)
    monkeypatch.setattr(backbone, "runs_on", lambda _: None)
    offload(backbone, "model", device=torch.device("meta"))
    drawn(backbone)
    order = ["vae", "text_encoder_2", "text_encoder", "text_encoder_2", "text_encoder", "transformer", "vae"]
    assert visits == order  # references, the prompt, the empty prompt, all steps, the pixels


@pytest.mark.gpu
@pytest.mark.parametrize("memory", [Memory(offload="model"), Memory(offload="group"), Memory(quantise="nf4")], ids=str)
def test_on_a_card(tiny_folder: Path, uno: Path, memory: Memory) -> None:
    if memory.quantise != "none":
        pytest.importorskip(PACKAGES[memory.quantise])
    exact = open_backbone(tiny_folder, device="cuda", dtype="float32", loras=[uno])
    kept = load_fitted(FluxUno, tiny_folder, device="cuda", dtype=torch.float32, loras=[uno], memory=memory)
    assert isinstance(exact, FluxUno)
    assert isinstance(kept, FluxUno)
    gap = np.abs(drawn(kept).astype(int) - drawn(exact).astype(int))
    assert gap.max() <= 1 if memory.quantise == "none" else gap.mean() < 12
