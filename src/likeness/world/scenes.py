"""The places of the cartoon world: each scene paints a whole background, and sometimes a strip in front of the feet."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from likeness.world.pen import Color, Pen, Point, shade


@dataclass(frozen=True)
class Scene:
    """A place: its phrase for captions, what lies behind the characters and what covers their feet.

    `standing_phrase`, where there is one, is used when the subjects only stand there.
    """

    phrase: str
    back: Callable[[Pen, random.Random], None]
    front: Callable[[Pen, random.Random], None] | None = None
    standing_phrase: str = ""


WHITE: Color = (250, 250, 246)
CREAM: Color = (240, 230, 208)
GOLD: Color = (206, 166, 84)
WOOD: Color = (134, 92, 60)
BARK: Color = (104, 74, 54)
ASPHALT: Color = (92, 95, 104)
PAVING: Color = (176, 174, 172)
LAWN: Color = (132, 172, 104)
SKY: Color = (158, 204, 232)
SKY_LOW: Color = (216, 234, 240)


# -- variation and common shapes -------------------------------------------------------------------------------
def _near(rng: random.Random, value: float, spread: float = 0.025) -> float:
    """`value`, moved by at most `spread`."""
    return value + rng.uniform(-spread, spread)


def _tint(rng: random.Random, color: Color, spread: int = 7) -> Color:
    """`color` with every channel moved a little."""
    r, g, b = (min(255, max(0, c + rng.randint(-spread, spread))) for c in color)
    return r, g, b


def _floor(pen: Pen, y: float, color: Color) -> None:
    """Everything below `y`."""
    pen.rect(-0.01, y, 1.02, 1.01 - y, color)


def _wave(pen: Pen, y: float, height: float, turns: float, phase: float, color: Color) -> None:
    """Everything below a sine wave."""
    crest = [(i / 24, y + height * math.sin(math.tau * (turns * i / 24 + phase))) for i in range(25)]
    pen.polygon([(-0.01, 1.01), (-0.01, crest[0][1]), *crest, (1.01, crest[-1][1]), (1.01, 1.01)], color)


def _fan(pen: Pen, y: float, color: Color, *, count: int = 7, top: float = 1.0, bottom: float = 2.2) -> None:
    """Floor boards: lines that run from the wall's foot at `y` towards the viewer."""
    points: list[Point] = []
    for i in range(count + 1):
        t = i / count - 0.5
        ends = [(0.5 + top * t, y), (0.5 + bottom * t, 1.05)]
        points += ends if i % 2 == 0 else ends[::-1]
    pen.line(points, 0.012, color)


def _checker(pen: Pen, rows: Sequence[float], color: Color) -> None:
    """The dark squares of a chequered floor whose rows lie between the given heights."""
    for i in range(len(rows) - 1):
        wide, deep = 0.22 + 0.4 * (rows[i] - rows[0]), 0.22 + 0.4 * (rows[i + 1] - rows[0])
        for k in range(-3 + i % 2, 3, 2):
            far = [(0.5 + k * wide, rows[i]), (0.5 + (k + 1) * wide, rows[i])]
            pen.polygon([*far, (0.5 + (k + 1) * deep, rows[i + 1]), (0.5 + k * deep, rows[i + 1])], color)


def _cloud(pen: Pen, x: float, y: float, size: float, color: Color = WHITE) -> None:
    """A cloud about 2.4 `size` wide."""
    pen.line([(x - 0.75 * size, y), (x + 0.75 * size, y)], 0.7 * size, color)
    pen.circle(x - 0.15 * size, y - 0.3 * size, 0.5 * size, color)
    pen.circle(x + 0.45 * size, y - 0.15 * size, 0.36 * size, color)


def _clouds(pen: Pen, rng: random.Random, color: Color = WHITE) -> None:
    """Two clouds high in the sky."""
    _cloud(pen, _near(rng, 0.24, 0.06), _near(rng, 0.17), 0.1, color)
    _cloud(pen, _near(rng, 0.77, 0.06), _near(rng, 0.11), 0.085, color)


def _tree(pen: Pen, x: float, base: float, size: float, leaf: Color) -> None:
    """A round leafy tree, about 2 `size` tall."""
    pen.line([(x, base), (x, base - size)], 0.2 * size, BARK)
    pen.circle(x, base - 1.35 * size, 0.62 * size, leaf)
    pen.circle(x + 0.18 * size, base - 1.5 * size, 0.34 * size, shade(leaf, 1.14))


def _pine(pen: Pen, x: float, base: float, size: float, leaf: Color, top: Color | None = None) -> None:
    """A fir of height `size`, its top in another colour if given."""
    pen.rect(x - 0.05 * size, base - 0.2 * size, 0.1 * size, 0.2 * size, BARK)
    layers = ((0.8, 0.32, 0.15, leaf), (1.0, 0.24, 0.5, top or shade(leaf, 1.1)))
    for tip, half, low, color in layers:
        y = base - low * size
        pen.polygon([(x, base - tip * size), (x - half * size, y), (x + half * size, y)], color)


def _trunks(pen: Pen, rng: random.Random, places: Sequence[float], base: float, color: Color) -> None:
    """Tall trunks from the top edge down to `base`."""
    for i, x in enumerate(places):
        half, x = 0.035 + 0.012 * (i % 2), _near(rng, x, 0.02)
        low = base + 0.03 * (i % 2)
        pen.polygon([(x - half, -0.01), (x + half, -0.01), (x + 1.4 * half, low), (x - 1.4 * half, low)], color)


def _window(pen: Pen, x: float, y: float, w: float, h: float, frame: Color, glass: Color) -> None:
    """A framed window with a cross bar."""
    pen.rect(x, y, w, h, frame, radius=0.01)
    pen.rect(x + 0.02, y + 0.02, w - 0.04, h - 0.04, glass)
    pen.rect(x + w / 2 - 0.008, y, 0.016, h, frame)


def _panes(pen: Pen, x: float, y: float, w: float, count: int, color: Color) -> None:
    """A row of square lit windows."""
    step = w / count
    for i in range(count):
        pen.rect(x + step * (i + 0.22), y, 0.56 * step, 0.07, color, radius=0.006)


def _chandelier(pen: Pen, x: float, y: float, size: float, color: Color) -> None:
    """A chandelier hanging from the ceiling, with its lights."""
    pen.line([(x, 0), (x, y)], 0.016, shade(color, 0.75))
    low = y + 0.55 * size
    pen.polygon([(x - size, y), (x + size, y), (x + 0.35 * size, low), (x - 0.35 * size, low)], color)
    for k in (-1.0, -0.5, 0.0, 0.5, 1.0):
        pen.ellipse(x + k * size, y - 0.2 * size, 0.15 * size, 0.28 * size, (255, 244, 196))


def _flakes(pen: Pen, rng: random.Random, count: int, top: float, bottom: float) -> None:
    """Large snowflakes, spread evenly over the width."""
    for i in range(count):
        y = top + (bottom - top) * ((i * 0.618) % 1)
        pen.circle((i + rng.uniform(0.2, 0.8)) / count, _near(rng, y, 0.03), 0.016, (255, 255, 255))


def _flower(pen: Pen, x: float, y: float, size: float, petal: Color, core: Color) -> None:
    """A blossom of radius `size`."""
    pen.star(x, y, size, petal, tips=8, inner=0.66)
    pen.circle(x, y, 0.48 * size, core)


# -- parks, fields and hills -----------------------------------------------------------------------------------
def _park_bench(pen: Pen, rng: random.Random) -> None:
    """A long bench before trees, with a lamp."""
    pen.sky((176, 214, 222), (226, 238, 226), y1=0.6)
    leaf = _tint(rng, (116, 158, 112))
    for x, size in ((0.2, 0.24), (0.55, 0.2), (0.88, 0.26)):
        _tree(pen, _near(rng, x), 0.62, size, leaf)
    _floor(pen, 0.56, _tint(rng, (150, 184, 116)))
    _floor(pen, 0.86, (214, 198, 164))
    pen.line([(0.05, 0.88), (0.05, 0.2)], 0.022, (62, 70, 76))
    pen.circle(0.05, 0.17, 0.045, (250, 236, 176))
    wood = _tint(rng, (150, 98, 60))
    for x in (0.14, 0.5, 0.86):
        pen.line([(x, 0.58), (x, 0.88)], 0.024, (70, 66, 66))
    for y, tone in ((0.57, 1.0), (0.645, 1.0), (0.725, 1.12)):
        pen.rect(0.08, y, 0.84, 0.05, shade(wood, tone), radius=0.015)
    pen.rect(0.08, 0.775, 0.84, 0.018, shade(wood, 0.7), radius=0.008)


