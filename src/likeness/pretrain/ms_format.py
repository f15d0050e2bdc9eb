"""The published file of MS-Diffusion: a fresh one for the tiny SDXL, and what a training leaves.

Source: MS-Diffusion (arXiv:2406.07209), its public file's layout in the design note, section 1.3.
Differs: it starts from the IP-Adapter of the same U-Net, whose image attention and resampler already read the same
features; the paper starts the image attention as the text's (`start` "text") and the resampler at random.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from likeness.backbones.sdxl.adapter import HEAD, Surroundings, group_of
from likeness.backbones.sdxl.grounding import GroundingResampler
from likeness.backbones.sdxl.ms_adapter import DUMMIES, NUM_DUMMIES

Start = Literal["ip_adapter", "text"]
"""Whose keys, values and resampler the adapter begins with: the IP-Adapter's, or the text's and none."""
_SMALL = 0.1
"""Share of the usual weights with which boxes and phrases change the queries at the beginning."""


# Any, here and below: a UNet2DConditionModel, whose attention processors have no common type
def fresh_ms_adapter(around: Surroundings, ip_adapter: Mapping[str, Tensor], *, start: Start) -> dict[str, Tensor]:
    """The tensors of a new adapter as large as `ip_adapter`, the published file of the IP-Adapter of the same U-Net.

    `around.unet` carries no adapter. Of `start` "ip_adapter" the queries are the IP-Adapter's, whatever box and phrase.
    """
    theirs = group_of(ip_adapter, "image_proj")
    _, num_tokens, width = theirs["latents"].shape
    made = GroundingResampler(
        num_tokens=num_tokens,
        width=width,
        heads=theirs["layers.0.0.to_q.weight"].shape[0] // HEAD,
        image_width=around.image_width,
        phrase_width=around.phrase_width,
        text_width=around.unet.config.cross_attention_dim,
    )
    torch.nn.init.normal_(made.grounding_latents, std=width**-0.5)
    own = made.state_dict()
    if start == "ip_adapter":
        own |= {name: tensor for name, tensor in theirs.items() if name in own}
        own |= _queries(own, theirs["latents"])
    dummies = torch.randn(1, NUM_DUMMIES, around.unet.config.cross_attention_dim)
    return {
        **{f"image_proj.{name}": tensor.detach().clone() for name, tensor in own.items()},
        DUMMIES: dummies,
        **_attention(around.unet, ip_adapter, start=start),
    }


def _queries(own: Mapping[str, Tensor], latents: Tensor) -> dict[str, Tensor]:
    """What makes grounded and learnt queries nearly the IP-Adapter's `latents` (1, N, width)."""
    return {
        "grounding_latents": latents,
        "latent_proj.2.weight": _SMALL * own["latent_proj.2.weight"],
        "latent_proj.2.bias": (latents / latents.std(dim=-1, keepdim=True)).flatten(),
        "latent_norm.weight": latents.std(dim=-1).mean().expand(latents.shape[-1]).contiguous(),
    }


def _attention(unet: Any, ip_adapter: Mapping[str, Tensor], *, start: Start) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for number, name in enumerate(unet.attn_processors):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        if not attention.is_cross_attention:
            continue
        for kind in ("k", "v"):
            theirs = ip_adapter[f"ip_adapter.{number}.to_{kind}_ip.weight"]
            tensor = theirs if start == "ip_adapter" else getattr(attention, f"to_{kind}").weight
            found[f"ms_adapter.{number}.to_{kind}_ip.weight"] = tensor.detach().clone()
    return found


def ms_tensors(unet: Any, resampler: GroundingResampler) -> dict[str, Tensor]:
    """The published file of the adapter that `unet` carries and of its resampler."""
    tensors = {f"image_proj.{name}": tensor for name, tensor in resampler.state_dict().items()}
    tensors[DUMMIES] = getattr(unet, DUMMIES).detach()
    for number, processor in enumerate(unet.attn_processors.values()):
        if hasattr(processor, "to_k_ip"):
            tensors[f"ms_adapter.{number}.to_k_ip.weight"] = processor.to_k_ip[0].weight.detach()
            tensors[f"ms_adapter.{number}.to_v_ip.weight"] = processor.to_v_ip[0].weight.detach()
    return tensors
