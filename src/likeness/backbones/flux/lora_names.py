"""What the names in a FLUX LoRA mean: those of diffusers and of FLUX's own code, dotted, flattened or by x-labs.

diffusers 0.42 has converters for most of them, which cannot be used as they are: they count on 19 + 38 blocks of width
3072, lose alpha after "transformer." and for the last layer, and leave out what they do not know; see docs/loras.md.
Source of the table: FLUX's own code (black-forest-labs/flux) and diffusers' scripts/convert_flux_to_diffusers.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from likeness.backbones.lora_file import Find, Target, found_by

_WHOLE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
}
_IMAGE_QKV, _TEXT_QKV = "attn.to_q attn.to_k attn.to_v", "attn.add_q_proj attn.add_k_proj attn.add_v_proj"
_DOUBLE = {
    "img_mod.lin": "norm1.linear",
    "img_attn.qkv": _IMAGE_QKV,
    "img_attn.proj": "attn.to_out.0",
    "img_mlp.0": "ff.net.0.proj",
    "img_mlp.2": "ff.net.2",
    "txt_mod.lin": "norm1_context.linear",
    "txt_attn.qkv": _TEXT_QKV,
    "txt_attn.proj": "attn.to_add_out",
    "txt_mlp.0": "ff_context.net.0.proj",
    "txt_mlp.2": "ff_context.net.2",
    "processor.qkv_lora1": _IMAGE_QKV,
    "processor.proj_lora1": "attn.to_out.0",
    "processor.qkv_lora2": _TEXT_QKV,
    "processor.proj_lora2": "attn.to_add_out",
}
_SINGLE = {
    "modulation.lin": "norm.linear",
    "linear1": f"{_IMAGE_QKV} proj_mlp",
    "linear2": "proj_out",
    "processor.qkv_lora": _IMAGE_QKV,
    "processor.proj_lora": "proj_out",
}


def uno_gaps(modules: Iterable[str], layers: Mapping[str, object]) -> list[str]:
    """What a LoRA in UNO's layout lacks on a network with `layers`; UNO tunes both streams and single blocks, all.

    Files by x-labs, of whichever blocks were trained, have no single blocks and lack nothing.
    """
    present = {name for name in modules if ".processor." in name}
    if not any(name.startswith("single_blocks.") for name in present):
        return []
    wanted: list[str] = []
    for stem, ours, table in (
        ("double", "transformer_blocks", _DOUBLE),
        ("single", "single_transformer_blocks", _SINGLE),
    ):
        numbers = sorted({int(layer.split(".")[1]) for layer in layers if layer.startswith(f"{ours}.")})
        names = [name for name in table if name.startswith("processor.")]
        wanted += [f"{stem}_blocks.{number}.{name}" for number in numbers for name in names]
    return [name for name in wanted if name not in present]


def flux_names(layers: Mapping[str, object]) -> Find:
    """What names mean on a FLUX transformer with `layers`, also with "_" for every "."."""
    stacks = (("double_blocks", "transformer_blocks", _DOUBLE), ("single_blocks", "single_transformer_blocks", _SINGLE))
    last = {"final_layer.adaLN_modulation.1": Target("norm_out.linear", swapped=True)}
    return found_by(layers, whole=_WHOLE, stacks=stacks, last=last)