def _winding_road(pen: Pen) -> None:
    """An asphalt road from the bottom edge up to a hill's crest."""
    left = ((-0.05, 1.02), (-0.05, 0.86), (0.4, 0.68), (0.52, 0.6), (0.54, 0.53), (0.6, 0.45))
    right = ((0.64, 0.45), (0.62, 0.52), (0.8, 0.6), (1.05, 0.78), (1.05, 1.02))
    pen.polygon([*left, *right], (128, 130, 138))
    pen.line([(0.6, 0.5), (0.62, 0.58), (0.62, 0.7), (0.52, 0.85), (0.42, 1.02)], 0.016, (240, 226, 170))


def _countryside(pen: Pen, rng: random.Random) -> None:
    """A grey road that winds over rolling hills, with a barn."""
    pen.sky((150, 200, 230), (232, 240, 226), y1=0.55)
    _clouds(pen, rng)
    pen.ellipse(_near(rng, 0.15), 0.6, 0.5, 0.2, _tint(rng, (140, 178, 130)))
    pen.ellipse(_near(rng, 0.9), 0.62, 0.5, 0.22, _tint(rng, (122, 166, 112)))
    _floor(pen, 0.56, _tint(rng, (156, 186, 104)))
    _winding_road(pen)
    x = _near(rng, 0.1, 0.02)
    pen.rect(x, 0.42, 0.18, 0.15, (166, 78, 68))
    pen.polygon([(x - 0.03, 0.43), (x + 0.09, 0.33), (x + 0.21, 0.43)], (110, 72, 66))
    pen.rect(x + 0.065, 0.49, 0.05, 0.08, CREAM)
    for x in (0.8, 0.93):
        pen.line([(x, 0.55), (x, 0.68)], 0.02, CREAM)
    pen.line([(0.76, 0.59), (1.02, 0.61)], 0.018, CREAM)


def _grassland(pen: Pen, rng: random.Random) -> None:
    """A wide olive plain with a flat acacia and tall grass."""
    pen.sky((196, 218, 214), (244, 236, 200), y1=0.5)
    pen.ellipse(_near(rng, 0.35), 0.5, 0.6, 0.07, (172, 176, 140))
    grass = _tint(rng, (178, 182, 92))
    _floor(pen, 0.48, grass)
    _floor(pen, 0.68, shade(grass, 0.92))
    x = _near(rng, 0.83, 0.02)
    pen.line([(x, 0.55), (x + 0.01, 0.35), (x - 0.08, 0.26)], 0.03, BARK)
    pen.line([(x + 0.01, 0.38), (x + 0.08, 0.26)], 0.025, BARK)
    pen.ellipse(x, 0.22, 0.22, 0.06, _tint(rng, (104, 124, 66)))
    pen.ellipse(x - 0.03, 0.18, 0.13, 0.045, _tint(rng, (120, 140, 76)))
    for x in (0.06, 0.2, 0.95):
        _tuft(pen, _near(rng, x), 0.74, 0.16, shade(grass, 0.72))


def _tuft(pen: Pen, x: float, y: float, size: float, color: Color) -> None:
    """A tuft of tall grass."""
    blades = ((-0.5, -0.5), (-0.25, -0.35), (-0.15, -1.0), (0.05, -0.4), (0.35, -0.85), (0.3, -0.35), (0.6, -0.45))
    pen.polygon([(x - 0.3 * size, y), *((x + a * size, y + b * size) for a, b in blades), (x + 0.3 * size, y)], color)


def _grassland_front(pen: Pen, rng: random.Random) -> None:
    """Blades along the bottom edge."""
    tips = [(i / 20, (0.99 if i % 2 == 0 else _near(rng, 0.91, 0.02))) for i in range(21)]
    pen.polygon([(-0.01, 1.01), *tips, (1.01, 1.01)], (136, 146, 66))


def _football(pen: Pen, rng: random.Random) -> None:
    """A striped pitch with a white goal, below full stands."""
    _floor(pen, 0, _tint(rng, (150, 186, 212)))
    pen.polygon([(0, 0.14), (1, 0.14), (1, 0.4), (0, 0.4)], _tint(rng, (74, 84, 122)))
    for y in (0.2, 0.28):
        pen.line([(0, y), (1, y)], 0.026, (112, 122, 158))
    pen.rect(0, 0.35, 1, 0.07, (226, 222, 206))
    green = _tint(rng, (98, 158, 86))
    _floor(pen, 0.42, green)
    for y, h in ((0.42, 0.07), (0.57, 0.1), (0.79, 0.22)):
        pen.rect(0, y, 1, h, shade(green, 1.14))
    x = _near(rng, 0.5, 0.03)
    pen.rect(x - 0.36, 0.24, 0.72, 0.28, (206, 216, 222), alpha=0.5)
    for k in (-0.18, 0.0, 0.18):
        pen.line([(x + k, 0.24), (x + k, 0.52)], 0.01, (236, 240, 240))
    pen.line([(x - 0.36, 0.54), (x - 0.36, 0.22), (x + 0.36, 0.22), (x + 0.36, 0.54)], 0.032, WHITE)
    pen.line([(-0.02, 0.78), (1.02, 0.78)], 0.022, WHITE)


def _tree_shade(pen: Pen, rng: random.Random) -> None:
    """One huge tree whose crown fills the top of the picture."""
    pen.sky((206, 226, 224), (238, 240, 214), y1=0.8)
    _floor(pen, 0.72, (168, 194, 120))
    pen.ellipse(0.5, 0.9, 0.9, 0.3, _tint(rng, (158, 186, 108)))
    x = _near(rng, 0.5, 0.05)
    bark = _tint(rng, (112, 80, 58))
    roots = [(x + 0.09, 0.6), (x + 0.19, 0.74), (x - 0.19, 0.74), (x - 0.09, 0.6)]
    pen.polygon([(x - 0.08, 0.2), (x + 0.08, 0.2), *roots], bark)
    pen.line([(x, 0.42), (x + 0.24, 0.24)], 0.05, bark)
    leaf = _tint(rng, (78, 128, 78))
    for dx, y, size in ((-0.36, 0.16, 0.22), (0.36, 0.16, 0.22), (0.0, 0.12, 0.24)):
        pen.circle(x + dx, y, size, leaf)
    for dx, y, size in ((-0.3, 0.08, 0.15), (0.14, 0.06, 0.17), (0.42, 0.1, 0.1)):
        pen.circle(x + dx, y, size, shade(leaf, 1.13))
    pen.ellipse(0.5, 0.87, 0.46, 0.09, (118, 150, 86))


def _hilltop(pen: Pen, rng: random.Random) -> None:
    """A steep round hill above the clouds, with a windmill."""
    pen.sky((126, 176, 216), (238, 226, 206), y1=0.85)
    _floor(pen, 0.8, (150, 182, 178))
    for x, size in ((0.05, 0.15), (0.95, 0.15)):
        _cloud(pen, _near(rng, x), _near(rng, 0.7), size)
    green = _tint(rng, (120, 166, 92))
    pen.ellipse(0.5, 1.02, 0.56, 0.42, green)
    pen.ellipse(0.42, 0.98, 0.42, 0.34, shade(green, 1.08))
    x = _near(rng, 0.82, 0.02)
    pen.polygon([(x - 0.03, 0.34), (x + 0.03, 0.34), (x + 0.06, 0.76), (x - 0.06, 0.76)], CREAM)
    pen.polygon([(x - 0.05, 0.35), (x, 0.26), (x + 0.05, 0.35)], (150, 84, 74))
    turn = rng.uniform(-0.3, 0.3)
    for k in (0.7, 2.27):
        dx, dy = 0.17 * math.cos(k + turn), 0.17 * math.sin(k + turn)
        pen.line([(x - dx, 0.33 - dy), (x + dx, 0.33 + dy)], 0.034, (132, 104, 84))
    pen.circle(0.15, _near(rng, 0.15), 0.075, (252, 238, 178))


def _wheat_field(pen: Pen, rng: random.Random) -> None:
    """A golden field to the horizon."""
    pen.sky((134, 184, 216), (206, 226, 226), y1=0.42)
    _clouds(pen, rng)
    _wave(pen, 0.38, 0.02, 1, rng.random(), (124, 146, 108))
    gold = _tint(rng, (222, 184, 92))
    _floor(pen, 0.42, gold)
    for i, y in enumerate((0.44, 0.5, 0.58)):
        tips = [(k / 16, y + (0 if k % 2 else 0.07)) for k in range(-1, 18)]
        pen.polygon([(-0.1, 0.8), *tips, (1.1, 0.8)], shade(gold, (1.1, 0.94, 0.84)[i]))
    _wave(pen, 0.75, 0.01, 1.5, rng.random(), _tint(rng, (186, 150, 90)))
    for x in (0.05, 0.14, 0.87, 0.96):
        x, y = _near(rng, x, 0.02), _near(rng, 0.42)
        pen.line([(x, 0.8), (x, y)], 0.014, (168, 128, 52))
        pen.ellipse(x, y, 0.03, 0.085, (240, 206, 116))


