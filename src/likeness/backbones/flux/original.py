"""Reads a FLUX.1 transformer in the layout of FLUX's own code: `flux1-dev.safetensors`, or ComfyUI's all-in-one files.

Names are those of LoRA files in the same layout. Source: black-forest-labs/flux; tested against diffusers' converter
`convert_flux_transformer_checkpoint_to_diffusers`, which serves networks of width 3072 only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any  # Any: a FluxTransformer2DModel, whose config diffusers types as a dict

from likeness.backbones.flux.lora_names import flux_names
from likeness.backbones.folder import CONFIG, empty_model, telling
from likeness.backbones.lora import layer_shapes
from likeness.backbones.lora_file import Target, swap_halves
from likeness.core.errors import WeightsError
from likeness.core.weights import check_safetensors

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_PREFIXES = ("model.diffusion_model.", "diffusion_model.")
_OTHER_PARTS = re.compile(r"(vae|text_encoders|first_stage_model|cond_stage_model|conditioner)\.")
_NORM = re.compile(r"(double|single)_blocks\.(\d+)\.(?:(img|txt)_attn\.)?norm\.(query|key)_norm\.scale")


def original_file(folder: Path) -> Path | None:
    """The only weights in the folder of the transformer, if their names are those of FLUX's own code."""
    from safetensors import SafetensorError, safe_open

    paths = sorted(folder.glob("*.safetensors"))
    if len(paths) != 1:
        return None
    check_safetensors(paths[0])
    try:
        with safe_open(paths[0], framework="pt") as file:
            is_original = any(_plain(key).startswith("double_blocks.") for key in file.keys())  # noqa: SIM118
    except (SafetensorError, OSError):
        return None  # the usual loader says what is wrong
    return paths[0] if is_original else None


def read_original(cls: Any, path: Path, *, dtype: torch.dtype) -> Any:
    """The frozen transformer, of the class and the config beside the file; each tensor is used, and none is missing.

    Of an all-in-one file the autoencoder and the text encoders are left out. Tensors of any float type become `dtype`.
    Raises: WeightsError naming tensors that are left over, missing or of another shape.
    """
    from safetensors import safe_open

    network = empty_model(cls, path.with_name(CONFIG))
    layers = layer_shapes(network)
    find = flux_names(layers)
    found: dict[str, Tensor] = {}
    left_over: list[str] = []
    with telling(path, "a whole FLUX.1 transformer", todo="download it again"), safe_open(path, framework="pt") as file:
        for key in sorted(file.keys()):
            if _OTHER_PARTS.match(key):
                continue
            name, _, kind = _plain(key).rpartition(".")
            targets = () if kind not in ("weight", "bias") else find(name)
            if norm := _norm(_plain(key)):
                found[norm] = file.get_tensor(key).to(dtype)
            elif targets:
                tensor = file.get_tensor(key).to(dtype)
                _require_rows(path, key, tensor, sum(layers[target.layer][0] for target in targets))
                found |= _split(tensor, targets, layers, kind=kind)
            else:
                left_over.append(key)
    _require_all(path, network, found, left_over)
    network.load_state_dict(found, assign=True)
    return network.eval().requires_grad_(False)


def _plain(key: str) -> str:
    return next((key.removeprefix(prefix) for prefix in _PREFIXES if key.startswith(prefix)), key)


def _norm(name: str) -> str | None:
    """The name in diffusers of a norm of queries or keys, None for any other name."""
    match = _NORM.fullmatch(name)
    if match is None:
        return None
    stack, number, stream, kind = match.groups()
    stem = "transformer_blocks" if stack == "double" else "single_transformer_blocks"
    return f"{stem}.{number}.attn.norm_{'added_' if stream == 'txt' else ''}{kind[0]}.weight"


def _require_rows(path: Path, key: str, tensor: Tensor, rows: int) -> None:
    if (got := tensor.shape[0]) != rows:
        wanted = f"{rows} rows in {key}, as the config beside it says"
        raise WeightsError(f"{path}: expected {wanted}, got {got}; name parts of the same model.")


def _split(
    tensor: Tensor, targets: Sequence[Target], layers: Mapping[str, tuple[int, int]], *, kind: str
) -> dict[str, Tensor]:
    """The rows of each layer that the tensor consists of, by the names in diffusers."""
    pieces = tensor.split([layers[target.layer][0] for target in targets])
    named = zip(targets, pieces, strict=True)
    return {f"{t.layer}.{kind}": (swap_halves(rows) if t.swapped else rows).clone() for t, rows in named}


def _require_all(path: Path, network: Any, found: Mapping[str, Tensor], left_over: list[str]) -> None:
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    left_over = left_over + sorted(found.keys() - wanted.keys())
    missing = sorted(wanted.keys() - found.keys())
    wrong = [name for name in found.keys() & wanted.keys() if tuple(found[name].shape) != wanted[name]]
    if left_over or missing or wrong:
        counts = {"missing": missing, "left over": left_over, "of another shape": sorted(wrong)}
        got = ", ".join(f"{len(names)} {what} (first {names[0]})" for what, names in counts.items() if names)
        advice = "name parts of the same model, or a file in fp32, fp16, bf16 or plain fp8"
        raise WeightsError(f"{path}: expected the {len(wanted)} tensors of a FLUX.1 transformer, got {got}; {advice}.")
