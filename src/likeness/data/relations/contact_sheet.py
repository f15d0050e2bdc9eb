"""A picture of the first examples of a set, for people: references, target, and what is known of the target.

A subject has one colour in every picture: its mask is tinted, its box outlined, limbs are lines and valid keypoints
dots; keypoints that are not valid are small crosses.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any  # rows are JSON

import numpy as np
from PIL import Image, ImageDraw

from likeness.core.images import load_image, save_png
from likeness.core.masks import read_mask
from likeness.core.skeletons import LIMBS

__all__ = ["COLOURS", "known_of_target", "write_relation_sheet"]

ROWS, CELL, CAPTION, GAP = 16, 192, 14, 4
COLOURS = ((230, 60, 40), (40, 110, 230), (30, 150, 70), (170, 70, 190))
"""Of subjects 0 to 3."""


def write_relation_sheet(rows: Sequence[dict[str, Any]], *, folder: Path, path: Path) -> None:
    """The PNG at `path` shows the first examples of `rows`, one a line: references, target, target with its labels."""
    shown = rows[:ROWS]
    cells = max(len(row["subjects"]) for row in shown) + 2
    width, height = cells * (CELL + GAP) + GAP, CELL + CAPTION + GAP
    sheet = Image.new("RGB", (width, height * len(shown) + GAP), "white")
    for line, row in enumerate(shown):
        pictures = [_reference(subject, index, folder=folder) for index, subject in enumerate(row["subjects"])]
        pictures += [None] * (cells - 2 - len(pictures)) + [_fitted(load_image(folder / row["target"]))]
        for place, picture in enumerate((*pictures, known_of_target(row, folder=folder))):
            if picture is not None:
                sheet.paste(picture, (GAP + place * (CELL + GAP), GAP + line * height))
        ImageDraw.Draw(sheet).text((GAP, GAP + line * height + CELL), _caption(row), fill=(60, 60, 60))
    save_png(sheet, path)


def known_of_target(row: dict[str, Any], *, folder: Path) -> Image.Image:
    """The target in grey with mask, box and keypoints of every subject, CELL px on the longer side."""
    picture = _grey(load_image(folder / row["target"]))
    for index, subject in enumerate(row["subjects"]):
        _tint(picture, read_mask(folder / subject["mask"]), COLOURS[index])
    image = _fitted(Image.fromarray(picture.astype(np.uint8)))
    for index, subject in enumerate(row["subjects"]):
        _draw(image, subject, COLOURS[index])
    return image


def _reference(subject: dict[str, Any], index: int, *, folder: Path) -> Image.Image:
    image = _fitted(load_image(folder / subject["reference"]["image"]))
    _draw(image, subject["reference"], COLOURS[index])
    return image


def _grey(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("L").convert("RGB")) * 0.45 + 130


def _tint(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    picture[mask] = 0.6 * picture[mask] + 0.4 * np.array(colour)


def _fitted(image: Image.Image) -> Image.Image:
    """The picture at the scale of the sheet, before keypoints are drawn on it, so that they are seen."""
    scale = CELL / max(image.size)
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def _draw(image: Image.Image, shown: dict[str, Any], colour: tuple[int, int, int]) -> None:
    pen, keypoints = ImageDraw.Draw(image), shown["keypoints"]
    at = [(x * image.width, y * image.height) for x, y in keypoints["points"]]
    if box := shown["box"]:
        pen.rectangle([edge * side for edge, side in zip(box, image.size * 2, strict=True)], outline=colour)
    for limb in LIMBS[keypoints["skeleton"]]:
        if all(keypoints["valid"][index] for index in limb):
            pen.line([at[index] for index in limb], fill=colour, width=2)
    for (x, y), valid in zip(at, keypoints["valid"], strict=True):
        if valid:
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour, outline="white")
        else:
            pen.line((x - 2, y - 2, x + 2, y + 2), fill=colour)
            pen.line((x - 2, y + 2, x + 2, y - 2), fill=colour)


def _caption(row: dict[str, Any]) -> str:
    repaired = "repaired: " if row["repairs"] else ""
    return f"{repaired}{row['predicate'] or 'no predicate'}: {row['prompt']}"[:130]