def _autumn(pen: Pen, rng: random.Random) -> None:
    """A red and orange tree that sheds its leaves."""
    pen.sky((214, 216, 212), (240, 228, 204), y1=0.65)
    _wave(pen, 0.6, 0.015, 1, rng.random(), (196, 172, 134))
    ground = _tint(rng, (194, 148, 86))
    _floor(pen, 0.67, ground)
    x = _near(rng, 0.24, 0.02)
    pen.line([(x, 0.72), (x, 0.3)], 0.085, (88, 64, 54))
    pen.line([(x, 0.48), (x + 0.2, 0.3)], 0.045, (88, 64, 54))
    for dx, y, size, color in (
        (-0.14, 0.22, 0.19, (190, 92, 52)),
        (0.2, 0.2, 0.17, (206, 122, 54)),
        (0.03, 0.12, 0.16, (216, 150, 66)),
        (0.4, 0.12, 0.1, (190, 92, 52)),
    ):
        pen.circle(x + dx, y, size, _tint(rng, color))
    for i in range(5):
        color = ((190, 92, 52), (222, 160, 70))[i % 2]
        pen.ellipse(_near(rng, 0.14 + 0.19 * i, 0.04), _near(rng, 0.78 + 0.12 * (i % 2), 0.03), 0.036, 0.018, color)
    for x, y in ((0.7, 0.36), (0.88, 0.2), (0.92, 0.52)):
        pen.ellipse(_near(rng, x), _near(rng, y), 0.034, 0.02, (206, 110, 50), angle=40)


def _sunflowers(pen: Pen, rng: random.Random) -> None:
    """Bright grass framed by tall sunflowers."""
    pen.sky((172, 214, 232), (220, 238, 228), y1=0.5)
    grass = _tint(rng, (110, 166, 80))
    _wave(pen, 0.48, 0.015, 1, rng.random(), shade(grass, 1.15))
    _floor(pen, 0.66, grass)
    for x, y in ((0.36, 0.5), (0.64, 0.49), (0.08, 0.25), (0.92, 0.22)):
        x, y = _near(rng, x, 0.02), _near(rng, y)
        pen.line([(x, 0.8), (x, y)], 0.024, (66, 120, 62))
        _flower(pen, x, y, 0.11, (238, 192, 62), (104, 70, 44))
    for x in (0.07, 0.93):
        pen.ellipse(x, 0.55, 0.08, 0.03, (66, 120, 62), angle=-25)


def _sunflowers_front(pen: Pen, rng: random.Random) -> None:
    """Low sunflowers in the two near corners."""
    for x in (0.07, 0.93):
        _flower(pen, x, _near(rng, 0.93, 0.01), 0.085, (238, 192, 62), (104, 70, 44))


def _dirt_road(pen: Pen, rng: random.Random) -> None:
    """A brown track straight towards the horizon between scrub and fences."""
    pen.sky((222, 220, 206), (246, 232, 200), y1=0.5)
    pen.circle(_near(rng, 0.5, 0.06), 0.36, 0.1, (252, 244, 208))
    _floor(pen, 0.43, _tint(rng, (142, 152, 98)))
    road = _tint(rng, (172, 126, 86))
    pen.polygon([(0.44, 0.43), (0.56, 0.43), (1.12, 1.01), (-0.12, 1.01)], road)
    for k in (-1, 1):
        pen.line([(0.5 + 0.025 * k, 0.45), (0.5 + 0.3 * k, 1.02)], 0.04, shade(road, 0.86))
    for k in (-1, 1):
        for dx, y, size in ((0.46, 0.62, 0.2), (0.3, 0.52, 0.13), (0.19, 0.46, 0.08)):
            pen.line([(0.5 + k * dx, y), (0.5 + k * dx, y - size)], 0.14 * size, BARK)
        pen.line([(0.5 + k * 0.16, 0.41), (0.5 + k * 0.52, 0.5)], 0.016, BARK)
    for x, size in ((0.06, 0.08), (0.95, 0.09)):
        pen.ellipse(_near(rng, x), 0.74, 1.6 * size, size, (110, 126, 78))


def _garden(pen: Pen, rng: random.Random) -> None:
    """A hedge, a white picket fence and flower beds below a rose arch."""
    pen.sky((190, 220, 226), (232, 240, 224), y1=0.4)
    _wave(pen, 0.36, 0.025, 4, rng.random(), _tint(rng, (88, 134, 90)))
    _floor(pen, 0.66, _tint(rng, (164, 196, 128)))
    _floor(pen, 0.84, _tint(rng, (222, 206, 176)))
    pickets = [(i / 18, 0.46 if i % 2 else 0.51) for i in range(19)]
    pen.polygon([(0, 0.68), *pickets, (1, 0.68)], (244, 242, 232))
    for i in range(1, 9):
        pen.line([(i / 9, 0.53), (i / 9, 0.68)], 0.014, (164, 178, 150))
    pen.line([(0.24, 0.72), (0.24, 0.2), (0.36, 0.07), (0.64, 0.07), (0.76, 0.2), (0.76, 0.72)], 0.05, (96, 140, 92))
    for x, y in ((0.24, 0.2), (0.39, 0.08), (0.61, 0.08), (0.76, 0.2)):
        pen.circle(x, y, 0.042, (222, 138, 152))
    pinks: tuple[Color, ...] = ((222, 138, 152), (240, 214, 120), (182, 148, 206), (222, 138, 152))
    for x, color in zip((0.06, 0.17, 0.84, 0.95), pinks, strict=True):
        pen.circle(_near(rng, x, 0.015), 0.75, 0.055, color)


# -- mountains and snow ----------------------------------------------------------------------------------------
def _alps(pen: Pen, rng: random.Random) -> None:
    """A steep diagonal slope below jagged peaks, in falling snow."""
    pen.sky((112, 152, 194), (190, 212, 230), y1=0.7)
    x = _near(rng, 0.66, 0.03)
    ridge = [(x - 0.34, 0.7), (x - 0.1, 0.24), (x, 0.32), (x + 0.14, 0.1), (x + 0.5, 0.8)]
    pen.polygon(ridge, _tint(rng, (110, 126, 156)))
    pen.polygon([(x + 0.14, 0.1), (x + 0.05, 0.25), (x + 0.12, 0.23), (x + 0.17, 0.3), (x + 0.24, 0.28)], WHITE)
    pen.polygon([(x - 0.1, 0.24), (x - 0.16, 0.36), (x - 0.09, 0.33), (x - 0.04, 0.36), (x - 0.03, 0.3)], WHITE)
    pen.polygon([(-0.01, 0.3), (1.01, 0.74), (1.01, 1.01), (-0.01, 1.01)], (240, 245, 250))
    pen.polygon([(-0.01, 0.5), (1.01, 0.94), (1.01, 1.01), (-0.01, 1.01)], (224, 233, 244))
    for y in (0.6, 0.66):
        pen.line([(-0.02, y), (0.9, y + 0.43)], 0.014, (192, 208, 228))
    for x, size in ((0.08, 0.3), (0.93, 0.24)):
        _pine(pen, x, 0.38 + 0.4 * x, size, (62, 98, 96))
    _flakes(pen, rng, 8, 0.06, 0.56)


def _mountain(pen: Pen, rng: random.Random) -> None:
    """One huge snow-capped mountain."""
    pen.sky((246, 208, 176), (250, 234, 208), y1=0.75)
    x = _near(rng, 0.5, 0.04)
    rock = _tint(rng, (124, 112, 146))
    pen.polygon([(x, 0.05), (x - 0.56, 0.7), (x + 0.56, 0.7)], rock)
    pen.polygon([(x, 0.05), (x + 0.56, 0.7), (x + 0.06, 0.7), (x + 0.1, 0.4)], shade(rock, 0.84))
    pen.polygon(
        [
            (x, 0.05),
            (x - 0.19, 0.27),
            (x - 0.1, 0.24),
            (x - 0.04, 0.32),
            (x + 0.04, 0.25),
            (x + 0.12, 0.3),
            (x + 0.19, 0.27),
        ],
        WHITE,
    )
    firs = [(i / 14, 0.56 if i % 2 else 0.64) for i in range(15)]
    pen.polygon([(-0.01, 0.8), (-0.01, 0.62), *firs, (1.01, 0.8)], (84, 118, 98))
    _wave(pen, 0.7, 0.008, 1, rng.random(), _tint(rng, (146, 176, 114)))


