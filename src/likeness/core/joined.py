"""Pipeline folders made of links: a folder whose network is a single file, and one that adds parts to another."""

import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationError

from likeness.core.cache import user_cache
from likeness.core.errors import WeightsError
from likeness.core.files import read_json, unwritable
from likeness.core.hashing import json_sha256, short
from likeness.core.spec import Spec

NETWORKS = ("transformer", "unet")
"""The part that a single file holds, by its name in pipeline folders."""
_NETWORK_FILE = "diffusion_pytorch_model.safetensors"
BASE = "base.json"
"""In a folder that only adds parts to another one: its `Base`."""


class Base(Spec):
    """`base`: the name of the folder beside, all of whose parts belong to this one, too, but for those `without`."""

    base: str
    without: list[str] = Field(default_factory=list[str])


def joined_folder(file: Path, parts: Path) -> Path:
    """A folder in the user's cache that looks like `parts`, but with `file` as the weights of its transformer or U-Net.

    It holds links only, and the same two places always give the same folder. Raises: WeightsError when `parts` is no
    pipeline folder; OutputError.
    """
    network = next((name for name in NETWORKS if (parts / name / "config.json").is_file()), None)
    if network is None or not (parts / "model_index.json").is_file():
        wanted = f"a diffusers folder with model_index.json and {' or '.join(f'{n}/config.json' for n in NETWORKS)}"
        raise WeightsError(f"{parts}: expected {wanted} beside {file.name}, got none; name the pipeline's folder.")
    links = {name: place for name, place in _places(parts).items() if not _is_replaced(name, network=network)}
    return _linked({**links, f"{network}/{_NETWORK_FILE}": str(file.absolute())})


def completed_folder(folder: Path) -> Path:
    """The folder itself, or with a base.json a folder in the user's cache that has its files and those of its base.

    It holds links only, so nothing is copied and nothing can be out of date, and the same two places always give the
    same folder. Raises: WeightsError for a base.json that is damaged or names no folder beside this one; OutputError.
    """
    if not (folder / BASE).is_file():
        return folder
    try:
        told = Base.model_validate(read_json(folder / BASE))
    except ValidationError as error:
        mistake = error.errors()[0]
        key = ".".join(map(str, mistake["loc"]))
        raise WeightsError(
            f"{folder / BASE}: {key}: {mistake['msg']}, got {mistake['input']!r}; correct it."
        ) from error
    beside = folder.parent / told.base
    if not (beside / "model_index.json").is_file():
        wanted = f"{folder / BASE}: expected a pipeline's folder {told.base} beside {folder.name}"
        raise WeightsError(f"{wanted}, got none in {folder.parent}; copy it there.")
    inherited = {name: place for name, place in _places(beside).items() if name.split("/")[0] not in told.without}
    own = {name: place for name, place in _places(folder).items() if name != BASE}
    return _linked({**inherited, **own})


def _places(folder: Path) -> dict[str, str]:
    """The absolute path of every file below the folder by its name there, without hidden ones."""
    files = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: str(path.absolute()) for name, path in files.items() if not f"/{name}".count("/.")}


def _linked(links: Mapping[str, str]) -> Path:
    """The folder of these links in the user's cache; of several processes at once the first makes it."""
    folder = user_cache() / "joined" / short(json_sha256(dict(links)))
    if _leads_to(folder, links):
        return folder
    fresh = folder.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        for name, place in links.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).symlink_to(place)
        if folder.exists():  # damaged: link by link, since others may read it now
            for name in links:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(fresh / name, folder / name)
        else:
            os.rename(fresh, folder)
    except OSError as error:  # also where another process was first
        if not _leads_to(folder, links):
            raise unwritable(folder, error) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return folder


def _is_replaced(name: str, *, network: str) -> bool:
    """Whether a file of the parts is hidden, weights of the network, or all parts once more in one file."""
    part, _, rest = name.rpartition("/")
    is_weights = name.endswith((".safetensors", ".safetensors.index.json"))
    return is_weights and (part == network or not part or not rest)


def _leads_to(folder: Path, links: Mapping[str, str]) -> bool:
    """Whether the folder has all these links."""
    return all((folder / name).is_symlink() and os.readlink(folder / name) == place for name, place in links.items())
