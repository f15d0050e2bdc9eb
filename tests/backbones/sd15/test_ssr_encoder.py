"""Sd15SsrEncoder against stock StableDiffusionPipeline whose layers have the explicit form of its attention."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, PNDMScheduler, StableDiffusionPipeline, UniPCMultistepScheduler
from PIL import Image
from safetensors.torch import load_file
from ssr_reference import aligned, levels_of, set_reference
from tiny_ssr import LEVELS, NUM_LAYERS, TEXT_LENGTH, TOKENS, published_pickles
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from likeness.backbones.base import ShowsText, TokenGrid
from likeness.backbones.lora import adapter_parameters, add_adapter, save_adapter
from likeness.backbones.sd15.options import SsrOptions
from likeness.backbones.sd15.ssr_encoder import Sd15SsrEncoder
from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.records import Layout
from likeness.objectives import objective_of
from likeness.train.plan.step import PairShape, StepSettings, step_cost

PROMPT = "A cat is hugging a duck."
HEIGHT, WIDTH, STEPS = 48, 64, 3
BOXES = ((0.0, 0.2, 0.55, 0.85), (0.55, 0.26, 0.95, 0.9), (0.3, 0.0, 0.7, 0.4), (0.1, 0.5, 0.6, 1.0))
PHRASES = ("cat", "duck", "dog", "red fox")


def picture(seed: int, *, width: int = 40, height: int = 40) -> Image.Image:
    colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height))


def layout(count: int) -> Layout:
    return Layout(boxes=BOXES[:count], phrases=PHRASES[:count])


def prepared(ssr: Sd15SsrEncoder, count: int) -> dict[str, Tensor]:
    return ssr.prepare(PROMPT, [picture(seed) for seed in range(count)], layout=layout(count) if count else None)


def latents_of(ssr: Sd15SsrEncoder, row: dict[str, Tensor], *, seeds: tuple[int, ...] = (3,), **values: Any) -> Tensor:
    condition = ssr.guided(ssr.collate([row] * len(seeds)), SsrOptions(steps=STEPS, **values))
    return ssr.denoise(ssr.initial_noise(seeds, grid=TokenGrid(HEIGHT // 8, WIDTH // 8)), condition, steps=STEPS)


def require_equal(ours: Tensor, theirs: Tensor) -> None:
    """To 1e-5 of the latents' deviation: sums go in another order."""
    assert theirs.std() > 0.5
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.std()))


def stock_pipeline(folder: Path) -> Any:
    """As SSR-Encoder's scripts open the base."""
    made: Any = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    made.scheduler = UniPCMultistepScheduler.from_config(made.scheduler.config)
    made.set_progress_bar_config(disable=True)
    return made


def drawn(pipeline: Any, *, cfg_scale: float, **more: Any) -> Tensor:
    return pipeline(
        height=HEIGHT,
        width=WIDTH,
        num_inference_steps=STEPS,
        guidance_scale=cfg_scale,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
        **more,
    ).images


@pytest.fixture(scope="module")
def reference(ssr_folder: Path) -> Any:
    """The stock pipeline with the explicit form; `aligner` are the tensors of the first pickle."""
    made = stock_pipeline(ssr_folder)
    pickles = published_pickles(made.unet)
    set_reference(made.unet, pickles["pytorch_model_1.bin"], num_tokens=TOKENS)
    made.aligner = pickles["pytorch_model.bin"]
    made.encoder = CLIPVisionModelWithProjection.from_pretrained(ssr_folder / "image_encoder").eval()
    return made


@torch.no_grad()
def reference_tokens(pipeline: Any, query: str, image: Image.Image | None) -> Tensor:
    """(N, D) by hand: CLIP layer by layer, then the loop of the aligner; None is a picture of zeros."""
    processor = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    pixels = torch.zeros(3, 32, 32) if image is None else processor(image, return_tensors="pt").pixel_values[0]
    text = pipeline.encode_prompt(query, "cpu", 1, do_classifier_free_guidance=False)[0][0]
    return aligned(text, levels_of(pipeline.encoder, pixels), pipeline.aligner)


