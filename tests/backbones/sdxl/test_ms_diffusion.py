"""SdxlMsDiffusion against stock StableDiffusionXLPipeline whose layers have the explicit form of its attention."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ms_reference import set_reference
from PIL import Image
from safetensors.torch import load_file, save_file
from stock_sdxl import stock_pipeline
from tiny_ms import TOKENS, published_groups
from torch import Tensor
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTextModel, CLIPVisionModelWithProjection

from likeness.backbones.base import TokenGrid
from likeness.backbones.lora import adapter_parameters, add_adapter, save_adapter
from likeness.backbones.sdxl.ms_diffusion import SdxlMsDiffusion
from likeness.backbones.sdxl.options import MsOptions
from likeness.core.errors import ConfigError, DataError
from likeness.core.layouts import proposed_boxes
from likeness.core.records import Layout

PROMPT = "A cat is hugging a duck."
HEIGHT, WIDTH, STEPS = 48, 64, 3
CELLS = {12: (3, 4), 4: (2, 2)}
"""The grids of the layers for latents of 6 x 8 cells, by their number of queries."""
BOXES = ((0.0, 0.2, 0.55, 0.85), (0.55, 0.26, 0.95, 0.9), (0.3, 0.0, 0.7, 0.4), (0.1, 0.5, 0.6, 1.0))
PHRASES = ("cat", "duck", "dog", "red fox")


def picture(seed: int, *, width: int = 40, height: int = 40) -> Image.Image:
    colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height))


def layout(count: int) -> Layout:
    return Layout(boxes=BOXES[:count], phrases=PHRASES[:count])


def prepared(ms: SdxlMsDiffusion, count: int) -> dict[str, Tensor]:
    return ms.prepare(PROMPT, [picture(seed) for seed in range(count)], layout=layout(count) if count else None)


def latents_of(ms: SdxlMsDiffusion, row: dict[str, Tensor], *, seeds: tuple[int, ...] = (3,), **values: Any) -> Tensor:
    condition = ms.guided(ms.collate([row] * len(seeds)), MsOptions(steps=STEPS, **values))
    return ms.denoise(ms.initial_noise(seeds, grid=TokenGrid(HEIGHT // 8, WIDTH // 8)), condition, steps=STEPS)


def require_equal(ours: Tensor, theirs: Tensor) -> None:
    """To 1e-5 of the latents' deviation: sums go in another order."""
    assert theirs.std() > 1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.std()))


@pytest.fixture(scope="module")
def reference(ms_folder: Path) -> Any:
    """The stock pipeline with the explicit form."""
    made = stock_pipeline(ms_folder)
    groups = published_groups(made.unet, text_width=made.unet.config.cross_attention_dim)
    set_reference(made.unet, groups, num_tokens=TOKENS)
    made.dummies = groups["dummy_image_tokens"].detach()
    return made


def reference_latents(pipeline: Any, row: dict[str, Tensor], *, cfg_scale: float, negative: str = "") -> Tensor:
    """As the note's section 1.8 says the published code calls the stock pipeline, for one picture."""
    embeds, empty, pooled, empty_pooled = pipeline.encode_prompt(PROMPT, negative_prompt=negative or None)
    count = len(row["boxes"])
    images = torch.cat([pipeline.dummies, *(row[f"reference{number}"][None] for number in range(count))], dim=1)
    assert images.shape[1] == 4 + TOKENS * count
    boxes = row["boxes"][None]
    if cfg_scale > 1:
        boxes = torch.cat([torch.zeros_like(boxes), boxes])
    return pipeline(
        prompt_embeds=torch.cat([embeds, images], dim=1),
        negative_prompt_embeds=torch.cat([empty, torch.zeros_like(images)], dim=1),
        pooled_prompt_embeds=pooled,
        negative_pooled_prompt_embeds=empty_pooled,
        cross_attention_kwargs={"boxes": boxes, "cells": CELLS, "image_scale": 0.6},
        height=HEIGHT,
        width=WIDTH,
        num_inference_steps=STEPS,
        guidance_scale=cfg_scale,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
    ).images


# stock pipeline ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "cfg_scale"), [(1, 3.0), (2, 1.0), (2, 3.0), (4, 3.0)])
def test_equals_the_stock_pipeline_with_the_explicit_form(
    ms: SdxlMsDiffusion, reference: Any, *, count: int, cfg_scale: float
) -> None:
    row = prepared(ms, count)
    found = latents_of(ms, row, cfg_scale=cfg_scale)
    require_equal(found, reference_latents(reference, row, cfg_scale=cfg_scale))
    assert (found - latents_of(ms, prepared(ms, 0), cfg_scale=cfg_scale)).abs().max() > 0.01


