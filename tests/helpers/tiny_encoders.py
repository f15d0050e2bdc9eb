"""Writes tiny random encoders in stock transformers format, the same bytes every time. Loaded by path, not imported."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import (
    BertTokenizer,
    BlipTextConfig,
    BlipVisionConfig,
    BlipVisionModel,
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)
from transformers.models.blip.modeling_blip_text import BlipTextModel
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from likeness.encoders.affine import Affine, write_head
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


def tiny_clip(*, seed: int = 1, **both: Any) -> CLIPModel:
    """A random CLIP; `both` are settings of both towers."""
    size = len(tiny_tokenizer())
    text = {"vocab_size": size, "max_position_embeddings": 16, "bos_token_id": size - 2, "eos_token_id": size - 1}
    vision = {"image_size": 32, "patch_size": 8}
    torch.manual_seed(seed)
    config = CLIPConfig(text_config=SMALL | text | both, vision_config=SMALL | vision | both, projection_dim=12)
    return CLIPModel(config)


def write_clip(folder: Path, *, seed: int = 1, **both: Any) -> Path:
    tiny_clip(seed=seed, **both).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    size = {"shortest_edge": 32}
    CLIPImageProcessorPil(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    return folder


def write_hps_v1(folder: Path) -> Path:
    return write_clip(folder, seed=5, hidden_act="quick_gelu")


def write_hps_v2(folder: Path) -> Path:
    return write_clip(folder, seed=6, hidden_act="gelu")


def write_hps_v21(folder: Path) -> Path:
    return write_clip(folder, seed=7, hidden_act="gelu")


def write_pickscore(folder: Path) -> Path:
    return write_clip(folder, seed=8, hidden_act="gelu")


def write_clip_bigg14(folder: Path) -> Path:
    return write_clip(folder, seed=9, hidden_act="gelu")


def tiny_head(width: int) -> Affine:
    return Affine(np.random.default_rng(width).normal(size=width), 5.0)


def write_aesthetic(folder: Path) -> Path:
    vision = tiny_clip(seed=10).vision_model.config
    vision.projection_dim = 12
    CLIPVisionModelWithProjection(vision).save_pretrained(folder)
    size = {"shortest_edge": 32}
    CLIPImageProcessorPil(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    write_head(tiny_head(12), folder=folder)
    return folder


def tiny_words() -> BertTokenizer:
    """One token per letter, with the special ones of bert-base-uncased."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    return BertTokenizer(vocab={token: index for index, token in enumerate(tokens)})


def tiny_blip() -> tuple[BlipVisionModel, BlipTextModel]:
    """Both parts of a random BLIP; its vision tower is wider than its text encoder."""
    torch.manual_seed(11)
    small: dict[str, Any] = {"num_hidden_layers": 2, "num_attention_heads": 2}
    eyes = BlipVisionConfig(
        hidden_size=24, intermediate_size=40, image_size=32, patch_size=8, layer_norm_eps=1e-6, **small
    )
    words = BlipTextConfig(
        vocab_size=len(tiny_words()),
        hidden_size=16,
        encoder_hidden_size=24,
        intermediate_size=32,
        max_position_embeddings=64,
        **small,
    )
    vision, text = BlipVisionModel(eyes), BlipTextModel(words, add_pooling_layer=False)
    for name, tensor in [*vision.named_parameters(), *text.named_parameters()]:
        torch.nn.init.normal_(tensor, std=0.3, mean=1.0 if "norm" in name.lower() and "weight" in name else 0.0)
    return vision.eval(), text.eval()


def write_image_reward(folder: Path) -> Path:
    vision, text = tiny_blip()
    vision.save_pretrained(folder / "vision")
    text.save_pretrained(folder / "text")
    tiny_words().save_pretrained(folder)
    size = {"shortest_edge": 32}
    CLIPImageProcessorPil(size=size, crop_size={"height": 32, "width": 32}).save_pretrained(folder)
    write_head(tiny_head(16), folder=folder)
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