# stock pipeline ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cfg_scale", [1.0, 3.0])
def test_without_references_it_is_plain_sd15(ssr: Sd15SsrEncoder, ssr_folder: Path, cfg_scale: float) -> None:
    theirs = drawn(stock_pipeline(ssr_folder), prompt=PROMPT, cfg_scale=cfg_scale)
    ours = latents_of(ssr, prepared(ssr, 0), cfg_scale=cfg_scale)
    if cfg_scale == 1:
        assert torch.equal(ours, theirs)
    require_equal(ours, theirs)
    if cfg_scale > 1:
        bad = drawn(stock_pipeline(ssr_folder), prompt=PROMPT, negative_prompt="blurry, bad", cfg_scale=cfg_scale)
        require_equal(latents_of(ssr, prepared(ssr, 0), cfg_scale=cfg_scale, negative_prompt="blurry, bad"), bad)


def test_tokens_are_those_of_every_fourth_layer_and_of_the_phrase(ssr: Sd15SsrEncoder, reference: Any) -> None:
    """CLIP's own steps: a picture that is not square is cut."""
    assert TOKENS == LEVELS * TEXT_LENGTH == ssr.facts.tokens_per_reference
    wide = picture(0, width=60, height=30)
    row = ssr.prepare(PROMPT, [wide, picture(1)], layout=layout(2))
    for number, image in enumerate((wide, picture(1))):
        expected = reference_tokens(reference, PHRASES[number], image)
        torch.testing.assert_close(row[f"reference{number}"], expected, rtol=0, atol=1e-4)
    torch.testing.assert_close(ssr._tokens_of_zeros(), reference_tokens(reference, "", None), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("scales", "cfg_scale"), [((0.65,), 3.0), ((0.5, 1.2), 1.0), ((0.5, 1.2), 3.0), ((0.4, 0.0, 0.7, 1.0), 3.0)]
)
def test_equals_the_stock_pipeline_with_the_explicit_form(
    ssr: Sd15SsrEncoder, reference: Any, scales: tuple[float, ...], cfg_scale: float
) -> None:
    """Both rows are scaled alike, as by `set_scale` of the public code."""
    count = len(scales)
    row = prepared(ssr, count)
    text, empty = reference.encode_prompt(PROMPT, "cpu", 1, do_classifier_free_guidance=True)
    tokens = torch.cat([text, *(row[f"reference{number}"][None] for number in range(count))], dim=1)
    poorer = torch.cat([empty, *[ssr._tokens_of_zeros()[None]] * count], dim=1)
    theirs = drawn(
        reference,
        prompt_embeds=tokens,
        negative_prompt_embeds=poorer,
        cross_attention_kwargs={"subject_scales": list(scales)},
        cfg_scale=cfg_scale,
    )
    found = latents_of(ssr, row, subject_scales=scales, cfg_scale=cfg_scale)
    require_equal(found, theirs)
    assert (found - latents_of(ssr, prepared(ssr, 0), cfg_scale=cfg_scale)).abs().max() > 0.01


def test_legacy_scales_the_tokens_of_the_prompts_row_alone(ssr: Sd15SsrEncoder, reference: Any) -> None:
    """As `generate_multi` of the public code, whose first scale acts on all tokens."""
    row = prepared(ssr, 2)
    text, empty = reference.encode_prompt(PROMPT, "cpu", 1, do_classifier_free_guidance=True)
    theirs = drawn(
        reference,
        prompt_embeds=torch.cat([text, *(0.8 * row[f"reference{number}"][None] for number in range(2))], dim=1),
        negative_prompt_embeds=torch.cat([empty, *[ssr._tokens_of_zeros()[None]] * 2], dim=1),
        cross_attention_kwargs={"subject_scales": [1.0, 1.0]},
        cfg_scale=3.0,
    )
    found = latents_of(ssr, row, subject_scales=(0.8, 0.8), cfg_scale=3.0, legacy=True)
    require_equal(found, theirs)
    assert (found - latents_of(ssr, row, subject_scales=(0.8, 0.8), cfg_scale=3.0)).abs().max() > 1e-3


