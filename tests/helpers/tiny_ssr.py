"""A complete SD 1.5 folder with an SSR-Encoder: the published layout, random weights, small enough for one core.

What is SD 1.5's: the kinds of blocks, one text encoder, PNDM's config, projections by convolution; what is
SSR-Encoder's: an image encoder of 24 layers, the names of the tensors in its two pickles. The sizes are not. The names
are written down here once more, from its public code, so that wrong ones show.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from tiny_sdxl import CORPUS, VAE
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPVisionConfig, CLIPVisionModelWithProjection

from likeness.backbones.sd15.ssr_adapter import FOLDER_NAME, convert_ssr_encoder
from likeness.core.files import write_json
from likeness.pretrain.tiny_tokenizers import clip_tokenizer

SETTINGS: dict[str, Any] = {"size": 64, "default_steps": 2, "default_cfg_scale": 2.0}
TEXT_WIDTH, TEXT_LENGTH, IMAGE_WIDTH, LEVELS, INNER = 32, 24, 24, 6, 128
TOKENS = LEVELS * TEXT_LENGTH
NUM_LAYERS = 10
"""Blocks with cross-attention: three on the way down, the middle, six on the way up."""
UNET: dict[str, Any] = {
    "block_out_channels": (16, 32, 32, 32), "layers_per_block": 1, "attention_head_dim": 2,
    "down_block_types": ("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
    "cross_attention_dim": TEXT_WIDTH, "norm_num_groups": 8, "sample_size": 8,
}  # fmt: skip
FULL_SIZE: dict[str, Any] = {  # stable-diffusion-v1-5, unet/config.json
    **UNET, "block_out_channels": (320, 640, 1280, 1280), "layers_per_block": 2, "attention_head_dim": 8,
    "cross_attention_dim": 768, "norm_num_groups": 32, "sample_size": 64,
}  # fmt: skip
SCHEDULER: dict[str, Any] = {  # SD 1.5's own, which leaves the rest to its class
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000,
    "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1, "trained_betas": None,
}  # fmt: skip


def published_pickles(unet: Any, *, seed: int = 1) -> dict[str, dict[str, Tensor]]:
    """What pytorch_model.bin and pytorch_model_1.bin hold for the U-Net."""
    draw = torch.Generator().manual_seed(seed)

    def matrix(rows: int, columns: int) -> Tensor:
        return 2 * torch.randn(rows, columns, generator=draw) / columns**0.5

    aligner = {"aligner.to_q.weight": matrix(INNER, TEXT_WIDTH), "aligner.to_k.weight": matrix(INNER, IMAGE_WIDTH)}
    for level in range(LEVELS):
        aligner[f"aligner.processor.to_v.{level}.weight"] = matrix(INNER, IMAGE_WIDTH)
        aligner[f"aligner.processor.to_out.{level}.weight"] = matrix(TEXT_WIDTH, INNER)
    aligner["norm.weight"] = 1 + 0.1 * matrix(1, TEXT_WIDTH)[0]
    aligner["norm.bias"] = 0.1 * matrix(1, TEXT_WIDTH)[0]
    layers: dict[str, Tensor] = {}
    for number, name in enumerate(unet.attn_processors):
        if "attn2" in name:
            width = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
            for kind in ("to_k_SSR", "to_v_SSR"):
                layers[f"{number}.{kind}.weight"] = matrix(width, TEXT_WIDTH)
    return {"pytorch_model.bin": aligner, "pytorch_model_1.bin": layers}


def build_tiny_ssr(folder: Path, *, unet: dict[str, Any] | None = None) -> Path:
    """The folder; its adapter went through the pickles and the conversion. `unet` changes numbers of that part."""
    tokenizer = clip_tokenizer(CORPUS, max_length=TEXT_LENGTH)
    ids = {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    clip: dict[str, Any] = {"num_attention_heads": 2, "intermediate_size": 48, "projection_dim": 32}
    text: dict[str, Any] = {"num_hidden_layers": 2, "hidden_size": TEXT_WIDTH, "max_position_embeddings": TEXT_LENGTH}
    vae: dict[str, Any] = {**VAE, "scaling_factor": 0.18215}
    vision: dict[str, Any] = {"num_hidden_layers": 24, "hidden_size": IMAGE_WIDTH, "image_size": 32, "patch_size": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network: Any = UNet2DConditionModel(**{**UNET, **(unet or {})})
        kind: Any = StableDiffusionPipeline
        pipeline = kind(
            vae=AutoencoderKL(**vae),
            text_encoder=CLIPTextModel(CLIPTextConfig(vocab_size=len(tokenizer), **ids, **clip, **text)),
            tokenizer=tokenizer,
            unet=network,
            scheduler=PNDMScheduler(**SCHEDULER),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        images = CLIPVisionModelWithProjection(CLIPVisionConfig(**clip, **vision))
    pipeline.save_pretrained(folder)
    place = folder / "scheduler" / "scheduler_config.json"
    write_json(place, {"_class_name": "PNDMScheduler", **SCHEDULER})
    images.save_pretrained(folder / "image_encoder")
    write_pickles(network, folder)
    (folder / FOLDER_NAME).mkdir()
    convert_ssr_encoder(folder, folder / FOLDER_NAME, "")
    for pickle in folder.glob("*.bin"):
        pickle.unlink()
    write_json(folder / "likeness.json", SETTINGS)
    return folder


def write_pickles(unet: Any, folder: Path) -> Path:
    """The folder has the two pickles."""
    for name, tensors in published_pickles(unet).items():
        torch.save(tensors, folder / name)
    return folder
