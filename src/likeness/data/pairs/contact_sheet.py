"""A picture of the first pairs of a set, for people: per row the references, preferred, rejected, and the masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any  # rows are JSON

import numpy as np
from PIL import Image, ImageDraw

from likeness.core.images import load_image, save_png
from likeness.core.masks import read_mask

__all__ = ["write_contact_sheet"]

ROWS, CELL, CAPTION, GAP = 24, 128, 12, 4
DISRUPTED, KEPT = (230, 40, 40), (40, 110, 230)
SLOTS = 2  # references shown per row


def write_contact_sheet(rows: Sequence[dict[str, Any]], *, folder: Path, path: Path) -> None:
    """The PNG at `path` shows the first pairs of `rows` in two columns, masks of disrupted subjects in red."""
    shown = rows[:ROWS]
    lines = -(-len(shown) // 2)
    width, height = (SLOTS + 3) * (CELL + GAP), CELL + CAPTION + GAP
    sheet = Image.new("RGB", (2 * width + GAP, lines * height + GAP), "white")
    for number, row in enumerate(shown):
        sheet.paste(_strip(row, folder=folder), (number % 2 * (width + GAP), number // 2 * height + GAP))
    save_png(sheet, path)


def _strip(row: dict[str, Any], *, folder: Path) -> Image.Image:
    """One pair: picture after picture, its kind and difficulty below."""
    strip = Image.new("RGB", ((SLOTS + 3) * (CELL + GAP), CELL + CAPTION), "white")
    references = [load_image(folder / reference["image"]) for reference in row["references"][:SLOTS]]
    preferred, rejected = load_image(folder / row["preferred"]), load_image(folder / row["rejected"])
    overlay = _overlay(preferred, row, folder=folder)
    pictures = [*references, *[None] * (SLOTS - len(references)), preferred, rejected, overlay]
    for place, picture in enumerate(pictures):
        if picture is not None:
            strip.paste(picture.resize((CELL, CELL), Image.Resampling.LANCZOS), (place * (CELL + GAP), 0))
    ImageDraw.Draw(strip).text((0, CELL), _caption(row), fill=(60, 60, 60))
    return strip


def _overlay(picture: Image.Image, row: dict[str, Any], *, folder: Path) -> Image.Image:
    pixels = np.asarray(picture.convert("L").convert("RGB")) * 0.35 + 160
    for subject in row["subjects"]:
        mask = read_mask(folder / subject["mask"])
        color = np.array(DISRUPTED if subject["disrupted"] else KEPT, np.float32)
        pixels[mask] = 0.35 * pixels[mask] + 0.65 * color
    return Image.fromarray(pixels.astype(np.uint8))


def _caption(row: dict[str, Any]) -> str:
    disruption = next(subject["disruption"] for subject in row["subjects"] if subject["disrupted"])
    made = f"{disruption['kind']} (difficulty {disruption['difficulty']}), {disruption['source']}"
    return f"{made}: {row['prompt']}"[:110]