@pytest.mark.parametrize(("count", "cfg_scale"), [(2, 3.0), (1, 1.0), (0, 3.0)])
def test_the_stock_pipeline_draws_several_pictures_with_our_network(
    ssr: Sd15SsrEncoder, ssr_folder: Path, count: int, cfg_scale: float
) -> None:
    options = SsrOptions(size=HEIGHT, width=WIDTH, steps=STEPS, cfg_scale=cfg_scale, legacy=count == 2)
    row, stock = prepared(ssr, count), stock_pipeline(ssr_folder)
    stock.unet = ssr.network
    arguments = ssr.stock_arguments(row, options, num_images=2)
    assert arguments["prompt_embeds"].shape[1] == TEXT_LENGTH + count * TOKENS
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 4)]
    theirs = stock(**arguments, generator=generators, output_type="latent").images
    require_equal(latents_of(ssr, row, seeds=(3, 4), cfg_scale=cfg_scale, legacy=count == 2), theirs)


# conditions ----------------------------------------------------------------------------------------------------------


def test_a_reference_of_scale_zero_is_absent(ssr: Sd15SsrEncoder) -> None:
    both, alone = prepared(ssr, 2), prepared(ssr, 1)
    found = latents_of(ssr, both, subject_scales=(0.7, 0.0), cfg_scale=3.0)
    require_equal(found, latents_of(ssr, alone, subject_scales=(0.7,), cfg_scale=3.0))
    none = latents_of(ssr, both, adapter_scale=0.0, cfg_scale=3.0)
    require_equal(none, latents_of(ssr, prepared(ssr, 0), cfg_scale=3.0))
    assert (found - none).abs().max() > 0.01


def test_the_phrase_is_the_query_and_boxes_are_not_read(ssr: Sd15SsrEncoder) -> None:
    def tokens(box: int, phrase: str) -> Tensor:
        told = Layout(boxes=(BOXES[box],), phrases=(phrase,))
        return ssr.prepare(PROMPT, [picture(0)], layout=told)["reference0"]

    assert torch.equal(tokens(0, "cat"), tokens(1, "cat"))
    assert (tokens(0, "cat") - tokens(0, "dog")).abs().max() > 1e-3
    assert torch.equal(ssr.prepare(PROMPT, [picture(0)])["reference0"], tokens(0, PROMPT))


def test_other_layouts_and_numbers_of_scales_are_refused(ssr: Sd15SsrEncoder) -> None:
    with pytest.raises(DataError, match="a box and a phrase for each of 2 references, got 1 boxes"):
        ssr.prepare(PROMPT, [picture(0), picture(1)], layout=layout(1))
    with pytest.raises(ConfigError, match="subject_scales: expected a number for each reference, got 1 for 2"):
        latents_of(ssr, prepared(ssr, 2), subject_scales=(0.6,))


def test_each_picture_of_a_batch_has_phrases_and_scales_of_its_own(ssr: Sd15SsrEncoder) -> None:
    shown = [picture(0), picture(1)]
    other = Layout(boxes=BOXES[:2], phrases=PHRASES[2:])
    rows = [ssr.prepare(PROMPT, shown, layout=each) for each in (layout(2), other)]
    scales = torch.tensor([[0.5, 0.0], [1.0, 0.3]])
    condition = replace(ssr.collate(rows), scales=scales, some_absent=True)
    x_t, t = torch.randn(2, 4, 6, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.3, 0.7])
    with torch.no_grad():
        both = ssr.predict(x_t, t, condition)
        alone = [ssr.predict(x_t[[i]], t[[i]], condition.select([i])) for i in range(2)]
        swapped = ssr.predict(x_t, t, condition.select([1, 0]))
    torch.testing.assert_close(both, torch.cat(alone), rtol=0, atol=1e-5)
    assert (both - swapped).abs().amax(dim=(1, 2, 3)).min() > 1e-3


