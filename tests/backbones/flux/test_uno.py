"""FluxUno against stock FluxPipeline, a LoRA fused by hand, and the properties of UNO's token sequence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from seeing import Seeing
from torch import Tensor

from likeness.backbones.base import FEATURES, TokenGrid
from likeness.backbones.flux.condition import FluxCondition
from likeness.backbones.flux.folder import FluxSettings, read_settings
from likeness.backbones.flux.options import FluxOptions
from likeness.backbones.flux.tokens import pack_latents, uno_position_ids, unpack_latents
from likeness.backbones.flux.uno import FluxUno
from likeness.backbones.pixels import to_pixels
from likeness.core.errors import ConfigError, DataError, WeightsError

PROMPT = "A cat is hugging a duck in the forest."
WIDTH, RANK = 256, 4
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


def picture(seed: int, *, width: int = 96, height: int = 96) -> Image.Image:
    """A picture of coarse random colours."""
    colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height))


# stock pipeline ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def stock(tiny_folder: Path) -> Any:
    pipeline: Any = FluxPipeline.from_pretrained(tiny_folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("cfg_scale", [1.0, 3.5])
@pytest.mark.parametrize(("size", "width"), [(128, 128), (64, 96)])
def test_without_references_equals_the_stock_pipeline(
    tiny: FluxUno, stock: Any, *, cfg_scale: float, size: int, width: int
) -> None:
    options = FluxOptions(size=size, width=width, steps=4, guidance=3.0, cfg_scale=cfg_scale)
    ours = tiny.generate(PROMPT, seed=7, options=options)
    theirs = stock(
        PROMPT,
        negative_prompt="",
        true_cfg_scale=cfg_scale,
        height=size,
        width=width,
        num_inference_steps=4,
        guidance_scale=3.0,
        max_sequence_length=32,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]
    assert ours.size == (width, size)
    assert np.asarray(ours).std() > 5
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))  # exact: the same operations in the same order


def test_bfloat16_equals_the_stock_pipeline_too(tiny_folder: Path) -> None:
    options = FluxOptions(size=64, steps=3)
    ours = FluxUno.load(tiny_folder, dtype=torch.bfloat16).generate(PROMPT, seed=7, options=options)
    pipeline: Any = FluxPipeline.from_pretrained(tiny_folder, torch_dtype=torch.bfloat16)
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(
        PROMPT, height=64, width=64, num_inference_steps=3, guidance_scale=4.0, max_sequence_length=32,
        generator=torch.Generator("cpu").manual_seed(7),
    ).images[0]  # fmt: skip
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))


def test_what_is_left_out_comes_from_the_settings(tiny: FluxUno) -> None:
    options = FluxOptions(size=128, steps=25, guidance=4.0, cfg_scale=1.0)
    explicit = tiny.generate(PROMPT, seed=1, options=options)
    np.testing.assert_array_equal(np.asarray(tiny.generate(PROMPT, seed=1)), np.asarray(explicit))


def test_seed_and_prompt_change_the_picture(tiny: FluxUno) -> None:
    options = FluxOptions(size=64, steps=2)
    one, other_seed = (np.asarray(tiny.generate(PROMPT, seed=seed, options=options)) for seed in (1, 2))
    other_prompt = np.asarray(tiny.generate("A red fox", seed=1, options=options))
    assert (one != other_seed).any()
    assert (one != other_prompt).any()


# the path and the latents --------------------------------------------------------------------------------------------


def test_noise_and_target_agree(tiny: FluxUno) -> None:
    x0, eps = torch.randn(2, 3, 16, 4, 4, dtype=torch.float64)
    t = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    x_t, velocity = tiny.noise(x0, eps, t), tiny.target(x0, eps, t)
    assert torch.equal(x_t[0], x0[0])
    assert torch.equal(x_t[2], eps[2])
    torch.testing.assert_close(x_t - t.reshape(-1, 1, 1, 1) * velocity, x0)
    torch.testing.assert_close(tiny.clean(x_t, velocity, t), x0)


def test_training_times_are_shifted_for_the_tokens_of_the_grid(tiny: FluxUno) -> None:
    """mu 0.5 at 256 tokens and 1.15 at 4096: equal generators draw equal entries of UNO's list, shifted apart."""
    few, many = (
        tiny.draw_t(torch.Generator().manual_seed(5), grid=TokenGrid(side, side), law="uno_shift") for side in (16, 64)
    )
    odds = [t / (1 - t) for t in (few, many)]  # t = 1 / (1 + (1/u - 1) e^-mu), so that odds are those of u times e^mu
    assert odds[1] / odds[0] == pytest.approx(np.exp(1.15 - 0.5), rel=1e-9)


