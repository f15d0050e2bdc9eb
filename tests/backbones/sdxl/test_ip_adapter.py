"""SdxlIpAdapter against stock StableDiffusionXLPipeline, with and without `load_ip_adapter`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler
from PIL import Image
from tiny_sdxl import SCHEDULER, SETTINGS, TOKENS, build_tiny_sdxl
from torch import Tensor

from likeness.backbones.base import TokenGrid
from likeness.backbones.pixels import to_pixels
from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter, on_white_square
from likeness.backbones.sdxl.options import SdxlOptions
from likeness.core.errors import DataError, WeightsError
from likeness.core.files import write_json

PROMPT = "A cat is hugging a duck."
HEIGHT, WIDTH, STEPS = 48, 64, 3
BETWEEN: dict[str, Any] = {**SCHEDULER, "timestep_spacing": "linspace"}
"""Euler's times then lie between training steps."""


def picture(seed: int, *, width: int = 40, height: int = 40) -> Image.Image:
    colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height))


def our_latents(sdxl: SdxlIpAdapter, references: list[Image.Image], **values: Any) -> Tensor:
    options = SdxlOptions(steps=STEPS, **values)
    condition = sdxl.guided(sdxl.collate([sdxl.prepare(PROMPT, references)]), options)
    return sdxl.denoise(sdxl.initial_noise([3], grid=TokenGrid(HEIGHT // 8, WIDTH // 8)), condition, steps=STEPS)


def stock_latents(pipeline: Any, references: list[Image.Image], *, cfg_scale: float, **more: Any) -> Tensor:
    images = {"ip_adapter_image": [references]} if references else {}
    return pipeline(
        prompt=PROMPT,
        height=HEIGHT,
        width=WIDTH,
        num_inference_steps=STEPS,
        guidance_scale=cfg_scale,
        generator=torch.Generator().manual_seed(3),
        output_type="latent",
        **images,
        **more,
    ).images


def require_equal(ours: Tensor, theirs: Tensor) -> None:
    """To 1e-5 of the latents' deviation; without guidance the two are the same bits."""
    assert theirs.std() > 1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5 * float(theirs.std()))


# stock pipeline ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("cfg_scale", [1.0, 3.0])
def test_equals_the_stock_pipeline(
    sdxl: SdxlIpAdapter, stock: Any, plain: Any, *, count: int, cfg_scale: float
) -> None:
    references = [picture(seed) for seed in range(count)]
    stock.set_ip_adapter_scale(0.7)
    theirs = stock_latents(stock if references else plain, references, cfg_scale=cfg_scale)
    ours = our_latents(sdxl, references, cfg_scale=cfg_scale, adapter_scale=0.7)
    if cfg_scale == 1:
        assert torch.equal(ours, theirs)
    require_equal(ours, theirs)


def test_a_negative_prompt_equals_the_stock_pipelines(sdxl: SdxlIpAdapter, stock: Any) -> None:
    stock.set_ip_adapter_scale(1.0)
    theirs = stock_latents(stock, [picture(0)], cfg_scale=3.0, negative_prompt="blurry, bad")
    ours = our_latents(sdxl, [picture(0)], cfg_scale=3.0, negative_prompt="blurry, bad")
    require_equal(ours, theirs)
    assert (ours - our_latents(sdxl, [picture(0)], cfg_scale=3.0)).abs().max() > 0.01


def test_the_pixels_are_those_of_the_stock_pipeline(sdxl: SdxlIpAdapter, stock: Any) -> None:
    stock.set_ip_adapter_scale(1.0)
    options = {"height": HEIGHT, "width": WIDTH, "num_inference_steps": STEPS, "guidance_scale": 3.0}
    generator = torch.Generator().manual_seed(3)
    theirs = stock(prompt=PROMPT, ip_adapter_image=[[picture(0)]], generator=generator, **options).images[0]
    ours = sdxl.generate(
        PROMPT, [picture(0)], seed=3, options=SdxlOptions(size=HEIGHT, width=WIDTH, steps=STEPS, cfg_scale=3.0)
    )
    assert np.abs(np.asarray(ours, dtype=int) - np.asarray(theirs, dtype=int)).max() <= 1
    assert np.asarray(ours).std() > 10


def test_averaged_tokens_equal_the_stock_network_fed_by_hand(sdxl: SdxlIpAdapter, stock: Any) -> None:
    """PatchDPO's mode: the mean over references of what the resampler makes of each."""
    stock.set_ip_adapter_scale(0.7)
    references = [picture(0), picture(1), picture(2)]
    projection = stock.unet.encoder_hid_proj
    with torch.no_grad():
        features, zeros = stock.encode_image(references, "cpu", 1, output_hidden_states=True)
        resampler = projection.image_projection_layers[0]
        means = [resampler(each).mean(dim=0)[None, None] for each in (zeros, features)]
    stock.unet.encoder_hid_proj = torch.nn.Identity()
    fed = stock_latents(stock, [], cfg_scale=3.0, ip_adapter_image_embeds=[torch.cat(means)])
    stock.unet.encoder_hid_proj = projection
    ours = our_latents(sdxl, references, cfg_scale=3.0, adapter_scale=0.7, average_references=True)
    require_equal(ours, fed)
    assert (ours - our_latents(sdxl, references, cfg_scale=3.0, adapter_scale=0.7)).abs().max() > 0.01


@pytest.mark.parametrize(
    "scheduler",
    [DDIMScheduler(**SCHEDULER, clip_sample=False), DPMSolverMultistepScheduler(**SCHEDULER),
     EulerDiscreteScheduler(**BETWEEN)],
    ids=["ddim", "dpm", "euler between steps"],
)  # fmt: skip
def test_the_folders_scheduler_draws(scheduler: Any, sdxl: SdxlIpAdapter, stock: Any) -> None:
    stock.set_ip_adapter_scale(1.0)
    usual, stock.scheduler = stock.scheduler, scheduler
    theirs = stock_latents(stock, [picture(0)], cfg_scale=3.0)
    stock.scheduler = usual
    require_equal(
        our_latents(SdxlIpAdapter(replace(sdxl.parts, scheduler=scheduler)), [picture(0)], cfg_scale=3.0), theirs
    )


def test_a_seed_draws_the_same_picture_in_any_batch(sdxl: SdxlIpAdapter) -> None:
    rows = [sdxl.prepare(PROMPT, [picture(seed)]) for seed in (0, 1)]
    grid = TokenGrid(4, 6)

    def drawn(rows: list[dict[str, Tensor]], seeds: list[int]) -> Tensor:
        condition = sdxl.guided(sdxl.collate(rows), SdxlOptions(cfg_scale=2.0))
        return sdxl.denoise(sdxl.initial_noise(seeds, grid=grid), condition, steps=2)

    both, alone = drawn(rows, [5, 6]), drawn(rows[1:], [6])
    torch.testing.assert_close(both[1:], alone, rtol=0, atol=1e-4)
    assert (both[0] - both[1]).abs().max() > 0.1


def test_a_prepared_row_is_painted_without_encoders(sdxl: SdxlIpAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    made = SdxlIpAdapter(replace(sdxl.parts, zeros_for_empty=False))
    options = SdxlOptions(size=48, steps=2, cfg_scale=3.0)
    expected = made.generate(PROMPT, [picture(0)], seed=3, options=options)
    row, unprompted = (made.prepare(prompt, [picture(0)]) for prompt in (PROMPT, ""))
    for part in ("text_encoder", "text_encoder_2", "image_encoder", "resampler"):
        monkeypatch.setattr(getattr(made.parts, part), "forward", None)
    painted = made.paint(row, seed=3, options=options, unprompted=unprompted)
    assert painted.tobytes() == expected.tobytes()
    zeros = SdxlIpAdapter(replace(sdxl.parts, zeros_for_empty=True))
    zeros._zero_tokens = made._zero_tokens
    assert zeros.paint(row, seed=3, options=options).tobytes() != expected.tobytes()


def test_pictures_read_only_what_is_missing_when_encoders_are_away(sdxl_folder: Path) -> None:
    """Tokens of no reference are kept; whoever finds them missing reads what makes them, and no text encoder."""
    options = SdxlOptions(size=48, steps=2, cfg_scale=3.0)
    first = SdxlIpAdapter.load(sdxl_folder)
    row, unprompted = (first.prepare(prompt, [picture(0)]) for prompt in (PROMPT, ""))
    assert "unet" not in first.parts.stored.present()
    expected = first.generate(PROMPT, [picture(0)], seed=3, options=options).tobytes()
    second = SdxlIpAdapter.load(sdxl_folder)
    for made, read in ((first, set[str]()), (second, {"image_encoder", "resampler"})):
        made.put_encoders_away()
        painted = made.paint(row, seed=3, options=options, unprompted=unprompted)
        assert painted.tobytes() == expected
        assert set(made.parts.stored.present()) == {"unet", "vae"} | read
        made.put_encoders_away()
        assert set(made.parts.stored.present()) == {"unet"}


# parts ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [None, 0.1159])
def test_latents_are_scaled_and_shifted(shift: float | None, sdxl_folder: Path, tmp_path: Path) -> None:
    """The embedded autoencoder, with 16 channels, has both."""
    numbers = {"latent_channels": 16, "scaling_factor": 0.3611, "shift_factor": shift}
    made = SdxlIpAdapter.load(
        build_tiny_sdxl(tmp_path / "sdxl", vae=numbers, unet={"in_channels": 16, "out_channels": 16})
    )
    pixels = to_pixels([picture(1, width=64, height=48)])
    with torch.no_grad():
        mean = made.parts.vae.encode(pixels).latent_dist.mean
        latents = made.encode(pixels)
        torch.testing.assert_close(latents, (mean - (shift or 0)) * 0.3611)
        torch.testing.assert_close(made.decode(latents), made.parts.vae.decode(mean).sample, rtol=1e-4, atol=1e-5)
    assert latents.shape == (1, 16, 6, 8)
    assert made.generate(PROMPT, seed=1, options=SdxlOptions(size=48, steps=1)).size == (48, 48)


def test_a_reference_is_padded_on_white(sdxl: SdxlIpAdapter) -> None:
    wide = picture(0, width=40, height=20)
    square = np.asarray(on_white_square(wide))
    assert square.shape == (40, 40, 3)
    assert (square[:10] == 255).all()
    assert (square[30:] == 255).all()
    np.testing.assert_array_equal(square[10:30], np.asarray(wide))
    by_hand = Image.fromarray(square)
    tokens = [sdxl.prepare(PROMPT, [image])["reference0"] for image in (wide, by_hand, wide.resize((40, 40)))]
    assert torch.equal(tokens[0], tokens[1])
    assert (tokens[0] - tokens[2]).abs().max() > 0.01
    assert tokens[0].shape == (TOKENS, 64)


def test_sizes_are_told_as_the_pipeline_tells_them(sdxl: SdxlIpAdapter, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    network = sdxl.network.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        told.append(kwargs["added_cond_kwargs"]["time_ids"].tolist())
        return network(*args, **kwargs)

    monkeypatch.setattr(sdxl.network, "forward", forward)
    with torch.no_grad():
        sdxl.predict(torch.zeros(2, 4, 6, 8), torch.tensor(0.5), sdxl.collate([sdxl.prepare(PROMPT)] * 2))
    assert told == [[[48.0, 64.0, 0.0, 0.0, 48.0, 64.0]] * 2]  # original size, corner, target size


def test_a_prediction_is_that_of_the_training_step(sdxl: SdxlIpAdapter, plain: Any) -> None:
    """The U-Net called as a training script calls it: an integer step, no reference."""
    embeds, _, pooled, _ = plain.encode_prompt(PROMPT, do_classifier_free_guidance=False)
    x_t = torch.randn(1, 4, 6, 8, generator=torch.Generator().manual_seed(0))
    added = {"text_embeds": pooled, "time_ids": torch.tensor([[48.0, 64, 0, 0, 48, 64]])}
    with torch.no_grad():
        condition = sdxl.collate([sdxl.prepare(PROMPT)])
        ours = [sdxl.predict(x_t, torch.tensor([t]), condition) for t in (0.3005, 0.3009, 0.301)]
        theirs = [plain.unet(x_t, step, embeds, added_cond_kwargs=added).sample for step in (300, 300, 301)]
    for one, two in zip(ours, theirs, strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(ours[1], ours[2])


def test_noise_is_ddpms(sdxl: SdxlIpAdapter) -> None:
    training: Any = DDPMScheduler(**SCHEDULER)  # its annotations want a class for integer tensors
    x0, eps = torch.randn(2, 4, 4, 2, 2, generator=torch.Generator().manual_seed(0))
    steps = torch.tensor([0, 1, 500, 999])
    x_t = sdxl.noise(x0, eps, (steps + 0.5) / 1000)
    torch.testing.assert_close(x_t, training.add_noise(x0, eps, steps), rtol=0, atol=1e-6)
    assert torch.equal(sdxl.target(x0, eps, steps / 1000), eps)


def test_a_long_prompt_is_noticed(sdxl: SdxlIpAdapter) -> None:
    assert not sdxl.prompt_is_truncated("a cat")
    assert sdxl.prompt_is_truncated("a cat " * 20)


def test_a_layout_is_refused(sdxl: SdxlIpAdapter) -> None:
    with pytest.raises(DataError, match="layout: expected none"):
        sdxl.prepare(PROMPT, layout={})


def test_options_in_force(sdxl_folder: Path, tmp_path: Path) -> None:
    own = SdxlOptions().in_force(sdxl_folder)
    assert (own["size"], own["width"], own["steps"], own["cfg_scale"]) == (64, 64, SETTINGS["default_steps"], 2.0)
    assert (own["adapter_scale"], own["average_references"], own["negative_prompt"]) == (1.0, False, None)
    published = SdxlOptions(cfg_scale=0.5, width=768).in_force(tmp_path)  # without a likeness.json
    assert (published["size"], published["width"], published["steps"], published["cfg_scale"]) == (1024, 768, 30, 1.0)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"_class_name": "EulerAncestralDiscreteScheduler"}, "without noise of its own, got EulerAncestral"),
        (
            {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "sde-dpmsolver++"},
            "without noise of its own",
        ),
        ({"_class_name": "EulerDiscreteScheduler", "prediction_type": "v_prediction"}, "predicts epsilon, got v_pred"),
    ],
)
def test_schedulers_that_cannot_be_used_are_refused(config: dict[str, Any], said: str, tmp_path: Path) -> None:
    folder = build_tiny_sdxl(tmp_path / "sdxl")
    write_json(folder / "scheduler" / "scheduler_config.json", config)
    with pytest.raises(WeightsError, match=said):
        SdxlIpAdapter.load(folder)
