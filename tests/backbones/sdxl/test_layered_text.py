"""A text for each layer of the U-Net, LoRAs on text encoders, and the files that hold both."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from stock_sdxl import stock_pipeline
from tiny_sdxl import FULL_SIZE
from torch import Tensor

from likeness.backbones.lora import adapter_parameters, add_adapter, layer_shapes, save_adapters
from likeness.backbones.sdxl.concept import save_words
from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.backbones.sdxl.layered_text import text_layers
from likeness.backbones.sdxl.ms_diffusion import SdxlMsDiffusion
from likeness.backbones.sdxl.text_lora import text_targets
from likeness.core.errors import DataError, WeightsError

WIDTH, LAYERS = 32, 7
PROMPT = "a <rex> hugs a dog"


def rows(seed: int, *, count: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {key: torch.randn(count, WIDTH, generator=draw) for key in ("clip_l", "clip_g")}


def test_layers_are_those_of_the_unet_in_the_order_of_a_pass(sdxl: SdxlIpAdapter) -> None:
    names, ran = list(text_layers(sdxl.network)), list[str]()
    hooks = [
        layer.register_forward_pre_hook(lambda *_, name=name: ran.append(name))
        for name, layer in text_layers(sdxl.network).items()
    ]
    sdxl.generate("a cat", seed=0, options=sdxl.own_options().model_copy(update={"steps": 1, "cfg_scale": 1.0}))
    for hook in hooks:
        hook.remove()
    assert len(names) == LAYERS
    assert ran == names


def test_every_layer_reads_the_words_of_its_own(sdxl_folder: Path) -> None:
    """What layer 3 is told is what a plain word of its two rows says; the pooled text is the mean."""
    ours, own = SdxlIpAdapter.load(sdxl_folder), rows(1, count=2 * LAYERS)
    ours.learn_word("<rex>", own, layers=LAYERS)
    told, texts, plain = ours.prepare(PROMPT), list[dict[str, Tensor]](), SdxlIpAdapter.load(sdxl_folder)
    for layer in range(LAYERS):
        plain.words.add(f"<{layer}>", {key: each[2 * layer : 2 * layer + 2] for key, each in own.items()})
        texts.append(plain.prepare(PROMPT.replace("<rex>", f"<{layer}>")))
    expected = torch.cat([text["embeds"] for text in texts])
    torch.testing.assert_close(told["embeds"], expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(told["pooled"], torch.stack([t["pooled"] for t in texts]).mean(dim=0), rtol=0, atol=1e-5)
    seen: dict[str, Tensor] = {}
    for name, layer in text_layers(ours.network).items():
        attention = layer.transformer_blocks[0].attn2
        attention.to_k.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0]}))
    ours.generate(PROMPT, seed=0, options=ours.own_options().model_copy(update={"steps": 1, "cfg_scale": 1.0}))
    for number, name in enumerate(text_layers(ours.network)):
        torch.testing.assert_close(seen[name][0], texts[number]["embeds"], rtol=0, atol=1e-5)


def test_a_word_in_capitals_is_the_same_and_other_prompts_do_not_share_a_batch(sdxl_folder: Path) -> None:
    ours = SdxlIpAdapter.load(sdxl_folder)
    ours.learn_word("<rex>", rows(1, count=2 * LAYERS), layers=LAYERS)
    told = ours.prepare(PROMPT)
    assert torch.equal(ours.prepare(PROMPT.replace("<rex>", "<REX>"))["embeds"], told["embeds"])
    with pytest.raises(DataError, match="expected samples of one shape"):
        ours.collate([told, ours.prepare("a dog")])


def test_equal_layers_draw_what_a_plain_word_draws(sdxl_folder: Path) -> None:
    layered, plain, own = SdxlIpAdapter.load(sdxl_folder), SdxlIpAdapter.load(sdxl_folder), rows(2, count=2)
    layered.learn_word("<rex>", {key: each.repeat(LAYERS, 1) for key, each in own.items()}, layers=LAYERS)
    plain.words.add("<rex>", own)
    first, second = (
        torch.tensor(list(each.generate(PROMPT, seed=3).tobytes()), dtype=torch.int) for each in (layered, plain)
    )
    assert (first - second).abs().max() <= 1


def test_layers_of_another_model_are_refused(sdxl_folder: Path, ms_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="rows for 7 layers of this U-Net, got 5"):
        SdxlIpAdapter.load(sdxl_folder).learn_word("<rex>", rows(1, count=10), layers=5)
    with pytest.raises(WeightsError, match="expected as many rows of clip_l for each of 7 layers, got 8 in all"):
        SdxlIpAdapter.load(sdxl_folder).learn_word("<rex>", rows(1, count=8), layers=LAYERS)
    with pytest.raises(WeightsError, match="a text for each layer, got SdxlMsDiffusion"):
        SdxlMsDiffusion.load(ms_folder).learn_word("<rex>", rows(1, count=14), layers=LAYERS)
    save_words(tmp_path, {"<rex>": rows(1, count=10)}, metadata={}, layers={"<rex>": 5})
    with pytest.raises(WeightsError, match="rows for 7 layers"):
        SdxlIpAdapter.read_lora(sdxl_folder, tmp_path)


@pytest.fixture(scope="module")
def text_lora(sdxl_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA of strength 2 on the U-Net and of strength 1 on both text encoders, which changes all of them."""
    from dataclasses import replace

    folder, backbone = tmp_path_factory.mktemp("text_lora"), SdxlIpAdapter.load(sdxl_folder)
    networks = {
        "unet": backbone.network,
        **{n: backbone.parts.stored.get(n) for n in ("text_encoder", "text_encoder_2")},
    }
    for part, network in networks.items():
        targets = r".*attn2\.to_q" if part == "unet" else text_targets(network, part=part)
        facts = replace(backbone.facts, adapter_targets=targets)
        add_adapter(network, facts=facts, rank=3 if part == "unet" else 2, alpha=6.0 if part == "unet" else 2.0)
        for parameter in adapter_parameters(network, "focus").values():
            torch.nn.init.normal_(parameter, std=0.3)
    save_adapters(networks, folder, name="focus")
    return folder