def test_encode_is_the_scaled_mean_and_decode_undoes_the_scaling(tiny: FluxUno) -> None:
    pixels, vae = to_pixels([picture(0)]), tiny.parts.vae
    with torch.no_grad():
        mean = vae.encode(pixels).latent_dist.mean
        latents = tiny.encode(pixels)
        assert torch.equal(latents, (mean - 0.1159) * 0.3611)
        torch.testing.assert_close(tiny.decode(latents), vae.decode(mean).sample, atol=1e-4, rtol=1e-4)
    assert torch.equal(tiny.encode(pixels), latents)


def test_pixels_span_minus_one_to_one() -> None:
    white = picture(0).point(lambda _: 255)
    assert to_pixels([white, white.point(lambda _: 0)]).amax(dim=(1, 2, 3)).tolist() == [1.0, -1.0]


# references ----------------------------------------------------------------------------------------------------------


def _predict(backbone: FluxUno, references: list[int], **kwargs: Any) -> Tensor:
    condition = backbone.condition(PROMPT, [picture(seed) for seed in references])
    noise = backbone.initial_noise([3], grid=TokenGrid(4, 6))
    with torch.no_grad():
        return backbone.predict(noise, torch.tensor([0.6]), condition, **kwargs)


def test_only_target_tokens_are_returned(tiny: FluxUno) -> None:
    condition = tiny.condition(PROMPT, [picture(0, width=96, height=50), picture(1)])
    assert condition.reference_grids == (TokenGrid(2, 4), TokenGrid(4, 4))  # long side 64; 33 px crop to 32
    noise = tiny.initial_noise([3], grid=TokenGrid(4, 6))
    hidden = torch.cat([pack_latents(noise), *condition.references], dim=1)
    with torch.no_grad():
        whole = tiny.network(
            hidden_states=hidden,
            encoder_hidden_states=condition.text.embeds,
            pooled_projections=condition.text.pooled,
            timestep=torch.tensor([0.6]),
            guidance=torch.tensor([4.0]),
            img_ids=uno_position_ids((4, 6), [(2, 4), (4, 4)]),
            txt_ids=torch.zeros(32, 3),
        ).sample
        ours = tiny.predict(noise, torch.tensor(0.6), condition)
    assert whole.shape[1] == 24 + 8 + 16
    assert torch.equal(ours, unpack_latents(whole[:, :24], TokenGrid(4, 6)))


def test_references_and_their_order_matter(tiny: FluxUno) -> None:
    none, one, two, swapped = (_predict(tiny, seeds) for seeds in ([], [0], [0, 1], [1, 0]))
    for first, second in ((none, one), (one, two), (two, swapped)):
        assert (first - second).abs().max() > 1e-4


def test_a_single_reference_is_larger(tiny: FluxUno) -> None:
    assert [image.size for image in tiny.fit_references([picture(0)])] == [(96, 96)]
    assert [image.size for image in tiny.fit_references([picture(0), picture(1)])] == [(64, 64)] * 2


def test_guidance_comes_from_settings_and_changes_the_velocity(tiny: FluxUno) -> None:
    noise = tiny.initial_noise([3], grid=TokenGrid(4, 4))
    conditions = [tiny.condition(PROMPT, guidance=number) for number in (None, 4.0, 1.0)]
    with torch.no_grad():
        default, same, other = (tiny.predict(noise, torch.tensor(0.5), condition) for condition in conditions)
    assert torch.equal(default, same)
    assert not torch.equal(default, other)


def test_guidance_free_pictures_use_the_empty_prompt_without_references(tiny: FluxUno) -> None:
    references = [picture(0), picture(1)]
    condition, free = tiny.condition(PROMPT, references), tiny.condition("")
    noise, steps = tiny.initial_noise([5], grid=TokenGrid(4, 4)), 2
    scheduler = tiny.schedule(steps, grid=TokenGrid(4, 4))
    x_t = noise
    with torch.no_grad():
        for sigma, following in zip(scheduler.sigmas[:-1], scheduler.sigmas[1:], strict=True):
            with_subjects, without = (tiny.predict(x_t, sigma, each) for each in (condition, free))
            x_t = x_t + (following - sigma) * (without + 2.0 * (with_subjects - without))
    options = FluxOptions(size=64, steps=steps, cfg_scale=2.0, reference_cfg_scale=2.0)
    ours = tiny.generate(PROMPT, references, seed=5, options=options)
    difference = np.asarray(ours, int) - np.asarray(tiny.to_images(x_t)[0], int)
    assert abs(difference).max() <= 1  # sigmas pass through *1000/1000 in the sampler, which rounds the last bit


