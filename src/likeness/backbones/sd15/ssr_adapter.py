"""The published files of SSR-Encoder as one: which tensors it must hold, and how it joins a U-Net.

Names: `SSR_aligners.*` are those of pytorch_model.bin, the aligner; `SSR_layers.{n}.to_k_SSR.weight` and `to_v_SSR`
those of pytorch_model_1.bin, the image attention of the n-th attention layer, counted as in sdxl/adapter.py. Before the
dot stands what the published code calls the module that loads the file.
Source: SSR-Encoder (arXiv:2312.16272); the names follow from its public code, which loads both files strictly. The
files themselves were not at hand (docs/backbones/sd15-ssr-encoder.md).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from likeness.backbones.sdxl.adapter import Shape, attention_shapes, group_of, image_attention, require_same
from likeness.core.errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

FOLDER_NAME = "ssr_encoder"
FILE_NAME = "ssr_encoder.safetensors"
ALIGNER, LAYERS = "SSR_aligners", "SSR_layers"
FILES = {"pytorch_model.bin": ALIGNER, "pytorch_model_1.bin": LAYERS}
"""The published pickles and what the published code calls the module of each."""
EVERY = 4
"""Of the image encoder's layers every fourth is a level; the input of the first is none."""
PUBLISHED_LEVELS, PUBLISHED_INNER = 6, 512
"""Of its aligner: levels of CLIP ViT-L/14, and 8 heads of 64."""
_MATRICES = ("to_k_SSR", "to_v_SSR")
_KNOWN = {
    ALIGNER: re.compile(r"aligner\.(to_[qk]|processor\.to_(v|out)\.\d+)\.weight|norm\.(weight|bias)"),
    LAYERS: re.compile(r"\d+\.to_[kv]_SSR\.weight"),
}


class Surroundings(NamedTuple):
    """What the adapter must fit: the U-Net, the image encoder's width and number of layers, the text's width."""

    unet: Any  # UNet2DConditionModel
    image_width: int
    image_layers: int
    text_width: int

    @property
    def levels(self) -> int:
        """Of the image encoder."""
        return self.image_layers // EVERY


def published_shapes(
    around: Surroundings, *, levels: int = PUBLISHED_LEVELS, inner: int = PUBLISHED_INNER
) -> dict[str, Shape]:
    """Every tensor of a file for such a U-Net and such encoders: 16 of the aligner, two a layer."""
    width, text = around.image_width, around.text_width
    aligner: dict[str, Shape] = {"aligner.to_q.weight": (inner, text), "aligner.to_k.weight": (inner, width)}
    for level in range(levels):
        aligner[f"aligner.processor.to_v.{level}.weight"] = (inner, width)
        aligner[f"aligner.processor.to_out.{level}.weight"] = (text, inner)
    aligner |= {"norm.weight": (text,), "norm.bias": (text,)}
    named = {f"{ALIGNER}.{name}": shape for name, shape in aligner.items()}
    return {**named, **attention_shapes(around.unet, group=LAYERS, matrices=_MATRICES)}


def num_levels(shapes: Mapping[str, Any]) -> int:
    """The levels of the image encoder that the file has matrices for."""
    return sum(name.startswith(f"{ALIGNER}.aligner.processor.to_v.") for name in shapes)


def require_fit(shapes: Mapping[str, Shape], around: Surroundings, path: Path) -> None:
    """Every tensor has its place and every place its tensor.

    Raises: WeightsError naming tensors that are left over, missing or of another shape.
    """
    to_q = shapes.get(f"{ALIGNER}.aligner.to_q.weight", ())
    if len(to_q) != 2:
        got = "none" if not any(name.startswith(f"{ALIGNER}.") for name in shapes) else "another kind"
        wanted = f"{path}: expected SSR-Encoder's aligner ({ALIGNER}.aligner.to_q.weight ...), got {got}"
        raise WeightsError(f"{wanted}; use what `likeness fetch ssr_encoder` makes.")
    wanted = published_shapes(around, levels=around.levels, inner=to_q[0])
    advice = "check that it is the adapter for this U-Net, image encoder and text encoder"
    require_same(shapes, wanted, what="an SSR-Encoder", path=path, advice=advice)


def attach_attention(unet: Any, tensors: Mapping[str, Tensor]) -> None:
    """The U-Net has subject attention with the weights of `tensors`, frozen; the aligner's are left."""
    from likeness.backbones.sd15.subject_attention import SubjectAttention
    from likeness.backbones.sdxl.image_attention import SelfAttention

    weights, processors = group_of(tensors, LAYERS), dict[str, Any]()
    for number, name in enumerate(unet.attn_processors):
        to_k = unet.get_submodule(name.removesuffix(".processor")).to_k
        if not name.endswith("attn2.processor"):
            processors[name] = SelfAttention()
            continue
        made = SubjectAttention(to_k.out_features, to_k.in_features)
        own = group_of(weights, str(number))
        named = zip(("to_k_ip", "to_v_ip"), _MATRICES, strict=True)
        made.load_state_dict({f"{ours}.0.weight": own[f"{theirs}.weight"] for ours, theirs in named})
        processors[name] = made
    unet.set_attn_processor(processors)
    for layer in image_attention(unet):
        layer.to(unet.device, unet.dtype).requires_grad_(False)


def make_aligner(tensors: Mapping[str, Tensor]) -> Any:  # Aligner
    """The frozen aligner with the weights of `tensors`, of which the image attention's are left."""
    from likeness.backbones.sd15.aligner import Aligner

    own = {
        name.removeprefix("aligner.").removeprefix("processor."): tensor
        for name, tensor in group_of(tensors, ALIGNER).items()
    }
    inner, text_width = own["to_q.weight"].shape
    image_width = own["to_k.weight"].shape[1]
    made = Aligner(levels=num_levels(tensors), inner=inner, image_width=image_width, text_width=text_width)
    made.load_state_dict(own, strict=True, assign=True)
    return made.eval().requires_grad_(False)


def convert_ssr_encoder(source: Path, folder: Path, base: str) -> None:
    """`folder` has one file of the tensors of the published pickles in `source`; `base` is not needed.

    Raises: WeightsError for a missing or damaged pickle, and for one that holds other tensors.
    """
    from safetensors.torch import save_file

    from likeness.encoders.checkpoint import read_checkpoint

    found: dict[str, Tensor] = {}
    for file, group in FILES.items():
        if not (source / file).is_file():
            raise WeightsError(f"expected {' and '.join(FILES)} in one folder, got none called {file}; put it there.")
        tensors = read_checkpoint(source / file)
        others = [name for name in tensors if not _KNOWN[group].fullmatch(name)]
        if others:
            wanted = f"{file}: expected the tensors of {group} by the names of SSR-Encoder's public code"
            raise WeightsError(f"{wanted}, got also {others[0]}; get the file from its publisher.")
        found |= {f"{group}.{name}": tensor.contiguous() for name, tensor in tensors.items()}
    save_file(found, folder / FILE_NAME)
