"""Stage "unet": the folder, the noise loss against the stock pipeline, the cache, resuming and the export."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from stock_sdxl import stock_sdxl
from torch import Tensor

from likeness.core.errors import ConfigError
from likeness.core.rng import seed_for
from likeness.pretrain import unet
from likeness.pretrain.adapter_format import set_scale
from likeness.pretrain.config import PretrainConfig, read_config
from likeness.pretrain.latents import shard_scenarios
from likeness.pretrain.probe import probe_config
from likeness.pretrain.run import run
from likeness.pretrain.unet import (
    UnetTraining,
    answers,
    draw_given,
    share_read,
    signal_noise,
    snr_weights,
    train_unet,
)
from likeness.pretrain.unet_cache import UnetShard, cache_folder, encode_examples, word_ids
from likeness.pretrain.unet_parts import PARTS, UnetParts, load_parts, prepare_folder
from likeness.pretrain.vae import WEIGHTS
from likeness.world.render import render_reference
from likeness.world.scenario import caption

PROMPTS = ["A cat is hugging a dog in the forest.", "A frog on the beach", "A red pig"]


@pytest.fixture
def copy(
    sdxl_work: PretrainConfig, tmp_path: Path, write_recipe: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], PretrainConfig]:
    """Copies of the work folder by name; validation sees 4 pictures per count."""
    monkeypatch.setattr(unet, "NUM_VALIDATION", 4)

    def of(name: str) -> PretrainConfig:
        shutil.copytree(sdxl_work.work, tmp_path / name)
        return read_config(write_recipe(tmp_path / name))

    return of


Copy = Callable[[str], PretrainConfig]


@pytest.fixture(scope="module")
def parts(sdxl_work: PretrainConfig) -> UnetParts:
    return load_parts(sdxl_work.work / "sdxl", device="cpu")


def batch_of(parts: UnetParts, num_references: int) -> UnetShard:
    generator = torch.Generator().manual_seed(num_references)
    return UnetShard(
        torch.randn(3, 16, 4, 4, generator=generator),
        torch.rand(3, 4, 4, generator=generator),
        torch.randn(3, num_references, 5, 64, generator=generator),
        word_ids(parts.encoders.tokenizer, PROMPTS),
        torch.zeros(3, num_references, 11, dtype=torch.long),
    )


def noise_of(batch: UnetShard) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(9)
    return torch.tensor([0, 481, 999]), torch.randn(batch.target.shape, generator=generator)


# -- the loss --------------------------------------------------------------------------------------------------
def alphas_by_hand() -> list[float]:
    """SDXL's scaled-linear betas, multiplied one by one in double precision."""
    found, product = list[float](), 1.0
    for k in range(1000):
        beta = (0.00085**0.5 + (0.012**0.5 - 0.00085**0.5) * k / 999) ** 2
        product *= 1 - beta
        found.append(product)
    return found


def test_noising_and_weights_by_hand(parts: UnetParts) -> None:
    alphas, steps = alphas_by_hand(), torch.tensor([0, 300, 999])
    x0, eps = torch.full((3, 1, 1, 1), 2.0), torch.full((3, 1, 1, 1), -1.0)
    expected = [alphas[k] ** 0.5 * 2 - (1 - alphas[k]) ** 0.5 for k in (0, 300, 999)]
    found = signal_noise(parts, x0, eps, steps).flatten()
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-5, rtol=1e-5)
    snrs = [alphas[k] / (1 - alphas[k]) for k in (0, 300, 999)]
    assert snrs[0] > 5 > snrs[2]
    weights = snr_weights(parts.alphas_cumprod, steps, gamma=5.0)
    torch.testing.assert_close(weights, torch.tensor([min(s, 5) / s for s in snrs]), atol=1e-6, rtol=1e-3)
    assert weights[2] == 1


@pytest.mark.parametrize("given", ["all", "prompt", "nothing"])
@pytest.mark.parametrize("num_references", [1, 2])
def test_answers_equal_the_stock_pipelines_networks(
    sdxl_work: PretrainConfig, parts: UnetParts, num_references: int, given: unet.Given
) -> None:
    """Each picture alone through the stock U-Net, which resamples features itself and attends by fused kernels."""
    pipeline = stock_sdxl(sdxl_work.work / "sdxl", adapter=given != "prompt")
    batch = batch_of(parts, num_references)
    steps, eps = noise_of(batch)
    zeros = torch.randn(5, 64, generator=torch.Generator().manual_seed(3))
    sizes = torch.tensor([[32.0, 32, 0, 0, 32, 32]])
    with torch.no_grad():
        errors, tokens = answers(parts, batch, steps=steps, eps=eps, zeros=zeros, given=given)
        assert tokens.shape == (3, num_references, 16, 192)
        for i in range(3):
            text, none, pooled, no_pooled = pipeline.encode_prompt(PROMPTS[i], do_classifier_free_guidance=True)
            features = batch.references[i : i + 1]
            if given == "nothing":
                text, pooled, features = none, no_pooled, zeros.expand_as(features)
            added = {"text_embeds": pooled, "time_ids": sizes}
            if given != "prompt":
                added["image_embeds"] = [features]
            alpha = alphas_by_hand()[int(steps[i])]
            x_t = (alpha**0.5 * batch.target[i] + (1 - alpha) ** 0.5 * eps[i])[None]
            noise = pipeline.unet(x_t, steps[i], text, added_cond_kwargs=added).sample[0]
            expected = (noise - eps[i]).square().mean(0)
            torch.testing.assert_close(errors[i], expected, rtol=1e-4, atol=1e-5)


