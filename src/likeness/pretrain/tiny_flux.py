"""A complete FLUX pipeline folder, small enough for one CPU core and stock in every file.

`FluxPipeline.from_pretrained(folder)` opens it like FLUX.1-dev; only the numbers in the configs differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from likeness.core.files import write_json
from likeness.pretrain.tiny_tokenizers import clip_tokenizer, t5_tokenizer

if TYPE_CHECKING:
    from diffusers import FluxPipeline
    from transformers import CLIPTextModel, CLIPTokenizer

Numbers = Mapping[str, Any]  # keyword arguments of a stock config: their types are the config's affair

_PARTS: Mapping[str, Numbers] = {
    "transformer": {
        "num_layers": 2, "num_single_layers": 4, "attention_head_dim": 64, "num_attention_heads": 4,
        "joint_attention_dim": 128, "pooled_projection_dim": 128, "axes_dims_rope": (8, 28, 28), "in_channels": 64,
        "guidance_embeds": True,
    },
    "vae": {
        "block_out_channels": (16, 32, 64, 128), "layers_per_block": 1, "latent_channels": 16, "norm_num_groups": 8,
        "mid_block_add_attention": False, "use_quant_conv": False, "use_post_quant_conv": False, "sample_size": 128,
        "scaling_factor": 0.3611, "shift_factor": 0.1159,
    },
    "clip": {
        "hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 512,
        "projection_dim": 128, "max_position_embeddings": 48,
    },
    "t5": {
        "d_model": 128, "d_kv": 32, "d_ff": 512, "num_layers": 3, "num_heads": 4, "feed_forward_proj": "gated-gelu",
        "dropout_rate": 0.0,
    },
    "scheduler": {  # FLUX.1-dev
        "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
        "max_image_seq_len": 4096, "shift": 3.0,
    },
    "likeness": {
        "max_sequence_length": 32, "size": 128, "reference_size_single": 96, "reference_size_multi": 96,
        "default_steps": 25, "default_cfg_scale": 1.0, "default_reference_cfg_scale": 1.0, "guidance": 4.0,
        "word_vocabulary": True,
    },
}  # fmt: skip


def vae_numbers(changes: Numbers) -> dict[str, Any]:
    """The settings of the autoencoder with changes, a block of the usual kind for each of its channels."""
    numbers = {**_PARTS["vae"], **changes}
    depth = len(numbers["block_out_channels"])
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * depth, "up_block_types": ("UpDecoderBlock2D",) * depth}
    return numbers | blocks


def _clip(tokenizer: CLIPTokenizer, numbers: Numbers) -> CLIPTextModel:
    """A CLIP text model that pools at the tokenizer's end token; id 2 would select transformers' legacy branch."""
    from transformers import CLIPTextConfig, CLIPTextModel

    ids = {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return CLIPTextModel(CLIPTextConfig(vocab_size=len(tokenizer), **ids, **numbers))


def _pipeline(corpus: list[str], numbers: Mapping[str, Numbers]) -> FluxPipeline:
    from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
    from transformers import T5Config, T5EncoderModel

    words = clip_tokenizer(corpus, max_length=numbers["clip"]["max_position_embeddings"])
    pieces = t5_tokenizer(corpus, max_length=numbers["likeness"]["max_sequence_length"])
    ids = {"vocab_size": len(pieces), "pad_token_id": 0, "eos_token_id": 1}
    t5 = T5Config(is_encoder_decoder=False, use_cache=False, **ids, **numbers["t5"])
    return FluxPipeline(
        transformer=FluxTransformer2DModel(**numbers["transformer"]),
        vae=AutoencoderKL(**vae_numbers(numbers["vae"])),
        text_encoder=_clip(words, numbers["clip"]),
        tokenizer=words,
        text_encoder_2=T5EncoderModel(t5),
        tokenizer_2=pieces,
        scheduler=FlowMatchEulerDiscreteScheduler(**numbers["scheduler"]),
    )


def build_tiny_flux(
    folder: str | Path, *, corpus: list[str], config: Mapping[str, Numbers] | None = None, seed: int = 0
) -> Path:
    """The folder, holding a stock FluxPipeline with random weights and a vocabulary made of the corpus' words.

    `config` overrides numbers per part: "transformer", "vae", "clip", "t5", "scheduler", "likeness" (the settings
    file `likeness.json`). The same arguments give the same weights; the global random state is left as it was.
    """
    import torch

    numbers = {part: {**usual, **(config or {}).get(part, {})} for part, usual in _PARTS.items()}
    target = Path(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = _pipeline(corpus, numbers)
    pipeline.save_pretrained(target)
    write_json(target / "likeness.json", numbers["likeness"])
    return target
