"""Training state on disk without pickle: tensors in safetensors, everything else in JSON, replaced atomically."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from likeness.core.errors import WeightsError
from likeness.core.files import recover_folder, replaced_folder, unwritable

Tree = Any  # nested dicts and lists of tensors and JSON scalars, as state_dict() returns them


def save_state(folder: Path, parts: Mapping[str, Tree]) -> None:
    """Writes nested state so that a kill at any moment leaves either the old or the new state, never a mixture.

    Raises: OutputError when the folder cannot be written; the old state is still there.
    """
    tensors: dict[str, torch.Tensor] = {}
    skeleton = {name: _strip(part, name, tensors) for name, part in parts.items()}
    with replaced_folder(folder) as fresh:
        try:
            save_file(tensors, fresh / "tensors.safetensors")
        except SafetensorError as error:  # its name for a full disk
            raise unwritable(folder, error) from error
        (fresh / "skeleton.json").write_text(json.dumps(skeleton))


def load_state(folder: Path) -> dict[str, Tree] | None:
    """The state written last, or None when there is none yet.

    Raises: WeightsError when the files are damaged.
    """
    recover_folder(folder)
    if not folder.exists():
        return None
    try:
        skeleton = json.loads((folder / "skeleton.json").read_text())
        with safe_open(folder / "tensors.safetensors", framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
        return {name: _fill(part, tensors) for name, part in skeleton.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        wanted = f"{folder}: expected a training state, got {type(error).__name__}: {error}"
        raise WeightsError(f"{wanted}; delete the folder to start over.") from error


def _strip(tree: Tree, path: str, tensors: dict[str, torch.Tensor]) -> Tree:
    if isinstance(tree, torch.Tensor):
        tensors[path] = tree.detach().cpu().contiguous().clone()
        return {"@tensor": path}
    if isinstance(tree, Mapping):
        # Optimizer state is keyed by integers, which JSON would turn into text.
        return {"@items": [[key, _strip(value, f"{path}/{key}", tensors)] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        return [_strip(value, f"{path}/{i}", tensors) for i, value in enumerate(tree)]
    return tree


def _fill(tree: Tree, tensors: Mapping[str, torch.Tensor]) -> Tree:
    if isinstance(tree, dict) and "@tensor" in tree:
        return tensors[tree["@tensor"]]
    if isinstance(tree, dict) and "@items" in tree:
        return {key: _fill(value, tensors) for key, value in tree["@items"]}
    if isinstance(tree, list):
        return [_fill(value, tensors) for value in tree]
    return tree
