"""Stage "autoencoder": batches are functions of their number, a stopped run equals a straight one bit for bit."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from likeness.core.files import read_json
from likeness.pretrain import autoencoder
from likeness.pretrain.autoencoder import (
    _batch,
    autoencoder_loss,
    build_autoencoder,
    gradient_error,
    portraits,
    scenes,
    to_pixels,
    train_autoencoder,
    train_decoder,
    validation_psnrs,
)
from likeness.pretrain.config import AutoencoderTable, PretrainConfig, read_config
from likeness.train.schedule import psnr
from likeness.train.state import load_state
from likeness.world.render import render_image
from likeness.world.scenario import sample_scenario

Write = Callable[[Path], Path]


class Stopped(BaseException):
    """The process dies."""


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "diffusion_pytorch_model.safetensors")


@pytest.fixture(autouse=True)
def few_validation_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        autoencoder, "validation_psnrs", lambda vae, *, size: validation_psnrs(vae, size=size, num_images=4)
    )


def test_to_pixels_maps_bytes_to_minus_one_to_one() -> None:
    images = np.array([0, 255, 51], dtype=np.uint8).reshape(1, 1, 1, 3)
    pixels = to_pixels(images)
    assert pixels.shape == (1, 3, 1, 1)
    torch.testing.assert_close(pixels.flatten(), torch.tensor([-1.0, 1.0, -0.6]))


def test_pictures_are_numbered() -> None:
    three = scenes(10, 3, size=32, split="train")
    assert np.array_equal(three[1:], scenes(11, 2, size=32, split="train"))
    assert np.array_equal(three[0], render_image(sample_scenario(10, split="train"), size=32))
    faces = portraits(10, 3, size=32, split="test")
    assert np.array_equal(faces[1:], portraits(11, 2, size=32, split="test"))
    assert not np.array_equal(faces, portraits(10, 3, size=32, split="train"))


def test_batches_mix_scenes_and_portraits_of_both_sizes(prepared: PretrainConfig) -> None:
    sides = [_batch(prepared, prepared.autoencoder, 4 * i).shape for i in range(60)]
    assert set(sides) == {(4, 32, 32, 3), (4, 16, 16, 3)}
    once, again = (_batch(prepared, prepared.autoencoder, 8) for _ in range(2))
    assert np.array_equal(once, again)


def test_the_seed_decides_the_first_weights(prepared: PretrainConfig) -> None:
    first, again = build_autoencoder(prepared), build_autoencoder(prepared)
    other = build_autoencoder(prepared.model_copy(update={"seed": 4}))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.encoder.conv_in.weight, other.encoder.conv_in.weight)


def test_stopped_and_continued_equals_straight(
    prepared: PretrainConfig, tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`prepared` trained 4 batches straight; here the process dies in the third, after a save."""
    config = read_config(write_recipe(tmp_path))
    monkeypatch.setattr(autoencoder, "SAVE_EVERY_BATCHES", 2)

    def dying(config: PretrainConfig, table: AutoencoderTable, first: int) -> NDArray[np.uint8]:
        if first == 8:
            raise Stopped
        return _batch(config, table, first)

    monkeypatch.setattr(autoencoder, "_batch", dying)
    with pytest.raises(Stopped):
        train_autoencoder(config, device="cpu")
    state = load_state(config.work / "autoencoder.state")
    assert state is not None
    assert state["seen"] == 8
    monkeypatch.setattr(autoencoder, "_batch", _batch)
    train_autoencoder(config, device="cpu")
    straight, resumed = weights(prepared.work / "vae"), weights(config.work / "vae")
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)
    assert (prepared.work / "vae" / "config.json").read_text() == (config.work / "vae" / "config.json").read_text()


def test_a_finished_stage_leaves_its_export(work_copy: Callable[[str], PretrainConfig]) -> None:
    config = work_copy("again")
    before = weights(config.work / "vae")
    train_autoencoder(config, device="cpu")
    after = weights(config.work / "vae")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_export_has_unit_latents_and_averaged_weights(prepared: PretrainConfig) -> None:
    vae: Any = AutoencoderKL.from_pretrained(prepared.work / "vae")
    state = load_state(prepared.work / "autoencoder.state")
    assert state is not None
    for name, p in vae.named_parameters():
        assert torch.equal(p, state["ema"]["averages"][name])
    with torch.no_grad():
        z = vae.encode(to_pixels(scenes(0, 256, size=32, split="train"))).latent_dist.mode()
    scaled = (z - vae.config.shift_factor) * vae.config.scaling_factor
    assert float(scaled.mean()) == pytest.approx(0, abs=1e-3)
    assert float(scaled.std()) == pytest.approx(1, abs=1e-3)


