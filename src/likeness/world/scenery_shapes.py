"""What backgrounds share: their colours, a little variation, and shapes such as clouds, trees and windows."""

import math
import random
from collections.abc import Sequence

from likeness.world.pen import Color, Pen, Point, shade

WHITE: Color = (250, 250, 246)
CREAM: Color = (240, 230, 208)
GOLD: Color = (206, 166, 84)
BARK: Color = (104, 74, 54)
ASPHALT: Color = (92, 95, 104)
PAVING: Color = (176, 174, 172)


def near(rng: random.Random, value: float, spread: float = 0.025) -> float:
    """`value`, moved by at most `spread`."""
    return value + rng.uniform(-spread, spread)


def tint(rng: random.Random, color: Color, spread: int = 7) -> Color:
    """`color` with every channel moved a little."""
    r, g, b = (min(255, max(0, c + rng.randint(-spread, spread))) for c in color)
    return r, g, b


def floor(pen: Pen, y: float, color: Color) -> None:
    """Everything below `y`."""
    pen.rect(-0.01, y, 1.02, 1.01 - y, color)


def wave(pen: Pen, y: float, height: float, turns: float, phase: float, color: Color) -> None:
    """Everything below a sine wave."""
    crest = [(i / 24, y + height * math.sin(math.tau * (turns * i / 24 + phase))) for i in range(25)]
    pen.polygon([(-0.01, 1.01), (-0.01, crest[0][1]), *crest, (1.01, crest[-1][1]), (1.01, 1.01)], color)


def fan(pen: Pen, y: float, color: Color, *, count: int = 7, top: float = 1.0, bottom: float = 2.2) -> None:
    """Floor boards: lines that run from the wall's foot at `y` towards the viewer."""
    points: list[Point] = []
    for i in range(count + 1):
        t = i / count - 0.5
        ends = [(0.5 + top * t, y), (0.5 + bottom * t, 1.05)]
        points += ends if i % 2 == 0 else ends[::-1]
    pen.line(points, 0.012, color)


def checker(pen: Pen, rows: Sequence[float], color: Color) -> None:
    """The dark squares of a chequered floor whose rows lie between the given heights."""
    for i in range(len(rows) - 1):
        wide, deep = 0.22 + 0.4 * (rows[i] - rows[0]), 0.22 + 0.4 * (rows[i + 1] - rows[0])
        for k in range(-3 + i % 2, 3, 2):
            far = [(0.5 + k * wide, rows[i]), (0.5 + (k + 1) * wide, rows[i])]
            pen.polygon([*far, (0.5 + (k + 1) * deep, rows[i + 1]), (0.5 + k * deep, rows[i + 1])], color)


def cloud(pen: Pen, x: float, y: float, size: float, color: Color = WHITE) -> None:
    """A cloud about 2.4 `size` wide."""
    pen.line([(x - 0.75 * size, y), (x + 0.75 * size, y)], 0.7 * size, color)
    pen.circle(x - 0.15 * size, y - 0.3 * size, 0.5 * size, color)
    pen.circle(x + 0.45 * size, y - 0.15 * size, 0.36 * size, color)


def clouds(pen: Pen, rng: random.Random, color: Color = WHITE) -> None:
    """Two clouds high in the sky."""
    cloud(pen, near(rng, 0.24, 0.06), near(rng, 0.17), 0.1, color)
    cloud(pen, near(rng, 0.77, 0.06), near(rng, 0.11), 0.085, color)


def tree(pen: Pen, x: float, base: float, size: float, leaf: Color) -> None:
    """A round leafy tree, about 2 `size` tall."""
    pen.line([(x, base), (x, base - size)], 0.2 * size, BARK)
    pen.circle(x, base - 1.35 * size, 0.62 * size, leaf)
    pen.circle(x + 0.18 * size, base - 1.5 * size, 0.34 * size, shade(leaf, 1.14))


def pine(pen: Pen, x: float, base: float, size: float, leaf: Color, top: Color | None = None) -> None:
    """A fir of height `size`, its top in another colour if given."""
    pen.rect(x - 0.05 * size, base - 0.2 * size, 0.1 * size, 0.2 * size, BARK)
    layers = ((0.8, 0.32, 0.15, leaf), (1.0, 0.24, 0.5, top or shade(leaf, 1.1)))
    for tip, half, low, color in layers:
        y = base - low * size
        pen.polygon([(x, base - tip * size), (x - half * size, y), (x + half * size, y)], color)


def trunks(pen: Pen, rng: random.Random, places: Sequence[float], base: float, color: Color) -> None:
    """Tall trunks from the top edge down to `base`."""
    for i, x in enumerate(places):
        half, x = 0.035 + 0.012 * (i % 2), near(rng, x, 0.02)
        low = base + 0.03 * (i % 2)
        pen.polygon([(x - half, -0.01), (x + half, -0.01), (x + 1.4 * half, low), (x - 1.4 * half, low)], color)


def window(pen: Pen, x: float, y: float, w: float, h: float, frame: Color, glass: Color) -> None:
    """A framed window with a cross bar."""
    pen.rect(x, y, w, h, frame, radius=0.01)
    pen.rect(x + 0.02, y + 0.02, w - 0.04, h - 0.04, glass)
    pen.rect(x + w / 2 - 0.008, y, 0.016, h, frame)


def panes(pen: Pen, x: float, y: float, w: float, count: int, color: Color) -> None:
    """A row of square lit windows."""
    step = w / count
    for i in range(count):
        pen.rect(x + step * (i + 0.22), y, 0.56 * step, 0.07, color, radius=0.006)


def chandelier(pen: Pen, x: float, y: float, size: float, color: Color) -> None:
    """A chandelier hanging from the ceiling, with its lights."""
    pen.line([(x, 0), (x, y)], 0.016, shade(color, 0.75))
    low = y + 0.55 * size
    pen.polygon([(x - size, y), (x + size, y), (x + 0.35 * size, low), (x - 0.35 * size, low)], color)
    for k in (-1.0, -0.5, 0.0, 0.5, 1.0):
        pen.ellipse(x + k * size, y - 0.2 * size, 0.15 * size, 0.28 * size, (255, 244, 196))


def flakes(pen: Pen, rng: random.Random, count: int, top: float, bottom: float) -> None:
    """Large snowflakes, spread evenly over the width."""
    for i in range(count):
        y = top + (bottom - top) * ((i * 0.618) % 1)
        pen.circle((i + rng.uniform(0.2, 0.8)) / count, near(rng, y, 0.03), 0.016, (255, 255, 255))


def flower(pen: Pen, x: float, y: float, size: float, petal: Color, core: Color) -> None:
    """A blossom of radius `size`."""
    pen.star(x, y, size, petal, tips=8, inner=0.66)
    pen.circle(x, y, 0.48 * size, core)
