"""Where weights are kept that `likeness fetch` converted or copied, so that they are found by name or by hub id."""

import os
import re
from pathlib import Path

from likeness.core.cache import user_cache

RECORD = "fetched.json"
"""Inside a fetched folder: its name, and the hash of the file that it was made from."""


def weights_cache() -> Path:
    """Where fetched weights are kept: likeness/weights in the user's cache folder."""
    return user_cache() / "weights"


def fetched_folder(name: str) -> Path:
    """The folder of these fetched weights, whether or not it is there."""
    return weights_cache() / name


def copied_folder(spec: str) -> Path:
    """Where a copy of a hub id, with its revision, must lie to be found without the hub, whether or not it is there."""
    return weights_cache() / "hub" / spec.replace("/", "--")


def copied(spec: str) -> Path | None:
    """The folder of a copy of a hub id, if there is one."""
    folder = copied_folder(spec)
    return folder if "/" in spec and os.path.isdir(folder) else None


def fetched(spec: str) -> Path | None:
    """The folder of fetched weights, if `spec` is the name of some that are there."""
    is_name = re.fullmatch(r"[a-z0-9_]{1,40}", spec) is not None
    return fetched_folder(spec) if is_name and fetched_folder(spec).is_dir() else None