def test_the_guided_velocity_by_hand(tiny: FluxUno) -> None:
    full = tiny.condition(PROMPT, [picture(0)])
    guided = tiny.guided(full, FluxOptions(cfg_scale=2.5, reference_cfg_scale=4.0))
    answers = [torch.tensor(7.0), torch.tensor(3.0), torch.tensor(1.0)]  # with references, prompt alone, empty prompt
    assert guided.prediction(lambda _: answers.pop(0)) == 1 + 2.5 * (3 - 1) + 4 * (7 - 3)


@pytest.mark.parametrize(
    ("asked", "scales"),
    [
        ({}, (2.5, 3.5)),
        ({"cfg_scale": 4.0}, (4.0, 4.0)),
        ({"cfg_scale": 0.5}, (1.0, 1.0)),
        ({"reference_cfg_scale": 5.0}, (2.5, 5.0)),
        ({"cfg_scale": 4.0, "reference_cfg_scale": 0.5}, (4.0, 0.5)),
    ],
)
def test_where_the_scales_come_from(tiny: FluxUno, *, asked: dict[str, Any], scales: tuple[float, float]) -> None:
    own = FluxUno(replace(tiny.parts, settings=FluxSettings(default_cfg_scale=2.5, default_reference_cfg_scale=3.5)))
    guided = own.guided(own.condition(PROMPT, [picture(0)]), FluxOptions(**asked))
    assert (guided.cfg_scale, guided.reference_cfg_scale) == scales


@pytest.mark.parametrize(
    ("by_prompt", "by_references", "passes"),
    [(1, 1, 1), (2.5, 2.5, 2), (1, 3.5, 2), (2.5, 3.5, 3), (2.5, 1, 3), (2.5, 0, 2)],
)
def test_two_scales_weigh_three_velocities(
    tiny: FluxUno, *, by_prompt: float, by_references: float, passes: int
) -> None:
    full, prompt, empty = tiny.condition(PROMPT, [picture(0)]), tiny.condition(PROMPT), tiny.condition("")
    x_t, t, asked = tiny.initial_noise([5], grid=TokenGrid(4, 4)), torch.tensor(0.7), 0

    def predict(condition: FluxCondition) -> torch.Tensor:
        nonlocal asked
        asked += 1
        return tiny.predict(x_t, t, condition)

    guided = tiny.guided(full, FluxOptions(cfg_scale=by_prompt, reference_cfg_scale=by_references))
    with torch.no_grad():
        ours = guided.prediction(predict)
        v_full, v_prompt, v_empty = (tiny.predict(x_t, t, each).double() for each in (full, prompt, empty))
    assert asked == passes
    expected = by_references * v_full + (by_prompt - by_references) * v_prompt + (1 - by_prompt) * v_empty
    torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-4)


def test_references_without_weight_leave_the_picture_of_the_prompt(tiny: FluxUno) -> None:
    def drawn(references: list[Image.Image], **scale: Any) -> np.ndarray:
        options = FluxOptions(size=64, steps=2, cfg_scale=2.0, **scale)
        return np.asarray(tiny.generate(PROMPT, references, seed=5, options=options), int)

    bare, shown = drawn([]), [drawn([picture(0)], reference_cfg_scale=scale) for scale in (0, 2)]
    assert abs(shown[0] - bare).max() <= 1
    assert abs(shown[1] - bare).max() > 1


def test_without_references_only_the_prompt_guides(tiny: FluxUno) -> None:
    asked = [FluxOptions(size=64, steps=2, cfg_scale=2.0, reference_cfg_scale=scale) for scale in (1, 9)]
    one, other = (tiny.generate(PROMPT, seed=5, options=options) for options in asked)
    np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