def test_text_encoders_with_a_lora_read_as_stock_ones(text_lora: Path, sdxl_folder: Path, sdxl: SdxlIpAdapter) -> None:
    """In the stock pipeline the matrices are added into the weights by hand, since its loader wants a newer peft."""
    ours, pipeline = SdxlIpAdapter.load(sdxl_folder, loras=[text_lora]), stock_pipeline(sdxl_folder)
    tensors = load_file(text_lora / "pytorch_lora_weights.safetensors")
    changed = 0
    for part in ("text_encoder", "text_encoder_2"):
        encoder = getattr(pipeline, part)
        for name, module in encoder.named_modules():
            if (key := f"{part}.{name}.lora_A.weight") in tensors:
                module.weight.data += tensors[key.replace("lora_A", "lora_B")] @ tensors[key]
                changed += 1
    assert changed == 4 * (2 + 3)  # the last block of the first encoder is not read
    embeds, _, pooled, _ = pipeline.encode_prompt("a cat hugs a dog", do_classifier_free_guidance=False)
    told, base = ours.prepare("a cat hugs a dog"), sdxl.prepare("a cat hugs a dog")
    torch.testing.assert_close(told["embeds"], embeds[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(told["pooled"], pooled[0], rtol=1e-4, atol=1e-4)
    assert (told["embeds"] - base["embeds"]).abs().max() > 0.1
    ours.put_encoders_away()
    torch.testing.assert_close(ours.prepare("a cat hugs a dog")["embeds"], told["embeds"], rtol=0, atol=0)


def test_names_with_and_without_the_level_mean_the_same(text_lora: Path, sdxl_folder: Path, tmp_path: Path) -> None:
    tensors = load_file(text_lora / "pytorch_lora_weights.safetensors")
    other = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        level = "text_model."
        swapped = rest.removeprefix(level) if rest.startswith(level) else f"{level}{rest}"
        other[name if part == "unet" else f"{part}.{swapped}"] = tensor
    assert set(other) != set(tensors)
    save_file(other, tmp_path / "other.safetensors")
    found: Any = [SdxlIpAdapter.read_lora(sdxl_folder, place) for place in (text_lora, tmp_path / "other.safetensors")]
    assert {part: set(each) for part, each in found[0].text.items()} == {p: set(e) for p, e in found[1].text.items()}
    assert found[0].num_layers == found[1].num_layers == len(found[0].changes) + 20
    layer = "encoder.layers.0.self_attn.q_proj"
    assert torch.equal(found[0].text["text_encoder"][layer].down, found[1].text["text_encoder"][layer].down)
    assert {change.alpha / change.rank for change in found[0].changes.values()} == {2.0}


def test_published_sdxl_has_eleven_layers_and_so_many_parameters() -> None:
    """Counted on the meta device: a word of two vectors, LoRAs of rank 4 on U-Net and text encoders."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    from likeness.train.subjects.dreambooth import TARGETS

    sizes = {"text_encoder": (CLIPTextModel, 768, 12), "text_encoder_2": (CLIPTextModelWithProjection, 1280, 32)}
    counts: dict[str, int] = {}
    with torch.device("meta"):
        networks: dict[str, Any] = {"unet": UNet2DConditionModel(**FULL_SIZE)}
        for part, (kind, width, depth) in sizes.items():
            config = CLIPTextConfig(hidden_size=width, num_hidden_layers=depth, num_attention_heads=width // 64)
            networks[part] = kind(config)
    for part, network in networks.items():
        targets = TARGETS if part == "unet" else text_targets(network, part=part)
        shapes = [shape for name, shape in layer_shapes(network).items() if re.fullmatch(targets, name)]
        counts[part] = 4 * sum(rows + columns for rows, columns in shapes)
    layers = text_layers(networks["unet"])
    assert len(layers) == 11
    assert sum(len(layer.transformer_blocks) for layer in layers.values()) == 70
    assert 2 * len(layers) * (768 + 1280) == 45_056
    assert counts == {"unet": 5_806_080, "text_encoder": 270_336, "text_encoder_2": 1_310_720}