def test_a_negative_prompt_equals_the_stock_pipelines(ms: SdxlMsDiffusion, reference: Any) -> None:
    row = prepared(ms, 2)
    found = latents_of(ms, row, cfg_scale=3.0, negative_prompt="blurry, bad")
    require_equal(found, reference_latents(reference, row, cfg_scale=3.0, negative="blurry, bad"))


@pytest.mark.parametrize("cfg_scale", [1.0, 3.0])
def test_without_references_it_is_plain_sdxl(ms: SdxlMsDiffusion, ms_folder: Path, cfg_scale: float) -> None:
    theirs = stock_pipeline(ms_folder)(
        prompt=PROMPT,
        height=HEIGHT,
        width=WIDTH,
        num_inference_steps=STEPS,
        guidance_scale=cfg_scale,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
    ).images
    ours = latents_of(ms, prepared(ms, 0), cfg_scale=cfg_scale)
    if cfg_scale == 1:
        assert torch.equal(ours, theirs)
    require_equal(ours, theirs)


@pytest.mark.parametrize("cfg_scale", [1.0, 3.0])
def test_the_stock_pipeline_draws_several_pictures_with_our_network(
    ms: SdxlMsDiffusion, ms_folder: Path, cfg_scale: float
) -> None:
    """Note, check 10: boxes are doubled only with guidance, and repeated for each picture of a prompt."""
    options = MsOptions(size=HEIGHT, width=WIDTH, steps=STEPS, cfg_scale=cfg_scale)
    row, stock = prepared(ms, 2), stock_pipeline(ms_folder)
    stock.unet = ms.network
    arguments = ms.stock_arguments(row, options, num_images=2)
    length = ms.parts.text_tokens + 4 + 2 * TOKENS
    assert arguments["prompt_embeds"].shape[1] == length
    assert arguments["cross_attention_kwargs"]["images"].boxes.shape == (4 if cfg_scale > 1 else 2, 2, 4)
    if cfg_scale > 1:
        assert arguments["negative_prompt_embeds"].shape[1] == length
        assert (arguments["negative_prompt_embeds"][:, -4 - 2 * TOKENS :] == 0).all()
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    theirs = stock(**arguments, generator=generators, output_type="latent").images
    require_equal(latents_of(ms, row, seeds=(3, 4), cfg_scale=cfg_scale), theirs)


# conditions ----------------------------------------------------------------------------------------------------------