def test_batch_equals_loop(tiny: FluxUno) -> None:
    prompts, seeds = [PROMPT, "A red fox"], [3, 4]
    references = [[picture(0), picture(1)], [picture(2), picture(3)]]
    options = FluxOptions(size=64, steps=3, cfg_scale=2.0, reference_cfg_scale=3.0)
    condition = tiny.guided(
        tiny.collate([tiny.prepare(*each) for each in zip(prompts, references, strict=True)]), options
    )
    noise = tiny.initial_noise(seeds, grid=tiny.grid(size=64))
    batch = tiny.to_images(tiny.denoise(noise, condition, steps=3))
    for image, prompt, pair, seed in zip(batch, prompts, references, seeds, strict=True):
        alone = tiny.generate(prompt, pair, seed=seed, options=options)
        # batched matrix products sum in another order: one level at most
        assert abs(np.asarray(image, int) - np.asarray(alone, int)).max() <= 1


def test_a_prepared_sample_is_the_models_own_text_and_latents(tiny: FluxUno) -> None:
    """To the bit: each reference encoded alone at its fitted size, the text as FluxPipeline reads it."""
    references = [picture(0, width=96, height=50), picture(1)]
    row = tiny.prepare(PROMPT, references)
    assert list(row) == ["embeds", "pooled", "reference0", "reference1"]
    text, fitted = tiny.embed_text([PROMPT]), tiny.fit_references(references)
    by_hand = tiny.assemble(text, [tiny.encode(to_pixels([image])) for image in fitted], guidance=2.0)
    condition = tiny.collate([row], guidance=2.0)
    assert torch.equal(condition.text.embeds, by_hand.text.embeds)
    assert torch.equal(condition.text.pooled, by_hand.text.pooled)
    assert condition.reference_grids == by_hand.reference_grids == (TokenGrid(2, 4), TokenGrid(4, 4))
    assert all(torch.equal(*pair) for pair in zip(condition.references, by_hand.references, strict=True))
    assert condition.guidance is not None
    assert condition.guidance.tolist() == [2.0]


def test_a_layout_is_refused_since_nothing_would_read_it(tiny: FluxUno) -> None:
    with pytest.raises(DataError, match="layout: expected none"):
        tiny.prepare(PROMPT, layout={"boxes": []})


def test_select_repeats_and_reorders_rows(tiny: FluxUno) -> None:
    both = tiny.collate([tiny.prepare(PROMPT, [picture(0)]), tiny.prepare("A red fox", [picture(1)])])
    swapped = both.select([1, 0, 1])
    assert swapped.batch_size == 3
    assert torch.equal(swapped.text.embeds[1], both.text.embeds[0])
    assert torch.equal(swapped.references[0][2], both.references[0][1])
    assert swapped.guidance is not None
    assert swapped.guidance.shape == (3,)


@pytest.mark.parametrize("references", [[[picture(0)], []], [[picture(0)], [picture(1, width=48)]]])
def test_unequal_batches_are_refused(tiny: FluxUno, references: list[list[Image.Image]]) -> None:
    with pytest.raises(DataError, match="one set of sizes"):
        tiny.collate([tiny.prepare(PROMPT, images) for images in references])


def test_more_references_than_uno_takes_are_refused(tiny: FluxUno) -> None:
    with pytest.raises(DataError, match="at most 4, got 5"):
        tiny.condition(PROMPT, [picture(seed) for seed in range(5)])


