"""Dense features as colours, beside the image tokens that adapters read: one square per patch, as large as the picture.

Source: DreamRelation (arXiv:2410.23280), its Fig. 5.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from likeness.core.errors import DataError
from likeness.core.files import read_json
from likeness.report.figures import PagePicture, inline_picture, png_uri
from likeness.report.focus_figure import Panel

FOLDER, OWN_NAME = "features", "own.json"
PICTURE_SIDE = 192


@dataclass(frozen=True)
class FeaturesFigure:
    """A picture and its maps; `when` says whose it is."""

    name: str
    when: str
    picture: PagePicture
    panels: Sequence[tuple[str, str, Panel]]


def features_figures(run: Path) -> list[FeaturesFigure]:
    """The user's own pictures, then those of the last step that shows any; none where there is no RUN/features.

    Raises: DataError when a file does not follow the schema of train/local/show.py.
    """
    steps = sorted((run / FOLDER).glob("[0-9]*.json"))
    files = [path for path in (run / FOLDER / OWN_NAME,) if path.is_file()] + steps[-1:]
    return [figure for path in files for figure in _figures(run, path)]


def _figures(run: Path, path: Path) -> list[FeaturesFigure]:
    content: Any = read_json(path)
    try:
        step = content["step"]
        when = "your picture" if step is None else f"step {int(step)}"
        return [_figure(run, row, when=when) for row in content["pictures"]]
    except (KeyError, TypeError, IndexError, ValueError, AttributeError, OverflowError) as error:
        problem = f"{type(error).__name__} {error}"
        raise DataError(f"{path}: expected features of version 1, got {problem}; write them anew.") from None


def _figure(run: Path, row: Mapping[str, Any], *, when: str) -> FeaturesFigure:
    name = str(row["image"])
    picture = inline_picture(run / name, long_side=PICTURE_SIDE)
    shown = picture if picture.uri else replace(picture, problem=f"{name}: no readable picture")
    return FeaturesFigure(str(row["id"]), when, shown, [_panel(found) for found in row["maps"]])


def _panel(found: Mapping[str, Any]) -> tuple[str, str, Panel]:
    colors = _colors(found["colors"])
    share = sum(float(each) for each in found["shares"])
    note = f"{colors.shape[0]} x {colors.shape[1]}, {share:.0%} of the variance"
    name, meaning = str(found["name"]), str(found["meaning"])
    return name, meaning, Panel(png_uri(Image.fromarray(colors)), note, f"{name}: {meaning}; {note}")


def _colors(values: Any) -> NDArray[np.uint8]:
    found = np.array(values, dtype=np.int64)
    if found.ndim != 3 or found.shape[2] != 3 or found.size == 0 or found.min() < 0 or found.max() > 255:
        raise ValueError("colors are no rows of patches with 3 bytes each")
    return found.astype(np.uint8)
