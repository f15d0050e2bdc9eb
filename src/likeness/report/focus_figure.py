"""The focus maps as the paper's framework figure draws them: for a pair, every map over noise levels.

A map becomes a picture of one pixel per token with its value as opacity, which the page enlarges without smoothing and
lays over the faded preferred picture; so one sees tokens as they are, and a page of 300 panels stays small.
Source: FocusDPO (arXiv:2509.01181), its figure of the framework.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from likeness.core.errors import DataError
from likeness.report.figures import InlinePicture, inline_picture, png_uri

Json = Mapping[str, Any]  # a file of maps, see likeness/train/preference/maps.py

PICTURE_SIDE = 192
WEIGHT_COLOR, SCORE_COLOR = (224, 74, 26), (38, 110, 190)  # orange for what the loss uses, blue for similarity
STRONGEST = 0.88  # opacity of the value 1: the picture stays visible below


@dataclass(frozen=True)
class Panel:
    """One map over the faded picture; `note` stands below it, `spoken` says what it shows."""

    uri: str
    note: str
    spoken: str


@dataclass(frozen=True)
class MapRow:
    """One kind of map over all noise levels."""

    name: str
    meaning: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class MapBlock:
    """All maps of a pair at one step; `times` from noise to picture."""

    step: int
    times: tuple[str, ...]
    rows: tuple[MapRow, ...]


@dataclass(frozen=True)
class PairFigure:
    """A pair with its pictures, the maps that do not depend on t, and one block per shown step."""

    pair_id: str
    prompt: str
    references: tuple[tuple[InlinePicture, str], ...]
    preferred: InlinePicture
    rejected: InlinePicture
    prior: Panel
    complexity: Panel
    blocks: tuple[MapBlock, ...]


def pair_figures(folder: Path, maps: Sequence[Json]) -> list[PairFigure]:
    """One figure per pair of the first file of `maps`, with a block per file that has the pair.

    Raises: DataError when a file does not follow the schema.
    """
    try:
        return [_figure(folder, pair, maps=maps) for pair in maps[0]["pairs"]] if maps else []
    except (KeyError, TypeError, IndexError, ValueError) as error:
        problem = f"{type(error).__name__} {error}"
        raise DataError(f"{folder / 'maps'}: expected maps of version 1, got {problem}; write them anew.") from None


def _figure(folder: Path, pair: Json, *, maps: Sequence[Json]) -> PairFigure:
    stages = [(found, other) for found in maps for other in found["pairs"] if other["id"] == pair["id"]]
    prior = np.array(pair["prior"], dtype=np.float64)
    return PairFigure(
        pair_id=pair["id"],
        prompt=pair["prompt"],
        references=tuple(zip([_picture(folder, name) for name in pair["references"]], _labels(pair), strict=True)),
        preferred=_picture(folder, pair["preferred"]),
        rejected=_picture(folder, pair["rejected"]),
        prior=Panel(
            heat_uri(prior), f"{int(prior.sum())} of {prior.size} tokens", "M_prior: where identity was broken"
        ),
        complexity=Panel(
            heat_uri(np.array(pair["complexity"])), "entropy, 0 to 1", "M_d: where the picture has detail"
        ),
        blocks=tuple(_block(found, other) for found, other in stages),
    )


def _picture(folder: Path, name: str) -> InlinePicture:
    """The picture by its name in the run folder; a problem names it likewise, since the page tells no absolute path."""
    found = inline_picture(folder / name, long_side=PICTURE_SIDE)
    return found if found.uri else replace(found, problem=f"{name}: no readable picture")


def _labels(pair: Json) -> list[str]:
    return [
        phrase if broken else f"{phrase} (kept)"
        for phrase, broken in zip(pair["subjects"], pair["disrupted"], strict=True)
    ]


def _block(found: Json, pair: Json) -> MapBlock:
    levels = pair["levels"]
    broken = [i for i, is_broken in enumerate(pair["disrupted"]) if is_broken]
    rows = [row for i in broken for row in _reference_rows(pair, index=i, alone=len(pair["disrupted"]) == 1)]
    fields = tuple(_panel("M_s", level, key="field", note=_share_text(level)) for level in levels)
    weights = tuple(_panel("M", level, key="weight", note=_branch_text(level, found)) for level in levels)
    rows.append(MapRow("M_s", "subject tokens not located yet; A is their share of M_prior", fields))
    rows.append(MapRow("M", "what the loss is multiplied by", weights))
    return MapBlock(step=int(found["step"]), times=tuple(f"{level['t']:g}" for level in levels), rows=tuple(rows))


def _reference_rows(pair: Json, *, index: int, alone: bool) -> list[MapRow]:
    """Similarity with one reference, and the tokens most like it."""
    of, with_ = ("", "") if alone else (f" of reference {index + 1}", f" with reference {index + 1}")
    scores: list[Panel] = []
    for level in pair["levels"]:
        values = np.array(level["scores"][index], dtype=np.float64)
        text = f"{values.min():.2f} to {values.max():.2f}"
        spoken = f"similarity with reference {index + 1} at t = {level['t']:g}, {text}"
        scores.append(Panel(heat_uri(_upper_half(values), color=SCORE_COLOR), text, spoken))
    matched = tuple(_matched_panel(level, pair=pair, index=index) for level in pair["levels"])
    return [
        MapRow(
            f"Similarity{with_}", "mean cosine over layers; clear up to the median, full at the largest", tuple(scores)
        ),
        MapRow(f"M'{of}", "the tokens most like the reference, as many as the subject has", matched),
    ]


def _matched_panel(level: Json, *, pair: Json, index: int) -> Panel:
    values, prior = np.array(level["matched"][index], dtype=np.float64), np.array(pair["prior"], dtype=np.float64)
    inside, total = int((values * prior).sum()), int(values.sum())
    spoken = f"M' of reference {index + 1} at t = {level['t']:g}: {inside} of {total} tokens inside M_prior"
    return Panel(heat_uri(values), f"{inside} of {total} inside", spoken)


def _panel(name: str, level: Json, *, key: str, note: str) -> Panel:
    return Panel(heat_uri(np.array(level[key], dtype=np.float64)), note, f"{name} at t = {level['t']:g}, {note}")


def _share_text(level: Json) -> str:
    share = level["focus_share"]
    return "A not measured" if share is None or not math.isfinite(share) else f"A {share:.2f}"


def _branch_text(level: Json, found: Json) -> str:
    if found["mode"] not in ("full", "no_prior"):
        return str(found["mode"])
    return "fused with M_d" if level["fused"] else "M_s"


def heat_uri(values: NDArray[np.float64], *, color: tuple[int, int, int] = WEIGHT_COLOR) -> str:
    """One pixel per token: `color`, as opaque as the value in [0, 1] says."""
    alpha = np.clip(np.nan_to_num(values), 0.0, 1.0) * STRONGEST * 255
    filled = np.broadcast_to(np.array(color, dtype=np.float64), (*values.shape, 3))
    pixels = np.concatenate([filled, alpha[..., None]], axis=-1)
    return png_uri(Image.fromarray(np.round(pixels).astype(np.uint8), mode="RGBA"))


def _upper_half(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """From the median to the largest value as 0 to 1, so that peaks stand out; all 0 where they are equal."""
    middle = float(np.median(values))
    span = float(values.max()) - middle
    return (values - middle) / span if span > 0 else np.zeros_like(values)
