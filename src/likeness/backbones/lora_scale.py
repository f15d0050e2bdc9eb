"""A LoRA at another strength, as a folder of its own, which any tool reads."""

from __future__ import annotations

import shutil
from math import isfinite
from pathlib import Path
from typing import NamedTuple

from likeness.backbones.lora import OURS, write_tensors
from likeness.backbones.lora_file import up_matrices
from likeness.core.errors import ConfigError, OutputError, WeightsError
from likeness.core.files import is_inside, replaced_folder
from likeness.core.weights import resolve_adapter

SETTINGS = "adapter_config.json"
"""What stands beside peft's files and says how strong they are."""


class Scaled(NamedTuple):
    """A scaled LoRA: its file, how many matrices were multiplied, and the strength against the LoRA first trained."""

    file: Path
    matrices: int
    strength: float


def scale_lora(spec: str | Path, *, strength: float, out: Path) -> Scaled:
    """`out` holds the LoRA of `spec`, which changes every layer `strength` times as much, and what lay beside it.

    Matrices "up" are multiplied in fp32 and rounded once to their own precision; alpha and settings stay true. Words,
    and keys and values of their own, are copied as they are.
    Raises: ConfigError for a strength that is 0 or no number; WeightsError for what is no LoRA, and for numbers that
    its precision does not hold; OutputError, also for a folder that holds something or lies inside
    the LoRA's own.
    """
    from safetensors import safe_open

    if not isfinite(strength) or strength == 0:
        raise ConfigError(
            f"STRENGTH: expected a number other than 0, got {strength}; 0 is no LoRA at all: leave it out."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out}: expected a new or empty folder, got one with files; choose another.")
    path, ups = up_matrices(spec)
    is_folder = resolve_adapter(spec).is_dir()
    if is_folder and is_inside(out, path.parent):
        raise OutputError(f"{out}: expected a folder outside of the LoRA's own, which is copied; choose another.")
    with safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in sorted(file.keys())}
        header: dict[str, str] = file.metadata() or {}
    for name in ups:
        own = tensors[name]
        tensors[name] = (own.float() * strength).to(own.dtype)
        if not tensors[name].isfinite().all():
            kind = str(own.dtype).removeprefix("torch.")
            raise WeightsError(f"{path}: expected {strength} times {name} to fit in {kind}, got infinity; lower it.")
    total = strength * float(header.get(f"{OURS}strength", 1))
    with replaced_folder(out) as fresh:
        _copy_beside(path, whole=is_folder, to=fresh)
        write_tensors(fresh / path.name, tensors, header=header, metadata={"strength": total})
    return Scaled(out / path.name, len(ups), total)


def _copy_beside(path: Path, *, whole: bool, to: Path) -> None:
    """What belongs to the LoRA: all of its folder where that was named, else peft's settings alone."""
    beside = path.parent.iterdir() if whole else [path.with_name(SETTINGS)]
    for other in beside:
        if other.is_dir():
            shutil.copytree(other, to / other.name)
        elif other.is_file() and other != path:
            shutil.copyfile(other, to / other.name)