def _snow(pen: Pen, rng: random.Random) -> None:
    """Round white drifts, white firs and a snowman."""
    pen.sky((178, 190, 206), (222, 228, 236), y1=0.85)
    for x, size in ((0.1, 0.42), (0.32, 0.3), (0.62, 0.32)):
        _pine(pen, _near(rng, x, 0.02), 0.62, size, (112, 138, 142), WHITE)
    pen.ellipse(0.2, 0.78, 0.6, 0.22, (232, 237, 243))
    pen.ellipse(0.85, 0.84, 0.65, 0.26, (243, 246, 249))
    x = _near(rng, 0.87, 0.02)
    pen.circle(x, 0.58, 0.125, WHITE)
    pen.circle(x, 0.39, 0.085, WHITE)
    pen.line([(x - 0.07, 0.47), (x + 0.07, 0.47)], 0.036, (160, 86, 86))
    pen.polygon([(x, 0.38), (x, 0.41), (x - 0.09, 0.41)], (226, 140, 66))
    pen.rect(x - 0.06, 0.2, 0.12, 0.11, (70, 74, 88))
    pen.rect(x - 0.1, 0.295, 0.2, 0.03, (70, 74, 88))
    _floor(pen, 0.82, (236, 240, 246))
    _flakes(pen, rng, 6, 0.08, 0.36)


# -- woods -----------------------------------------------------------------------------------------------------
def _forest(pen: Pen, rng: random.Random) -> None:
    """Dark tall trunks below a closed canopy."""
    pen.sky((126, 160, 130), (174, 194, 150), y1=0.66)
    _trunks(pen, rng, (0.3, 0.44, 0.58, 0.72), 0.64, (104, 122, 98))
    _floor(pen, 0.62, _tint(rng, (82, 110, 72)))
    _trunks(pen, rng, (0.06, 0.2, 0.82, 0.95), 0.7, _tint(rng, (82, 66, 54)))
    leaf = _tint(rng, (50, 84, 62))
    for x, size in ((0.02, 0.22), (0.3, 0.16), (0.55, 0.15), (0.78, 0.17), (1.0, 0.22)):
        pen.circle(_near(rng, x), 0.02, size, leaf)
    for x in (0.03, 0.97):
        pen.ellipse(x, 0.74, 0.16, 0.08, shade(leaf, 1.1))


def _purple_rug(pen: Pen, rng: random.Random) -> None:
    """Birches in a pale wood, with a big purple rug."""
    pen.sky((176, 206, 168), (214, 226, 182), y1=0.6)
    _wave(pen, 0.52, 0.03, 2.5, rng.random(), (138, 172, 122))
    _floor(pen, 0.62, _tint(rng, (112, 142, 88)))
    _trunks(pen, rng, (0.1, 0.33, 0.66, 0.9), 0.66, (226, 220, 206))
    for x, y in ((0.1, 0.3), (0.33, 0.42), (0.66, 0.34), (0.9, 0.46)):
        pen.line([(x - 0.02, y), (x + 0.01, y)], 0.022, (92, 84, 80))
    for x in (0.05, 0.35, 0.65, 0.95):
        pen.ellipse(_near(rng, x), 0.03, 0.2, 0.12, (118, 158, 96))
    rug = _tint(rng, (124, 82, 158))
    pen.ellipse(0.5, 0.86, 0.49, 0.135, shade(rug, 0.72))
    pen.ellipse(0.5, 0.85, 0.49, 0.13, rug)
    pen.ellipse(0.5, 0.85, 0.4, 0.1, (196, 168, 214))
    pen.ellipse(0.5, 0.85, 0.37, 0.088, shade(rug, 1.12))


def _jungle(pen: Pen, rng: random.Random) -> None:
    """Lianas and giant leaves around a bright clearing."""
    pen.sky((62, 106, 78), (92, 132, 76), y1=0.8)
    pen.ellipse(_near(rng, 0.5), 0.42, 0.34, 0.42, (188, 206, 128))
    _floor(pen, 0.7, _tint(rng, (86, 104, 58)))
    for x, sag in ((0.2, 0.2), (0.62, 0.16)):
        pen.curve((x, -0.02), (x + 0.12, 2.4 * sag), (x + 0.26, -0.02), 0.03, (84, 92, 50))
    leaf = _tint(rng, (42, 94, 66))
    for x, y, angle in (
        (0.03, 0.08, 50),
        (0.04, 0.34, 15),
        (0.97, 0.08, -50),
        (0.96, 0.34, -15),
        (0.36, 0.0, 75),
        (0.68, 0.0, -75),
    ):
        pen.ellipse(x, _near(rng, y), 0.2, 0.065, leaf, angle=angle)
        pen.ellipse(x, y - 0.06, 0.17, 0.04, shade(leaf, 1.16), angle=angle - 12)
    for x, angle in ((0.04, -40), (0.16, -75), (0.84, 75), (0.96, 40)):
        pen.ellipse(x, 0.67, 0.18, 0.05, _tint(rng, (70, 128, 62)), angle=angle)


# -- the sea and warm places -----------------------------------------------------------------------------------
def _palm(pen: Pen, x: float, base: float, top: float, size: float) -> None:
    """A leaning palm tree with fronds of length `size`."""
    pen.curve((x - 0.1, base), (x - 0.08, (base + top) / 2), (x, top), 0.055, (150, 112, 74))
    fronds = ((-1.0, 0.35), (-0.95, -0.2), (-0.35, -0.5), (0.45, -0.5), (1.0, -0.2), (1.05, 0.35), (0.5, 0.6))
    for i, (dx, dy) in enumerate(fronds):
        bend = (x + 0.55 * dx * size, top + (dy - 0.42) * size * 0.7)
        pen.curve((x, top), bend, (x + dx * size, top + dy * size), 0.062, ((84, 138, 84), (108, 160, 92))[i % 2])
    pen.circle(x + 0.03, top + 0.045, 0.03, (112, 78, 52))


def _palm_tree(pen: Pen, rng: random.Random) -> None:
    """A big palm on warm sand at sunset."""
    pen.sky((246, 196, 150), (252, 232, 190), y1=0.66)
    pen.circle(0.84, _near(rng, 0.44), 0.1, (254, 246, 214))
    pen.ellipse(_near(rng, 0.8), 0.62, 0.5, 0.07, (158, 168, 112))
    _wave(pen, 0.63, 0.012, 1, rng.random(), _tint(rng, (232, 206, 158)))
    pen.ellipse(0.5, 0.87, 0.42, 0.075, (200, 170, 126))
    _palm(pen, _near(rng, 0.3, 0.03), 0.74, 0.2, 0.3)


def _beach(pen: Pen, rng: random.Random) -> None:
    """Sun, sea and sand with a striped parasol."""
    pen.sky((140, 200, 232), (206, 232, 238), y1=0.45)
    pen.circle(_near(rng, 0.16), 0.15, 0.085, (252, 230, 140))
    pen.rect(0, 0.42, 1, 0.25, _tint(rng, (74, 146, 180)))
    x = _near(rng, 0.4, 0.06)
    pen.polygon([(x, 0.24), (x, 0.4), (x - 0.11, 0.4)], WHITE)
    pen.polygon([(x - 0.12, 0.42), (x + 0.08, 0.42), (x + 0.04, 0.46), (x - 0.09, 0.46)], (150, 92, 70))
    _wave(pen, 0.61, 0.012, 2, rng.random(), (236, 246, 244))
    _wave(pen, 0.64, 0.012, 2, rng.random(), _tint(rng, (238, 218, 170)))
    x = _near(rng, 0.84, 0.02)
    pen.line([(x, 0.3), (x + 0.03, 0.76)], 0.022, (240, 236, 226))
    with pen.inside_rect(x - 0.2, 0.14, 0.4, 0.2):
        pen.ellipse(x, 0.34, 0.19, 0.17, (206, 100, 92))
        pen.ellipse(x, 0.34, 0.115, 0.17, WHITE)
        pen.ellipse(x, 0.34, 0.045, 0.17, (206, 100, 92))


def _water(pen: Pen, rng: random.Random) -> None:
    """Open sea with a lighthouse on the horizon."""
    pen.sky((198, 222, 232), (236, 240, 236), y1=0.46)
    x = _near(rng, 0.14, 0.02)
    pen.ellipse(x, 0.42, 0.17, 0.06, (120, 122, 116))
    pen.polygon([(x - 0.035, 0.14), (x + 0.035, 0.14), (x + 0.055, 0.4), (x - 0.055, 0.4)], WHITE)
    pen.rect(x - 0.046, 0.22, 0.092, 0.07, (184, 88, 82))
    pen.rect(x - 0.035, 0.08, 0.07, 0.065, (246, 216, 120))
    _cloud(pen, _near(rng, 0.76, 0.06), 0.16, 0.1)
    blue = _tint(rng, (112, 172, 200))
    for i, y in enumerate((0.42, 0.54, 0.68, 0.8)):
        _wave(pen, y, 0.006 + 0.005 * i, 4.5 - i, rng.random(), shade(blue, 1.0 - 0.09 * i))