def test_the_picture_of_zeros_is_the_pipelines(copy: Copy) -> None:
    training = UnetTraining(copy("zeros"), device="cpu")
    pipeline = stock_sdxl(training.config.work / "sdxl")
    _, nothing = pipeline.encode_image(Image.new("RGB", (32, 32)), "cpu", 1, output_hidden_states=True)
    torch.testing.assert_close(training.zeros, nothing[0])


def test_every_condition_is_heard_and_every_part_learns(sdxl_work: PretrainConfig) -> None:
    parts = load_parts(sdxl_work.work / "sdxl", device="cpu")
    batch = batch_of(parts, 2)
    steps, eps = noise_of(batch)
    zeros = torch.zeros(5, 64)
    for part in PARTS:
        getattr(parts, part).requires_grad_(True)
    errors, _ = answers(parts, batch, steps=steps, eps=eps, zeros=zeros)
    errors.mean().backward()
    for part in PARTS:
        gradients = [p.grad for p in getattr(parts, part).parameters() if p.grad is not None]
        assert sum(float(g.abs().sum()) for g in gradients) > 0, part
    assert all(p.grad is None for p in parts.encoders.image_encoder.parameters())
    with torch.no_grad():
        for field in ("references", "words"):
            rolled = replace(batch, **{field: getattr(batch, field).roll(1, 0)})
            assert not torch.equal(answers(parts, rolled, steps=steps, eps=eps, zeros=zeros)[0], errors), field
        swapped = replace(batch, references=batch.references.flip(1))  # a bag: no order, unlike UNO's positions
        again, _ = answers(parts, swapped, steps=steps, eps=eps, zeros=zeros)
        torch.testing.assert_close(again, errors.detach(), rtol=1e-4, atol=1e-5)


def test_the_adapter_acts_again_after_the_base_answered_alone(parts: UnetParts) -> None:
    batch = batch_of(parts, 1)
    steps, eps = noise_of(batch)
    with torch.no_grad():
        before, _ = answers(parts, batch, steps=steps, eps=eps, zeros=torch.zeros(5, 64))
        answers(parts, batch, steps=steps, eps=eps, zeros=torch.zeros(5, 64), given="prompt")
        after, _ = answers(parts, batch, steps=steps, eps=eps, zeros=torch.zeros(5, 64))
        assert torch.equal(before, after)
        set_scale(parts.unet, 0.0)
        alone, _ = answers(parts, batch, steps=steps, eps=eps, zeros=torch.zeros(5, 64), given="prompt")
    assert not torch.equal(alone, before)


def test_what_a_batch_is_told() -> None:
    drawn = [draw_given(i / 1000, dropout=0.1) for i in range(1000)]
    assert {given: drawn.count(given) for given in set(drawn)} == {"all": 900, "nothing": 70, "prompt": 30}
    assert draw_given(0.0, dropout=0.0) == "all"


def test_attributes_read_by_hand() -> None:
    """Two subjects, two attributes; the second does not apply to the second subject."""
    read = {"species": torch.tensor([[0.0, 1.0], [1.0, 0.0]]), "age": torch.tensor([[2.0, 1.0], [2.0, 1.0]])}
    assert share_read(read, torch.tensor([[1, 1], [0, -1]])) == (2, 3)
    assert share_read(read, torch.tensor([[0, 0], [0, -1]])) == (2, 3)


