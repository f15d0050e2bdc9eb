"""Writes tiny random encoders in stock transformers format, the same bytes every time. Loaded by path, not imported."""

from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from likeness.encoders.probe import AttributeProbe, ProbeConfig

ATTRIBUTES = {
    "species": ("cat", "dog", "teapot"),
    "color": ("red", "green", "blue"),
    "hat": ("none", "cap"),
    "hat_color": ("red", "green", "blue"),
}
ACTIONS = ("hug", "chase")
SCENES = ("beach", "forest")
SMALL: dict[str, Any] = {"intermediate_size": 32, "num_attention_heads": 2, "hidden_size": 16, "num_hidden_layers": 2}


def tiny_tokenizer() -> CLIPTokenizer:
    """One token per letter: 16 tokens are 14 letters with start and end."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: index for index, token in enumerate(tokens)}, merges=[])


def write_clip(folder: Path) -> Path:
    tokenizer = tiny_tokenizer()
    size = len(tokenizer)
    text = {"vocab_size": size, "max_position_embeddings": 16, "bos_token_id": size - 2, "eos_token_id": size - 1}
    vision = {"image_size": 32, "patch_size": 8}
    torch.manual_seed(1)
    config = CLIPConfig(text_config=SMALL | text, vision_config=SMALL | vision, projection_dim=12)
    CLIPModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    size = {"shortest_edge": 32}
    CLIPImageProcessorPil(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def _write_preprocessor(folder: Path, extra: str = "") -> Path:
    mean, std = "[0.485, 0.456, 0.406]", "[0.229, 0.224, 0.225]"
    (folder / "preprocessor_config.json").write_text(f'{{"image_mean": {mean}, "image_std": {std}{extra}}}')
    return folder


def write_vit(folder: Path) -> Path:
    torch.manual_seed(2)
    ViTModel(ViTConfig(**SMALL, image_size=28, patch_size=7), add_pooling_layer=False).save_pretrained(folder)
    return _write_preprocessor(folder)


def write_dinov2(folder: Path) -> Path:
    torch.manual_seed(3)
    small = {key: value for key, value in SMALL.items() if key != "intermediate_size"}
    Dinov2Model(Dinov2Config(**small, image_size=42, patch_size=14)).save_pretrained(folder)
    return _write_preprocessor(folder, ', "crop_size": {"height": 28, "width": 28}')


def probe_config() -> ProbeConfig:
    return ProbeConfig(
        attributes=ATTRIBUTES,
        actions=ACTIONS,
        scenes=SCENES,
        image_size=64,
        embedding_size=8,
        hidden_sizes=(8, 8, 16, 16),
        depths=(1, 1, 1, 1),
        neck_size=16,
        reader_sizes=(8, 8, 16, 16),
        min_peak=0.0,
    )


def write_probe(folder: Path) -> Path:
    torch.manual_seed(4)
    AttributeProbe(probe_config()).save_pretrained(folder)
    return folder


def write_subjects(folder: Path) -> Path:
    """The heads of an untrained probe all score about the same; its bias is raised so that they count as found."""
    torch.manual_seed(5)
    probe = AttributeProbe(probe_config())
    torch.nn.init.constant_(probe.heatmap_head[-1].bias, 2.0)  # pyright: ignore[reportArgumentType] Conv2d
    probe.save_pretrained(folder / "probe")
    write_vit(folder / "dino")
    return folder
