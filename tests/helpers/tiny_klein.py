"""A complete FLUX.2 klein folder with random weights, stock in every file and small enough for one CPU core."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLFlux2, FlowMatchEulerDiscreteScheduler, Flux2KleinPipeline, Flux2Transformer2DModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM

from likeness.core.files import write_json

LAYERS = [1, 2, 3]
SETTINGS: dict[str, Any] = {
    "max_sequence_length": 96,
    "text_layers": LAYERS,
    "size": 64,
    "reference_area": 64 * 96,
    "default_steps": 2,
    "default_cfg_scale": 2.0,
}
_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
TRANSFORMER: dict[str, Any] = {
    "in_channels": 32, "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 32, "num_attention_heads": 2,
    "joint_attention_dim": 3 * 32, "axes_dims_rope": (8, 8, 8, 8), "timestep_guidance_channels": 32,
    "guidance_embeds": False,
}  # fmt: skip
_VAE: dict[str, Any] = {
    "block_out_channels": (8, 8, 16, 16), "layers_per_block": 1, "latent_channels": 8, "norm_num_groups": 4,
    "mid_block_add_attention": False, "sample_size": 64,
}  # fmt: skip


def byte_tokenizer() -> Any:
    """Qwen's tokenizer class, one token per byte, with klein's chat form."""
    vocabulary = {symbol: number for number, symbol in enumerate(sorted(ByteLevel.alphabet()))}
    end, *rest = _SPECIAL
    kind: Any = Qwen2Tokenizer  # its annotations leave out that there may be no unknown token
    made = kind(vocab=vocabulary, merges=[], unk_token=None, eos_token=rest[-1], pad_token=end)
    made.add_special_tokens({"additional_special_tokens": list(rest)})
    made.chat_template = _TEMPLATE
    return made


def build_tiny_klein(folder: Path, *, seed: int = 0, is_distilled: bool = False, **transformer: Any) -> Path:
    """The folder. The batch norm's statistics are not those of a fresh one, so that a forgotten one shows."""
    tokenizer = byte_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae: Any = AutoencoderKLFlux2(**_VAE)
        vae.bn.running_mean.normal_()
        vae.bn.running_var.uniform_(0.3, 2.0)
        text = Qwen3Config(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=4,
            num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        )  # fmt: skip
        pipeline = Flux2KleinPipeline(
            scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, shift=3.0),
            vae=vae,
            text_encoder=Qwen3ForCausalLM(text),
            tokenizer=tokenizer,
            transformer=Flux2Transformer2DModel(**{**TRANSFORMER, **transformer}),
            is_distilled=is_distilled,
        )
    pipeline.save_pretrained(folder)
    write_json(folder / "likeness.json", SETTINGS)
    return folder
