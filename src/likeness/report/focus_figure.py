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
from likeness.report.figures import PagePicture, inline_picture, png_uri

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
    panels: Sequence[Panel]


class MapBlock:
    """All maps of a pair at the step of a file; `times` from noise to picture."""

    def __init__(self, file: Json, pair: Json) -> None:
        levels = pair["levels"]
        self.step, self.times = int(file["step"]), [f"{level['t']:g}" for level in levels]
        fields = [_panel("M_s", level, level["field"], note=_share_text(level)) for level in levels]
        weights = [_panel("M", level, level["weight"], note=_branch_text(level, file)) for level in levels]
        broken = [i for i, is_broken in enumerate(pair["disrupted"]) if is_broken]
        self.rows = [row for i in broken for row in _reference_rows(pair, index=i)]
        self.rows.append(MapRow("M_s", "subject tokens not located yet; A is their share of M_prior", fields))
        self.rows.append(MapRow("M", "what the loss is multiplied by", weights))


class PairFigure:
    """A pair with its pictures, the maps that do not depend on t, and a block per file of `maps` that has the pair."""

    def __init__(self, folder: Path, pair: Json, *, maps: Sequence[Json]) -> None:
        self.pair_id, self.prompt = pair["id"], pair["prompt"]
        references = zip(pair["references"], pair["subjects"], pair["disrupted"], strict=True)
        self.references = [
            (_picture(folder, name), phrase if broken else f"{phrase} (kept)") for name, phrase, broken in references
        ]
        self.preferred, self.rejected = (_picture(folder, pair[name]) for name in ("preferred", "rejected"))
        prior = np.array(pair["prior"], dtype=np.float64)
        tokens = f"{int(prior.sum())} of {prior.size} tokens"
        self.prior = Panel(heat_uri(prior), tokens, "M_prior: where identity was broken")
        self.complexity = Panel(heat_uri(pair["complexity"]), "entropy, 0 to 1", "M_d: where the picture has detail")
        self.blocks = [MapBlock(file, other) for file in maps for other in file["pairs"] if other["id"] == pair["id"]]


def pair_figures(folder: Path, maps: Sequence[Json]) -> list[PairFigure]:
    """One figure per pair of the first file of `maps`, with a block per file that has the pair.

    Raises: DataError when a file does not follow the schema.
    """
    try:
        return [PairFigure(folder, pair, maps=maps) for pair in maps[0]["pairs"]] if maps else []
    except (KeyError, TypeError, IndexError, ValueError, AttributeError, OverflowError) as error:
        problem = f"{type(error).__name__} {error}"
        raise DataError(f"{folder / 'maps'}: expected maps of version 1, got {problem}; write them anew.") from None


def _picture(folder: Path, name: str) -> PagePicture:
    """The picture by its name in the run folder; a problem names it likewise, since the page tells no absolute path."""
    found = inline_picture(folder / name, long_side=PICTURE_SIDE)
    return found if found.uri else replace(found, problem=f"{name}: no readable picture")


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
    most_like = MapRow(f"M'{of}", "the tokens most like the reference, as many as the subject has", matched)
    return [MapRow(f"Similarity{with_}", meaning, scores), most_like]


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
