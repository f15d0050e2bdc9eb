"""The published file of MS-Diffusion: which tensors it must hold, and how it joins a U-Net.

Names: `image_proj.*` is the resampler; `ms_adapter.{n}.to_k_ip.weight` and `to_v_ip` are the image attention of the
n-th attention layer, counted as in adapter.py; `dummy_image_tokens` are four tokens that were never trained.
Source: MS-Diffusion (arXiv:2406.07209), its public file's layout in the design note, section 1.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from likeness.backbones.sdxl.adapter import (
    HEAD,
    PUBLISHED_HEADS,
    PUBLISHED_TOKENS,
    PUBLISHED_WIDTH,
    Shape,
    Surroundings,
    attention_shapes,
    block_shapes,
    group_of,
    image_attention,
    require_same,
)
from likeness.backbones.sdxl.boxes import FOURIER_WIDTH
from likeness.core.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

FOLDER_NAME = "ms_adapter"
FILE_NAME = "ms_adapter.safetensors"
NUM_DUMMIES = 4
DUMMIES = "dummy_image_tokens"


def published_shapes(
    around: Surroundings,
    *,
    tokens: int = PUBLISHED_TOKENS,
    width: int = PUBLISHED_WIDTH,
    heads: int = PUBLISHED_HEADS,
) -> dict[str, Shape]:
    """Every tensor of a file for such a U-Net and such encoders: 59 of the resampler, one, and two a layer."""
    text_width, image_width = around.unet.config.cross_attention_dim, around.image_width
    ends: dict[str, Shape] = {
        "grounding_latents": (1, tokens, width),
        **_linear("latent_proj.0", image_width, around.phrase_width + FOURIER_WIDTH),
        **_linear("latent_proj.2", tokens * width, image_width),
        **_norm("latent_norm", width),
        **_linear("proj_in", width, image_width),
        **_norm("attention_norm", width),
        **_linear("proj_out", text_width, width),
        **_norm("norm_out", text_width),
    }
    resampler = {**ends, **block_shapes(width=width, heads=heads)}
    return {
        **{f"image_proj.{name}": shape for name, shape in resampler.items()},
        DUMMIES: (1, NUM_DUMMIES, text_width),
        **attention_shapes(around.unet, group="ms_adapter"),
    }


def _linear(name: str, rows: int, columns: int) -> dict[str, Shape]:
    return {f"{name}.weight": (rows, columns), f"{name}.bias": (rows,)}


def _norm(name: str, width: int) -> dict[str, Shape]:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def require_fit(shapes: Mapping[str, Shape], around: Surroundings, path: Path) -> None:
    """Every tensor has its place and every place its tensor.

    Raises: WeightsError naming tensors that are left over, missing or of another shape.
    """
    latents = shapes.get("image_proj.grounding_latents", ())
    to_q = shapes.get("image_proj.layers.0.0.to_q.weight", ())
    if len(latents) != 3 or len(to_q) != 2:
        got = "none" if not any(name.startswith("image_proj.") for name in shapes) else "another kind"
        wanted = f"{path}: expected MS-Diffusion's resampler (image_proj.grounding_latents ...), got {got}"
        raise WeightsError(f"{wanted}; use what `likeness fetch ms_diffusion` makes.")
    wanted = published_shapes(around, tokens=latents[1], width=latents[2], heads=to_q[0] // HEAD)
    advice = "check that it is the adapter for this U-Net, image encoder and first text encoder"
    require_same(shapes, wanted, what="an MS-Diffusion adapter", path=path, advice=advice)


def attach_attention(unet: Any, tensors: Mapping[str, Tensor]) -> None:
    """The U-Net has boxed attention with the weights of `tensors` and the dummies, frozen; the resampler is left."""
    from likeness.backbones.sdxl.boxed_attention import BoxedAttention
    from likeness.backbones.sdxl.image_attention import SelfAttention

    weights, processors = group_of(tensors, "ms_adapter"), dict[str, Any]()
    for number, name in enumerate(unet.attn_processors):
        to_k = unet.get_submodule(name.removesuffix(".processor")).to_k
        if not name.endswith("attn2.processor"):
            processors[name] = SelfAttention()
            continue
        made = BoxedAttention(to_k.out_features, to_k.in_features)
        own = group_of(weights, str(number))
        made.load_state_dict({f"{matrix}.0.weight": own[f"{matrix}.weight"] for matrix in ("to_k_ip", "to_v_ip")})
        processors[name] = made
    unet.set_attn_processor(processors)
    for layer in image_attention(unet):
        layer.to(unet.device, unet.dtype).requires_grad_(False)
    dummies = tensors[DUMMIES].to(unet.device, unet.dtype)
    unet.register_parameter(DUMMIES, torch.nn.Parameter(dummies, requires_grad=False))


def make_resampler(tensors: Mapping[str, Tensor]) -> Any:  # GroundingResampler
    """The frozen resampler with the weights of `tensors`, of which the image attention's are left."""
    from likeness.backbones.sdxl.grounding import GroundingResampler

    own = group_of(tensors, "image_proj")
    _, num_tokens, width = own["grounding_latents"].shape
    made = GroundingResampler(
        num_tokens=num_tokens,
        width=width,
        heads=own["layers.0.0.to_q.weight"].shape[0] // HEAD,
        image_width=own["proj_in.weight"].shape[1],
        phrase_width=own["latent_proj.0.weight"].shape[1] - FOURIER_WIDTH,
        text_width=own["proj_out.weight"].shape[0],
    )
    made.load_state_dict(own, strict=True, assign=True)
    return made.eval().requires_grad_(False)


def convert_ms_adapter(tensors: Mapping[str, Tensor], folder: Path, base: str) -> None:
    """`folder` has the file of the published pickle's tensors, in fp32 or what they are in; `base` is not needed.

    Raises: WeightsError for a pickle that holds other groups.
    """
    from safetensors.torch import save_file

    known = ("image_proj.", "ms_adapter.", DUMMIES)
    others = [name for name in tensors if not name.startswith(known)]
    missing = [group for group in known if not any(name.startswith(group) for name in tensors)]
    if others or missing:
        lacking = ", ".join(group.rstrip(".") for group in missing)
        got = f"a file without {lacking}" if lacking else f"also {others[0]}"
        raise WeightsError(f"expected image_proj, {DUMMIES} and ms_adapter, got {got}; get ms_adapter.bin.")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / FILE_NAME)
