"""A small folder in CelebAMask-HQ's layout, and a detector whose answers are planted in the pictures."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

SIZE = 40


class Row(NamedTuple):
    """A photo: CelebA's number (which tells the split), whose it is, its attributes, and its face."""

    original: int
    identity: int
    male: int
    young: int
    area: float = 0.5
    score: float = 1.0
    masks: tuple[str, ...] = ("skin", "hair")


class _Face(NamedTuple):
    area: float
    score: float


class _Seen(NamedTuple):
    largest: _Face | None


class PlantedFaces:
    """Reads area and score of the largest face out of the first pixels; blue means no face."""

    id = "planted"

    def look(self, images: Sequence[Image.Image]) -> list[_Seen]:
        found: list[_Seen] = []
        for image in images:
            red, green, blue = np.asarray(image)[4, 4] / 255
            found.append(_Seen(None if blue > 0.5 else _Face(float(red) * SIZE * SIZE, float(green))))
        return found


def write_celeba(root: Path, rows: Sequence[Row]) -> Path:
    """Photo number k is rows[k]. An area below 0 plants a picture without a face."""
    (root / "CelebA-HQ-img").mkdir(parents=True)
    names = "Male Young Big_Nose"
    attributes, mapping, identities = [f"{len(rows)}", names], ["idx orig_idx orig_file"], list[str]()
    for k, row in enumerate(rows):
        colour = (0, 0, 255) if row.area < 0 else (round(255 * row.area), round(255 * row.score), 0)
        Image.new("RGB", (SIZE, SIZE), colour).save(root / "CelebA-HQ-img" / f"{k}.jpg", quality=100, subsampling=0)
        attributes.append(f"{k}.jpg  {row.male} {row.young} -1")
        mapping.append(f"{k}  {row.original - 1}   {row.original:06d}.jpg")
        identities.append(f"{k}.jpg {row.identity}")
        for place, part in enumerate(row.masks):
            mask = np.zeros((20, 20), np.uint8)
            mask[5 * place : 5 * place + 8, 4:16] = 255
            folder = root / "CelebAMask-HQ-mask-anno" / str(k // 2000)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).convert("RGB").save(folder / f"{k:05d}_{part}.png")
    (root / "CelebAMask-HQ-attribute-anno.txt").write_text("\n".join(attributes) + "\n")
    (root / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(mapping) + "\n")
    (root / "identity_CelebA-HQ.txt").write_text("\n".join(identities) + "\n")
    return root


def people(first: int, *, each: int, original: int, photos: int = 3) -> list[Row]:
    """`each` people of every combination of Male and Young, with so many photos, from the identity `first` on."""
    kinds = [(male, young) for male in (-1, 1) for young in (-1, 1)] * each
    return [Row(original, first + k, *kind) for k, kind in enumerate(kinds) for _ in range(photos)]
