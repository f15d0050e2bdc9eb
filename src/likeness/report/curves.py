"""Curves over steps and over noise levels as inline SVG: colours come from the page's style, so both themes fit."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

WIDTH, HEIGHT = 560, 236
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 12, 36
MAX_POINTS = 240  # of a line; longer runs are drawn by means over equal stretches of steps
NUM_X_TICKS, NUM_Y_TICKS = 6, 4


class Place(NamedTuple):
    """A point of a line; NaN in y interrupts it."""

    x: float
    y: float


class Whisker(NamedTuple):
    """Ends of an interval at x, and how many values it rests on."""

    x: float
    low: float
    high: float
    n: int


class Rule(NamedTuple):
    """A dashed horizontal line that says what a value means: above its right or left end, or below its right end."""

    y: float
    label: str
    place: Literal["right", "left", "below"] = "right"


class Ends(NamedTuple):
    """Lower and upper end of an axis."""

    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """One quantity: `faint` as logged, `points` averaged, `whiskers` intervals (a band, or bars where `dots`)."""

    name: str
    css: str
    points: Sequence[Place]
    faint: Sequence[Place] = ()
    whiskers: Sequence[Whisker] = ()
    dots: bool = False


@dataclass(frozen=True)
class Chart:
    """A drawing with its words: `title` names it, `caption` says what one sees, `spoken` is for a screen reader.

    `x_ticks` replace round numbers; `inner_ticks` stand above them, inside the frame.
    """

    title: str
    caption: str
    lines: Sequence[Line]
    x: Ends
    x_label: str
    y: Ends | None = None
    rules: Sequence[Rule] = ()
    x_ticks: Sequence[tuple[float, str]] = ()
    inner_ticks: Sequence[tuple[float, str]] = ()
    spoken: str = ""


def line_over_steps(steps: NDArray[np.int64], values: NDArray[np.float64], *, name: str, css: str, window: int) -> Line:
    """The column as logged (faint) and its mean over `window` steps to either side together (bold)."""
    return Line(
        name=name,
        css=css,
        points=_places(steps, running_mean(values, window=window)),
        faint=_places(steps, values),
    )


def running_mean(values: NDArray[np.float64], *, window: int) -> NDArray[np.float64]:
    """Mean of the measured values at most window // 2 rows away; NaN where none is."""
    kernel = np.ones(2 * (window // 2) + 1)
    measured = np.isfinite(values)
    sums = np.convolve(np.where(measured, values, 0.0), kernel, mode="full")
    counts = np.convolve(measured.astype(np.float64), kernel, mode="full")
    start = window // 2
    sums, counts = sums[start : start + len(values)], counts[start : start + len(values)]
    return np.where(counts > 0.5, sums / np.maximum(counts, 1.0), np.nan)


def _places(steps: NDArray[np.int64], values: NDArray[np.float64]) -> list[Place]:
    """At most MAX_POINTS places: means over equal stretches."""
    size = max(1, -(-len(values) // MAX_POINTS))
    found: list[Place] = []
    for start in range(0, len(values), size):
        part = values[start : start + size]
        kept = part[np.isfinite(part)]
        found.append(Place(float(steps[start : start + size].mean()), float(kept.mean()) if len(kept) else math.nan))
    return found


# drawing -------------------------------------------------------------------------------------------------------------


def chart_svg(chart: Chart) -> Markup:
    """The chart as one svg element."""
    y = chart.y or _y_ends(chart)
    frame = _Frame(chart.x, y)
    parts = _grid(frame, chart=chart)
    rules = [mark for rule in chart.rules for mark in _rule(rule, frame=frame)]
    clip = "clip-" + re.sub(r"[^a-z]+", "-", chart.title.lower())
    drawn = [mark for line in chart.lines for mark in _line(line, frame=frame)]
    head = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        WIDTH, HEIGHT, chart.spoken or f"{chart.title}. {chart.caption}"
    )
    box = f'x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}"'
    clipped = f'<clipPath id="{clip}"><rect {box}/></clipPath><g clip-path="url(#{clip})">{"".join(drawn)}</g>'
    return head + Markup("".join(parts)) + Markup(clipped) + Markup("".join(rules)) + Markup("</svg>")


class _Frame:
    """From values to px."""

    def __init__(self, x: Ends, y: Ends) -> None:
        self.x_ends, self.y_ends = x, y

    def x(self, value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.x_ends.low) / ((self.x_ends.high - self.x_ends.low) or 1.0)

    def y(self, value: float) -> float:
        share = (value - self.y_ends.low) / ((self.y_ends.high - self.y_ends.low) or 1.0)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share


def _y_ends(chart: Chart) -> Ends:
    """All averaged points and bands; of what is faint the middle 96%, so that one spike does not flatten the rest."""
    bold = [place.y for line in chart.lines for place in line.points if math.isfinite(place.y)]
    bold += [end for line in chart.lines for whisker in line.whiskers for end in (whisker.low, whisker.high)]
    faint = [place.y for line in chart.lines for place in line.faint if math.isfinite(place.y)]
    ends = [value for value in bold if math.isfinite(value)]
    if faint:
        ends += [float(value) for value in np.quantile(faint, [0.02, 0.98])]
    if not ends:
        return Ends(0.0, 1.0)
    low, high = min(ends), max(ends)
    span = (high - low) or abs(high) or 1.0
    near = [rule.y for rule in chart.rules if low - span <= rule.y <= high + span]
    low, high = min([low, *near]), max([high, *near])
    margin = 0.06 * ((high - low) or abs(high) or 1.0)
    return Ends(low - margin, high + margin)


def ticks(ends: Ends, *, about: int) -> list[float]:
    """Round numbers between the ends, nearly `about` of them."""
    span = ends.high - ends.low
    rough = span / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(ends.low / step)
    return [k * step for k in range(first, math.floor(ends.high / step + 1e-9) + 1)]


def tick_text(value: float) -> str:
    """A short number: 0, 0.05, 12, 3e-05."""
    return "0" if abs(value) < 1e-12 else f"{value:.4g}"


def _grid(frame: _Frame, *, chart: Chart) -> list[str]:
    left, right, bottom = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM
    parts: list[str] = []
    for value in ticks(frame.y_ends, about=NUM_Y_TICKS):
        y = frame.y(value)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{left - 7}" y="{y + 3.5:.1f}" text-anchor="end">{tick_text(value)}</text>')
    marks = chart.x_ticks or [(value, tick_text(value)) for value in ticks(frame.x_ends, about=NUM_X_TICKS)]
    for value, text in marks:
        parts.append(
            f'<text class="tick" x="{frame.x(value):.1f}" y="{bottom + 15}" text-anchor="middle">{text}</text>'
        )
    for value, text in chart.inner_ticks:
        x = f"{frame.x(value):.1f}"
        parts.append(f'<text class="tick small" x="{x}" y="{TOP + 9}" text-anchor="middle">{text}</text>')
    middle = (left + right) / 2
    parts.append(f'<text class="tick" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{chart.x_label}</text>')
    return parts


def _rule(rule: Rule, *, frame: _Frame) -> list[str]:
    if not frame.y_ends.low <= rule.y <= frame.y_ends.high:
        return []
    y = frame.y(rule.y)
    lower = y + 11 if rule.place == "below" else y - 4
    x, anchor = (LEFT + 2, "start") if rule.place == "left" else (WIDTH - RIGHT - 2, "end")
    return [
        f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>',
        f'<text class="tick" x="{x}" y="{lower:.1f}" text-anchor="{anchor}">{rule.label}</text>',
    ]


def _line(line: Line, *, frame: _Frame) -> list[str]:
    parts: list[str] = []
    if line.whiskers and not line.dots:
        parts.append(_band(line, frame=frame))
    if line.faint:
        parts.append(f'<path class="faint {line.css}" d="{_path(line.faint, frame=frame)}"/>')
    parts.append(f'<path class="bold {line.css}" d="{_path(line.points, frame=frame)}"/>')
    if line.dots:
        parts += _dots(line, frame=frame)
    return parts


def _path(places: Sequence[Place], *, frame: _Frame) -> str:
    words: list[str] = []
    is_open = False
    for place in places:
        if math.isfinite(place.y):
            words.append(f"{'L' if is_open else 'M'}{frame.x(place.x):.1f} {frame.y(place.y):.1f}")
        is_open = math.isfinite(place.y)
    return " ".join(words)


def _band(line: Line, *, frame: _Frame) -> str:
    kept = [whisker for whisker in line.whiskers if math.isfinite(whisker.low)]
    there = [f"{frame.x(w.x):.1f},{frame.y(w.high):.1f}" for w in kept]
    back = [f"{frame.x(w.x):.1f},{frame.y(w.low):.1f}" for w in reversed(kept)]
    return f'<polygon class="band {line.css}" points="{" ".join([*there, *back])}"/>'


def _dots(line: Line, *, frame: _Frame) -> list[str]:
    parts: list[str] = []
    for whisker in line.whiskers:
        if math.isfinite(whisker.low):
            x = f"{frame.x(whisker.x):.1f}"
            low, high = f"{frame.y(whisker.low):.1f}", f"{frame.y(whisker.high):.1f}"
            parts.append(f'<line class="bold {line.css}" x1="{x}" x2="{x}" y1="{low}" y2="{high}"/>')
    for place in line.points:
        if math.isfinite(place.y):
            x, y = f"{frame.x(place.x):.1f}", f"{frame.y(place.y):.1f}"
            parts.append(f'<circle class="{line.css}" cx="{x}" cy="{y}" r="4.5"/>')
    return parts
