"""Learnt words and Custom Diffusion's keys and values, in files that stock diffusers reads as we do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from stock_sdxl import stock_pipeline
from torch import Tensor

from likeness.backbones.lora_file import LoraFile
from likeness.backbones.memory import Memory
from likeness.backbones.open import open_backbone
from likeness.backbones.sdxl.concept import save_keys_values, save_words
from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.core.errors import ConfigError, WeightsError

WIDTH = 32
PROMPT = "A <rex> is hugging a duck in the snow."


def rows(seed: int, *, count: int) -> dict[str, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return {key: 3 * torch.randn(count, WIDTH, generator=draw) for key in ("clip_l", "clip_g")}


@pytest.fixture(scope="module")
def concept(sdxl_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two vectors of a word, another word, and keys and values that are larger than those of the model."""
    folder = tmp_path_factory.mktemp("concept")
    backbone = SdxlIpAdapter.load(sdxl_folder)
    with torch.no_grad():
        for name, parameter in backbone.network.named_parameters():
            if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight")):
                parameter.mul_(1.5)
    save_words(folder, {"<rex>": rows(1, count=2), "<tom>": rows(2, count=1)}, metadata={"step": 3})
    save_keys_values(folder, backbone.network, metadata={})
    return folder


def stock_with(concept: Path, folder: Path) -> Any:
    """The stock pipeline with all that lies in the folder."""
    pipeline = stock_pipeline(folder)
    for token, name in {"<rex>": "learned_embeds", "<tom>": "learned_embeds_1"}.items():
        state = load_file(concept / f"{name}.safetensors")
        for key, number in {"clip_l": "", "clip_g": "_2"}.items():
            parts = {part: getattr(pipeline, f"{part}{number}") for part in ("text_encoder", "tokenizer")}
            pipeline.load_textual_inversion(state[key], token=token, **parts)
    file = "pytorch_custom_diffusion_weights.safetensors"
    pipeline.unet.load_attn_procs(str(concept), weight_name=file, _pipeline=pipeline)  # 0.42 sets nothing without it
    return pipeline


def test_the_stock_pipeline_with_the_files_draws_the_same(concept: Path, sdxl_folder: Path) -> None:
    ours = open_backbone(sdxl_folder, device="cpu", dtype="float32", loras=[concept])
    pipeline, generator = stock_with(concept, sdxl_folder), torch.Generator().manual_seed(5)
    told: dict[str, Any] = {"num_inference_steps": 2, "guidance_scale": 2.0, "height": 64, "width": 64}
    expected = pipeline(PROMPT, generator=generator, **told).images[0]
    drawn = np.asarray(ours.generate(PROMPT, seed=5), dtype=int)
    assert np.abs(drawn - np.asarray(expected, dtype=int)).max() <= 1
    bare = open_backbone(sdxl_folder, device="cpu", dtype="float32").generate(PROMPT, seed=5)
    assert np.abs(drawn - np.asarray(bare, dtype=int)).max() > 8


def test_the_text_is_that_of_stock_encoders(concept: Path, sdxl_folder: Path) -> None:
    ours: Any = open_backbone(sdxl_folder, device="cpu", dtype="float32", loras=[concept])
    pipeline = stock_with(concept, sdxl_folder)
    embeds, _, pooled, _ = pipeline.encode_prompt("a <tom> and a <rex>", do_classifier_free_guidance=False)
    told = ours.prepare("a <tom> and a <rex>")
    torch.testing.assert_close(told["embeds"], embeds[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(told["pooled"], pooled[0], rtol=0, atol=1e-5)
    ours.put_encoders_away()
    torch.testing.assert_close(ours.prepare("a <tom> and a <rex>")["embeds"], told["embeds"], rtol=0, atol=0)


def test_prompts_without_the_words_are_as_before(concept: Path, sdxl_folder: Path, sdxl: SdxlIpAdapter) -> None:
    ours: Any = open_backbone(sdxl_folder, device="cpu", dtype="float32", loras=[concept])
    for name, tensor in sdxl.prepare("a cat hugs a dog").items():
        assert torch.equal(ours.prepare("a cat hugs a dog")[name], tensor)


def test_a_word_of_rows_of_a_known_word_means_that_word(sdxl_folder: Path, sdxl: SdxlIpAdapter) -> None:
    ours = SdxlIpAdapter.load(sdxl_folder)
    ours.words.add("<rex>", ours.words.rows_of("cat"))
    text, expected = ours.embed_text(["a <rex> hugs a dog"]), sdxl.embed_text(["a cat hugs a dog"])
    torch.testing.assert_close(text.embeds, expected.embeds, rtol=0, atol=1e-6)
    torch.testing.assert_close(text.pooled, expected.pooled, rtol=0, atol=1e-6)


def test_merged_and_offloaded_models_know_the_words(concept: Path, sdxl_folder: Path) -> None:
    plain: Any = open_backbone(sdxl_folder, device="cpu", dtype="float32", loras=[concept])
    merged: Any = open_backbone(
        sdxl_folder, device="cpu", dtype="float32", loras=[concept], memory=Memory(merge_lora=True)
    )
    first, second = (np.asarray(each.generate(PROMPT, seed=1), dtype=int) for each in (plain, merged))
    assert np.abs(first - second).max() <= 1


def test_the_file_says_which_layers_it_changes(concept: Path, sdxl_folder: Path) -> None:
    read = SdxlIpAdapter.read_lora(sdxl_folder, concept)
    assert isinstance(read, LoraFile)
    unet = SdxlIpAdapter.empty_network(sdxl_folder)
    cross = [name for name in unet.attn_processors if "attn2" in name]
    assert read.num_layers == 2 * len(cross) + 2


def test_a_file_from_elsewhere_is_called_by_its_name(sdxl_folder: Path, tmp_path: Path) -> None:
    save_words(tmp_path, {"<rex>": rows(1, count=1)}, metadata={})
    tensors = load_file(tmp_path / "learned_embeds.safetensors")
    from safetensors.torch import save_file

    save_file(tensors, tmp_path / "style-7.safetensors")
    ours: Any = SdxlIpAdapter.load(sdxl_folder, loras=[tmp_path / "style-7.safetensors"])
    assert list(ours.words.rows) == ["style-7"]


def test_words_that_cannot_be_are_refused(concept: Path, sdxl_folder: Path, tmp_path: Path) -> None:
    ours = SdxlIpAdapter.load(sdxl_folder)
    with pytest.raises(ConfigError, match=r"word 'xylophone': expected one token of tokenizer, got \d"):
        ours.words.rows_of("xylophone")
    with pytest.raises(WeightsError, match="expected clip_l of n rows of 32"):
        ours.words.add("<rex>", {"clip_l": torch.zeros(1, 8), "clip_g": torch.zeros(1, 8)})
    ours.add_words(concept)
    ours.add_words(concept)  # equal words are one word
    save_words(tmp_path, {"<rex>": rows(9, count=1)}, metadata={})
    with pytest.raises(WeightsError, match="expected each word once"):
        ours.add_words(tmp_path)


def test_keys_of_another_model_are_refused(sdxl_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    name = "down_blocks.1.attentions.0.transformer_blocks.0.attn2.processor.to_k_custom_diffusion.weight"
    save_file({name: torch.zeros(4, 4)}, tmp_path / "pytorch_custom_diffusion_weights.safetensors")
    with pytest.raises(WeightsError, match="expected weights of this U-Net"):
        SdxlIpAdapter.read_lora(sdxl_folder, tmp_path)
