"""The published file of IP-Adapter-Plus: which tensors it must hold, and how it joins a U-Net.

Names: `image_proj.*` is the resampler, `ip_adapter.{n}.to_k_ip.weight` and `to_v_ip` are the image attention of the
n-th attention layer. n counts all of them, self-attention first in each block, over down_blocks, up_blocks, then
mid_block, so that it is odd.
Source: IP-Adapter (arXiv:2308.06721), its public code, and diffusers 0.42 `load_ip_adapter`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open

from likeness.core.errors import WeightsError
from likeness.core.weights import check_safetensors

if TYPE_CHECKING:
    from torch import Tensor

Shape = tuple[int, ...]

FOLDER_NAME = "ip_adapter"
PUBLISHED = "ip-adapter-plus_sdxl_vit-h.safetensors of h94/IP-Adapter"
PUBLISHED_TOKENS, PUBLISHED_WIDTH, PUBLISHED_HEADS = 16, 1280, 20
"""Of its resampler: the tokens of a reference, the width of a block, and its heads."""
DEPTH = 4
"""Blocks of the resampler; diffusers builds no other number."""
HEAD = 64
"""Width of a head of the resampler's attention, likewise."""


class TokensAsGiven(torch.nn.Module):
    """Stands where diffusers has the resampler, whose tokens are made once per reference and not at every step."""

    def forward(self, tokens: list[Tensor]) -> list[Tensor]:
        """The tokens, unchanged."""
        return tokens


class Surroundings(NamedTuple):
    """What an adapter must fit: the U-Net, the width of the image encoder's features, that of a phrase's vector."""

    unet: Any  # UNet2DConditionModel
    image_width: int
    phrase_width: int


def adapter_file(place: Path, *, advice: str) -> Path:
    """The only safetensors in the folder `place`. Raises: WeightsError with the advice what belongs there."""
    found = sorted(place.glob("*.safetensors"))
    if len(found) != 1:
        got = ", ".join(path.name for path in found) or "none"
        raise WeightsError(f"{place}: expected one safetensors file of an adapter, got {got}; {advice}.")
    check_safetensors(found[0])
    return found[0]