def test_tokens_are_those_of_the_squashed_picture_in_its_box(ms: SdxlMsDiffusion, ms_folder: Path) -> None:
    """Note, section 1.1: 512 x 512 whatever the sides, CLIP's own steps, the layer before the last, all positions."""
    wide = picture(0, width=60, height=30)
    encoder: Any = CLIPVisionModelWithProjection.from_pretrained(ms_folder / "image_encoder")
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    pixels = processor(wide.resize((512, 512)), return_tensors="pt").pixel_values
    with torch.no_grad():
        features = encoder(pixels, output_hidden_states=True).hidden_states[-2]
        text = ms.parts.text_encoder(ms.parts.tokenizer("cat", return_tensors="pt").input_ids).pooler_output
        expected = ms.parts.resampler(features, torch.tensor(BOXES[:1]), text)[0]
    row = ms.prepare(PROMPT, [wide], layout=layout(1))
    assert features.shape[1] == 1 + (32 // 8) ** 2
    torch.testing.assert_close(row["reference0"], expected, rtol=0, atol=1e-5)
    assert torch.equal(row["boxes"], torch.tensor(BOXES[:1]))


def test_a_whole_clip_serves_as_image_encoder(ms: SdxlMsDiffusion, ms_folder: Path, tmp_path: Path) -> None:
    """As the repository of ViT-bigG/14 holds it."""
    folder = tmp_path / "whole"
    shutil.copytree(ms_folder, folder, ignore=shutil.ignore_patterns("image_encoder"))
    vision: Any = CLIPVisionModelWithProjection.from_pretrained(ms_folder / "image_encoder")
    text: Any = CLIPTextModel.from_pretrained(ms_folder / "text_encoder")
    whole: Any = CLIPModel(
        CLIPConfig(text_config=text.config.to_dict(), vision_config=vision.config.to_dict(), projection_dim=32)
    )
    whole.load_state_dict(vision.state_dict(), strict=False)
    whole.save_pretrained(folder / "image_encoder")
    made = SdxlMsDiffusion.load(folder)
    assert torch.equal(prepared(made, 1)["reference0"], prepared(ms, 1)["reference0"])
    assert SdxlMsDiffusion.sketch(folder, dtype=torch.float32).encoders().keys() == ms.encoders().keys()


def test_box_and_phrase_change_the_tokens(ms: SdxlMsDiffusion) -> None:
    def tokens(box: int, phrase: str) -> Tensor:
        told = Layout(boxes=(BOXES[box],), phrases=(phrase,))
        return ms.prepare(PROMPT, [picture(0)], layout=told)["reference0"]

    found = [tokens(0, "cat"), tokens(1, "cat"), tokens(0, "dog"), ms.prepare(PROMPT, [picture(0)])["reference0"]]
    for one, two in itertools.combinations(found, 2):
        assert (one - two).abs().max() > 1e-4


def test_without_a_layout_boxes_are_proposed_and_the_learned_queries_ask(ms: SdxlMsDiffusion) -> None:
    shown = [picture(0), picture(1)]
    row = ms.prepare(PROMPT, shown)
    assert torch.equal(row["boxes"], torch.tensor(proposed_boxes(2)))
    with torch.no_grad():
        assert torch.equal(row["reference1"], ms.parts.resampler(ms.image_features(shown))[1])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (layout(1), "a box and a phrase for each of 2 references, got 1 boxes"),
        ({"boxes": BOXES[:2]}, "for each of 2 references, got dict"),
    ],
)
def test_other_layouts_are_refused(ms: SdxlMsDiffusion, given: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        ms.prepare(PROMPT, [picture(0), picture(1)], layout=given)


def test_each_picture_of_a_batch_has_boxes_of_its_own(ms: SdxlMsDiffusion) -> None:
    shown = [picture(0), picture(1)]
    other = Layout(boxes=BOXES[2:], phrases=PHRASES[:2])
    rows = [ms.prepare(PROMPT, shown, layout=each) for each in (layout(2), other)]
    x_t, t = torch.randn(2, 4, 6, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.3, 0.7])
    with torch.no_grad():
        both = ms.predict(x_t, t, ms.collate(rows))
        alone = [ms.predict(x_t[[i]], t[[i]], ms.collate([rows[i]])) for i in range(2)]
        swapped = ms.predict(x_t, t, ms.collate(rows).select([1, 0]))
    torch.testing.assert_close(both, torch.cat(alone), rtol=0, atol=1e-5)
    assert (both - swapped).abs().amax(dim=(1, 2, 3)).min() > 1e-3


# options -------------------------------------------------------------------------------------------------------------


def test_scales_of_each_subject(ms: SdxlMsDiffusion) -> None:
    row = prepared(ms, 2)
    usual = latents_of(ms, row, cfg_scale=1.0)
    assert torch.equal(latents_of(ms, row, cfg_scale=1.0, subject_scales=(0.6, 0.6)), usual)
    assert torch.equal(latents_of(ms, row, cfg_scale=1.0, adapter_scale=0.6), usual)
    assert (latents_of(ms, row, cfg_scale=1.0, subject_scales="0.6,0") - usual).abs().max() > 1e-3
    none = latents_of(ms, row, cfg_scale=1.0, adapter_scale=0.0)
    require_equal(none, latents_of(ms, prepared(ms, 0), cfg_scale=1.0))
    with pytest.raises(ConfigError, match="subject_scales: expected a number for each reference, got 1 for 2"):
        latents_of(ms, row, subject_scales=(0.6,))


def test_legacy_reads_the_dummies_in_the_background(ms: SdxlMsDiffusion, reference: Any) -> None:
    row = ms.prepare(PROMPT, [picture(0)], layout=Layout(boxes=((0.0, 0.0, 0.3, 0.5),), phrases=("cat",)))
    layers = [each for each in reference.unet.attn_processors.values() if hasattr(each, "forgets")]
    for layer in layers:
        layer.forgets = True
    theirs = reference_latents(reference, row, cfg_scale=3.0)
    for layer in layers:
        layer.forgets = False
    ours = latents_of(ms, row, cfg_scale=3.0, legacy=True)
    require_equal(ours, theirs)
    assert (ours - latents_of(ms, row, cfg_scale=3.0)).abs().max() > 0.01


def test_options_in_force(ms_folder: Path, tmp_path: Path) -> None:
    own = MsOptions(subject_scales=(0.5, 1)).in_force(ms_folder)
    assert (own["size"], own["steps"], own["cfg_scale"]) == (64, 2, 2.0)
    assert own["subject_scales"] == [0.5, 1.0]
    published = MsOptions().in_force(tmp_path)  # without a likeness.json
    assert (published["size"], published["steps"], published["cfg_scale"]) == (1024, 30, 5.0)
    assert (published["adapter_scale"], published["subject_scales"], published["legacy"]) == (0.6, None, False)
    assert MsOptions.model_validate({"subject_scales": "0.5,1"}) == MsOptions(subject_scales=(0.5, 1.0))
    with pytest.raises(ConfigError, match=r"subject_scales\.0: expected .* got -1"):
        MsOptions.model_validate({"subject_scales": "-1"})


