"""What textual inversion, Custom Diffusion and ED-LoRA leave behind, in diffusers' files, read like a LoRA.

    learned_embeds.safetensors, learned_embeds_1.safetensors ...    a word each: "clip_l" and "clip_g" (n, D)
    pytorch_custom_diffusion_weights.safetensors                    keys and values of cross-attention, in full
    pytorch_lora_weights.safetensors                                a LoRA, beside words or alone

A folder may hold words and one of the others. The token of a word stands in the header, with the number of its layers
where it is layered (layered_text.py); that of a file from elsewhere is its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from torch import Tensor

from likeness.backbones.lora import FILE_NAME, OURS, write_tensors
from likeness.backbones.lora_file import Change, LoraFile
from likeness.backbones.sdxl.words import ENCODERS
from likeness.core.errors import WeightsError
from likeness.core.weights import check_safetensors, resolve_adapter

WORDS = "learned_embeds"
KEYS_VALUES = "pytorch_custom_diffusion_weights.safetensors"
_MARK = "_custom_diffusion.weight"


class Concept(NamedTuple):
    """Words by their tokens, with rows by the keys of ENCODERS, and new weights of layers by their names.

    `layers`: of each word. `has_lora`: whether a LoRA lies beside them.
    """

    path: Path
    words: dict[str, dict[str, Tensor]]
    weights: dict[str, Tensor]
    layers: dict[str, int]
    has_lora: bool


def read_concept(spec: str | Path) -> Concept | None:
    """What lies at `spec`, a file, folder or hub id; None where it holds neither words nor keys and values.

    Raises: WeightsError for damage.
    """
    place = resolve_adapter(spec)
    files = (
        [place] if place.is_file() else sorted(place.glob(f"{WORDS}*.safetensors")) + sorted(place.glob(KEYS_VALUES))
    )
    concept = Concept(place, {}, {}, {}, has_lora=place.is_dir() and (place / FILE_NAME).is_file())
    for file in files:
        check_safetensors(file)
        with safe_open(file, framework="pt") as opened:
            names, header = list(opened.keys()), opened.metadata() or {}
            if set(names) == set(ENCODERS):
                token = header.get(f"{OURS}token", file.stem)
                concept.words[token] = {name: opened.get_tensor(name) for name in names}
                concept.layers[token] = _layers(header.get(f"{OURS}layers", "1"), file=file)
            concept.weights.update(_weights({name: opened.get_tensor(name) for name in names if _MARK in name}))
    if concept.weights and concept.has_lora:
        wanted = f"{place}: expected keys and values ({KEYS_VALUES}) or a LoRA ({FILE_NAME})"
        raise WeightsError(f"{wanted}, got both; keep one of them.")
    return concept if concept.words or concept.weights else None


def _layers(text: str, *, file: Path) -> int:
    if not text.isdecimal() or not int(text):
        raise WeightsError(f"{file}: expected a number of layers in its header, got {text!r}; save it again.")
    return int(text)


def _weights(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of layers, from "....attn2.processor.to_k_custom_diffusion.weight"."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        place, _, layer = name.removesuffix(_MARK).rpartition(".")
        found[f"{place.removesuffix('.processor')}.{layer}"] = tensor
    return found


def concept_file(concept: Concept, *, folder: Path, layers: Mapping[str, tuple[int, int]]) -> LoraFile:
    """The concept as what it does to the U-Net of `folder`, whose own weights are read where it replaces them.

    Raises: WeightsError for weights that do not fit.
    """
    for name, weight in concept.weights.items():
        if layers.get(name) != tuple(weight.shape):
            wanted = f"{concept.path}: expected weights of this U-Net, got {name} of {tuple(weight.shape)}"
            raise WeightsError(f"{wanted} where it has {layers.get(name, 'none')}; it is of another model.")
    base = _base_weights(folder / "unet", names=concept.weights)
    changes = {name: _change(weight.float() - base[name]) for name, weight in concept.weights.items()}
    return LoraFile(concept.path, None, changes, tuple(changes), embeddings=len(ENCODERS) * bool(concept.words))


def _base_weights(folder: Path, *, names: Mapping[str, object]) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")) if names else ():
        with safe_open(path, framework="pt") as file:
            held = set(file.keys())
            found |= {name: file.get_tensor(f"{name}.weight").float() for name in names if f"{name}.weight" in held}
    if missing := sorted(set(names) - set(found)):
        raise WeightsError(f"{folder}: expected weights of {missing[0]}, got none; download the folder again.")
    return found


def _change(difference: Tensor) -> Change:
    """The difference (out, in) as a pair of matrices, one of which is the identity."""
    rows, columns = difference.shape
    rank = min(rows, columns)
    down, up = (difference, torch.eye(rows)) if rank == rows else (torch.eye(columns), difference)
    return Change(down.contiguous(), up.contiguous(), float(rank))


def save_words(
    folder: Path,
    words: Mapping[str, Mapping[str, Tensor]],
    *,
    metadata: Mapping[str, Any],
    layers: Mapping[str, int] | None = None,
) -> None:
    """`folder` has a file per word; `layers`: of those that are layered. Raises: OutputError."""
    for number, (token, rows) in enumerate(words.items()):
        name, own = f"{WORDS}_{number}" if number else WORDS, (layers or {}).get(token, 1)
        told = {**metadata, "token": token, **({"layers": str(own)} if own > 1 else {})}
        write_tensors(folder / f"{name}.safetensors", rows, metadata=told)


def save_keys_values(folder: Path, network: Any, *, metadata: Mapping[str, Any]) -> None:
    """`folder` has the keys and values of the U-Net's cross-attention, as `load_attn_procs(_pipeline=pipe)` reads them.

    Self-attention has an empty entry each, without which diffusers counts too few processors. Raises: OutputError.
    """
    tensors: dict[str, Tensor] = {}
    for name in network.attn_processors:
        attention: Any = network.get_submodule(name.removesuffix(".processor"))
        if attention.is_cross_attention:
            tensors |= {f"{name}.{layer}{_MARK}": getattr(attention, layer).weight for layer in ("to_k", "to_v")}
        else:
            tensors[name] = torch.empty(0)
    write_tensors(folder / KEYS_VALUES, tensors, metadata=metadata)