def _water_front(pen: Pen, rng: random.Random) -> None:
    """Water over the feet."""
    _wave(pen, 0.875, 0.012, 2, rng.random(), (60, 118, 156))
    _wave(pen, 0.94, 0.012, 1.5, rng.random(), (48, 100, 140))


def _milk(pen: Pen, rng: random.Random) -> None:
    """An ocean of milk below a chocolate sky, with floating biscuits."""
    pen.sky((146, 106, 86), (214, 170, 136), y1=0.5)
    for x, size in ((0.14, 0.1), (0.86, 0.12)):
        x, y = _near(rng, x), _near(rng, 0.42)
        pen.circle(x, y, size, (206, 156, 96))
        for dx, dy in ((-0.4, -0.4), (0.3, -0.5), (0.0, 0.1)):
            pen.circle(x + dx * size, y + dy * size, 0.16 * size, (104, 68, 50))
    x = _near(rng, 0.5, 0.06)
    right = [(x + 0.1, -0.01), (x + 0.05, 0.2), (x + 0.07, 0.55)]
    pen.polygon([*right, (x - 0.07, 0.55), (x - 0.05, 0.2), (x - 0.1, -0.01)], (246, 236, 220))
    for i, y in enumerate((0.47, 0.6, 0.74)):
        _wave(pen, y, 0.02, 2.5 - 0.5 * i, rng.random(), ((236, 222, 204), (244, 234, 220), (250, 244, 234))[i])


def _milk_front(pen: Pen, rng: random.Random) -> None:
    """Milk over the feet."""
    _wave(pen, 0.875, 0.014, 2, rng.random(), (236, 226, 212))
    _wave(pen, 0.9, 0.014, 2, rng.random(), (254, 250, 243))


# -- night and show --------------------------------------------------------------------------------------------
def _moonlight(pen: Pen, rng: random.Random) -> None:
    """A full moon over dark hills."""
    pen.sky((22, 28, 66), (70, 82, 132), y1=0.75)
    x, y = _near(rng, 0.77, 0.04), _near(rng, 0.2)
    pen.circle(x, y, 0.19, (74, 82, 128))
    pen.circle(x, y, 0.125, (246, 240, 208))
    pen.circle(x + 0.04, y - 0.03, 0.03, (222, 214, 178))
    for sx, sy in ((0.12, 0.12), (0.3, 0.24), (0.44, 0.08), (0.1, 0.38)):
        pen.star(_near(rng, sx), _near(rng, sy), 0.03, (226, 228, 210), tips=4, inner=0.4)
    pen.ellipse(0.15, 0.78, 0.5, 0.2, (44, 54, 96))
    pen.ellipse(0.85, 0.82, 0.55, 0.22, (38, 48, 84))
    _floor(pen, 0.76, _tint(rng, (46, 58, 82)))


def _stage(pen: Pen, rng: random.Random) -> None:
    """Coloured beams over a dark festival stage with towers of loudspeakers."""
    pen.sky((42, 26, 66), (86, 46, 104), y1=0.75)
    pink, cyan, amber, violet = (232, 92, 170), (96, 200, 220), (244, 206, 104), (156, 116, 232)
    beams = ((0.22, 0.05, pink), (0.42, 0.36, cyan), (0.6, 0.66, amber), (0.8, 0.97, violet))
    for x, low, color in beams:
        low = _near(rng, low, 0.05)
        pen.polygon([(x - 0.02, 0.05), (x + 0.02, 0.05), (low + 0.14, 0.76), (low - 0.14, 0.76)], color, alpha=0.5)
    pen.rect(0, 0.02, 1, 0.055, (60, 58, 72))
    for x, _, color in beams:
        pen.circle(x, 0.08, 0.036, shade(color, 1.4))
    _floor(pen, 0.74, _tint(rng, (62, 50, 78)))
    pen.rect(0, 0.74, 1, 0.025, (206, 110, 170))
    for x in (0.0, 0.84):
        pen.rect(x, 0.34, 0.16, 0.42, (34, 32, 42), radius=0.015)
        for y, size in ((0.45, 0.045), (0.62, 0.06)):
            pen.circle(x + 0.08, y, size, (98, 94, 110))


def _ring(pen: Pen, rng: random.Random) -> None:
    """Three ropes between a red and a blue corner, under the lamps of a dark hall."""
    pen.sky((36, 38, 50), (66, 66, 82), y1=0.68)
    for x in (0.3, 0.7):
        pen.polygon([(x - 0.09, 0.05), (x + 0.09, 0.05), (x + 0.3, 0.68), (x - 0.3, 0.68)], (255, 246, 206), alpha=0.22)
        pen.rect(x - 0.12, 0.02, 0.24, 0.045, (255, 246, 206), radius=0.02)
    _floor(pen, 0.66, _tint(rng, (176, 188, 200)))
    pen.polygon([(0.02, 1.01), (0.12, 0.7), (0.88, 0.7), (0.98, 1.01)], (206, 214, 220))
    for y, color in ((0.36, (190, 74, 74)), (0.47, (236, 234, 226)), (0.58, (78, 108, 176))):
        pen.line([(-0.02, y + 0.1), (0.1, y), (0.9, y), (1.02, y + 0.1)], 0.028, color)
    for x, color in ((0.1, (178, 62, 64)), (0.9, (66, 94, 166))):
        pen.rect(x - 0.035, 0.29, 0.07, 0.43, color, radius=0.02)
    pen.star(0.5, _near(rng, 0.2, 0.01), 0.07, GOLD)


def _arena(pen: Pen, rng: random.Random) -> None:
    """An oval sand floor inside curved blue tiers with golden rims."""
    _floor(pen, 0, _tint(rng, (38, 54, 84)))
    for i, y in enumerate((0.26, 0.44, 0.62)):
        tone = shade((64, 92, 128), 0.8 + 0.18 * i)
        pen.ellipse(0.5, y + 0.4, 0.86 - 0.05 * i, 0.4, GOLD)
        pen.ellipse(0.5, y + 0.42, 0.86 - 0.05 * i, 0.4, tone)
    pen.ellipse(0.5, 0.99, 0.66, 0.33, WHITE)
    pen.ellipse(0.5, 1.01, 0.66, 0.33, _tint(rng, (226, 208, 172)))
    for x, color in ((0.08, (150, 84, 98)), (0.36, (214, 206, 190)), (0.64, (214, 206, 190)), (0.92, (150, 84, 98))):
        pen.polygon([(x - 0.06, -0.01), (x + 0.06, -0.01), (x + 0.06, 0.22), (x, 0.16), (x - 0.06, 0.22)], color)
    for x in (0.2, 0.8):
        x = _near(rng, x)
        low = 0.5 * x + 0.25
        pen.polygon([(x - 0.02, 0), (x + 0.02, 0), (low + 0.15, 0.9), (low - 0.15, 0.9)], (255, 248, 220), alpha=0.16)


# -- rooms -----------------------------------------------------------------------------------------------------
def _grand_hall(pen: Pen, rng: random.Random) -> None:
    """Ivory columns, tall windows and a red carpet."""
    _floor(pen, 0, _tint(rng, (222, 210, 188)))
    for x in (0.3, 0.56):
        pen.rect(x, 0.18, 0.14, 0.46, (178, 206, 218), radius=0.07)
    pen.rect(0, 0, 1, 0.09, (194, 176, 146))
    _floor(pen, 0.66, _tint(rng, (196, 182, 160)))
    pen.polygon([(0.38, 0.66), (0.62, 0.66), (0.96, 1.01), (0.04, 1.01)], GOLD)
    pen.polygon([(0.4, 0.66), (0.6, 0.66), (0.91, 1.01), (0.09, 1.01)], _tint(rng, (156, 62, 66)))
    for x in (0.02, 0.8):
        x = _near(rng, x, 0.01)
        pen.rect(x + 0.02, 0.1, 0.14, 0.62, (244, 238, 224))
        pen.rect(x + 0.11, 0.1, 0.05, 0.62, (214, 202, 182))
        for y in (0.07, 0.69):
            pen.rect(x - 0.01, y, 0.2, 0.055, GOLD, radius=0.01)
    _chandelier(pen, 0.5, 0.15, 0.15, GOLD)


def _ballroom(pen: Pen, rng: random.Random) -> None:
    """Dark green walls with golden arches and curtains above a chequered floor."""
    _floor(pen, 0, _tint(rng, (58, 84, 78)))
    for x in (0.25, 0.55):
        pen.rect(x, 0.2, 0.2, 0.6, GOLD, radius=0.1)
        pen.rect(x + 0.025, 0.225, 0.15, 0.6, (118, 148, 138), radius=0.075)
    _floor(pen, 0.64, _tint(rng, (226, 214, 190)))
    _checker(pen, (0.64, 0.72, 0.84, 1.01), (124, 106, 92))
    for x, k in ((0.0, 1), (1.0, -1)):
        hem = [(x + 0.16 * k, 0.3), (x + 0.06 * k, 0.42), (x + 0.12 * k, 0.7), (x, 0.7)]
        pen.polygon([(x, 0), (x + 0.24 * k, 0), *hem], (140, 58, 72))
    pen.rect(0, 0, 1, 0.06, (160, 70, 82))
    _chandelier(pen, _near(rng, 0.5, 0.015), 0.13, 0.13, (232, 200, 124))


