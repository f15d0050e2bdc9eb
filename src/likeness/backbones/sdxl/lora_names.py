"""What the names in a LoRA of SDXL or SD 1.5 mean: those of diffusers and of the original code, dotted or flattened.

There a block is numbered across all levels: input_blocks 1, 2 are the first level's, 3 its downsampling, and so on.
Also read is "attn2.to_k_ip.0" for "attn2.processor.to_k_ip.0": diffusers' `save_lora_weights` leaves the word out, and
its own loader then leaves the matrices out.
Source: diffusers' scripts/convert_original_stable_diffusion_to_diffusers.py; kohya's sdxl names.
"""

from __future__ import annotations

from collections.abc import Mapping

from likeness.backbones.lora_file import Find, Target, found_by

_WHOLE = {
    "time_embed.0": "time_embedding.linear_1",
    "time_embed.2": "time_embedding.linear_2",
    "label_emb.0.0": "add_embedding.linear_1",
    "label_emb.0.2": "add_embedding.linear_2",
}


def sdxl_names(layers: Mapping[str, object]) -> Find:
    """What names mean on a U-Net with `layers`, also with "_" for every "."."""
    depth = len({layer.split(".")[3] for layer in layers if layer.startswith("down_blocks.0.resnets.")})
    original = {_original(layer, depth=depth): Target(layer) for layer in layers}
    shortened = {layer.replace(".processor.", "."): Target(layer) for layer in layers if ".processor." in layer}
    named = {name: target for name, target in (original | shortened).items() if name}
    return found_by(layers, whole=_WHOLE, stacks=(), last=named)


def _original(layer: str, *, depth: int) -> str:
    """The layer's name in SDXL's code, whose levels have `depth` blocks on the way down; empty for other layers."""
    stage, *rest = layer.split(".")
    if stage == "mid_block":
        kind, number, *inner = rest
        place = f"middle_block.{1 if kind == 'attentions' else 2 * int(number)}"
    elif stage in ("down_blocks", "up_blocks"):
        level, kind, number, *inner = rest
        index = (depth + 1) * int(level) + int(number) + (stage == "down_blocks")
        place = f"{'input' if stage == 'down_blocks' else 'output'}_blocks.{index}.{int(kind == 'attentions')}"
    else:
        return ""
    return ".".join([place, *(("emb_layers", "1") if inner == ["time_emb_proj"] else inner)])