# -- the cache -------------------------------------------------------------------------------------------------
def test_a_shard_is_what_its_scenarios_show(sdxl_work: PretrainConfig, parts: UnetParts) -> None:
    scenarios = shard_scenarios(1, size=3, split="train")  # two subjects each
    shard = encode_examples(parts.encoders, scenarios, sdxl_work)
    assert shard.target.shape == (3, 16, 4, 4)
    assert shard.references.shape == (3, 2, 5, 64)
    labels = probe_config(sdxl_work).attributes
    for i, scenario in enumerate(scenarios):
        text = parts.encoders.tokenizer.decode(shard.words[i], skip_special_tokens=True)
        assert text.replace(" ", "") == caption(scenario).lower().replace(" ", "")
        for k, who in enumerate(scenario.identities):
            told = [
                values[c] if c >= 0 else "none" for values, c in zip(labels.values(), shard.classes[i, k], strict=True)
            ]
            assert told == list(who.attributes().values())
            portrait = render_reference(who, seed=seed_for("reference", scenario.seed, k), size=32)
            pixels = torch.from_numpy(portrait).permute(2, 0, 1)[None] / 127.5 - 1
            with torch.no_grad():
                seen = parts.encoders.image_encoder(pixels, output_hidden_states=True).hidden_states
            assert seen is not None
            torch.testing.assert_close(shard.references[i, k].float(), seen[-2][0], atol=0.05, rtol=0.05)


def test_only_another_encoder_is_another_cache(copy: Copy) -> None:
    config = copy("keys")
    folder = cache_folder(config)
    assert folder.is_dir()
    assert len(list(folder.iterdir())) == 11
    for path, prefix, same in (
        (config.work / "vae" / WEIGHTS, "decoder.conv_out.bias", True),
        (config.work / "vae" / WEIGHTS, "encoder.conv_out.bias", False),
        (config.work / "sdxl" / "image_encoder" / "model.safetensors", "vision_model.post_layernorm.bias", False),
    ):
        whole = {name: tensor.clone() for name, tensor in load_file(path).items()}
        save_file({**whole, prefix: whole[prefix] + 1}, path)
        assert (cache_folder(config) == folder) is same, prefix
        save_file(whole, path)


# -- the training ----------------------------------------------------------------------------------------------
def weights_of(training: UnetTraining) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in training.named}


def test_resumed_steps_equal_straight_steps(copy: Copy) -> None:
    straight = UnetTraining(copy("straight"), device="cpu")
    losses = [float(straight.step()) for _ in range(4)]
    config = copy("stopped")
    first = UnetTraining(config, device="cpu")
    early = [float(first.step()) for _ in range(2)]
    first.save()
    second = UnetTraining(config, device="cpu")
    assert second.seen == 8
    late = [float(second.step()) for _ in range(2)]
    assert early + late == losses
    a, b = weights_of(straight), weights_of(second)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert all(torch.equal(straight.ema.averages[name], second.ema.averages[name]) for name in a)


def test_the_export_is_the_average_in_stock_formats_and_draws(copy: Copy) -> None:
    """The stock pipeline opens it, adds the adapter and references change what it draws; training is untouched."""
    training = UnetTraining(copy("exported"), device="cpu")
    for _ in range(2):
        training.step()
    before, values = weights_of(training), training.validate()
    unet.export_unet(training)
    after = weights_of(training)
    assert all(torch.equal(before[name], after[name]) for name in before)
    folder = training.config.work / "sdxl"
    exported = load_parts(folder, device="cpu")
    for name, p in unet._parameters(exported, training.readers):
        if not name.startswith("readers."):
            assert torch.equal(p, training.ema.averages[name]), name
    assert set(values) == {
        *("validation_loss", "validation_loss_subjects", "validation_gain_references", "validation_attributes_read")
    }
    pipeline = stock_sdxl(folder)
    red, blue = (Image.new("RGB", (32, 32), colour) for colour in ("red", "blue"))
    drawn = [
        np.asarray(
            pipeline(
                PROMPTS[0], ip_adapter_image=[references], num_inference_steps=2, height=32, width=32,
                generator=torch.Generator().manual_seed(0),
            ).images[0]
        )
        for references in ([red, blue], [red, blue], [red, red])
    ]  # fmt: skip
    assert drawn[0].shape == (32, 32, 3)
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_the_stage_needs_autoencoder_and_clip(copy: Copy, tmp_path: Path, write_recipe: Callable[[Path], Path]) -> None:
    config = copy("lacking")
    shutil.rmtree(config.work / "clip")
    with pytest.raises(ConfigError, match=r'stage "unet": expected a CLIP in .*run stage "clip" first'):
        prepare_folder(config)
    recipe = write_recipe(tmp_path / "empty")
    with pytest.raises(ConfigError, match=r'stage "unet": .*run stage "autoencoder" first'):
        run(recipe, "unet")
    assert [p.name for p in recipe.parent.iterdir()] == ["recipe.toml"]


@pytest.mark.slow
def test_the_stage_runs_to_its_end_and_is_not_run_again(copy: Copy) -> None:
    config = copy("whole")
    train_unet(config, device="cpu")
    assert len((config.work / "unet.jsonl").read_text().splitlines()) == 1
    before = {p: p.read_bytes() for p in (config.work / "sdxl").rglob("*.safetensors")}
    train_unet(config, device="cpu")
    assert {p: p.read_bytes() for p in before} == before
