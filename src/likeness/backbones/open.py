"""Opens whichever backbone a folder holds: its model_index.json names a pipeline, BACKBONES the class for that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any  # Any: the condition of whichever backbone

from likeness.backbones import BACKBONES
from likeness.backbones.memory import Memory
from likeness.backbones.options import Options
from likeness.core.devices import pick_device, pick_dtype
from likeness.core.errors import WeightsError
from likeness.core.files import read_json
from likeness.core.hashing import file_sha256
from likeness.core.weights import resolve_weights, weights_facts

if TYPE_CHECKING:
    import torch

    from likeness.backbones.base import Backbone

__all__ = ["backbone_class", "kind_of", "lora_facts", "open_backbone", "options_of"]


def kind_of(folder: Path) -> str:
    """The kind of backbone that the folder holds; of several with its pipeline, the one whose subfolder is there.

    Without such a subfolder it is the first of them, which then says what is missing.
    Raises: WeightsError when it holds none of the known pipelines, or what belongs to two kinds; DataError when its
    index is damaged.
    """
    pipelines, index = dict.fromkeys(entry.pipeline for entry in BACKBONES.values()), folder / "model_index.json"
    wanted = f"{folder}: expected a diffusers {' or '.join(pipelines)} folder"
    if not index.is_file():
        raise WeightsError(f"{wanted}, got one without model_index.json; download it whole, or name another folder.")
    found = read_json(index)
    name = found.get("_class_name") if isinstance(found, dict) else None
    if name not in pipelines:
        raise WeightsError(f"{wanted}, got {name or 'one that names no pipeline'}; name another folder.")
    entries = {kind: entry for kind, entry in BACKBONES.items() if entry.pipeline == name}
    held = [kind for kind, entry in entries.items() if entry.holds and (folder / entry.holds).is_dir()]
    if len(held) > 1:
        got = " and ".join(entries[kind].holds for kind in held)
        raise WeightsError(f"{folder}: expected what belongs to one kind of backbone, got {got}; keep one of them.")
    return next(iter(held or entries))


def backbone_class(folder: Path) -> type[Backbone[Any]]:
    """The class that opens the folder; nothing is loaded. Raises: WeightsError, DataError as `kind_of`."""
    return resolve_name(BACKBONES[kind_of(folder)].load)


def options_of(kind: str) -> type[Options]:
    """The model of what may be asked of a picture of that kind of backbone; imports no weights and no torch."""
    return resolve_name(BACKBONES[kind].options)


def lora_facts(spec: str | Path, place: Path, *, base: Path) -> dict[str, str | int]:
    """What run.json says of a LoRA at `place`: `id`, `sha256`, and how many `layers` of the model in `base` it changes.

    `settings_sha256` is the hash of the adapter_config.json beside a file, where that sets the strength. No weights of
    the base are loaded. Raises: WeightsError when the LoRA does not fit in full or changes no layer.
    """
    opened = backbone_class(base)
    if not hasattr(opened, "read_lora"):
        raise WeightsError(f"{place}: expected a backbone that takes LoRAs, got {opened.__name__}; leave the LoRA out.")
    read = opened.read_lora(base, place)
    facts: dict[str, str | int] = {**weights_facts(spec, place), "layers": read.num_layers}
    if read.settings is not None and place.is_file():
        facts["settings_sha256"] = file_sha256(read.settings)
    return facts


def open_backbone(
    spec: str | Path,
    *,
    device: str = "auto",
    dtype: str | torch.dtype = "auto",
    loras: Sequence[str | Path] = (),
    memory: Memory | None = None,
) -> Backbone[Any]:
    """The frozen backbone of an embedded name, a folder or a hub id, with adapters that all act.

    `device` and `dtype` are as in `core/devices.py`, "auto" for what suits this machine. `memory`: how the model is
    kept, without it all on the device as it is.
    Raises: ConfigError; WeightsError naming what is missing, damaged, unknown or does not fit.
    """
    device, folder = pick_device(device), resolve_weights(str(spec))
    precision = pick_dtype(device, dtype) if isinstance(dtype, str) else dtype
    opened = backbone_class(folder)
    if memory is None or memory == Memory():
        return opened.load(folder, device=device, dtype=precision, loras=loras)
    from likeness.backbones.fitting import load_fitted

    return load_fitted(opened, folder, device=device, dtype=precision, loras=loras, memory=memory)