def read_shapes(path: Path) -> dict[str, Shape]:
    """The shape of every tensor of the file; none is read. Raises: WeightsError."""
    with _opened(path) as file:
        return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}  # noqa: SIM118 - not a dict


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of the file. Raises: WeightsError."""
    with _opened(path) as file:
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict


# Any: safetensors' reader has no public type
def _opened(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: expected the file of an adapter, got {error}; download it again.") from error


# Any, here and below: a UNet2DConditionModel, whose config diffusers types as a dict
def attention_shapes(
    unet: Any, *, group: str = "ip_adapter", matrices: tuple[str, str] = ("to_k_ip", "to_v_ip")
) -> dict[str, Shape]:
    """(out, in) of the image attention of every cross-attention layer of the U-Net, by its name in the file."""
    shapes: dict[str, Shape] = {}
    for number, name in enumerate(unet.attn_processors):
        layer = name.removesuffix(".processor")
        if layer.endswith("attn2"):
            to_k = unet.get_submodule(layer).to_k
            for matrix in matrices:
                shapes[f"{group}.{number}.{matrix}.weight"] = (to_k.out_features, to_k.in_features)
    return shapes


def block_shapes(*, width: int, heads: int) -> dict[str, Shape]:
    """The 11 tensors of each of the DEPTH blocks of a resampler, attention and then two linear layers."""
    inner = heads * HEAD
    norm: dict[str, Shape] = {"weight": (width,), "bias": (width,)}
    block: dict[str, Shape] = {
        **{f"0.{name}.{part}": shape for name in ("norm1", "norm2") for part, shape in norm.items()},
        "0.to_q.weight": (inner, width),
        "0.to_kv.weight": (2 * inner, width),
        "0.to_out.weight": (width, inner),
        **{f"1.0.{part}": shape for part, shape in norm.items()},
        "1.1.weight": (4 * width, width),
        "1.3.weight": (width, 4 * width),
    }
    return {f"layers.{number}.{name}": shape for number in range(DEPTH) for name, shape in block.items()}


def resampler_shapes(*, tokens: int, width: int, heads: int, image_width: int, text_width: int) -> dict[str, Shape]:
    """The 51 tensors of a resampler of that many tokens, from features `image_width` wide to tokens `text_width`."""
    ends: dict[str, Shape] = {
        "latents": (1, tokens, width),
        "proj_in.weight": (width, image_width),
        "proj_in.bias": (width,),
        "proj_out.weight": (text_width, width),
        "proj_out.bias": (text_width,),
        "norm_out.weight": (text_width,),
        "norm_out.bias": (text_width,),
    }
    found = {**ends, **block_shapes(width=width, heads=heads)}
    return {f"image_proj.{name}": shape for name, shape in found.items()}


def require_fit(shapes: Mapping[str, Shape], *, unet: Any, image_width: int, path: Path) -> None:
    """Every tensor has its place and every place its tensor.

    Raises: WeightsError naming tensors that are left over, missing or of another shape.
    """
    latents, to_q = (shapes.get(f"image_proj.{name}", ()) for name in ("latents", "layers.0.0.to_q.weight"))
    if len(latents) != 3 or len(to_q) != 2:
        got = "none" if not any(name.startswith("image_proj.") for name in shapes) else "another kind"
        wanted = f"{path}: expected the resampler of an IP-Adapter-Plus (image_proj.latents ...), got {got}"
        raise WeightsError(f"{wanted}; use {PUBLISHED}.")
    sizes = {"tokens": latents[1], "width": latents[2], "heads": to_q[0] // HEAD, "image_width": image_width}
    wanted = {**resampler_shapes(**sizes, text_width=unet.config.cross_attention_dim), **attention_shapes(unet)}
    advice = "check that it is a Plus adapter for this U-Net and image encoder"
    require_same(shapes, wanted, what="an IP-Adapter-Plus", path=path, advice=advice)


def require_same(
    shapes: Mapping[str, Shape], wanted: Mapping[str, Shape], *, what: str, path: Path, advice: str
) -> None:
    """Raises: WeightsError naming tensors that are left over, missing or of another shape."""
    differing = [
        f"{name} {tuple(shapes[name])} instead of {shape}"
        for name, shape in wanted.items()
        if name in shapes and tuple(shapes[name]) != shape
    ]
    kinds = {
        "missing": [name for name in wanted if name not in shapes],
        "left over": [name for name in shapes if name not in wanted],
        "of another shape": differing,
    }
    got = "; ".join(f"{len(names)} {kind}, first {names[0]}" for kind, names in kinds.items() if names)
    if got:
        raise WeightsError(f"{path}: expected the {len(wanted)} tensors of {what}, got {got}; {advice}.")


def published_shapes(around: Surroundings) -> dict[str, Shape]:
    """Of the published adapter for such a U-Net and image encoder."""
    sizes = {"tokens": PUBLISHED_TOKENS, "width": PUBLISHED_WIDTH, "heads": PUBLISHED_HEADS}
    text_width = around.unet.config.cross_attention_dim
    resampler = resampler_shapes(**sizes, image_width=around.image_width, text_width=text_width)
    return {**resampler, **attention_shapes(around.unet)}


def attach(unet: Any, tensors: Mapping[str, Tensor]) -> Any:  # IPAdapterPlusImageProjection
    """The U-Net has image attention with these weights, frozen; returned is the resampler, which it does without."""
    attach_attention(unet, tensors)
    return make_resampler(tensors).to(unet.device, unet.dtype)


def attach_attention(unet: Any, tensors: Mapping[str, Tensor]) -> None:
    """The U-Net has image attention with the weights of `tensors`, frozen; the resampler's are left."""
    groups = {name: group_of(tensors, name) for name in ("image_proj", "ip_adapter")}
    layers = unet._convert_ip_adapter_attn_to_diffusers([groups], low_cpu_mem_usage=False)
    unet.set_attn_processor(layers)
    for layer in image_attention(unet):
        layer.to(unet.device, unet.dtype).requires_grad_(False)
    unet.encoder_hid_proj = TokensAsGiven()
    unet.config.encoder_hid_dim_type = "ip_image_proj"


def make_resampler(tensors: Mapping[str, Tensor]) -> Any:  # IPAdapterPlusImageProjection
    """The frozen resampler with the weights of `tensors`, of which the image attention's are left."""
    from diffusers.loaders.unet import UNet2DConditionLoadersMixin

    loader: Any = UNet2DConditionLoadersMixin()  # whose method, which reads nothing of it, is not public
    made = loader._convert_ip_adapter_image_proj_to_diffusers(group_of(tensors, "image_proj"), low_cpu_mem_usage=False)
    return made.eval().requires_grad_(False)


def group_of(tensors: Mapping[str, Tensor], group: str) -> dict[str, Tensor]:
    """The tensors whose names start with the group, by the rest of their names."""
    named = (name.partition(".") for name in tensors)
    return {rest: tensors[f"{first}.{rest}"] for first, _, rest in named if first == group}


def image_attention(unet: Any) -> Iterator[Any]:  # IPAdapterAttnProcessor2_0
    """The image attention of every cross-attention layer; the `scale` of each is a list of one number."""
    return (module for module in unet.modules() if hasattr(module, "to_k_ip"))
