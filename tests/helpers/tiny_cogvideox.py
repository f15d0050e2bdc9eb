"""A complete CogVideoX image-to-video folder with random weights, stock in every file; its T5 is that of flux."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXTransformer3DModel,
)
from transformers import AutoTokenizer, T5EncoderModel

from likeness.core.weights import embedded

VAE: dict[str, Any] = {
    "down_block_types": ("CogVideoXDownBlock3D",) * 4, "up_block_types": ("CogVideoXUpBlock3D",) * 4,
    "block_out_channels": (8, 8, 8, 8), "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 2,
    "temporal_compression_ratio": 4, "sample_height": 32, "sample_width": 64,
}  # fmt: skip


def build_tiny_cogvideox(folder: Path, *, image_to_video: bool = True) -> Path:
    """The folder: 9 frames of 64 x 32 px."""
    torch.manual_seed(0)
    flux = embedded("flux")
    text_encoder = T5EncoderModel.from_pretrained(flux / "text_encoder_2")
    vae = AutoencoderKLCogVideoX(**VAE)
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=8 if image_to_video else 4,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=text_encoder.config.d_model,
        num_layers=1,
        sample_width=8,
        sample_height=4,
        sample_frames=9,
        patch_size=2,
        max_text_seq_length=16,
        use_rotary_positional_embeddings=True,
        use_learned_positional_embeddings=True,
    )
    pipeline = CogVideoXImageToVideoPipeline(
        AutoTokenizer.from_pretrained(flux / "tokenizer_2"), text_encoder, vae, transformer, CogVideoXDDIMScheduler()
    )
    pipeline.save_pretrained(folder)
    return folder
