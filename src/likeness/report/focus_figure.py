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
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from likeness.core.errors import DataError
from likeness.report.figures import InlinePicture, inline_picture, png_uri

Json = Mapping[str, Any]  # a file of maps, see likeness/train/preference/maps.py
Color = tuple[int, int, int]

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
    prior = np.array(pair["prior"], dtype=np.float64)
    inside = f"{int(prior.sum())} of {prior.size} tokens"
    references = [_picture(folder, name) for name in pair["references"]]
    return PairFigure(
        pair_id=pair["id"],
        prompt=pair["prompt"],
        references=tuple(zip(references, _labels(pair), strict=True)),
        preferred=_picture(folder, pair["preferred"]),
        rejected=_picture(folder, pair["rejected"]),
        prior=Panel(heat_uri(prior), inside, "M_prior: where identity was broken"),
        complexity=Panel(heat_uri(pair["complexity"]), "entropy, 0 to 1", "M_d: where the picture has detail"),
        blocks=tuple(_block(file, other) for file in maps for other in file["pairs"] if other["id"] == pair["id"]),
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


def _block(file: Json, pair: Json) -> MapBlock:
    levels = pair["levels"]
    broken = [i for i, is_broken in enumerate(pair["disrupted"]) if is_broken]
    rows = [row for i in broken for row in _reference_rows(pair, index=i)]
    fields = tuple(_panel("M_s", level, level["field"], note=_share_text(level)) for level in levels)
    weights = tuple(_panel("M", level, level["weight"], note=_branch_text(level, file)) for level in levels)
    rows.append(MapRow("M_s", "subject tokens not located yet; A is their share of M_prior", fields))
    rows.append(MapRow("M", "what the loss is multiplied by", weights))
    return MapBlock(step=int(file["step"]), times=tuple(f"{level['t']:g}" for level in levels), rows=tuple(rows))


def _reference_rows(pair: Json, *, index: int) -> list[MapRow]:
    """Similarity with one reference, and the tokens most like it."""
    name = f"reference {index + 1}"
    of, with_ = (f" of {name}", f" with {name}") if len(pair["disrupted"]) > 1 else ("", "")
    scores, matched = list[Panel](), list[Panel]()
    for level in pair["levels"]:
        score, match = (np.array(level[key][index], dtype=np.float64) for key in ("scores", "matched"))
        note = f"{score.min():.2f} to {score.max():.2f}"
        scores.append(_panel(f"similarity with {name}", level, _upper_half(score), note=note, color=SCORE_COLOR))
        inside = f"{int((match * np.array(pair['prior'])).sum())} of {int(match.sum())}"
        spoken = f"M' of {name} at t = {level['t']:g}: {inside} tokens inside M_prior"
        matched.append(Panel(heat_uri(match), f"{inside} inside", spoken))
    meaning = "mean cosine over layers; clear up to the median, full at the largest"
    return [
        MapRow(f"Similarity{with_}", meaning, tuple(scores)),
        MapRow(f"M'{of}", "the tokens most like the reference, as many as the subject has", tuple(matched)),
    ]


def _panel(name: str, level: Json, values: ArrayLike, *, note: str, color: Color = WEIGHT_COLOR) -> Panel:
    return Panel(heat_uri(values, color=color), note, f"{name} at t = {level['t']:g}, {note}")


def _share_text(level: Json) -> str:
    share = level["focus_share"]
    return "A not measured" if share is None or not math.isfinite(share) else f"A {share:.2f}"


def _branch_text(level: Json, file: Json) -> str:
    if file["mode"] not in ("full", "no_prior"):
        return str(file["mode"])
    return "fused with M_d" if level["fused"] else "M_s"


def heat_uri(values: ArrayLike, *, color: Color = WEIGHT_COLOR) -> str:
    """One pixel per token: `color`, as opaque as the value in [0, 1] says."""
    alpha = np.clip(np.nan_to_num(np.asarray(values, dtype=np.float64)), 0.0, 1.0) * STRONGEST * 255
    pixels = np.full((*alpha.shape, 4), (*color, 0), dtype=np.uint8)
    pixels[..., 3] = np.round(alpha)
    return png_uri(Image.fromarray(pixels, mode="RGBA"))


def _upper_half(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """From the median to the largest value as 0 to 1, so that peaks stand out; all 0 where they are equal."""
    middle = float(np.median(values))
    span = float(values.max()) - middle
    return (values - middle) / span if span > 0 else np.zeros_like(values)
