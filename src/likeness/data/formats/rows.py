"""What a reader of somebody else's layout hands on: one row per pair, as far as that layout knows it."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from likeness.core.errors import DataError
from likeness.core.files import read_text
from likeness.core.kinds import Category
from likeness.core.records import MAX_SUBJECTS
from likeness.core.rows import LeftOut

__all__ = [
    "PICTURE_SUFFIXES",
    "LayoutRow",
    "PictureFile",
    "Read",
    "attempt",
    "named_references",
    "pictures_by_stem",
    "repeated_stems",
    "text_beside",
]

PictureFile = Path | bytes
"""A picture as a file or as its encoded bytes."""

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class LayoutRow(NamedTuple):
    """One pair of a foreign layout. `rejected` is None where the layout has no second picture.

    `where` names the row for people; `name` is how other folders call it (losers, references, masks).
    `reference_masks` are those of `references`, None for a whole picture. `mask_of(preferred, rejected)`, both
    (H, W, 3) uint8, makes the mask (H, W) bool where there is none. `notes` tell how further fields were filled.
    """

    where: str
    name: str
    prompt: str
    preferred: PictureFile
    rejected: PictureFile | None = None
    references: tuple[PictureFile, ...] = ()
    mask: Path | None = None
    class_name: str = ""
    category: Category | None = None
    reference_masks: tuple[Path | None, ...] = ()
    mask_of: Callable[[NDArray[np.uint8], NDArray[np.uint8]], NDArray[np.bool_]] | None = None
    notes: Mapping[str, str] = MappingProxyType({})


Read = Callable[[Path], Iterator[LayoutRow | LeftOut]]
"""Reads all rows of a source; a row that cannot be used comes as LeftOut, a source that cannot as DataError."""


def pictures_by_stem(folder: Path) -> dict[str, Path]:
    """Path below `folder` without suffix, with forward slashes -> picture, sorted; other files are left out."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file())
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in found}


def repeated_stems(folder: Path) -> Iterator[LeftOut]:
    """The pictures below `folder` that `pictures_by_stem` leaves out, since another one has their name."""
    used = pictures_by_stem(folder)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
            other = used[path.relative_to(folder).with_suffix("").as_posix()]
            if other != path:
                yield LeftOut.at(path, f"expected one picture {path.stem}, got {other.name} too, which is used.")


def attempt(where: Path | str, make: Callable[[], LayoutRow | LeftOut]) -> LayoutRow | LeftOut:
    """What `make` gives; a DataError makes the row one that is left out."""
    try:
        return make()
    except DataError as error:
        return LeftOut.at(where, error)


def text_beside(path: Path, *, suffixes: tuple[str, ...] = (".txt", ".caption")) -> str | None:
    """The caption file with the stem of a picture, stripped; None where there is none."""
    files = (path.with_suffix(suffix) for suffix in suffixes)
    return next((read_text(file).strip() for file in files if file.is_file()), None)


def named_references(pictures: Mapping[str, Path], *, name: str) -> tuple[Path, ...]:
    """The references of a row: the only picture there is, the one of its name, or those called <name>-0, <name>-1."""
    if len(only := set(pictures.values())) == 1:
        return tuple(only)
    if name in pictures:
        return (pictures[name],)
    numbered = (pictures.get(f"{name}-{index}") for index in range(MAX_SUBJECTS))
    return tuple(path for path in numbered if path is not None)
