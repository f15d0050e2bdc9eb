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
    """A point of a line with the ends of its interval; NaN in y interrupts the line, NaN in an end has no interval."""

    x: float
    y: float
    low: float = math.nan
    high: float = math.nan


RulePlace = Literal["right", "left", "below"]


class Rule(NamedTuple):
    """A dashed horizontal line that says what a value means: above its right or left end, or below its right end."""

    y: float
    label: str
    place: RulePlace = "right"


class Ends(NamedTuple):
    """Lower and upper end of an axis."""

    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """One quantity: `faint` as logged, `points` averaged, their intervals drawn as a band or, with dots, as bars."""

    name: str
    css: str
    points: Sequence[Place]
    faint: Sequence[Place] = ()
    intervals: Literal["none", "band", "dots"] = "none"


@dataclass(frozen=True)
class Chart:
    """A drawing with its words: `title` names it, `caption` says what one sees, `spoken` is for a screen reader.

    `x_ticks` replace round numbers; `inner_ticks` stand above them, inside the frame.
    """

    title: str
    caption: str
    lines: Sequence[Line]
    x: Ends
    spoken: str
    x_label: str = "step"
    y: Ends | None = None
    rule: Rule | None = None
    x_ticks: Sequence[tuple[float, str]] = ()
    inner_ticks: Sequence[tuple[float, str]] = ()

    @property
    def svg(self) -> Markup:
        """The chart as one svg element."""
        frame = _Frame(self.x, self.y or _y_ends(self))
        clip = "clip-" + re.sub(r"[^a-z]+", "-", self.title.lower())
        drawn = "".join(mark for line in self.lines for mark in _line(line, frame=frame))
        box = f'x="{LEFT}" y="{TOP}" width="{WIDTH - LEFT - RIGHT}" height="{HEIGHT - TOP - BOTTOM}"'
        clipped = f'<clipPath id="{clip}"><rect {box}/></clipPath><g clip-path="url(#{clip})">{drawn}</g>'
        marks = [*_grid(frame, chart=self), clipped, *_rule(self.rule, frame=frame)]
        svg = Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>')
        return svg.format(WIDTH, HEIGHT, self.spoken, Markup("".join(marks)))