def _restaurant(pen: Pen, rng: random.Random) -> None:
    """Guests at white tables below hanging lamps."""
    _floor(pen, 0, _tint(rng, (116, 62, 56)))
    pen.rect(0, 0.3, 1, 0.4, _tint(rng, (150, 88, 70)))
    for x, color in ((0.1, (90, 92, 112)), (0.3, (104, 116, 96)), (0.7, (128, 100, 122)), (0.9, (98, 88, 76))):
        x = _near(rng, x, 0.02)
        pen.rect(x - 0.085, 0.48, 0.17, 0.2, color, radius=0.06)
        pen.circle(x, 0.42, 0.06, (222, 184, 150))
    _floor(pen, 0.7, _tint(rng, (92, 66, 58)))
    for x in (0.2, 0.8):
        pen.polygon([(x - 0.17, 0.58), (x + 0.17, 0.58), (x + 0.2, 0.78), (x - 0.2, 0.78)], (232, 224, 208))
        pen.ellipse(x, 0.58, 0.17, 0.03, WHITE)
    for x in (0.18, 0.5, 0.82):
        pen.line([(x, 0), (x, 0.12)], 0.014, (60, 42, 40))
        pen.polygon([(x - 0.03, 0.11), (x + 0.03, 0.11), (x + 0.1, 0.2), (x - 0.1, 0.2)], (232, 176, 92))
        pen.ellipse(x, 0.205, 0.07, 0.028, (255, 240, 190))


def _gym(pen: Pen, rng: random.Random) -> None:
    """A bright hall with a punch bag, a rack of weights and a wall bar."""
    _floor(pen, 0, _tint(rng, (206, 214, 220)))
    pen.rect(0.26, 0.1, 0.48, 0.48, (232, 240, 244), radius=0.015)
    pen.polygon([(0.34, 0.58), (0.5, 0.1), (0.58, 0.1), (0.42, 0.58)], WHITE)
    pen.rect(0, 0.6, 1, 0.05, _tint(rng, (206, 214, 92)))
    _floor(pen, 0.65, _tint(rng, (84, 90, 100)))
    _floor(pen, 0.84, (72, 78, 88))
    x = _near(rng, 0.12, 0.015)
    pen.line([(x, 0), (x, 0.2)], 0.018, (70, 74, 84))
    pen.rect(x - 0.075, 0.18, 0.15, 0.42, (62, 66, 78), radius=0.06)
    pen.rect(x - 0.075, 0.28, 0.15, 0.05, (206, 214, 92))
    for y in (0.34, 0.5, 0.66):
        pen.rect(0.77, y, 0.22, 0.026, (110, 116, 128))
        for x in (0.81, 0.89, 0.96):
            pen.circle(x, y - 0.036, 0.036, (50, 54, 64))


def _flames(pen: Pen, rng: random.Random, size: float, color: Color) -> None:
    """A broad fire on the hearth."""
    left, right = ((-0.25, 0.2), (-0.2, 0.52), (-0.13, 0.3)), ((0.05, 0.36), (0.14, 0.66), (0.19, 0.26), (0.25, 0.4))
    tips = (*left, (-0.04, 0.84), *right)
    flame = [(0.5 + dx * (0.5 + size / 2), 0.77 - 0.4 * size * _near(rng, dy, 0.05)) for dx, dy in tips]
    pen.polygon([(0.26, 0.77), *flame, (0.74, 0.77)], color)


def _fireplace(pen: Pen, rng: random.Random) -> None:
    """A wide brick hearth with a blazing fire."""
    _floor(pen, 0, _tint(rng, (92, 66, 62)))
    _floor(pen, 0.74, _tint(rng, (70, 50, 46)))
    brick = _tint(rng, (158, 92, 74))
    pen.rect(0.1, 0.26, 0.8, 0.52, brick)
    pen.rect(0.2, -0.01, 0.6, 0.3, shade(brick, 0.85))
    for y in (0.4, 0.54, 0.67):
        pen.line([(0.1, y), (0.9, y)], 0.012, shade(brick, 0.78))
    pen.rect(0.22, 0.38, 0.56, 0.4, (44, 30, 32), radius=0.06)
    for size, color in ((1.0, (226, 108, 48)), (0.62, (250, 196, 84))):
        _flames(pen, rng, size, color)
    pen.rect(0.05, 0.25, 0.9, 0.06, (196, 146, 100), radius=0.012)
    pen.rect(0.38, 0.05, 0.24, 0.16, (214, 178, 110))
    pen.rect(0.4, 0.07, 0.2, 0.12, (126, 156, 160))
    for x in (0.15, 0.85):
        pen.line([(x, 0.24), (x, 0.16)], 0.03, CREAM)
        pen.ellipse(x, 0.12, 0.018, 0.032, (250, 206, 104))
    pen.rect(0.06, 0.77, 0.88, 0.035, (128, 112, 108))


def _kitchen(pen: Pen, rng: random.Random) -> None:
    """Mint cupboards, a hood over the cooker and a tiled floor."""
    _floor(pen, 0, _tint(rng, (240, 234, 216)))
    mint = _tint(rng, (150, 190, 174))
    for x, w in ((0.0, 0.26), (0.74, 0.26)):
        pen.rect(x, 0.0, w, 0.28, mint)
        pen.line([(x + w / 2, 0.0), (x + w / 2, 0.28)], 0.01, shade(mint, 0.75))
    x = _near(rng, 0.5, 0.01)
    pen.rect(x - 0.06, 0, 0.12, 0.14, (154, 160, 168))
    pen.polygon([(x - 0.06, 0.11), (x + 0.06, 0.11), (x + 0.17, 0.24), (x - 0.17, 0.24)], (172, 178, 184))
    pen.rect(0, 0.49, 1, 0.24, mint)
    pen.rect(0.32, 0.49, 0.36, 0.24, (196, 200, 204))
    pen.rect(0.37, 0.57, 0.26, 0.12, (76, 82, 92), radius=0.02)
    pen.rect(0, 0.455, 1, 0.045, (142, 104, 78))
    pen.rect(0.07, 0.36, 0.14, 0.1, (196, 112, 88), radius=0.03)
    pen.rect(0.82, 0.32, 0.08, 0.14, (226, 198, 120), radius=0.02)
    for x in (0.12, 0.22, 0.78, 0.88):
        pen.line([(x, 0.56), (x, 0.62)], 0.014, shade(mint, 0.6))
    _floor(pen, 0.73, _tint(rng, (222, 214, 202)))
    _checker(pen, (0.73, 0.84, 1.01), (176, 160, 148))


def _diving_room(pen: Pen, rng: random.Random) -> None:
    """An indoor pool with a diving tower."""
    _floor(pen, 0, _tint(rng, (206, 228, 226)))
    pen.rect(0, 0.03, 1, 0.15, (242, 248, 246))
    for x in (0.2, 0.4, 0.6, 0.8):
        pen.line([(x, 0.03), (x, 0.18)], 0.014, (160, 190, 192))
    pen.rect(0, 0.3, 1, 0.03, (124, 178, 184))
    pool = _tint(rng, (66, 164, 186))
    pen.rect(0, 0.48, 1, 0.26, pool)
    for y in (0.55, 0.64):
        pen.line([(0, y), (1, y)], 0.018, (238, 214, 150) if y < 0.6 else shade(pool, 1.4))
    _floor(pen, 0.72, (240, 240, 232))
    _floor(pen, 0.75, _tint(rng, (188, 206, 206)))
    x = _near(rng, 0.88, 0.015)
    for dx in (-0.05, 0.08):
        pen.line([(x + dx, 0.26), (x + dx, 0.74)], 0.03, (108, 118, 130))
    for y in (0.4, 0.54, 0.67):
        pen.line([(x - 0.05, y), (x + 0.08, y)], 0.02, (108, 118, 130))
    pen.rect(x - 0.52, 0.22, 0.68, 0.055, (226, 138, 84), radius=0.015)
    pen.line([(x - 0.05, 0.22), (x - 0.05, 0.11), (x + 0.14, 0.11)], 0.02, (108, 118, 130))


