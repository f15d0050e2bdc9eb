"""Parts of a set in the making: a JSON file per part, written after the part's pictures and in one piece.

A kill at any moment loses at most the parts in the making, and what is finished is never made again.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any  # facts are JSON

from likeness.core.files import atomic_write_bytes, read_json, write_json

__all__ = ["is_finished", "write_part"]


def is_finished(path: Path, *, folder: Path) -> bool:
    """Whether the part's rows are there and all its files with them, which a kill ensures and a person may undo."""
    sizes = read_json(path)["files"] if path.is_file() else None
    try:
        return sizes is not None and all((folder / name).stat().st_size == size for name, size in sizes.items())
    except OSError:
        return False


def write_part(path: Path, *, folder: Path, facts: dict[str, Any], files: Mapping[str, bytes]) -> None:
    """`folder` holds `files` by their names, and then `path` the facts with the sizes of all files."""
    for name, data in files.items():
        # not forced to the disk one by one, which takes longer than drawing; the sizes in the part tell short files
        atomic_write_bytes(folder / name, data, sync=False)
    write_json(path, facts | {"files": {name: len(data) for name, data in files.items()}})
