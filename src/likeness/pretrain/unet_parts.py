"""The tiny SDXL in the hands of stage "unet": its folder made ready, its networks opened with the adapter attached."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import (
    AttnProcessor,
    AttnProcessor2_0,
    IPAdapterAttnProcessor,
    IPAdapterAttnProcessor2_0,
)
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

from likeness.backbones.sdxl.adapter import attach
from likeness.core.errors import ConfigError
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.tiny_sdxl import ADAPTER, build_tiny_sdxl, save_sdxl_vae
from likeness.pretrain.unet_cache import Encoders
from likeness.pretrain.vae import on_device, require_vae

PARTS = ("unet", "resampler", "text_encoder", "text_encoder_2")
SETTINGS = {"default_steps": 12, "default_cfg_scale": 2.0}
"""Not yet chosen on validation cases."""


@dataclass(frozen=True)
class UnetParts:
    """What is trained, what stays, and SDXL's share of signal after each training step."""

    unet: Any  # UNet2DConditionModel, whose attention processors have no common type
    resampler: nn.Module
    text_encoder: CLIPTextModel
    text_encoder_2: CLIPTextModelWithProjection
    encoders: Encoders
    alphas_cumprod: Float[Tensor, " T"]

    @property
    def device(self) -> torch.device:
        """Where the networks lie."""
        return self.unet.device


def prepare_folder(config: PretrainConfig) -> Path:
    """`<work>/sdxl`: a stock pipeline folder with the trained autoencoder and CLIP, and a fresh U-Net and adapter.

    Raises: ConfigError without an autoencoder or a CLIP.
    """
    vae, clip, target = require_vae(config, stage="unet"), config.work / "clip", config.work / "sdxl"
    if not (clip / "config.json").is_file():
        raise ConfigError(f'stage "unet": expected a CLIP in {clip}, got none; run stage "clip" first.')
    if not (target / "model_index.json").exists():
        table = config.unet
        numbers = {
            "block_out_channels": list(table.block_out_channels),
            "transformer_layers_per_block": list(table.transformer_layers_per_block),
            "sample_size": config.size // 8,
        }
        settings = {"size": config.size, **SETTINGS}
        build_tiny_sdxl(target, clip=clip, vae=vae, unet=numbers, settings=settings, seed=config.seed)
    save_sdxl_vae(vae, target / "vae")
    return target


def load_parts(folder: Path, *, device: str) -> UnetParts:
    """The folder's networks in fp32 on `device`; the U-Net carries the adapter."""
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    resampler = attach(unet, load_file(folder / "ip_adapter" / ADAPTER))
    plain = device == "cpu"
    if plain:
        use_plain_attention(unet, resampler)

    scheduler: Any = EulerDiscreteScheduler.from_pretrained(folder / "scheduler")

    def text(kind: Any, part: str) -> Any:  # the class that it is given
        encoder = kind.from_pretrained(folder / part, attn_implementation="eager" if plain else "sdpa")
        return on_device(encoder, device)

    vae = AutoencoderKL.from_pretrained(folder / "vae").eval().requires_grad_(False)
    vision = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder").eval().requires_grad_(False)
    return UnetParts(
        unet=on_device(unet, device),
        resampler=on_device(resampler, device),
        text_encoder=text(CLIPTextModel, "text_encoder"),
        text_encoder_2=text(CLIPTextModelWithProjection, "text_encoder_2"),
        encoders=Encoders(
            on_device(vae, device), on_device(vision, device), CLIPTokenizer.from_pretrained(folder / "tokenizer")
        ),
        alphas_cumprod=scheduler.alphas_cumprod.to(device),
    )


def use_plain_attention(unet: Any, resampler: Any) -> None:
    """Attention by two matrix products: torch's fused kernel for CPUs is slower backwards (docs/log.md)."""
    for block in resampler.layers:
        block.attn.set_processor(AttnProcessor())
    processors: dict[str, Any] = {}
    for name, fused in unet.attn_processors.items():
        if isinstance(fused, IPAdapterAttnProcessor2_0):
            plain = IPAdapterAttnProcessor(fused.hidden_size, fused.cross_attention_dim, fused.num_tokens)
            plain.to_k_ip, plain.to_v_ip = fused.to_k_ip, fused.to_v_ip
            processors[name] = plain
        else:
            assert isinstance(fused, AttnProcessor2_0)
            processors[name] = AttnProcessor()
    unet.set_attn_processor(processors)
