"""Our LoRA in stock loaders, and LoRAs of others in ours; the trap of diffusers' own saving."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.loaders.lora_conversion_utils import (
    _convert_non_diffusers_lora_to_diffusers,
    _maybe_map_sgm_blocks_to_diffusers,
)
from diffusers.utils import convert_state_dict_to_diffusers
from peft.utils import get_peft_model_state_dict
from PIL import Image
from safetensors.torch import load_file, save_file
from scripts import ROOT
from stock_sdxl import add_stock_adapter, stock_pipeline
from tiny_sdxl import build_tiny_sdxl
from torch import Tensor

from likeness.backbones.lora import adapter_parameters, add_adapter, save_adapter
from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.core.errors import WeightsError

NUM_LAYERS = 11 * 10
"""Blocks of the tiny U-Net times matrices in each."""


@pytest.fixture(scope="module")
def tuned(sdxl_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[SdxlIpAdapter, Path]:
    """A backbone with an adapter that acts on every layer, and its file."""
    made = SdxlIpAdapter.load(sdxl_folder)
    add_adapter(made.network, facts=made.facts, rank=4, alpha=2.0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in adapter_parameters(made.network, "focus").items():
        if "lora_B" in name:
            parameter.data.normal_(std=0.2, generator=generator)
    return made, save_adapter(made.network, tmp_path_factory.mktemp("lora"), facts=made.facts)


@torch.no_grad()
def answer(network: Any, condition: Any) -> Tensor:
    """A network of the stock pipeline or of ours, at one x_t with references."""
    x_t = torch.randn(1, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    added = {
        "text_embeds": condition.text.pooled,
        "time_ids": torch.tensor([[48.0, 64, 0, 0, 48, 64]]),
        "image_embeds": [condition.image_tokens()],
    }
    return network(x_t, 500, condition.text.embeds, added_cond_kwargs=added).sample


@pytest.fixture(scope="module")
def condition(sdxl: SdxlIpAdapter) -> Any:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    return sdxl.collate([sdxl.prepare("a cat hugs a dog", [image])])


def with_adapter(folder: Path) -> Any:
    """A stock pipeline whose U-Net takes our tokens, made by the same resampler."""
    pipeline = stock_pipeline(folder)
    add_stock_adapter(pipeline, folder)
    pipeline.unet.encoder_hid_proj = torch.nn.Identity()
    return pipeline


def test_the_stock_pipeline_reads_our_lora(
    tuned: tuple[SdxlIpAdapter, Path], sdxl: SdxlIpAdapter, sdxl_folder: Path, condition: Any
) -> None:
    ours, file = tuned
    stock = with_adapter(sdxl_folder)
    stock.load_lora_weights(file.parent, weight_name=file.name)
    assert torch.equal(answer(stock.unet, condition), answer(ours.network, condition))
    assert (answer(sdxl.network, condition) - answer(ours.network, condition)).abs().max() > 0.01
    assert SdxlIpAdapter.read_lora(sdxl_folder, file).num_layers == NUM_LAYERS
    assert sum(".processor." in key for key in load_file(file)) == 11 * 2 * 2


def test_the_stock_networks_own_file_is_read(
    tuned: tuple[SdxlIpAdapter, Path], sdxl_folder: Path, condition: Any, tmp_path: Path
) -> None:
    """`unet.save_lora_adapter` keeps all; its names have no prefix."""
    ours, file = tuned
    stock = with_adapter(sdxl_folder)
    stock.load_lora_weights(file.parent, weight_name=file.name, adapter_name="focus")
    stock.unet.save_lora_adapter(tmp_path, adapter_name="focus")
    read = SdxlIpAdapter.load(sdxl_folder, loras=[tmp_path])
    assert torch.equal(answer(read.network, condition), answer(ours.network, condition))


def test_diffusers_saving_loses_the_image_attention_and_our_reader_finds_it(
    tuned: tuple[SdxlIpAdapter, Path], sdxl_folder: Path, condition: Any, tmp_path: Path
) -> None:
    """The trap of the note, section 2.3: names without ".processor" are dropped by the stock loader, not by ours."""
    ours, _ = tuned
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(ours.network, adapter_name="focus"))
    stock = with_adapter(sdxl_folder)
    stock.save_lora_weights(tmp_path, unet_lora_layers=layers)
    saved = load_file(tmp_path / "pytorch_lora_weights.safetensors")
    assert sum("_ip." in key for key in saved) == 11 * 2 * 2
    assert not any(".processor." in key for key in saved)
    stock.load_lora_weights(tmp_path)
    expected = answer(ours.network, condition)
    assert (answer(stock.unet, condition) - expected).abs().max() > 1e-3
    # alpha stands in no such file, so that it is the rank: twice as strong as ours
    doubled = {key: 0.5 * tensor if "lora_B" in key or ".up." in key else tensor for key, tensor in saved.items()}
    save_file(doubled, tmp_path / "half.safetensors")
    read = SdxlIpAdapter.load(sdxl_folder, loras=[tmp_path / "half.safetensors"])
    torch.testing.assert_close(answer(read.network, condition), expected, rtol=0, atol=1e-5)


def kohya_name(layer: str) -> str:
    """As sd-scripts names a layer of SDXL with two blocks a level."""
    stage, rest = layer.split(".", 1)
    if stage == "mid_block":
        place, inner = "middle_block_1", rest.removeprefix("attentions.0.")
    else:
        level, _, number, inner = rest.split(".", 3)
        index = 3 * int(level) + int(number) + (1 if stage == "down_blocks" else 0)
        place = f"{'input' if stage == 'down_blocks' else 'output'}_blocks_{index}_1"
    return f"lora_unet_{place}_{inner.replace('.', '_')}"


def test_kohyas_names_mean_what_diffusers_says(tmp_path: Path, condition: Any) -> None:
    """A LoRA in kohya's layout, converted by diffusers and read by us; blocks are numbered as in SDXL itself."""
    folder = build_tiny_sdxl(tmp_path / "two", unet={"layers_per_block": 2})
    made = SdxlIpAdapter.load(folder)
    draw = torch.Generator().manual_seed(2)
    tensors: dict[str, Tensor] = {}
    for layer, module in made.network.named_modules():
        if isinstance(module, torch.nn.Linear) and re.search(
            r"transformer_blocks.*(attn[12]\.to_|ff\.net)|proj_(in|out)$", layer
        ):
            name = kohya_name(layer)
            tensors[f"{name}.lora_down.weight"] = torch.randn(2, module.in_features, generator=draw)
            tensors[f"{name}.lora_up.weight"] = 0.1 * torch.randn(module.out_features, 2, generator=draw)
            tensors[f"{name}.alpha"] = torch.tensor(1.0)
    save_file(tensors, tmp_path / "kohya.safetensors")
    ours = SdxlIpAdapter.load(folder, loras=[tmp_path / "kohya.safetensors"])
    mapped = _maybe_map_sgm_blocks_to_diffusers(dict(tensors), made.network.config)
    converted, alphas = _convert_non_diffusers_lora_to_diffusers(mapped)
    stock = with_adapter(folder)
    stock.load_lora_into_unet(converted, alphas, stock.unet)
    expected = answer(stock.unet, condition)
    torch.testing.assert_close(answer(ours.network, condition), expected, rtol=0, atol=1e-5)
    assert (answer(made.network, condition) - expected).abs().max() > 0.01
    assert SdxlIpAdapter.read_lora(folder, tmp_path / "kohya.safetensors").num_layers == len(tensors) // 3