@pytest.mark.parametrize("arguments", [{"size": 100}, {"size": 0}, {"size": 64, "width": 72}, {"steps": 0}])
def test_impossible_requests_are_refused(tiny: FluxUno, arguments: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        tiny.generate(PROMPT, seed=0, options=FluxOptions.model_validate(arguments))


# LoRA ----------------------------------------------------------------------------------------------------------------


def _uno_lora(seed: int = 0) -> dict[str, Tensor]:
    """A LoRA in UNO's layout: qkv in one matrix, streams 1 (image) and 2 (text), no alpha."""
    draw = torch.Generator().manual_seed(seed)

    def pair(name: str, *, out: int, into: int = WIDTH) -> dict[str, Tensor]:
        down, up = torch.randn(RANK, into, generator=draw), torch.randn(out, RANK, generator=draw)
        return {f"{name}.down.weight": 0.05 * down, f"{name}.up.weight": 0.05 * up}

    tensors: dict[str, Tensor] = {}
    for i in range(2):
        block = f"double_blocks.{i}.processor"
        for stream in (1, 2):
            tensors |= pair(f"{block}.qkv_lora{stream}", out=3 * WIDTH)
            tensors |= pair(f"{block}.proj_lora{stream}", out=WIDTH)
    for i in range(3):
        tensors |= pair(f"single_blocks.{i}.processor.qkv_lora", out=3 * WIDTH)
        tensors |= pair(f"single_blocks.{i}.processor.proj_lora", out=WIDTH, into=5 * WIDTH)
    return tensors


def _fuse_by_hand(backbone: FluxUno, lora: dict[str, Tensor]) -> None:
    targets = {
        "qkv_lora1": ["to_q", "to_k", "to_v"],
        "qkv_lora2": ["add_q_proj", "add_k_proj", "add_v_proj"],
        "proj_lora1": ["to_out.0"],
        "proj_lora2": ["to_add_out"],
        "qkv_lora": ["to_q", "to_k", "to_v"],
    }
    for key in (key for key in lora if key.endswith("down.weight")):
        stream, index, _, kind = key.split(".")[:4]
        block = ("single_" if stream == "single_blocks" else "") + f"transformer_blocks.{index}"
        delta = lora[key.replace("down", "up")] @ lora[key]
        names = [f"{block}.proj_out"] if kind == "proj_lora" else [f"{block}.attn.{name}" for name in targets[kind]]
        for name, part in zip(names, delta.chunk(len(names)), strict=True):
            backbone.network.get_submodule(name).weight.data += part  # pyright: ignore


def test_uno_lora_equals_fusing_by_hand(tiny_folder: Path, tmp_path: Path, tiny: FluxUno) -> None:
    lora = _uno_lora()
    assert len(lora) == 28
    save_file(lora, tmp_path / "dit_lora.safetensors")
    adapted = FluxUno.load(tiny_folder, loras=[tmp_path])
    assert sum("lora_" in name for name, _ in adapted.network.named_parameters()) == 56
    assert not any(tensor.requires_grad for tensor in adapted.network.parameters())
    fused = FluxUno.load(tiny_folder)
    _fuse_by_hand(fused, lora)
    ours, expected, plain = (_predict(backbone, [0, 1]) for backbone in (adapted, fused, tiny))
    torch.testing.assert_close(ours, expected, atol=2e-5, rtol=1e-4)  # W x + B A x against (W + B A) x in fp32
    assert (expected - plain).abs().max() > 1e-2


def test_several_loras_add_up(tiny_folder: Path, tmp_path: Path) -> None:
    """UNO's and ours together equal both fused into the weights; each layer sums what acts on it."""
    uno, ours = _uno_lora(), _uno_lora(seed=2)
    save_file(uno, tmp_path / "dit_lora.safetensors")
    save_file(ours, tmp_path / "ours.safetensors")
    adapted = FluxUno.load(tiny_folder, loras=[tmp_path, tmp_path / "ours.safetensors"])
    fused = FluxUno.load(tiny_folder)
    _fuse_by_hand(fused, uno)
    only_uno = _predict(fused, [0, 1])
    _fuse_by_hand(fused, ours)
    result, expected = _predict(adapted, [0, 1]), _predict(fused, [0, 1])
    torch.testing.assert_close(result, expected, atol=2e-5, rtol=1e-4)
    assert (expected - only_uno).abs().max() > 1e-2


def test_watch_works_under_a_lora(tiny_folder: Path, tmp_path: Path) -> None:
    save_file(_uno_lora(), tmp_path / "uno.safetensors")
    adapted = FluxUno.load(tiny_folder, loras=[tmp_path / "uno.safetensors"])
    for features in FEATURES:
        watch = Seeing(features)
        _predict(adapted, [0], watch=watch)
        assert len(watch.layers) == 5


def test_lora_of_a_deeper_network_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    strangers = {key.replace("single_blocks.2", "single_blocks.37"): tensor for key, tensor in _uno_lora().items()}
    save_file(strangers, tmp_path / "deep.safetensors")
    with pytest.raises(WeightsError, match=r"deep\.safetensors.*single_blocks\.37"):
        FluxUno.load(tiny_folder, loras=[tmp_path / "deep.safetensors"])


def test_lora_of_a_wider_network_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    wide = {key: torch.cat([tensor, tensor], dim=1) if "down" in key else tensor for key, tensor in _uno_lora().items()}
    save_file(wide, tmp_path / "wide.safetensors")
    with pytest.raises(WeightsError, match=r"wide\.safetensors.*LoRA for this transformer"):
        FluxUno.load(tiny_folder, loras=[tmp_path / "wide.safetensors"])


# prompts -------------------------------------------------------------------------------------------------------------


def test_unknown_words_are_named_once(tiny: FluxUno) -> None:
    assert tiny.unknown_words(PROMPT) == []
    assert tiny.unknown_words("A Zebra and a cat, two cats, a Zebra high-five.") == ["Zebra", "and", "cats"]


def test_truncation_is_noticed(tiny: FluxUno) -> None:
    assert not tiny.prompt_is_truncated("cat " * 31)  # and the end token
    assert tiny.prompt_is_truncated("cat " * 32)


def test_tokens_of_a_picture(tiny: FluxUno) -> None:
    assert tiny.grid() == TokenGrid(8, 8)
    assert tiny.grid(size=96, width=128) == TokenGrid(6, 8)


# folders -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(tiny_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_folder, tmp_path / "copy"))


def test_wrong_folder_lists_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"FluxPipeline.*model_index\.json.*transformer/config\.json.*vae/"):
        FluxUno.load(tmp_path)


