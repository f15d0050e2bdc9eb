"""A complete Qwen-Image-Edit folder with random weights, stock in every file and small enough for one CPU core."""

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLQwenImage,
    FlowMatchEulerDiscreteScheduler,
    QwenImageEditPlusPipeline,
    QwenImageTransformer2DModel,
)
from tiny_klein import byte_tokenizer
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
)

from likeness.core.files import read_json, write_json

SETTINGS: dict[str, Any] = {
    "size": 64,
    "reference_area": 64 * 96,
    "seen_area": 64 * 64,
    "max_sequence_length": 640,
    "default_steps": 2,
    "default_cfg_scale": 2.0,
}
TRANSFORMER: dict[str, Any] = {
    "num_layers": 2, "attention_head_dim": 32, "num_attention_heads": 2, "joint_attention_dim": 32,
    "axes_dims_rope": (8, 12, 12),
}  # fmt: skip
_TOKENS = {
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
}
_SCHEDULER: dict[str, Any] = {  # the published numbers
    "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 0.9, "base_image_seq_len": 256,
    "max_image_seq_len": 8192, "shift_terminal": 0.02, "time_shift_type": "exponential",
}  # fmt: skip


class WithoutVideos(Qwen2VLProcessor):
    """The stock processor without its part for videos, which needs torchvision and is never asked."""

    def check_argument_for_proper_class(self, argument_name: str, argument: object) -> Any:
        """The class, which nothing need be where videos are meant."""
        return argument_name == "video_processor" or super().check_argument_for_proper_class(argument_name, argument)

    def save_pretrained(self, save_directory: str, *_args: object, **_kwargs: object) -> list[str]:  # pyright: ignore[reportIncompatibleMethodOverride] stock names more
        """The files of its parts."""
        for part in (self.tokenizer, self.image_processor):
            part.save_pretrained(save_directory)
        return []


def stock_processor(folder: Path) -> Any:
    """The processor of the folder but for videos."""
    tokenizer = byte_tokenizer().from_pretrained(folder / "processor")
    made: Any = WithoutVideos(Qwen2VLImageProcessorPil.from_pretrained(folder / "processor"), tokenizer)
    return made


def tiny_vae() -> Any:
    """The autoencoder at its published depth, eight pixels to a cell, with few channels."""
    return AutoencoderKLQwenImage(base_dim=8, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)


def build_tiny_qwen(folder: Path, *, seed: int = 0, **transformer: Any) -> Path:
    """The folder, in the layout of the hub."""
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>", *_TOKENS.values()]})
    ids = {name: tokenizer.convert_tokens_to_ids(token) for name, token in _TOKENS.items()}
    text: dict[str, Any] = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "bos_token_id": None, "eos_token_id": None,
        "initializer_range": 0.3,  # so that positions matter
        "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6},
    }  # fmt: skip
    vision: dict[str, Any] = {
        "depth": 2, "hidden_size": 16, "intermediate_size": 32, "num_heads": 2, "out_hidden_size": 32,
        "fullatt_block_indexes": [1], "initializer_range": 0.3,
    }  # fmt: skip
    kind: Any = QwenImageEditPlusPipeline  # wants the stock processor
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        pipeline = kind(
            scheduler=FlowMatchEulerDiscreteScheduler(**_SCHEDULER),
            vae=tiny_vae(),
            text_encoder=Qwen2_5_VLForConditionalGeneration(
                Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
            ),
            tokenizer=tokenizer,
            processor=WithoutVideos(Qwen2VLImageProcessorPil(min_pixels=28 * 28, max_pixels=64 * 28 * 28), tokenizer),
            transformer=QwenImageTransformer2DModel(**{**TRANSFORMER, **transformer}),
        )
    pipeline.save_pretrained(folder)
    index = read_json(folder / "model_index.json")
    write_json(folder / "model_index.json", {**index, "processor": ["transformers", "Qwen2VLProcessor"]})
    write_json(folder / "likeness.json", SETTINGS)
    return folder