def test_a_lora_of_flux_is_refused_by_name(sdxl_folder: Path, tmp_path: Path) -> None:
    name = "transformer.single_transformer_blocks.0.attn.to_q"
    file = tmp_path / "flux.safetensors"
    save_file({f"{name}.lora_A.weight": torch.ones(1, 64), f"{name}.lora_B.weight": torch.ones(64, 1)}, file)
    with pytest.raises(WeightsError, match=r"layers it does not have, first .*single_transformer_blocks"):
        SdxlIpAdapter.read_lora(sdxl_folder, file)


def test_the_pages_conversion_for_comfyui_keeps_all_but_the_image_attention(
    tuned: tuple[SdxlIpAdapter, Path], sdxl_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, file = tuned
    page = (ROOT / "docs" / "backbones" / "sdxl-ip-adapter.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(program.replace("runs/sdxl/lora/pytorch_lora_weights.safetensors", str(file)), {})
    ours, theirs = (SdxlIpAdapter.read_lora(sdxl_folder, each).changes for each in (file, Path("comfyui.safetensors")))
    assert ours.keys() - theirs.keys() == {layer for layer in ours if ".processor." in layer}
    for layer, change in theirs.items():
        assert torch.equal(change.up, ours[layer].up)
        assert torch.equal(change.down, ours[layer].down)
        assert change.alpha == ours[layer].alpha == 2.0