def test_missing_part_is_named_alone(copied: Path) -> None:
    shutil.rmtree(copied / "text_encoder_2")
    with pytest.raises(WeightsError, match="text_encoder_2") as caught:
        FluxUno.load(copied)
    assert "vae" not in str(caught.value)


@pytest.mark.parametrize("damage", [lambda data: data[:-1000], lambda data: b"x" * len(data), lambda _: b""])
def test_damaged_weights_are_named(copied: Path, damage: Callable[[bytes], bytes]) -> None:
    path = copied / WEIGHTS
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(WeightsError, match=WEIGHTS):
        FluxUno.load(copied)


@pytest.mark.parametrize("part", ["transformer", "vae"])
def test_weights_that_give_no_finite_pixels_are_refused(copied: Path, part: str) -> None:
    """The header is whole, the numbers are not; without the refusal the picture is black."""
    path = copied / part / "diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4096] = b"\xff" * 4096  # NaN in every format
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=r"copy: expected finite pixels, .*; download it again, or try --dtype"):
        FluxUno.load(copied).generate(PROMPT, seed=0, options=FluxOptions(size=64, steps=1))


def test_missing_tensor_is_named(copied: Path) -> None:
    tensors = load_file(copied / WEIGHTS)
    del tensors["x_embedder.weight"]
    save_file(tensors, copied / WEIGHTS)
    with pytest.raises(WeightsError, match=r"transformer.*x_embedder\.weight"):
        _ = FluxUno.load(copied).network


def test_tensor_of_another_shape_is_refused(copied: Path) -> None:
    tensors = load_file(copied / WEIGHTS)
    tensors["x_embedder.weight"] = tensors["x_embedder.weight"][:, :32].contiguous()
    save_file(tensors, copied / WEIGHTS)
    with pytest.raises(WeightsError, match="copy/transformer"):
        _ = FluxUno.load(copied).network


def test_folder_of_another_model_is_refused(copied: Path) -> None:
    path = copied / "transformer/config.json"
    path.write_text(path.read_text().replace("FluxTransformer2DModel", "SD3Transformer2DModel"))
    with pytest.raises(WeightsError, match="expected FluxTransformer2DModel, got SD3Transformer2DModel"):
        FluxUno.load(copied)


def test_without_settings_file_the_numbers_are_those_of_flux_and_uno(tmp_path: Path) -> None:
    settings = read_settings(tmp_path)
    assert settings == FluxSettings(512, 512, 512, 320, 25, 1.0, 1.0, 4.0)
    assert not settings.word_vocabulary


@pytest.mark.parametrize("text", ["{", "[]", '{"siize": 64}', '{"size": "64"}', '{"size": 0}', '{"size": 1.5}'])
def test_bad_settings_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "likeness.json").write_text(text)
    with pytest.raises(WeightsError, match=r"likeness\.json: expected"):
        read_settings(tmp_path)


def test_one_scale_in_the_settings_is_that_of_the_references_too(tmp_path: Path) -> None:
    (tmp_path / "likeness.json").write_text(json.dumps({"default_cfg_scale": 2.5}))
    assert read_settings(tmp_path) == FluxSettings(default_cfg_scale=2.5, default_reference_cfg_scale=2.5)


def test_settings_are_read(tmp_path: Path) -> None:
    (tmp_path / "likeness.json").write_text(json.dumps({"size": 64, "guidance": 1}))
    assert read_settings(tmp_path) == FluxSettings(size=64, guidance=1.0)


def test_loaded_backbone_is_frozen(tiny: FluxUno) -> None:
    parts = tiny.parts
    models = (parts.transformer, parts.vae, parts.text_encoder, parts.text_encoder_2)
    assert not any(tensor.requires_grad for model in models for tensor in model.parameters())
    assert not any(model.training for model in models)
