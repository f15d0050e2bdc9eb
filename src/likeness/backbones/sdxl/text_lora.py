"""LoRAs on SDXL's text encoders: `text_encoder.` and `text_encoder_2.` beside the U-Net's tensors, as in diffusers.

Names with and without `text_model.` are read, since transformers 5 has it in the second encoder only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from likeness.backbones.folder import empty_part
from likeness.backbones.lora import activate, add_changes, layer_shapes
from likeness.backbones.lora_file import Change, Find, found_by, read_lora, text_parts

_LEVEL = "text_model."


def encoder_classes() -> dict[str, Any]:
    """The stock class of each text encoder, by the name of its folder."""
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    return {"text_encoder": CLIPTextModel, "text_encoder_2": CLIPTextModelWithProjection}


def text_targets(encoder: Any, *, part: str) -> str:
    """The attention layers of a text encoder that a picture depends on, as a pattern of their names.

    Of the first one SDXL reads what enters the last block; of the second also the pooled text at the end.
    Source: Mix-of-Show's public settings (all of CLIPAttention).
    """
    count = encoder.config.num_hidden_layers - (part == "text_encoder")
    return rf".*layers\.({'|'.join(map(str, range(count)))})\.self_attn\.([qkv]_proj|out_proj)"


def text_changes(folder: Path, spec: str | Path) -> dict[str, dict[str, Change]]:
    """What a LoRA does to the text encoders of `folder`, by encoder and layer; no weights of them are read.

    Raises: WeightsError.
    """
    found: dict[str, dict[str, Change]] = {}
    for part in text_parts(spec):
        layers = layer_shapes(empty_part(encoder_classes()[part], folder / part, dtype=torch.float32))
        found[part] = read_lora(spec, layers=layers, find=text_names(layers), part=part).changes
    return found


def text_names(layers: Mapping[str, object]) -> Find:
    """What names mean on a text encoder with `layers`."""
    other = {f"{_LEVEL}{layer}": layer for layer in layers} | {layer.removeprefix(_LEVEL): layer for layer in layers}
    return found_by(layers, whole=other, stacks=(), last={})


def change_encoder(encoder: Any, *, changes: Mapping[str, Change], name: str) -> None:
    """The text encoder carries the changes as the frozen adapter `name`, beside those there before."""
    present = list(getattr(encoder, "peft_config", {}))
    add_changes(encoder, changes, name=name)
    activate(encoder, [*present, name])