def test_words_of_the_prompt_are_found(ssr: Sd15SsrEncoder) -> None:
    assert isinstance(ssr, ShowsText)
    assert ssr.word_columns(PROMPT, "hugging").any()
    assert not ssr.word_columns(PROMPT, "kissing").any()
    assert ssr.prompt_is_truncated("cat " * TEXT_LENGTH)
    assert not ssr.prompt_is_truncated("cat")


def test_options_in_force(ssr_folder: Path, tmp_path: Path) -> None:
    own = SsrOptions(subject_scales=(0.5, 1)).in_force(ssr_folder)
    assert (own["size"], own["steps"], own["cfg_scale"]) == (64, 2, 2.0)
    assert own["subject_scales"] == [0.5, 1.0]
    published = SsrOptions().in_force(tmp_path)  # without a likeness.json
    assert (published["size"], published["steps"], published["cfg_scale"]) == (512, 30, 5.0)
    assert (published["adapter_scale"], published["subject_scales"], published["legacy"]) == (0.65, None, False)


# the scheduler -------------------------------------------------------------------------------------------------------


def test_pndm_becomes_unipc_and_others_stay(ssr: Sd15SsrEncoder, ssr_folder: Path, tmp_path: Path) -> None:
    pndm: Any = PNDMScheduler.from_pretrained(ssr_folder / "scheduler")
    assert isinstance(ssr.parts.scheduler, UniPCMultistepScheduler)
    unipc: Any = UniPCMultistepScheduler.from_config(pndm.config)
    assert ssr.parts.scheduler.config == unipc.config
    folder = tmp_path / "ddim"
    shutil.copytree(ssr_folder, folder)
    ddim: Any = DDIMScheduler.from_config(pndm.config)
    ddim.save_pretrained(folder / "scheduler")
    assert isinstance(Sd15SsrEncoder.load(folder).parts.scheduler, DDIMScheduler)
    config = folder / "scheduler" / "scheduler_config.json"
    config.write_text('{"_class_name": "PNDMScheduler", "prediction_type": "v_prediction"}')
    with pytest.raises(WeightsError, match="expected a model that predicts epsilon, got v_prediction"):
        Sd15SsrEncoder.load(folder)


# planned -------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_step_is_planned_without_weights(ssr_folder: Path) -> None:
    """Twice the references, twice their tokens: more is left for the backward pass."""
    objective = objective_of("dpo").model_validate({"kind": "dpo", "beta": 1.0})
    settings = StepSettings(objective, 4, 0, torch.float32, 1, gradient_checkpointing=False)
    one, two = (
        step_cost(partial(Sd15SsrEncoder.sketch, ssr_folder, dtype=torch.float32), PairShape((64, 64), sizes), settings)
        for sizes in (((40, 40),), ((40, 40),) * 2)
    )
    assert 0 < one.saved < two.saved
    assert 0 < one.flops < two.flops


# the LoRA of a relation ----------------------------------------------------------------------------------------------


def test_our_lora_is_plain_sd15s_too(ssr_folder: Path, tmp_path: Path) -> None:
    """Cross-attention alone: the stock loader takes all of it where there is no adapter."""
    tuned = Sd15SsrEncoder.load(ssr_folder)
    add_adapter(tuned.network, facts=tuned.facts, rank=4, alpha=4.0)
    draw = torch.Generator().manual_seed(1)
    for name, parameter in adapter_parameters(tuned.network, "focus").items():
        if "lora_B" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=draw)
    file = save_adapter(tuned.network, tmp_path / "lora", facts=tuned.facts)
    names = load_file(file)
    assert len(names) == 2 * 4 * NUM_LAYERS
    assert all(".attn2.to_" in name for name in names)
    stock = stock_pipeline(ssr_folder)
    before = drawn(stock, prompt=PROMPT, cfg_scale=1.0)
    stock.load_lora_weights(str(file.parent), weight_name=file.name)
    after = drawn(stock, prompt=PROMPT, cfg_scale=1.0)
    require_equal(latents_of(tuned, prepared(tuned, 0), cfg_scale=1.0), after)
    assert (before - after).abs().max() > 0.01
