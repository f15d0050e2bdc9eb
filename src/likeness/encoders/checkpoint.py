"""Tensors of a published file: safetensors, or a pickle that holds nothing but tensors and plain values.

A pickle is read by torch's restricted reader, which runs no code; one that names anything else is refused by that name.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError  # what torch's reader raises; nothing is unpickled with it
from typing import Any, cast  # Any: what a pickle holds

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from likeness.core.errors import WeightsError
from likeness.core.weights import check_safetensors
from likeness.encoders.base import short_reason

NESTED = ("state_dict", "model")
"""Where training scripts keep the weights inside of what they saved."""
WRAPPER = "module."
"""What training on several devices puts before every name."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU. Raises: WeightsError for a damaged file and for one with code."""
    loaded = loaded_file(path)
    tensors = _tensors(loaded, path=path)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise WeightsError(f"{path}: expected finite numbers, got others in {name}; download the file again.")
    return {name.removeprefix(WRAPPER): tensor for name, tensor in tensors.items()}


def loaded_file(path: Path) -> Any:
    """What a file of weights holds, on the CPU; of a pickle only tensors and plain containers. Raises: WeightsError."""
    try:
        if path.suffix == ".safetensors":
            check_safetensors(path)
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise WeightsError(_refusal(path, error)) from None
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, SafetensorError) as error:
        got = error.strerror if isinstance(error, OSError) and error.strerror else short_reason(error)
        raise WeightsError(f"{path}: expected a whole file of weights, got {got}; download it again.") from error


def _refusal(path: Path, error: UnpicklingError) -> str:
    """Why the restricted reader stopped: the name that a pickle wanted to call, or damage."""
    named = re.search(r"GLOBAL (\S+)", str(error)) or re.search(r"(?:type|function|class) (\S+)", str(error))
    if named is None:
        return f"{path}: expected a whole file of weights, got {short_reason(error)}; download it again."
    what = f"{path}: expected tensors only, got a pickle that names {named[1]}, which could run code"
    return f"{what}; get the file from its publisher, or as safetensors."


def _tensors(loaded: Any, *, path: Path) -> dict[str, Tensor]:
    """The named tensors, wherever inside they are kept. Raises: WeightsError where there are none."""
    inner = next((loaded[key] for key in NESTED if isinstance(loaded, Mapping) and key in loaded), loaded)
    if not isinstance(inner, Mapping) or not inner:
        raise WeightsError(f"{path}: expected tensors by name, got {type(inner).__name__}; give another file.")
    found = _flat(cast(Mapping[Any, Any], inner), path=path)
    return {name: tensor.detach() for name, tensor in found.items()}


def _flat(named: Mapping[Any, Any], *, path: Path, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of named groups as "group.name". Raises: WeightsError for anything else among them."""
    found: dict[str, Tensor] = {}
    for name, value in named.items():
        if isinstance(value, Mapping):
            found |= _flat(cast(Mapping[Any, Any], value), path=path, prefix=f"{prefix}{name}.")
        elif isinstance(value, Tensor):
            found[f"{prefix}{name}"] = value
        else:
            what = f"{prefix + str(name)!r} with {type(value).__name__}"
            raise WeightsError(f"{path}: expected tensors by name, got {what}; give another file.")
    return found
