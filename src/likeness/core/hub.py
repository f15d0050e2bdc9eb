"""Snapshots of the Hugging Face hub by name: downloaded with resume, or copied from where somebody put them."""

import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from likeness.core.errors import WeightsError
from likeness.core.fetched import copied, copied_folder
from likeness.core.files import replaced_folder
from likeness.core.hashing import file_sha256
from likeness.core.published import Published
from likeness.core.weights import (
    HUB_TEXTS,
    check_safetensors,
    hub_page,
    resolve_files,
    resolve_processing,
    resolve_weights,
)


class Snapshot(NamedTuple):
    """Where a snapshot lies, and whether a copy was there already."""

    folder: Path
    was_there: bool


def fetch_snapshot(name: str, item: Published, *, source: Path | None = None) -> Snapshot:
    """The files of a hub id, from the hub into its own cache, or from the folder `source` to the place for copies.

    Encoders and backbones find either by the hub id. Safetensors must be whole, and hashes those that are known.
    Raises: WeightsError for what cannot be had, with the files to copy by hand and the place; OutputError.
    """
    spec = item.source
    if source is not None:
        return _copied(item, source)
    if found := copied(spec):
        _require_hashes(found, item)
        return Snapshot(found, was_there=True)
    try:
        folder = _resolved(item)
    except WeightsError as error:
        reason = str(error).partition(", got ")[2] or str(error)
        what = f"{name}: expected {spec} from the hub, got {reason.rstrip('.')}"
        raise WeightsError(f"{what}; {by_hand(name, item)}.") from error
    _require_hashes(folder, item)
    return Snapshot(folder, was_there=False)


def _resolved(item: Published) -> Path:
    if item.only_files:
        return resolve_files(item.source, item.files)
    return resolve_processing(item.source) if item.texts_only else resolve_weights(item.source)


def by_hand(name: str, item: Published) -> str:
    """What to copy from where to where."""
    files = f"{', '.join(item.files)} of {hub_page(item.source)}"
    return f"copy {files} to {item.place}, or run `likeness fetch {name} --from FOLDER` with a copy of them"


def _copied(item: Published, source: Path) -> Snapshot:
    """The needed files of the folder lie where copies are looked for."""
    names = _needed(item, source)
    for name in names:
        if name.endswith(".safetensors"):
            check_safetensors(source / name)
    _require_hashes(source, item)
    place = copied_folder(item.source)
    with replaced_folder(place) as fresh:
        for name in names:
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, fresh / name)
    return Snapshot(place, was_there=False)


def _needed(item: Published, source: Path) -> list[str]:
    """The files of a folder that a download would bring. Raises: WeightsError where the folder is not such a copy."""
    if not source.is_dir():
        raise WeightsError(f"{source}: expected a folder with {', '.join(item.files)}, got none; correct the path.")
    every = sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
    visible = [name for name in every if not any(part.startswith(".") for part in name.split("/"))]
    if item.only_files:
        return _listed(item, visible, source)
    weights = [name for name in visible if fnmatch(name, "*.safetensors")]
    if "model_index.json" in visible:
        weights = [name for name in weights if "/" in name]
    texts = [name for name in visible if any(fnmatch(name, pattern) for pattern in HUB_TEXTS)]
    if not (texts if item.texts_only else weights):
        wanted = "configs and tokenizer files" if item.texts_only else "safetensors (pickles are never read)"
        raise WeightsError(f"{source}: expected {wanted} of {item.source}, got none; copy {', '.join(item.files)}.")
    return sorted([*texts, *([] if item.texts_only else weights)])


def _listed(item: Published, names: list[str], source: Path) -> list[str]:
    """The names that the item asks for. Raises: WeightsError where one of its files or patterns is none of them."""
    if lacking := [wanted for wanted in item.files if not any(fnmatch(name, wanted) for name in names)]:
        raise WeightsError(f"{source}: expected {', '.join(lacking)} of {item.source}, got none; copy it there.")
    return [name for name in names if any(fnmatch(name, wanted) for wanted in item.files)]


def _require_hashes(folder: Path, item: Published) -> None:
    """Raises: WeightsError for a file that is missing or another than the published one, where its hash is known."""
    for name, sha256 in item.sha256.items():
        path = folder / name
        if not path.is_file():
            raise WeightsError(f"{path}: expected a file of {item.source}, got none; copy it there.")
        found = file_sha256(path)
        if found != sha256:
            what = f"{path}: expected the published file with SHA-256 {sha256[:12]}..., got {found[:12]}..."
            raise WeightsError(f"{what} of {path.stat().st_size} bytes; delete it and get it again.")