# the LoRA of a relation ----------------------------------------------------------------------------------------------


def relation_lora(network: Any, file: Path) -> Path:
    """By the names of the released files: `unet.`, `lora.down`, no alpha."""
    draw, tensors = torch.Generator().manual_seed(1), dict[str, Tensor]()
    for name, module in network.named_modules():
        if name.endswith(("attn2.to_q", "attn2.to_k", "attn2.to_v", "attn2.to_out.0")):
            tensors[f"unet.{name}.lora.down.weight"] = torch.randn(4, module.in_features, generator=draw)
            tensors[f"unet.{name}.lora.up.weight"] = 0.1 * torch.randn(module.out_features, 4, generator=draw)
    save_file(tensors, file)
    return file


def test_a_published_lora_acts_as_in_the_stock_loader(
    ms: SdxlMsDiffusion, ms_folder: Path, reference: Any, tmp_path: Path
) -> None:
    file = relation_lora(ms.network, tmp_path / "pytorch_lora_weights.safetensors")
    assert len(load_file(file)) == 2 * 4 * 11
    assert SdxlMsDiffusion.read_lora(ms_folder, file).num_layers == 4 * 11
    row, ours = prepared(ms, 2), SdxlMsDiffusion.load(ms_folder, loras=[file])
    found = latents_of(ours, row, cfg_scale=3.0)
    reference.load_lora_weights(str(tmp_path), weight_name=file.name)
    try:
        theirs = reference_latents(reference, row, cfg_scale=3.0)
    finally:
        reference.unload_lora_weights()
    require_equal(found, theirs)
    assert (found - latents_of(ms, row, cfg_scale=3.0)).abs().max() > 0.01


def test_our_lora_is_plain_sdxls_too(ms_folder: Path, tmp_path: Path) -> None:
    """Note, check 9: no name of the adapter in it, and it loads where there is none (relation inversion, section 6)."""
    tuned = SdxlMsDiffusion.load(ms_folder)
    add_adapter(tuned.network, facts=tuned.facts, rank=4, alpha=4.0)
    draw = torch.Generator().manual_seed(1)
    for name, parameter in adapter_parameters(tuned.network, "focus").items():
        if "lora_B" in name:
            parameter.data.normal_(std=0.2, generator=draw)
    file = save_adapter(tuned.network, tmp_path / "lora", facts=tuned.facts)
    keys = load_file(file).keys()
    assert len(keys) == 2 * 4 * 11
    assert not any("_ip" in key or "processor" in key for key in keys)
    plain = stock_pipeline(ms_folder)
    plain.load_lora_weights(str(file.parent), weight_name=file.name)
    theirs = plain(
        prompt=PROMPT, height=HEIGHT, width=WIDTH, num_inference_steps=STEPS, guidance_scale=1.0,
        generator=torch.Generator().manual_seed(3), output_type="latent",
    ).images  # fmt: skip
    require_equal(latents_of(tuned, prepared(tuned, 0), cfg_scale=1.0), theirs)


# the network ---------------------------------------------------------------------------------------------------------


def test_gradient_checkpointing_changes_no_gradient(ms: SdxlMsDiffusion, ms_folder: Path) -> None:
    """Layers that run again see the boxes of their own call, whatever was predicted in between."""

    def gradients(*, again: bool) -> list[Tensor]:
        tuned = SdxlMsDiffusion.load(ms_folder)
        add_adapter(tuned.network, facts=tuned.facts, rank=2, alpha=2.0)
        if again:
            tuned.network.train().enable_gradient_checkpointing()
        x_t = torch.randn(1, 4, 6, 8, generator=torch.Generator().manual_seed(0))
        first = tuned.predict(x_t, torch.tensor(0.5), tuned.collate([prepared(ms, 2)]))
        with torch.no_grad():
            other = replace(tuned.collate([prepared(ms, 1)]), legacy=True)
            tuned.predict(x_t, torch.tensor(0.5), other)
        first.square().mean().backward()
        return [each.grad for each in adapter_parameters(tuned.network, "focus").values() if each.grad is not None]

    plain, again = gradients(again=False), gradients(again=True)
    assert len(plain) == len(again) == 2 * 4 * 11
    for one, two in zip(plain, again, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-7)
    assert max(float(each.abs().max()) for each in plain) > 1e-4
