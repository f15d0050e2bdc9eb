"""What the names in a FLUX.2 LoRA mean: those of diffusers and of FLUX.2's own code, dotted or flattened.

Tools write the latter with a prefix: "diffusion_model." (ai-toolkit, ComfyUI) or "lora_unet_" (kohya).
Source of the table: diffusers 0.42 `Flux2LoraLoaderMixin` and scripts/convert_flux2_to_diffusers.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from likeness.backbones.lora_file import Find, Target, found_by

_WHOLE = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_guidance_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_guidance_embed.timestep_embedder.linear_2",
    "guidance_in.in_layer": "time_guidance_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_guidance_embed.guidance_embedder.linear_2",
    "double_stream_modulation_img.lin": "double_stream_modulation_img.linear",
    "double_stream_modulation_txt.lin": "double_stream_modulation_txt.linear",
    "single_stream_modulation.lin": "single_stream_modulation.linear",
    "final_layer.linear": "proj_out",
}
_DOUBLE = {
    "img_attn.qkv": "attn.to_q attn.to_k attn.to_v",
    "img_attn.proj": "attn.to_out.0",
    "img_mlp.0": "ff.linear_in",
    "img_mlp.2": "ff.linear_out",
    "txt_attn.qkv": "attn.add_q_proj attn.add_k_proj attn.add_v_proj",
    "txt_attn.proj": "attn.to_add_out",
    "txt_mlp.0": "ff_context.linear_in",
    "txt_mlp.2": "ff_context.linear_out",
}
_SINGLE = {"linear1": "attn.to_qkv_mlp_proj", "linear2": "attn.to_out"}


def flux2_names(layers: Mapping[str, object]) -> Find:
    """What names mean on a FLUX.2 transformer with `layers`, also with "_" for every "."."""
    stacks = (("double_blocks", "transformer_blocks", _DOUBLE), ("single_blocks", "single_transformer_blocks", _SINGLE))
    last = {"final_layer.adaLN_modulation.1": Target("norm_out.linear", swapped=True)}
    return found_by(layers, whole=_WHOLE, stacks=stacks, last=last)
