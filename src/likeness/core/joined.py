"""A pipeline folder whose network comes from a single file: links to the parts of one folder, and to that file."""

import os
from pathlib import Path

from likeness.core.cache import user_cache
from likeness.core.errors import WeightsError
from likeness.core.files import replaced_folder
from likeness.core.hashing import json_sha256, short

NETWORKS = ("transformer", "unet")
"""The part that a single file holds, by its name in pipeline folders."""
_NETWORK_FILE = "diffusion_pytorch_model.safetensors"


def joined_folder(file: Path, parts: Path) -> Path:
    """A folder in the user's cache that looks like `parts`, but with `file` as the weights of its transformer or U-Net.

    It holds links only, and the same two places always give the same folder. Raises: WeightsError when `parts` is no
    pipeline folder; OutputError.
    """
    network = next((name for name in NETWORKS if (parts / name / "config.json").is_file()), None)
    if network is None or not (parts / "model_index.json").is_file():
        wanted = f"a diffusers folder with model_index.json and {' or '.join(f'{n}/config.json' for n in NETWORKS)}"
        raise WeightsError(f"{parts}: expected {wanted} beside {file.name}, got none; name the pipeline's folder.")
    paths = {path.relative_to(parts).as_posix(): path for path in sorted(parts.rglob("*")) if path.is_file()}
    links = {name: str(path.absolute()) for name, path in paths.items() if not _is_replaced(name, network=network)}
    links[f"{network}/{_NETWORK_FILE}"] = str(file.absolute())
    folder = user_cache() / "joined" / short(json_sha256(links))
    if not all(_leads_to(folder / name, place) for name, place in links.items()):
        with replaced_folder(folder) as fresh:
            for name, place in links.items():
                (fresh / name).parent.mkdir(parents=True, exist_ok=True)
                (fresh / name).symlink_to(place)
    return folder


def _is_replaced(name: str, *, network: str) -> bool:
    """Whether a file of the parts is hidden, weights of the network, or all parts once more in one file."""
    part, _, rest = name.rpartition("/")
    is_weights = name.endswith((".safetensors", ".safetensors.index.json"))
    return name.startswith(".") or "/." in name or (is_weights and (part == network or not part or not rest))


def _leads_to(link: Path, place: str) -> bool:
    return link.is_symlink() and os.readlink(link) == place
