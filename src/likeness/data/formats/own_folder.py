"""One's own pictures in folders, joined by name: what `likeness data new` reads.

DIR/preferred/a_dog_on_a_beach.png   the prompt, with the subject right
DIR/rejected/a_dog_on_a_beach.png    the same picture, with the subject wrong
DIR/refs/rex.png                     one reference for all pairs, or NAME.png, or NAME-0.png and NAME-1.png
DIR/masks/a_dog_on_a_beach.png       white where both may differ; without it, the difference of both pictures
DIR/masks/rex.png                    white on the subject of that reference; without it, the whole picture
DIR/preferred/NAME.txt, or DIR/prompts.json {"NAME": "a dog on a beach"}; without them, a NAME of several words
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any  # JSON of others, checked here

import numpy as np
from jaxtyping import Bool, UInt8

from likeness.core.errors import DataError
from likeness.core.files import read_json
from likeness.core.rows import LeftOut
from likeness.data.formats.rows import (
    LayoutRow,
    attempt,
    named_references,
    pictures_by_stem,
    repeated_stems,
    text_beside,
)

__all__ = ["difference_mask", "own_folder"]

PARTS = ("preferred", "rejected", "refs")
UNCHANGED = 16
"""Grey levels up to which a pixel counts as the same, as after a mild JPEG."""
GAP = 5  # px across which changed pixels are one area
SMALLEST = 0.02
"""Of the largest changed area: smaller ones are specks."""
LARGEST = 0.9
"""Share of the picture above which the difference says nothing about where the subject is."""


def own_folder(source: Path) -> Iterator[LayoutRow | LeftOut]:
    """The folder shown above. Raises: DataError without one of preferred, rejected and refs."""
    for part in PARTS:
        if not (source / part).is_dir() or not pictures_by_stem(source / part):
            raise DataError(f"{source}: expected a folder {part} with pictures, got none; see docs/your-own-pairs.md.")
    folders = {part: pictures_by_stem(source / part) for part in (*PARTS, "masks") if (source / part).is_dir()}
    for part in folders:
        yield from repeated_stems(source / part)
    prompts = _prompts(source / "prompts.json")
    for stem in sorted(folders["rejected"].keys() - folders["preferred"].keys()):
        yield LeftOut.at(folders["rejected"][stem], f"expected a picture {stem} in preferred, got none.")
    for stem, path in folders["preferred"].items():
        yield attempt(path, partial(_row, stem, path, folders=folders, prompts=prompts))


def _prompts(path: Path) -> Mapping[str, Any]:
    found = read_json(path) if path.is_file() else {}
    if not isinstance(found, dict):
        raise DataError(f"{path}: expected an object of names and prompts, got {type(found).__name__}; correct it.")
    return found


def _row(stem: str, path: Path, *, folders: Mapping[str, dict[str, Path]], prompts: Mapping[str, Any]) -> LayoutRow:
    """Raises: DataError for a pair without rejected picture, reference or prompt."""
    if stem not in folders["rejected"]:
        raise DataError(f"expected a picture {stem} in rejected, got none.")
    references = named_references(folders["refs"], name=stem)
    if not references:
        raise DataError(f"expected refs to hold one picture, or {stem} or {stem}-0, got none of them.")
    masks = folders.get("masks", {})
    names = {reference: name for name, reference in folders["refs"].items()}
    found = prompts.get(stem) or text_beside(path)
    prompt = found if isinstance(found, str) and found.strip() else _words(path.stem)
    notes = {
        "prompt": "given" if found else "the file's name",
        "box": "the mask's",
        "size": "the preferred picture's",
    }
    of_references = tuple(masks.get(names[reference]) for reference in references)
    notes["reference masks"] = "given" if all(of_references) else "none: the whole picture"
    return LayoutRow(
        str(path),
        stem,
        prompt,
        path,
        folders["rejected"][stem],
        references,
        mask=masks.get(stem),
        reference_masks=of_references,
        mask_of=None if stem in masks else difference_mask,
        notes=notes,
    )


def _words(name: str) -> str:
    """A file's name as a prompt. Raises: DataError for one that is no sentence."""
    words = re.sub(r"[\W_]+", " ", name).strip()
    if len([word for word in words.split() if not word.isdigit()]) < 2:
        wanted = f"a prompt in {name}.txt or prompts.json, or a file name of several words"
        raise DataError(f"expected {wanted}, got {name!r}.")
    return words


def difference_mask(
    preferred: UInt8[np.ndarray, "H W 3"], rejected: UInt8[np.ndarray, "H W 3"]
) -> Bool[np.ndarray, "H W"]:
    """Where both pictures differ, without gaps, holes and specks.

    Raises: DataError where they are equal, or differ so widely that no subject can be told.
    """
    from scipy.ndimage import binary_closing, binary_fill_holes, label

    apart = np.abs(preferred.astype(np.int16) - rejected).max(-1) > UNCHANGED
    closed = np.asarray(binary_closing(np.pad(apart, GAP), np.ones((GAP, GAP))))[GAP:-GAP, GAP:-GAP] | apart
    parts = np.zeros(apart.shape, np.int32)
    label(closed, output=parts)
    areas = np.bincount(parts.ravel())[1:]
    if not areas.size:
        raise DataError("expected two pictures that differ, got none that does; make another rejected picture.")
    kept = np.flatnonzero(areas >= SMALLEST * areas.max()) + 1
    mask = np.asarray(binary_fill_holes(np.isin(parts, kept)))
    if mask.mean() > LARGEST:
        raise DataError(f"expected pictures that differ in a part, got {mask.mean():.0%}; draw a mask.")
    return mask
