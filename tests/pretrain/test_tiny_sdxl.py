"""The tiny SDXL: an autoencoder without a shift, the published adapter file, the CLIP taken over."""

import json
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file
from stock_sdxl import stock_sdxl

from likeness.backbones.sdxl.adapter import attach
from likeness.pretrain.adapter_format import adapter_tensors
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.tiny_sdxl import ADAPTER, TEXT_LENGTH, sdxl_vae


def test_the_autoencoder_without_a_shift_does_what_the_original_does(
    sdxl_work: PretrainConfig,
) -> None:
    """SDXL's pipeline: latents = mean * scale, picture = decode(latents / scale). FLUX: (mean - shift) * scale."""
    old, new = AutoencoderKL.from_pretrained(sdxl_work.work / "vae"), sdxl_vae(sdxl_work.work / "vae")
    scale, shift = old.config["scaling_factor"], old.config["shift_factor"]
    assert shift != 0
    assert new.config["shift_factor"] is None
    pixels = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        latents: Any = (old.encode(pixels).latent_dist.mode() - shift) * scale  # pyright: ignore[reportAttributeAccessIssue]
        found: Any = new.encode(pixels).latent_dist.mode() * new.config["scaling_factor"]  # pyright: ignore[reportAttributeAccessIssue]
        torch.testing.assert_close(found, latents, atol=1e-5, rtol=1e-5)
        pictures: Any = old.decode(latents / scale + shift).sample  # pyright: ignore[reportAttributeAccessIssue]
        torch.testing.assert_close(new.decode(latents / scale).sample, pictures, atol=1e-5, rtol=1e-5)  # pyright: ignore[reportAttributeAccessIssue]


def test_the_adapter_has_the_published_tensors(sdxl_work: PretrainConfig) -> None:
    """51 of a resampler of depth 4, and two of every cross-attention layer, which have the odd numbers."""
    tensors = load_file(sdxl_work.work / "sdxl" / "ip_adapter" / ADAPTER)
    block = ["0.norm1.bias", "0.norm1.weight", "0.norm2.bias", "0.norm2.weight", "0.to_kv.weight", "0.to_out.weight"]
    block += ["0.to_q.weight", "1.0.bias", "1.0.weight", "1.1.weight", "1.3.weight"]
    ends = [
        "latents",
        *(f"{name}.{kind}" for name in ("proj_in", "proj_out", "norm_out") for kind in ("bias", "weight")),
    ]
    resampler = {f"image_proj.{name}" for name in ends}
    resampler |= {f"image_proj.layers.{k}.{name}" for k in range(4) for name in block}
    assert len(resampler) == 51
    attention = {f"ip_adapter.{2 * n + 1}.to_{kind}_ip.weight" for n in range(7) for kind in "kv"}
    assert set(tensors) == resampler | attention


def test_what_is_attached_is_written_bit_for_bit(sdxl_work: PretrainConfig) -> None:
    """Through diffusers' own reader and back; numbers differ everywhere, so nothing can be swapped."""
    path = sdxl_work.work / "sdxl" / "ip_adapter" / ADAPTER
    generator = torch.Generator().manual_seed(1)
    tensors = {name: torch.randn(tensor.shape, generator=generator) for name, tensor in load_file(path).items()}
    network = UNet2DConditionModel.from_pretrained(sdxl_work.work / "sdxl" / "unet")
    found = adapter_tensors(network, attach(network, tensors))
    assert set(found) == set(tensors)
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_the_clip_is_taken_over_and_the_settings_arrive(sdxl_work: PretrainConfig) -> None:
    folder = sdxl_work.work / "sdxl"
    clip = load_file(sdxl_work.work / "clip" / "model.safetensors")
    for part in ("text_encoder_2", "image_encoder"):
        taken = load_file(folder / part / "model.safetensors")
        assert taken
        assert all(torch.equal(tensor, clip[name]) for name, tensor in taken.items()), part
    assert json.loads((folder / "likeness.json").read_text())["size"] == 32
    assert stock_sdxl(folder, adapter=False).tokenizer_2.model_max_length == TEXT_LENGTH
