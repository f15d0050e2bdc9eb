"""One HTML page of sets of prompts, drawn from the JSON of `likeness data prompt-report`: counts, likelihoods, a map.

Equal JSON gives an equal page. Every number on it stands in the JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: JSON

from markupsafe import Markup

from likeness.core.files import atomic_write_text
from likeness.report.html import render

COLOURS = ("#b4441f", "#1f6fb4", "#1d6b45", "#8a5cc2", "#a8862a", "#5b6b78")
SIDE, MARGIN, DOT = 560, 10, 2.2
ROWS = ("tokens", "nouns", "verbs", "adjectives", "adpositions")


class Key(NamedTuple):
    """A set's colour on the map."""

    name: str
    colour: str
    n: int


def build_prompts_page(facts: Mapping[str, Any], *, out: Path, title: str = "Prompts") -> Path:
    """The page at `out`. Raises: OutputError when it cannot be written."""
    places: Mapping[str, Sequence[Sequence[float]]] = facts["map"] or {}
    keys = [Key(name, COLOURS[k % len(COLOURS)], len(rows)) for k, (name, rows) in enumerate(places.items())]
    html = render(
        "prompts.html.j2",
        title=title,
        facts=facts,
        rows=ROWS,
        cell=_cell,
        keys=keys,
        map=scatter(places, {key.name: key.colour for key in keys}) if places else None,
    )
    atomic_write_text(out, html)
    return out


def _cell(value: float | None) -> str:
    """A count or mean with as many digits as say something; what is not known is named."""
    if value is None:
        return "not known"
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}" if abs(value) < 100 else f"{value:,.1f}"


def scatter(places: Mapping[str, Sequence[Sequence[float]]], colours: Mapping[str, str]) -> Markup:
    """Points (x, y) of every set as one square svg element, in the sets' order."""
    points = [point for rows in places.values() for point in rows]
    low = [min(point[axis] for point in points) for axis in (0, 1)]
    span = max(max(point[axis] for point in points) - low[axis] for axis in (0, 1)) or 1.0
    scale = (SIDE - 2 * MARGIN) / span
    dots = Markup("").join(
        Markup('<circle cx="{}" cy="{}" r="{}" fill="{}" fill-opacity="0.55"/>').format(
            f"{MARGIN + (x - low[0]) * scale:.1f}", f"{SIDE - MARGIN - (y - low[1]) * scale:.1f}", DOT, colours[name]
        )
        for name, rows in places.items()
        for x, y in rows
    )
    spoken = "Map of the prompts: " + ", ".join(f"{name} {len(rows)} points" for name, rows in places.items())
    svg = (
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}" style="display:block;max-width:640px;width:100%">{}</svg>'
    )
    return Markup(svg).format(SIDE, SIDE, spoken, dots)
