"""Folders that hold only the configs of published models, at full size: what a plan needs."""

import json
from pathlib import Path
from typing import Any

_VAE: dict[str, Any] = {
    "block_out_channels": [128, 256, 512, 512], "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4, "layers_per_block": 2, "norm_num_groups": 32, "sample_size": 1024,
    "in_channels": 3, "out_channels": 3, "act_fn": "silu", "force_upcast": True, "mid_block_add_attention": True,
}  # fmt: skip
FLUX_DEV: dict[str, dict[str, Any]] = {
    "transformer": {
        "_class_name": "FluxTransformer2DModel", "attention_head_dim": 128, "guidance_embeds": True, "in_channels": 64,
        "joint_attention_dim": 4096, "num_attention_heads": 24, "num_layers": 19, "num_single_layers": 38,
        "patch_size": 1, "pooled_projection_dim": 768, "axes_dims_rope": [16, 56, 56],
    },
    "vae": {
        "_class_name": "AutoencoderKL", **_VAE, "latent_channels": 16, "scaling_factor": 0.3611,
        "shift_factor": 0.1159, "use_post_quant_conv": False, "use_quant_conv": False,
    },
    "text_encoder": {
        "model_type": "clip_text_model", "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12,
        "num_hidden_layers": 12, "projection_dim": 768, "vocab_size": 49408, "max_position_embeddings": 77,
    },
    "text_encoder_2": {
        "model_type": "t5", "d_model": 4096, "d_ff": 10240, "d_kv": 64, "num_heads": 64, "num_layers": 24,
        "vocab_size": 32128, "feed_forward_proj": "gated-gelu", "is_encoder_decoder": False,
        "tie_word_embeddings": False,
    },
}  # fmt: skip
KLEIN_4B: dict[str, dict[str, Any]] = {
    "transformer": {
        "_class_name": "Flux2Transformer2DModel", "attention_head_dim": 128, "guidance_embeds": False,
        "in_channels": 128, "joint_attention_dim": 7680, "num_attention_heads": 24, "num_layers": 5,
        "num_single_layers": 20, "patch_size": 1, "axes_dims_rope": [32, 32, 32, 32], "mlp_ratio": 3.0,
        "rope_theta": 2000, "timestep_guidance_channels": 256,
    },
    "vae": {"_class_name": "AutoencoderKLFlux2", **_VAE, "latent_channels": 32},
    "text_encoder": {
        "model_type": "qwen3", "hidden_size": 2560, "intermediate_size": 9728, "num_hidden_layers": 36,
        "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
        "tie_word_embeddings": True,
    },
}  # fmt: skip
_CLIP: dict[str, Any] = {"vocab_size": 49408, "max_position_embeddings": 77}
SDXL: dict[str, dict[str, Any]] = {
    "unet": {
        "_class_name": "UNet2DConditionModel", "addition_embed_type": "text_time", "addition_time_embed_dim": 256,
        "attention_head_dim": [5, 10, 20], "block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048,
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "in_channels": 4,
        "out_channels": 4, "layers_per_block": 2, "projection_class_embeddings_input_dim": 2816, "sample_size": 128,
        "transformer_layers_per_block": [1, 2, 10], "use_linear_projection": True,
    },
    "vae": {"_class_name": "AutoencoderKL", **_VAE, "latent_channels": 4, "scaling_factor": 0.13025},
    "text_encoder": {
        **_CLIP, "model_type": "clip_text_model", "hidden_size": 768, "intermediate_size": 3072,
        "num_attention_heads": 12, "num_hidden_layers": 12, "projection_dim": 768,
    },
    "text_encoder_2": {
        **_CLIP, "model_type": "clip_text_model", "hidden_size": 1280, "intermediate_size": 5120,
        "num_attention_heads": 20, "num_hidden_layers": 32, "projection_dim": 1280, "hidden_act": "gelu",
    },
    "image_encoder": {
        "model_type": "clip_vision_model", "hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 16,
        "num_hidden_layers": 32, "patch_size": 14, "image_size": 224, "projection_dim": 1024, "hidden_act": "gelu",
    },
}  # fmt: skip
_PIPELINES = {"FluxPipeline": FLUX_DEV, "Flux2KleinPipeline": KLEIN_4B, "StableDiffusionXLPipeline": SDXL}


def write_configs(folder: Path, pipeline: str) -> Path:
    """The folder with the configs of FLUX.1-dev, FLUX.2-klein-base-4B or SDXL 1.0, and nothing else."""
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    for part, config in _PIPELINES[pipeline].items():
        (folder / part).mkdir()
        (folder / part / "config.json").write_text(json.dumps(config))
    return folder
