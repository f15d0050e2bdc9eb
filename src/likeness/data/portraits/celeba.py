"""CelebAMask-HQ as it is published, read and never changed.

    ROOT/CelebA-HQ-img/N.jpg                            N: 0 to 29999
    ROOT/CelebAMask-HQ-mask-anno/K/NNNNN_PART.png       one mask a part of the face, K = N // 2000
    ROOT/CelebAMask-HQ-attribute-anno.txt               a count, the names, then "N.jpg v1 v2 ..." with -1 and 1
    ROOT/CelebA-HQ-to-CelebA-mapping.txt                a header, then "N index FILE.jpg" with FILE of CelebA
    ROOT/identity_CelebA-HQ.txt                         "N.jpg IDENTITY"
    ROOT/celebahq_ids.txt                               optional: a header, then "N.jpg,SPLIT"; Stellar's own splits
    ROOT/combined_annotation_hq.txt                     optional: grades, names above and tabs between, "N.jpg g1 ..."

Without celebahq_ids.txt the split is that of CelebA's file: 1 to 162,770 train, to 182,637 validation, to 202,599 test.
Source: Lee et al., CelebAMask-HQ (arXiv:1907.11922); Liu et al., CelebA (arXiv:1411.7766).
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from likeness.core.errors import DataError
from likeness.core.files import numbered_lines, read_text
from likeness.core.images import load_image

__all__ = ["PARTS", "SPLITS", "Photo", "read_celeba", "read_mask"]

IMAGES, MASKS = "CelebA-HQ-img", "CelebAMask-HQ-mask-anno"
ATTRIBUTES, MAPPING, IDENTITIES = (
    "CelebAMask-HQ-attribute-anno.txt",
    "CelebA-HQ-to-CelebA-mapping.txt",
    "identity_CelebA-HQ.txt",
)
IDS, GRADES = "celebahq_ids.txt", "combined_annotation_hq.txt"
SPLITS = ("test", "validation")
LAST_TRAIN, LAST_VALIDATION = 162_770, 182_637
PARTS = (
    *("skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth", "u_lip", "l_lip"),
    *("hair", "hat", "ear_r", "neck_l", "neck", "cloth"),
)
"""Parts of a face in the order of their classes, from 1 on; later ones lie above earlier ones."""


class Photo(NamedTuple):
    """A photo with what the files say of it; `attributes` and `grades` by name, `parts` the masks by part."""

    number: int
    file: Path
    split: str
    identity: int
    attributes: dict[str, int]
    grades: dict[str, int] | None
    parts: dict[str, Path]


def read_celeba(root: Path, *, splits: Sequence[str] = SPLITS) -> list[Photo]:
    """The photos of the splits ("test", "validation", "train"), by number.

    Raises: DataError naming the file and line of what is absent or cannot be read.
    """
    if not (root / IMAGES).is_dir():
        raise DataError(f"{root}: expected CelebAMask-HQ with a folder {IMAGES}, got none; see docs/stellar-data.md.")
    split_of, identities = (
        _splits(root),
        {n: _int(v[0], root / IDENTITIES) for n, v in _table(root / IDENTITIES).items()},
    )
    attributes = _named(root / ATTRIBUTES)
    grades = _named(root / GRADES) if (root / GRADES).is_file() else None
    masks = _masks(root / MASKS)
    found: list[Photo] = []
    for number in sorted(number for number, split in split_of.items() if split in splits):
        file = root / IMAGES / f"{number}.jpg"
        for name, table in ((ATTRIBUTES, attributes), (IDENTITIES, identities)):
            if number not in table:
                raise DataError(f"{root / name}: expected a line for {number}.jpg, got none; get the file again.")
        own = grades.get(number) if grades else None  # some photos have none
        found.append(
            Photo(number, file, split_of[number], identities[number], attributes[number], own, masks.get(number, {}))
        )
    return found


def _splits(root: Path) -> dict[int, str]:
    if (root / IDS).is_file():
        lines = numbered_lines(read_text(root / IDS))[1:]
        names = {"test": "test", "val": "validation", "validation": "validation", "train": "train"}
        found: dict[int, str] = {}
        for line, text in lines:
            name, _, split = (part.strip() for part in text.partition(","))
            if split not in names:
                raise DataError(
                    f"{root / IDS}:{line}: expected N.jpg,test or N.jpg,val, got {text[:60]!r}; correct it."
                )
            found[_number(name, f"{root / IDS}:{line}")] = names[split]
        return found
    return {number: _split_of(_number(cells[-1], root / MAPPING)) for number, cells in _table(root / MAPPING).items()}


def _split_of(original: int) -> str:
    return "train" if original <= LAST_TRAIN else "validation" if original <= LAST_VALIDATION else "test"


def _number(name: str, where: object) -> int:
    found = re.fullmatch(r"0*(\d+)(\.jpg|\.png)?", name)
    if found is None:
        raise DataError(f"{where}: expected a photo's name like 12.jpg, got {name[:60]!r}; correct it.")
    return int(found[1])


def _int(text: str, where: object) -> int:
    if not re.fullmatch(r"-?\d+", text):
        raise DataError(f"{where}: expected whole numbers, got {text[:60]!r}; get the file again.")
    return int(text)


def _table(path: Path) -> dict[int, list[str]]:
    """Rows that begin with a photo's number or name -> their other cells; what stands above them is a header."""
    rows = [line.split() for _, line in numbered_lines(read_text(path))]
    found = {_number(cells[0], path): cells[1:] for cells in rows if re.match(r"\d+(\.jpg)?$", cells[0]) and cells[1:]}
    if not found:
        raise DataError(f"{path}: expected a line per photo, got none; get the file again.")
    return found