def line_over_steps(steps: NDArray[np.int64], values: NDArray[np.float64], *, name: str, css: str) -> Line:
    """The column as logged (faint) and its mean over a twentieth of all steps (bold)."""
    averaged = _places(steps, running_mean(values, window=max(1, len(steps) // 20)))
    return Line(name, css, averaged, faint=_places(steps, values))


def running_mean(values: NDArray[np.float64], *, window: int) -> NDArray[np.float64]:
    """Mean of the measured values at most window // 2 rows away; NaN where none is."""
    start = window // 2
    kernel, measured = np.ones(2 * start + 1), np.isfinite(values)
    sums, counts = (
        np.convolve(column, kernel)[start : start + len(values)]
        for column in (np.where(measured, values, 0.0), measured.astype(np.float64))
    )
    return np.where(counts > 0.5, sums / np.maximum(counts, 1.0), np.nan)


def _places(steps: NDArray[np.int64], values: NDArray[np.float64]) -> list[Place]:
    """At most MAX_POINTS places: means over equal stretches."""
    size = max(1, -(-len(values) // MAX_POINTS))
    stretches = [slice(start, start + size) for start in range(0, len(values), size)]
    return [Place(float(steps[part].mean()), measured_mean(values[part])) for part in stretches]


def measured_mean(values: NDArray[np.float64]) -> float:
    """Mean of the finite values; NaN where none is."""
    kept = values[np.isfinite(values)]
    return float(kept.mean()) if len(kept) else math.nan


# drawing -------------------------------------------------------------------------------------------------------------


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
    bold = [end for line in chart.lines for place in line.points for end in (place.y, place.low, place.high)]
    faint = [place.y for line in chart.lines for place in line.faint if math.isfinite(place.y)]
    ends = [value for value in bold if math.isfinite(value)]
    if faint:
        ends += [float(value) for value in np.quantile(faint, [0.02, 0.98])]
    if not ends:
        return Ends(0.0, 1.0)
    low, high = min(ends), max(ends)
    span = (high - low) or abs(high) or 1.0
    if chart.rule and low - span <= chart.rule.y <= high + span:
        low, high = min(low, chart.rule.y), max(high, chart.rule.y)
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


def _text(x: str | float, y: str | float, words: str, *, anchor: str = "middle", css: str = "tick") -> str:
    return f'<text class="{css}" x="{x}" y="{y}" text-anchor="{anchor}">{words}</text>'


def _grid(frame: _Frame, *, chart: Chart) -> list[str]:
    left, right, bottom = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM
    parts: list[str] = []
    for value in ticks(frame.y_ends, about=NUM_Y_TICKS):
        y = frame.y(value)
        parts.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(_text(left - 7, f"{y + 3.5:.1f}", tick_text(value), anchor="end"))
    marks = chart.x_ticks or [(value, tick_text(value)) for value in ticks(frame.x_ends, about=NUM_X_TICKS)]
    parts += [_text(f"{frame.x(value):.1f}", bottom + 15, words) for value, words in marks]
    parts += [_text(f"{frame.x(value):.1f}", TOP + 9, words, css="tick small") for value, words in chart.inner_ticks]
    return [*parts, _text((left + right) / 2, HEIGHT - 4, chart.x_label)]


def _rule(rule: Rule | None, *, frame: _Frame) -> list[str]:
    if rule is None or not frame.y_ends.low <= rule.y <= frame.y_ends.high:
        return []
    y = frame.y(rule.y)
    lower = y + 11 if rule.place == "below" else y - 4
    x, anchor = (LEFT + 2, "start") if rule.place == "left" else (WIDTH - RIGHT - 2, "end")
    dashes = f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return [dashes, _text(x, f"{lower:.1f}", rule.label, anchor=anchor)]


def _line(line: Line, *, frame: _Frame) -> list[str]:
    parts = [_band(line, frame=frame)] if line.intervals == "band" else []
    if line.faint:
        parts.append(f'<path class="faint {line.css}" d="{_path(line.faint, frame=frame)}"/>')
    parts.append(f'<path class="bold {line.css}" d="{_path(line.points, frame=frame)}"/>')
    return [*parts, *_dots(line, frame=frame)] if line.intervals == "dots" else parts


def _path(places: Sequence[Place], *, frame: _Frame) -> str:
    words: list[str] = []
    is_open = False
    for place in places:
        if math.isfinite(place.y):
            words.append(f"{'L' if is_open else 'M'}{frame.x(place.x):.1f} {frame.y(place.y):.1f}")
        is_open = math.isfinite(place.y)
    return " ".join(words)


def _band(line: Line, *, frame: _Frame) -> str:
    kept = [place for place in line.points if math.isfinite(place.low)]
    there = [f"{frame.x(place.x):.1f},{frame.y(place.high):.1f}" for place in kept]
    back = [f"{frame.x(place.x):.1f},{frame.y(place.low):.1f}" for place in reversed(kept)]
    return f'<polygon class="band {line.css}" points="{" ".join([*there, *back])}"/>'


def _dots(line: Line, *, frame: _Frame) -> list[str]:
    parts: list[str] = []
    for place in reversed(line.points):
        if math.isfinite(place.low):
            x, low, high = f"{frame.x(place.x):.1f}", f"{frame.y(place.low):.1f}", f"{frame.y(place.high):.1f}"
            parts.append(f'<line class="bold {line.css}" x1="{x}" x2="{x}" y1="{low}" y2="{high}"/>')
    for place in line.points:
        if math.isfinite(place.y):
            x, y = f"{frame.x(place.x):.1f}", f"{frame.y(place.y):.1f}"
            parts.append(f'<circle class="{line.css}" cx="{x}" cy="{y}" r="4.5"/>')
    return parts
