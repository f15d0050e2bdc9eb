"""The published file of IP-Adapter-Plus, written from the networks that diffusers trains.

Source: IP-Adapter (arXiv:2308.06721) and the key names of its public checkpoints: `image_proj.*` is the resampler,
`ip_adapter.{n}.to_k_ip.weight` and `to_v_ip` the image attention of the n-th attention layer of the U-Net.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from likeness.backbones.sdxl.adapter import image_attention

_NAMES = {  # of diffusers, within a block of the resampler -> published
    "ln0.": "0.norm1.",
    "ln1.": "0.norm2.",
    "attn.to_q.": "0.to_q.",
    "attn.to_out.0.": "0.to_out.",
    "ff.0.": "1.0.",
    "ff.1.net.0.proj.": "1.1.",
    "ff.1.net.2.": "1.3.",
}


def resampler_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of diffusers' `IPAdapterPlusImageProjection` under their published names, without `image_proj.`.

    Keys and values of a block's attention are one matrix there.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if not name.startswith("layers."):
            tensors[name] = tensor
            continue
        _, number, inner = name.split(".", 2)
        if inner == "attn.to_k.weight":
            values = state[f"layers.{number}.attn.to_v.weight"]
            tensors[f"layers.{number}.0.to_kv.weight"] = torch.cat([tensor, values])
        elif inner != "attn.to_v.weight":
            old = next(old for old in _NAMES if inner.startswith(old))
            tensors[f"layers.{number}.{_NAMES[old]}{inner.removeprefix(old)}"] = tensor
    return tensors


# Any, here and below: a UNet2DConditionModel, whose attention processors have no common type
def adapter_tensors(unet: Any, resampler: nn.Module) -> dict[str, Tensor]:
    """The published file of the adapter that `unet` carries and of its resampler."""
    tensors = {f"image_proj.{name}": tensor for name, tensor in resampler_tensors(resampler.state_dict()).items()}
    for number, processor in enumerate(unet.attn_processors.values()):
        if hasattr(processor, "to_k_ip"):
            tensors[f"ip_adapter.{number}.to_k_ip.weight"] = processor.to_k_ip[0].weight.detach()
            tensors[f"ip_adapter.{number}.to_v_ip.weight"] = processor.to_v_ip[0].weight.detach()
    return tensors


def fresh_adapter(unet: Any, *, image_width: int, width: int, heads: int, tokens: int) -> dict[str, Tensor]:
    """A new adapter for a U-Net without one: a random resampler, and image attention that starts as the text's.

    Source: the public training script of IP-Adapter copies to_k and to_v likewise.
    """
    from diffusers.models.embeddings import IPAdapterPlusImageProjection

    text_width = unet.config.cross_attention_dim
    resampler = IPAdapterPlusImageProjection(image_width, text_width, width, heads=heads, num_queries=tokens)
    found = {f"image_proj.{name}": tensor for name, tensor in resampler_tensors(resampler.state_dict()).items()}
    for number, name in enumerate(unet.attn_processors):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        if attention.is_cross_attention:
            found[f"ip_adapter.{number}.to_k_ip.weight"] = attention.to_k.weight.detach().clone()
            found[f"ip_adapter.{number}.to_v_ip.weight"] = attention.to_v.weight.detach().clone()
    return found


def set_scale(unet: Any, scale: float) -> None:
    """The images count `scale` times in every layer; at 0 the layers skip them."""
    for layer in image_attention(unet):
        layer.scale = [scale]


def base_tensors(unet: Any) -> dict[str, Tensor]:
    """The U-Net's own tensors, without the adapter's."""
    return {name: tensor for name, tensor in unet.state_dict().items() if ".processor." not in name}