def _named(path: Path) -> dict[int, dict[str, int]]:
    """Numbers by the names of the last line that begins with none of a photo."""
    lines = [line for _, line in numbered_lines(read_text(path))]
    names = next((line.split() for line in lines if not re.match(r"\s*\d", line)), [])
    if not names:
        raise DataError(f"{path}: expected a line of names, got none; get the file again.")
    found: dict[int, dict[str, int]] = {}
    for number, cells in _table(path).items():
        if len(cells) != len(names):
            raise DataError(f"{path}: expected {len(names)} numbers for {number}.jpg, got {len(cells)}; get it again.")
        found[number] = {name: _int(cell, path) for name, cell in zip(names, cells, strict=True)}
    return found


def _masks(folder: Path) -> dict[int, dict[str, Path]]:
    found: dict[int, dict[str, Path]] = {}
    for path in sorted(folder.glob("*/*.png")):
        if named := re.fullmatch(r"(\d+)_(\w+)", path.stem):
            found.setdefault(int(named[1]), {})[named[2]] = path
    return found


def read_mask(photo: Photo) -> UInt8[np.ndarray, "H W"]:
    """The class of every pixel: 0 background, else 1 + the place in PARTS.

    Raises: DataError without any part, for a part of another name or size, and where all is background.
    """
    classes: np.ndarray | None = None
    if unknown := sorted(photo.parts.keys() - set(PARTS)):
        raise DataError(f"{photo.parts[unknown[0]]}: expected one of {', '.join(PARTS)}, got {unknown[0]}; rename it.")
    for value, part in enumerate(PARTS, start=1):
        if part not in photo.parts:
            continue
        seen = np.asarray(load_image(photo.parts[part]).convert("L")) > 127
        classes = np.zeros(seen.shape, np.uint8) if classes is None else classes
        if seen.shape != classes.shape:
            raise DataError(f"{photo.parts[part]}: expected a mask of {classes.shape}, got {seen.shape}; get it again.")
        classes[seen] = value
    if classes is None or not classes.any():
        raise DataError(f"{photo.file}: expected masks of its parts in {MASKS}, got none; get the masks again.")
    return classes
