"""A complete SDXL folder with an IP-Adapter-Plus: the published layout, random weights, small enough for one core.

What is SDXL's: the kinds of blocks, two text encoders, Euler's scheduler, the names and the number of tensors per layer
of the adapter's file. The sizes are not.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from likeness.core.files import write_json
from likeness.pretrain.tiny_tokenizers import clip_tokenizer

CORPUS = ["A cat is hugging a duck in the snow.", "a cat hugs a dog", "a red fox waves on the beach", "blurry, bad"]
SETTINGS: dict[str, Any] = {"size": 64, "default_steps": 2, "default_cfg_scale": 2.0}
ADAPTER = "ip-adapter-plus_sdxl_vit-h.safetensors"
UNET: dict[str, Any] = {
    "block_out_channels": (16, 32, 32), "layers_per_block": 1, "transformer_layers_per_block": (1, 1, 2),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": (1, 2, 2), "cross_attention_dim": 64, "use_linear_projection": True, "norm_num_groups": 8,
    "addition_embed_type": "text_time", "addition_time_embed_dim": 8,
    "projection_class_embeddings_input_dim": 6 * 8 + 32, "sample_size": 8,
}  # fmt: skip
VAE: dict[str, Any] = {
    "block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "latent_channels": 4, "norm_num_groups": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
    "mid_block_add_attention": False, "sample_size": 64, "scaling_factor": 0.13025,
}  # fmt: skip
_CLIP: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 64, "projection_dim": 32,
}  # fmt: skip
SCHEDULER: dict[str, Any] = {  # SDXL's own
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1,
    "timestep_spacing": "leading",
}  # fmt: skip
TOKENS, WIDTH, IMAGE_WIDTH = 4, 64, 32
FULL_SIZE: dict[str, Any] = {  # stabilityai/stable-diffusion-xl-base-1.0, unet/config.json
    "block_out_channels": (320, 640, 1280), "layers_per_block": 2, "transformer_layers_per_block": (1, 2, 10),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": (5, 10, 20), "cross_attention_dim": 2048, "use_linear_projection": True,
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
    "sample_size": 128,
}  # fmt: skip


def adapter_tensors(unet: Any, *, text_width: int, seed: int = 1) -> dict[str, Tensor]:
    """An IP-Adapter-Plus for the U-Net by its published names."""
    draw = torch.Generator().manual_seed(seed)

    def matrix(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=draw) / columns**0.5

    def norm(name: str, width: int) -> dict[str, Tensor]:
        return {f"{name}.weight": torch.ones(width), f"{name}.bias": 0.1 * matrix(1, width)[0]}

    made = {
        "latents": torch.randn(1, TOKENS, WIDTH, generator=draw) / WIDTH**0.5,
        "proj_in.weight": matrix(WIDTH, IMAGE_WIDTH),
        "proj_in.bias": matrix(1, WIDTH)[0],
        "proj_out.weight": matrix(text_width, WIDTH),
        "proj_out.bias": matrix(1, text_width)[0],
        **norm("norm_out", text_width),
    }
    for number in range(4):
        block = f"layers.{number}"
        made |= {
            **norm(f"{block}.0.norm1", WIDTH),
            **norm(f"{block}.0.norm2", WIDTH),
            f"{block}.0.to_q.weight": matrix(64, WIDTH),
            f"{block}.0.to_kv.weight": matrix(128, WIDTH),
            f"{block}.0.to_out.weight": matrix(WIDTH, 64),
            **norm(f"{block}.1.0", WIDTH),
            f"{block}.1.1.weight": matrix(4 * WIDTH, WIDTH),
            f"{block}.1.3.weight": matrix(WIDTH, 4 * WIDTH),
        }
    tensors = {f"image_proj.{name}": tensor for name, tensor in made.items()}
    for number, name in enumerate(unet.attn_processors):
        if "attn2" in name:
            width = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
            for kind in ("to_k_ip", "to_v_ip"):
                tensors[f"ip_adapter.{number}.{kind}.weight"] = 2 * matrix(width, text_width)
    return tensors


def num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _text_config(tokenizer: Any) -> CLIPTextConfig:
    ids = {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return CLIPTextConfig(vocab_size=len(tokenizer), max_position_embeddings=24, **ids, **_CLIP)


def build_tiny_sdxl(
    folder: Path,
    *,
    seed: int = 0,
    unet: dict[str, Any] | None = None,
    vae: dict[str, Any] | None = None,
    scheduler: Any = None,
) -> Path:
    """The folder; `unet` and `vae` change numbers of a part."""
    tokenizer = clip_tokenizer(CORPUS, max_length=24)
    text = _text_config(tokenizer)
    vision: dict[str, Any] = {**_CLIP, "hidden_size": IMAGE_WIDTH, "image_size": 32, "patch_size": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Any = UNet2DConditionModel(**{**UNET, **(unet or {})})
        kind: Any = StableDiffusionXLPipeline
        pipeline = kind(
            vae=AutoencoderKL(**{**VAE, **(vae or {})}),
            text_encoder=CLIPTextModel(text),
            text_encoder_2=CLIPTextModelWithProjection(text),
            tokenizer=tokenizer,
            tokenizer_2=tokenizer,
            unet=network,
            scheduler=scheduler or EulerDiscreteScheduler(**SCHEDULER),
            add_watermarker=False,
        )
        images = CLIPVisionModelWithProjection(CLIPVisionConfig(**vision))
    pipeline.save_pretrained(folder)
    images.save_pretrained(folder / "image_encoder")
    (folder / "ip_adapter").mkdir()
    tensors = adapter_tensors(network, text_width=network.config.cross_attention_dim)
    save_file(tensors, folder / "ip_adapter" / ADAPTER)
    write_json(folder / "likeness.json", SETTINGS)
    return folder