def _plain(pen: Pen, rng: random.Random) -> None:
    """A soft studio backdrop in a random pastel."""
    tones: tuple[Color, ...] = ((232, 222, 212), (214, 226, 234), (226, 218, 234), (220, 232, 218), (240, 226, 222))
    color = _tint(rng, rng.choice(tones))
    pen.sky(shade(color, 0.95), shade(color, 1.35), y1=0.76)
    pen.sky(shade(color, 0.93), shade(color, 1.1), y0=0.75)
    pen.ellipse(0.5, 0.9, 0.4, 0.05, shade(color, 0.9))


def _pink_fabric(pen: Pen, rng: random.Random) -> None:
    """Pink cloth that hangs in folds and spreads over the ground."""
    pink = _tint(rng, (232, 168, 184))
    _floor(pen, 0, pink)
    for i, x in enumerate((0.06, 0.3, 0.56, 0.82)):
        x = _near(rng, x, 0.02)
        pen.polygon([(x, 0), (x + 0.11, 0), (x + 0.15, 0.62), (x - 0.03, 0.62)], shade(pink, (0.88, 1.2)[i % 2]))
    _wave(pen, 0.6, 0.025, 1.5, rng.random(), shade(pink, 0.82))
    _wave(pen, 0.64, 0.025, 1.5, rng.random(), shade(pink, 1.15))
    for x, y in ((0.0, 0.8), (0.34, 0.94), (0.62, 0.78)):
        x = _near(rng, x, 0.04)
        pen.curve((x, y), (x + 0.2, y - 0.09), (x + 0.42, y + 0.03), 0.03, shade(pink, 0.9))


def _wooden_floor(pen: Pen, rng: random.Random) -> None:
    """Honey-coloured boards below a pale wall with a window."""
    _floor(pen, 0, _tint(rng, (206, 212, 204)))
    _window(pen, _near(rng, 0.1, 0.02), 0.07, 0.26, 0.26, WHITE, (172, 206, 222))
    _floor(pen, 0.43, _tint(rng, (190, 140, 92)))
    _fan(pen, 0.475, (148, 102, 64), count=7)
    for x, y in ((0.36, 0.58), (0.76, 0.66), (0.2, 0.76), (0.55, 0.9)):
        pen.line([(x - 0.06, y), (x + 0.06, y)], 0.012, (148, 102, 64))
    pen.rect(0, 0.42, 1, 0.055, WHITE)


def _white_rug(pen: Pen, rng: random.Random) -> None:
    """A fluffy white rug in a dark blue room with a lamp and a plant."""
    _floor(pen, 0, _tint(rng, (86, 108, 128)))
    _floor(pen, 0.62, _tint(rng, (116, 82, 64)))
    pen.rect(0, 0.6, 1, 0.035, (210, 206, 198))
    x = _near(rng, 0.1, 0.015)
    pen.line([(x, 0.3), (x, 0.68)], 0.022, (214, 196, 160))
    pen.polygon([(x - 0.05, 0.16), (x + 0.05, 0.16), (x + 0.1, 0.32), (x - 0.1, 0.32)], (250, 226, 168))
    for angle in (-50, -90, -130):
        turn = math.radians(angle)
        pen.ellipse(0.89 + 0.1 * math.cos(turn), 0.5 + 0.12 * math.sin(turn), 0.12, 0.045, (104, 148, 112), angle=angle)
    pen.polygon([(0.8, 0.54), (0.98, 0.54), (0.95, 0.69), (0.83, 0.69)], (206, 146, 112))
    pen.ellipse(0.5, 0.875, 0.49, 0.125, (206, 202, 196))
    pen.ellipse(0.5, 0.86, 0.49, 0.125, (250, 249, 245))
    pen.ellipse(0.5, 0.86, 0.38, 0.09, (236, 234, 230))


def _mirror(pen: Pen, rng: random.Random) -> None:
    """A great oval mirror that lies on the floor and shines."""
    pen.sky((104, 88, 116), (140, 118, 148), y1=0.56)
    _floor(pen, 0.52, _tint(rng, (88, 74, 94)))
    for x in (0.06, 0.94):
        pen.rect(x - 0.08, -0.01, 0.16, 0.56, (122, 100, 132))
    for x, y, size in ((0.2, 0.16, 0.055), (0.8, 0.22, 0.06), (0.5, 0.1, 0.045)):
        pen.star(_near(rng, x), _near(rng, y), size, (236, 226, 236), tips=4, inner=0.3)
    pen.ellipse(0.5, 0.8, 0.5, 0.21, (226, 190, 104))
    pen.ellipse(0.5, 0.795, 0.455, 0.175, (158, 124, 62))
    pen.ellipse(0.5, 0.8, 0.45, 0.17, _tint(rng, (188, 218, 228)))
    with pen.inside_ellipse(0.5, 0.8, 0.45, 0.17):
        for x, w in ((0.12, 0.12), (0.3, 0.05), (0.72, 0.14)):
            x = _near(rng, x, 0.02)
            pen.polygon([(x, 1), (x + 0.2, 0.6), (x + 0.2 + w, 0.6), (x + w, 1)], (238, 248, 250))


# -- the town --------------------------------------------------------------------------------------------------
def _street(pen: Pen, rng: random.Random) -> None:
    """A row of coloured shops along an asphalt road."""
    pen.sky((178, 212, 226), (226, 236, 234), y1=0.5)
    walls: tuple[Color, ...] = ((206, 158, 122), (164, 178, 160), (216, 194, 140), (172, 146, 158))
    for i, wall in enumerate(walls):
        x, y = 0.25 * i, _near(rng, (0.24, 0.12, 0.22, 0.1)[i], 0.02)
        pen.rect(x, y, 0.255, 0.62 - y, _tint(rng, wall))
        pen.rect(x - 0.005, y - 0.02, 0.265, 0.045, shade(wall, 0.72))
        _panes(pen, x, y + 0.08, 0.25, 2, (240, 232, 196))
        pen.rect(x + 0.04, 0.44, 0.17, 0.17, shade(wall, 0.62), radius=0.012)
    _floor(pen, 0.6, PAVING)
    _floor(pen, 0.68, _tint(rng, ASPHALT))
    for x in (0.1, 0.62):
        pen.rect(x, 0.79, 0.28, 0.03, (236, 228, 200))


def _city(pen: Pen, rng: random.Random) -> None:
    """A skyline of towers at dusk."""
    pen.sky((236, 176, 150), (250, 222, 184), y1=0.7)
    towers = ((-0.02, 0.3), (0.2, 0.12), (0.38, 0.26), (0.64, 0.06), (0.82, 0.24))
    for x, y in ((0.1, 0.22), (0.54, 0.18), (0.74, 0.3)):
        pen.rect(_near(rng, x, 0.02), y, 0.16, 0.5, (182, 142, 148))
    for i, (x, y) in enumerate(towers):
        x, y = _near(rng, x, 0.01), _near(rng, y, 0.02)
        pen.rect(x, y, 0.18, 0.68 - y, ((84, 90, 122), (70, 76, 108))[i % 2])
        for k in (0.07, 0.19):
            pen.rect(x + 0.035, y + k, 0.11, 0.05, (246, 214, 146))
    pen.line([(0.73, 0.08), (0.73, 0.0)], 0.016, (70, 76, 108))
    _floor(pen, 0.66, _tint(rng, (150, 140, 146)))
    _floor(pen, 0.72, _tint(rng, (172, 162, 164)))


def _blue_house(pen: Pen, rng: random.Random) -> None:
    """A big blue house with a white door on a lawn."""
    pen.sky((222, 232, 226), (244, 240, 222), y1=0.72)
    pen.circle(0.02, 0.56, 0.17, (134, 164, 118))
    pen.circle(0.98, 0.56, 0.17, (134, 164, 118))
    blue = _tint(rng, (82, 130, 184))
    x = _near(rng, 0.5, 0.02)
    pen.rect(x + 0.17, 0.06, 0.09, 0.2, (166, 104, 88))
    pen.rect(x - 0.37, 0.32, 0.74, 0.4, blue)
    pen.polygon([(x - 0.45, 0.34), (x - 0.24, 0.1), (x + 0.24, 0.1), (x + 0.45, 0.34)], (56, 74, 112))
    for dx in (-0.32, 0.16):
        _window(pen, x + dx, 0.4, 0.16, 0.15, WHITE, (250, 228, 162))
    pen.rect(x - 0.07, 0.44, 0.14, 0.28, WHITE, radius=0.01)
    pen.rect(x - 0.045, 0.47, 0.09, 0.25, (196, 112, 88))
    _floor(pen, 0.7, _tint(rng, (150, 188, 116)))
    pen.polygon([(x - 0.08, 0.7), (x + 0.08, 0.7), (0.72, 1.01), (0.28, 1.01)], (222, 210, 184))