def test_the_decoder_stage_keeps_the_exported_encoder_and_scale(work_copy: Callable[[str], PretrainConfig]) -> None:
    """Latents were cached with the exported (averaged) encoder, so it must not move, and the decoder must."""
    config = work_copy("decoder")
    before, settings = weights(config.work / "vae"), read_json(config.work / "vae" / "config.json")
    train_decoder(config, device="cpu")
    after = weights(config.work / "vae")
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("encoder."))
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("decoder."))
    kept = read_json(config.work / "vae" / "config.json")
    assert (kept["shift_factor"], kept["scaling_factor"]) == (settings["shift_factor"], settings["scaling_factor"])
    train_decoder(config, device="cpu")  # finished: loaded, not trained
    again = weights(config.work / "vae")
    assert all(torch.equal(after[name], again[name]) for name in after)


def test_loss_by_hand(prepared: PretrainConfig) -> None:
    """A frozen encoder gets no gradient; weights of 0 leave the mean squared error."""
    vae: Any = AutoencoderKL.from_pretrained(prepared.work / "vae")
    x = to_pixels(scenes(0, 2, size=32, split="train"))
    for frozen in (True, False):
        changes = {"freeze_encoder": frozen, "l1_weight": 0.0, "kl_weight": 0.0}
        table = prepared.autoencoder.model_copy(update=changes)
        torch.manual_seed(0)
        loss, mse = autoencoder_loss(vae, x, table=table)
        assert loss.item() == mse.item()
        vae.zero_grad()
        loss.backward()
        gradient = vae.encoder.conv_in.weight.grad
        assert (gradient is None or not gradient.any()) == frozen
        assert vae.decoder.conv_out.weight.grad.any()


def test_validation_psnr_of_each_picture(prepared: PretrainConfig) -> None:
    vae: Any = AutoencoderKL.from_pretrained(prepared.work / "vae")
    told = validation_psnrs(vae, size=32, num_images=3)
    values = []
    for i in range(3):
        x = to_pixels(scenes(i, 1, size=32, split="test"))
        with torch.no_grad():
            y = vae.decode(vae.encode(x).latent_dist.mode()).sample.clamp(-1, 1)
        values.append(psnr(float((y - x).double().square().mean())))
    assert told == pytest.approx(values, abs=1e-3)
    assert all(map(math.isfinite, told))


def test_the_export_is_stock(prepared: PretrainConfig) -> None:
    settings = read_json(prepared.work / "vae" / "config.json")
    assert settings["_class_name"] == "AutoencoderKL"
    assert settings["latent_channels"] == 16


def test_outlines_are_compared_along_both_axes() -> None:
    """By hand: steps to the right and down of one channel, means taken apart and added."""
    x = torch.zeros(1, 3, 2, 2)
    y = x.clone()
    y[0, 0] = torch.tensor([[0.0, 3.0], [0.0, 5.0]])  # steps right 3 and 5, down 0 and 2
    assert float(gradient_error(y, x)) == pytest.approx((3 + 5) / 6 + (0 + 2) / 6)
    assert float(gradient_error(y, y)) == 0
    assert float(gradient_error(y + 1, y)) == pytest.approx(0)  # a brighter picture has the same outlines


def test_a_decoder_sees_latents_moved_by_up_to_the_given_share(
    tmp_path: Path, write_recipe: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = read_config(write_recipe(tmp_path))
    vae = build_autoencoder(config)
    x = to_pixels(scenes(0, 64, size=32, split="train"))
    mean = autoencoder.posterior(vae, x).mode().detach()
    seen: list[Tensor] = []

    def decoded(_: AutoencoderKL, z: Tensor) -> Tensor:
        seen.append(z)
        return x

    monkeypatch.setattr(autoencoder, "decoded", decoded)
    for noise in (0.0, 0.4):
        autoencoder_loss(vae, x, table=config.decoder.model_copy(update={"latent_noise": noise}))
    spread = [((z - mean) / mean.std()).flatten(1).std(1) for z in seen]
    assert spread[0].tolist() == pytest.approx([0.05] * 64, rel=0.3)
    assert 0.04 < float(spread[1].min()) < 0.15
    assert 0.35 < float(spread[1].max()) < 0.55
