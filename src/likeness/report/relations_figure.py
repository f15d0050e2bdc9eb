"""A relation training from inside: joints, the attention to the predicate, and latents that are alike.

Source: DreamRelation (arXiv:2410.23280), its Fig. 4; files by train/relations/show.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from likeness.core.errors import DataError
from likeness.core.files import read_json
from likeness.core.images import load_image
from likeness.report.figures import PagePicture, inline_picture, png_uri
from likeness.report.focus_figure import SCORE_COLOR, WEIGHT_COLOR, Color, Panel, heat_uri

FOLDER = "relations"
PICTURE_SIDE = 192
COLORS: tuple[Color, ...] = ((226, 60, 60), (40, 120, 220), (30, 150, 80), (190, 110, 20))
"""Of the subjects, in order."""


@dataclass(frozen=True)
class RelationFigure:
    """An example: its target, the target with joints, and maps over it with a title and a meaning each."""

    name: str
    when: str
    picture: PagePicture
    joints: PagePicture
    told: str
    panels: Sequence[tuple[str, str, Panel]]


def relation_figures(run: Path) -> list[RelationFigure]:
    """Those of the last step that shows any; none where there is no RUN/relations.

    Raises: DataError when a file does not follow the schema of train/relations/show.py.
    """
    files = sorted((run / FOLDER).glob("[0-9]*.json"))[-1:]
    return [figure for path in files for figure in _figures(run, path)]


def _figures(run: Path, path: Path) -> list[RelationFigure]:
    content: Any = read_json(path)
    try:
        when = f"step {int(content['step'])}, t = {float(content['t']):g}"
        return [_figure(run, row, when=when) for row in content["examples"]]
    except (KeyError, TypeError, IndexError, ValueError, AttributeError, OverflowError) as error:
        problem = f"{type(error).__name__} {error}"
        raise DataError(f"{path}: expected joints and maps of version 1, got {problem}; write them anew.") from None


def _figure(run: Path, row: Mapping[str, Any], *, when: str) -> RelationFigure:
    path, subjects = run / str(row["image"]), row["subjects"]
    picture = inline_picture(path, long_side=PICTURE_SIDE)
    if not picture.uri:
        picture = replace(picture, problem=f"{row['image']}: no readable picture")
    joints = picture if picture.problem else _with_joints(path, subjects)
    counts = [
        f"{subject['phrase']}: {sum(map(bool, subject['valid']))} of {len(subject['valid'])}" for subject in subjects
    ]
    panels = [_grid_panel(row, subjects), *_attention_panel(row), *_cosine_panels(subjects)]
    return RelationFigure(f"{row['prompt']} ({row['id']})", when, picture, joints, ", ".join(counts), panels)


def _with_joints(path: Path, subjects: Sequence[Mapping[str, Any]]) -> PagePicture:
    """The picture with a dot on every joint: full where it counts, a ring where it does not."""
    image = load_image(path).convert("RGB")
    scale = PICTURE_SIDE / max(image.size)
    image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    draw = ImageDraw.Draw(image)
    for number, subject in enumerate(subjects):
        color = COLORS[number % len(COLORS)]
        for (x, y), counts in zip(subject["points"], subject["valid"], strict=True):
            at = (float(x) * image.width, float(y) * image.height)
            draw.circle(at, 3, fill=color if counts else None, outline=color)
    return PagePicture(uri=png_uri(image), width=image.width, height=image.height)


def _grid_panel(row: Mapping[str, Any], subjects: Sequence[Mapping[str, Any]]) -> tuple[str, str, Panel]:
    height, width = (int(side) for side in row["grid"])
    pixels = np.zeros((height, width, 4), dtype=np.uint8)
    for number, subject in enumerate(subjects):
        for (line, column), counts in zip(subject["cells"], subject["valid"], strict=True):
            if counts:
                pixels[int(line), int(column)] = (*COLORS[number % len(COLORS)], 230)
    note = f"{height} x {width} cells"
    spoken = f"joints on the latent grid, {note}"
    return "latent grid", "cells of the joints that count", Panel(png_uri(Image.fromarray(pixels)), note, spoken)


def _attention_panel(row: Mapping[str, Any]) -> list[tuple[str, str, Panel]]:
    if row["attention"] is None:
        return []
    values = _matrix(row["attention"])
    top = float(values.max())
    note = f"up to {top:.2g}"
    meaning = f"of the words {row['predicate']!r}, mean over layers"
    shown = values / top if top > 0 else values
    return [("attention", meaning, Panel(heat_uri(shown, color=WEIGHT_COLOR), note, f"attention {meaning}, {note}"))]


def _cosine_panels(subjects: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, Panel]]:
    panels: list[tuple[str, str, Panel]] = []
    for subject in subjects:
        if subject["cosine"] is None:
            continue
        values, joint = _matrix(subject["cosine"]), subject["joint"]
        line, column = (int(each) for each in joint["cell"])
        note = f"{float(values[line, column]):.2f} at its place in the target, up to {float(values.max()):.2f}"
        meaning = f"of the {joint['name']} of {subject['phrase']} in the reference with the prediction"
        panel = Panel(heat_uri(values, color=SCORE_COLOR), note, f"cosine {meaning}, {note}")
        panels.append(("cosine", meaning, panel))
    return panels


def _matrix(values: Any) -> NDArray[np.float64]:
    found = np.array(values, dtype=np.float64)
    if found.ndim != 2 or found.size == 0 or not np.isfinite(found).all():
        raise ValueError("a map is no rows of finite numbers")
    return found