def _eiffel(pen: Pen, rng: random.Random) -> None:
    """The Eiffel Tower above the lawns of the Champ de Mars."""
    pen.sky((190, 196, 224), (246, 222, 214), y1=0.65)
    _cloud(pen, _near(rng, 0.14), 0.26, 0.09, (252, 244, 240))
    _cloud(pen, _near(rng, 0.87), 0.18, 0.09, (252, 244, 240))
    _wave(pen, 0.6, 0.025, 3, rng.random(), (128, 148, 124))
    x, iron = _near(rng, 0.5, 0.03), _tint(rng, (112, 86, 74))
    right = ((0.012, 0.03), (0.035, 0.22), (0.09, 0.42), (0.28, 0.72), (0.15, 0.72), (0.09, 0.6), (0.0, 0.55))
    sides = [(x + dx, y) for dx, y in right] + [(x - dx, y) for dx, y in right[::-1]]
    pen.polygon(sides, iron)
    pen.polygon([(x, 0.27), (x + 0.035, 0.4), (x - 0.035, 0.4)], (218, 208, 218))
    for y, w in ((0.23, 0.055), (0.42, 0.115), (0.54, 0.185)):
        pen.rect(x - w, y, 2 * w, 0.028, shade(iron, 0.75))
    _floor(pen, 0.7, _tint(rng, (140, 170, 112)))
    pen.polygon([(x - 0.09, 0.7), (x + 0.09, 0.7), (0.86, 1.01), (0.14, 1.01)], (226, 212, 186))


def _street_court(pen: Pen, rng: random.Random) -> None:
    """A basketball hoop above a painted court behind a wire fence."""
    pen.sky((170, 184, 196), (206, 212, 214), y1=0.6)
    for x, y in ((0.0, 0.26), (0.22, 0.34), (0.5, 0.24)):
        pen.rect(_near(rng, x, 0.015), y, 0.2, 0.3, (142, 138, 148))
    for k in (0, 1):
        wire = [(i / 7, 0.3 if (i + k) % 2 else 0.58) for i in range(9)]
        pen.line(wire, 0.012, (112, 122, 130))
    pen.line([(0, 0.3), (1, 0.3)], 0.018, (98, 108, 116))
    _floor(pen, 0.57, _tint(rng, (62, 108, 112)))
    pen.polygon([(0.3, 0.62), (0.7, 0.62), (0.95, 1.01), (0.05, 1.01)], _tint(rng, (186, 110, 82)))
    pen.line([(0.05, 1.02), (0.3, 0.62), (0.7, 0.62), (0.95, 1.02)], 0.022, (240, 236, 224))
    x = _near(rng, 0.8, 0.03)
    pen.line([(x + 0.13, 0.66), (x + 0.13, 0.3), (x, 0.2)], 0.034, (74, 80, 90))
    pen.rect(x - 0.18, 0.04, 0.36, 0.25, WHITE, radius=0.015)
    pen.line([(x - 0.07, 0.24), (x - 0.07, 0.13), (x + 0.07, 0.13), (x + 0.07, 0.24)], 0.018, (190, 84, 64))
    pen.polygon([(x - 0.09, 0.29), (x + 0.09, 0.29), (x + 0.05, 0.42), (x - 0.05, 0.42)], (226, 226, 222))
    pen.line([(x - 0.1, 0.28), (x + 0.1, 0.28)], 0.03, (220, 104, 56))


def _cobblestone(pen: Pen, rng: random.Random) -> None:
    """An old lane with timbered gables and round stones."""
    pen.sky((206, 196, 204), (240, 220, 196), y1=0.75)
    for x, k, color in ((0.0, 1, (226, 204, 166)), (1.0, -1, (206, 170, 140))):
        wall = [(x, 0.08), (x + 0.2 * k, 0.24), (x + 0.34 * k, 0.32), (x + 0.34 * k, 0.64), (x, 0.74)]
        pen.polygon(wall, _tint(rng, color))
        pen.polygon([(x, -0.01), (x + 0.16 * k, 0.02), (x + 0.39 * k, 0.32), (x, 0.16)], (142, 82, 70))
        for dx in (0.1, 0.25):
            pen.line([(x + dx * k, 0.34), (x + dx * k, 0.46)], 0.07, (98, 72, 62))
    stone = _tint(rng, (112, 110, 120))
    pen.polygon([(-0.01, 0.7), (0.34, 0.6), (0.66, 0.6), (1.01, 0.7), (1.01, 1.01), (-0.01, 1.01)], shade(stone, 0.8))
    for i, (y, count) in enumerate(((0.68, 5), (0.8, 4), (0.94, 4))):
        for k in range(count):
            x = _near(rng, (k + 0.25 + 0.5 * (i % 2)) / count, 0.01)
            pen.ellipse(x, y, 0.42 / count, 0.03 + 0.014 * i, shade(stone, 1.0 + 0.14 * ((k + i) % 3)))


def _sidewalk(pen: Pen, rng: random.Random) -> None:
    """A pavement before shop awnings and a crowd of passers-by."""
    _floor(pen, 0, _tint(rng, (112, 120, 132)))
    for i in range(6):
        color = ((196, 118, 104), (236, 228, 212))[i % 2]
        x, end = i / 6, (i + 1) / 6
        pen.polygon([(x, 0.1), (end, 0.1), (end, 0.24), (x + 0.083, 0.28), (x, 0.24)], color)
    coats: tuple[Color, ...] = ((92, 84, 104), (138, 112, 98), (84, 104, 104), (124, 92, 100), (90, 98, 126))
    for i, coat in enumerate(coats):
        x, y = _near(rng, 0.08 + 0.21 * i, 0.02), 0.37 + 0.03 * (i % 2)
        pen.line([(x, y + 0.16), (x, 0.72)], 0.14, coat)
        pen.circle(x, y, 0.055, ((206, 172, 146), (160, 122, 100))[i % 2])
    _floor(pen, 0.69, _tint(rng, (194, 192, 190)))
    _fan(pen, 0.7, (156, 154, 154), count=5, top=1.0, bottom=1.9)
    pen.line([(0, 0.83), (1, 0.83)], 0.012, (156, 154, 154))


SCENES: dict[str, Scene] = {
    "park_bench": Scene("on a park bench", _park_bench),
    "grand_hall": Scene("in a grand hall", _grand_hall),
    "restaurant": Scene("in a bustling restaurant", _restaurant),
    "moonlight": Scene("in the moonlight", _moonlight),
    "gym": Scene("in a modern gym", _gym),
    "fireplace": Scene("by the fireplace", _fireplace),
    "alps": Scene("down a steep slope in the Alps, with snowflakes falling gently", _alps),
    "palm_tree": Scene("under the shade of a palm tree", _palm_tree),
    "kitchen": Scene("in a kitchen", _kitchen),
    "stage": Scene("on stage during a vibrant music festival", _stage),
    "countryside": Scene("along the scenic countryside road", _countryside),
    "grassland": Scene("on the grassland", _grassland, _grassland_front),
    "street": Scene("on the street", _street),
    "football": Scene("on football playground", _football),
    "tree": Scene("under a tree", _tree_shade),
    "ballroom": Scene("in a vintage ballroom", _ballroom),
    "diving_room": Scene("on the diving room", _diving_room),
    "arena": Scene("in an elegant arena", _arena),
    "forest": Scene("in the forest", _forest),
    "plain": Scene("", _plain),
    "street_court": Scene("on a street court", _street_court),
    "ring": Scene("in a championship ring", _ring),
    "mountain": Scene(
        "in front of the mountain", _mountain, standing_phrase="with a mountain in the background"
    ),
    "garden": Scene("in a garden", _garden),
    "hilltop": Scene("on a hilltop", _hilltop),
    "jungle": Scene("in the jungle", _jungle),
    "snow": Scene("in the snow", _snow),
    "beach": Scene("on the beach", _beach),
    "cobblestone": Scene("on a cobblestone street", _cobblestone),
    "pink_fabric": Scene("on top of pink fabric", _pink_fabric),
    "wooden_floor": Scene("on top of a wooden floor", _wooden_floor),
    "city": Scene("with a city in the background", _city),
    "blue_house": Scene("with a blue house in the background", _blue_house),
    "purple_rug": Scene("on top of a purple rug in a forest", _purple_rug),
    "wheat_field": Scene("with a wheat field in the background", _wheat_field),
    "autumn": Scene("with a tree and autumn leaves in the background", _autumn),
    "eiffel": Scene("with the Eiffel Tower in the background", _eiffel),
    "water": Scene("floating on top of water", _water, _water_front),
    "milk": Scene("floating in an ocean of milk", _milk, _milk_front),
    "sunflowers": Scene("on top of green grass with sunflowers around it", _sunflowers, _sunflowers_front),
    "mirror": Scene("on top of a mirror", _mirror),
    "sidewalk": Scene("on top of the sidewalk in a crowded street", _sidewalk),
    "dirt_road": Scene("on top of a dirt road", _dirt_road),
    "white_rug": Scene("on top of a white rug", _white_rug),
}
