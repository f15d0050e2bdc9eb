"""Parks, fields, gardens and hills: one painter per scene."""

import math
import random

from likeness.world.pen import Color, Pen, shade
from likeness.world.scenery_shapes import BARK, CREAM, WHITE, cloud, clouds, floor, flower, near, tint, tree, wave


def park_bench(pen: Pen, rng: random.Random) -> None:
    """A long bench before trees, with a lamp."""
    pen.sky((176, 214, 222), (226, 238, 226), y1=0.6)
    leaf = tint(rng, (116, 158, 112))
    for x, size in ((0.2, 0.24), (0.55, 0.2), (0.88, 0.26)):
        tree(pen, near(rng, x), 0.62, size, leaf)
    floor(pen, 0.56, tint(rng, (150, 184, 116)))
    floor(pen, 0.86, (214, 198, 164))
    pen.line([(0.05, 0.88), (0.05, 0.2)], 0.022, (62, 70, 76))
    pen.circle(0.05, 0.17, 0.045, (250, 236, 176))
    wood = tint(rng, (150, 98, 60))
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


def countryside(pen: Pen, rng: random.Random) -> None:
    """A grey road that winds over rolling hills, with a barn."""
    pen.sky((150, 200, 230), (232, 240, 226), y1=0.55)
    clouds(pen, rng)
    pen.ellipse(near(rng, 0.15), 0.6, 0.5, 0.2, tint(rng, (140, 178, 130)))
    pen.ellipse(near(rng, 0.9), 0.62, 0.5, 0.22, tint(rng, (122, 166, 112)))
    floor(pen, 0.56, tint(rng, (156, 186, 104)))
    _winding_road(pen)
    x = near(rng, 0.1, 0.02)
    pen.rect(x, 0.42, 0.18, 0.15, (166, 78, 68))
    pen.polygon([(x - 0.03, 0.43), (x + 0.09, 0.33), (x + 0.21, 0.43)], (110, 72, 66))
    pen.rect(x + 0.065, 0.49, 0.05, 0.08, CREAM)
    for x in (0.8, 0.93):
        pen.line([(x, 0.55), (x, 0.68)], 0.02, CREAM)
    pen.line([(0.76, 0.59), (1.02, 0.61)], 0.018, CREAM)


def grassland(pen: Pen, rng: random.Random) -> None:
    """A wide olive plain with a flat acacia and tall grass."""
    pen.sky((196, 218, 214), (244, 236, 200), y1=0.5)
    pen.ellipse(near(rng, 0.35), 0.5, 0.6, 0.07, (172, 176, 140))
    grass = tint(rng, (178, 182, 92))
    floor(pen, 0.48, grass)
    floor(pen, 0.68, shade(grass, 0.92))
    x = near(rng, 0.83, 0.02)
    pen.line([(x, 0.55), (x + 0.01, 0.35), (x - 0.08, 0.26)], 0.03, BARK)
    pen.line([(x + 0.01, 0.38), (x + 0.08, 0.26)], 0.025, BARK)
    pen.ellipse(x, 0.22, 0.22, 0.06, tint(rng, (104, 124, 66)))
    pen.ellipse(x - 0.03, 0.18, 0.13, 0.045, tint(rng, (120, 140, 76)))
    for x in (0.06, 0.2, 0.95):
        _tuft(pen, near(rng, x), 0.74, 0.16, shade(grass, 0.72))


def _tuft(pen: Pen, x: float, y: float, size: float, color: Color) -> None:
    """A tuft of tall grass."""
    blades = ((-0.5, -0.5), (-0.25, -0.35), (-0.15, -1.0), (0.05, -0.4), (0.35, -0.85), (0.3, -0.35), (0.6, -0.45))
    pen.polygon([(x - 0.3 * size, y), *((x + a * size, y + b * size) for a, b in blades), (x + 0.3 * size, y)], color)


def grassland_front(pen: Pen, rng: random.Random) -> None:
    """Blades along the bottom edge."""
    tips = [(i / 20, (0.99 if i % 2 == 0 else near(rng, 0.91, 0.02))) for i in range(21)]
    pen.polygon([(-0.01, 1.01), *tips, (1.01, 1.01)], (136, 146, 66))


def football(pen: Pen, rng: random.Random) -> None:
    """A striped pitch with a white goal, below full stands."""
    floor(pen, 0, tint(rng, (150, 186, 212)))
    pen.polygon([(0, 0.14), (1, 0.14), (1, 0.4), (0, 0.4)], tint(rng, (74, 84, 122)))
    for y in (0.2, 0.28):
        pen.line([(0, y), (1, y)], 0.026, (112, 122, 158))
    pen.rect(0, 0.35, 1, 0.07, (226, 222, 206))
    green = tint(rng, (98, 158, 86))
    floor(pen, 0.42, green)
    for y, h in ((0.42, 0.07), (0.57, 0.1), (0.79, 0.22)):
        pen.rect(0, y, 1, h, shade(green, 1.14))
    x = near(rng, 0.5, 0.03)
    pen.rect(x - 0.36, 0.24, 0.72, 0.28, (206, 216, 222), alpha=0.5)
    for k in (-0.18, 0.0, 0.18):
        pen.line([(x + k, 0.24), (x + k, 0.52)], 0.01, (236, 240, 240))
    pen.line([(x - 0.36, 0.54), (x - 0.36, 0.22), (x + 0.36, 0.22), (x + 0.36, 0.54)], 0.032, WHITE)
    pen.line([(-0.02, 0.78), (1.02, 0.78)], 0.022, WHITE)


def tree_shade(pen: Pen, rng: random.Random) -> None:
    """One huge tree whose crown fills the top of the picture."""
    pen.sky((206, 226, 224), (238, 240, 214), y1=0.8)
    floor(pen, 0.72, (168, 194, 120))
    pen.ellipse(0.5, 0.9, 0.9, 0.3, tint(rng, (158, 186, 108)))
    x = near(rng, 0.5, 0.05)
    bark = tint(rng, (112, 80, 58))
    roots = [(x + 0.09, 0.6), (x + 0.19, 0.74), (x - 0.19, 0.74), (x - 0.09, 0.6)]
    pen.polygon([(x - 0.08, 0.2), (x + 0.08, 0.2), *roots], bark)
    pen.line([(x, 0.42), (x + 0.24, 0.24)], 0.05, bark)
    leaf = tint(rng, (78, 128, 78))
    for dx, y, size in ((-0.36, 0.16, 0.22), (0.36, 0.16, 0.22), (0.0, 0.12, 0.24)):
        pen.circle(x + dx, y, size, leaf)
    for dx, y, size in ((-0.3, 0.08, 0.15), (0.14, 0.06, 0.17), (0.42, 0.1, 0.1)):
        pen.circle(x + dx, y, size, shade(leaf, 1.13))
    pen.ellipse(0.5, 0.87, 0.46, 0.09, (118, 150, 86))


def hilltop(pen: Pen, rng: random.Random) -> None:
    """A steep round hill above the clouds, with a windmill."""
    pen.sky((126, 176, 216), (238, 226, 206), y1=0.85)
    floor(pen, 0.8, (150, 182, 178))
    for x, size in ((0.05, 0.15), (0.95, 0.15)):
        cloud(pen, near(rng, x), near(rng, 0.7), size)
    green = tint(rng, (120, 166, 92))
    pen.ellipse(0.5, 1.02, 0.56, 0.42, green)
    pen.ellipse(0.42, 0.98, 0.42, 0.34, shade(green, 1.08))
    x = near(rng, 0.82, 0.02)
    pen.polygon([(x - 0.03, 0.34), (x + 0.03, 0.34), (x + 0.06, 0.76), (x - 0.06, 0.76)], CREAM)
    pen.polygon([(x - 0.05, 0.35), (x, 0.26), (x + 0.05, 0.35)], (150, 84, 74))
    turn = rng.uniform(-0.3, 0.3)
    for k in (0.7, 2.27):
        dx, dy = 0.17 * math.cos(k + turn), 0.17 * math.sin(k + turn)
        pen.line([(x - dx, 0.33 - dy), (x + dx, 0.33 + dy)], 0.034, (132, 104, 84))
    pen.circle(0.15, near(rng, 0.15), 0.075, (252, 238, 178))


def wheat_field(pen: Pen, rng: random.Random) -> None:
    """A golden field to the horizon."""
    pen.sky((134, 184, 216), (206, 226, 226), y1=0.42)
    clouds(pen, rng)
    wave(pen, 0.38, 0.02, 1, rng.random(), (124, 146, 108))
    gold = tint(rng, (222, 184, 92))
    floor(pen, 0.42, gold)
    for i, y in enumerate((0.44, 0.5, 0.58)):
        tips = [(k / 16, y + (0 if k % 2 else 0.07)) for k in range(-1, 18)]
        pen.polygon([(-0.1, 0.8), *tips, (1.1, 0.8)], shade(gold, (1.1, 0.94, 0.84)[i]))
    wave(pen, 0.75, 0.01, 1.5, rng.random(), tint(rng, (186, 150, 90)))
    for x in (0.05, 0.14, 0.87, 0.96):
        x, y = near(rng, x, 0.02), near(rng, 0.42)
        pen.line([(x, 0.8), (x, y)], 0.014, (168, 128, 52))
        pen.ellipse(x, y, 0.03, 0.085, (240, 206, 116))


def autumn(pen: Pen, rng: random.Random) -> None:
    """A red and orange tree that sheds its leaves."""
    pen.sky((214, 216, 212), (240, 228, 204), y1=0.65)
    wave(pen, 0.6, 0.015, 1, rng.random(), (196, 172, 134))
    ground = tint(rng, (194, 148, 86))
    floor(pen, 0.67, ground)
    x = near(rng, 0.24, 0.02)
    pen.line([(x, 0.72), (x, 0.3)], 0.085, (88, 64, 54))
    pen.line([(x, 0.48), (x + 0.2, 0.3)], 0.045, (88, 64, 54))
    for dx, y, size, color in (
        (-0.14, 0.22, 0.19, (190, 92, 52)),
        (0.2, 0.2, 0.17, (206, 122, 54)),
        (0.03, 0.12, 0.16, (216, 150, 66)),
        (0.4, 0.12, 0.1, (190, 92, 52)),
    ):
        pen.circle(x + dx, y, size, tint(rng, color))
    for i in range(5):
        color = ((190, 92, 52), (222, 160, 70))[i % 2]
        pen.ellipse(near(rng, 0.14 + 0.19 * i, 0.04), near(rng, 0.78 + 0.12 * (i % 2), 0.03), 0.036, 0.018, color)
    for x, y in ((0.7, 0.36), (0.88, 0.2), (0.92, 0.52)):
        pen.ellipse(near(rng, x), near(rng, y), 0.034, 0.02, (206, 110, 50), angle=40)


def sunflowers(pen: Pen, rng: random.Random) -> None:
    """Bright grass framed by tall sunflowers."""
    pen.sky((172, 214, 232), (220, 238, 228), y1=0.5)
    grass = tint(rng, (110, 166, 80))
    wave(pen, 0.48, 0.015, 1, rng.random(), shade(grass, 1.15))
    floor(pen, 0.66, grass)
    for x, y in ((0.36, 0.5), (0.64, 0.49), (0.08, 0.25), (0.92, 0.22)):
        x, y = near(rng, x, 0.02), near(rng, y)
        pen.line([(x, 0.8), (x, y)], 0.024, (66, 120, 62))
        flower(pen, x, y, 0.11, (238, 192, 62), (104, 70, 44))
    for x in (0.07, 0.93):
        pen.ellipse(x, 0.55, 0.08, 0.03, (66, 120, 62), angle=-25)


def sunflowers_front(pen: Pen, rng: random.Random) -> None:
    """Low sunflowers in the two near corners."""
    for x in (0.07, 0.93):
        flower(pen, x, near(rng, 0.93, 0.01), 0.085, (238, 192, 62), (104, 70, 44))


def dirt_road(pen: Pen, rng: random.Random) -> None:
    """A brown track straight towards the horizon between scrub and fences."""
    pen.sky((222, 220, 206), (246, 232, 200), y1=0.5)
    pen.circle(near(rng, 0.5, 0.06), 0.36, 0.1, (252, 244, 208))
    floor(pen, 0.43, tint(rng, (142, 152, 98)))
    road = tint(rng, (172, 126, 86))
    pen.polygon([(0.44, 0.43), (0.56, 0.43), (1.12, 1.01), (-0.12, 1.01)], road)
    for k in (-1, 1):
        pen.line([(0.5 + 0.025 * k, 0.45), (0.5 + 0.3 * k, 1.02)], 0.04, shade(road, 0.86))
    for k in (-1, 1):
        for dx, y, size in ((0.46, 0.62, 0.2), (0.3, 0.52, 0.13), (0.19, 0.46, 0.08)):
            pen.line([(0.5 + k * dx, y), (0.5 + k * dx, y - size)], 0.14 * size, BARK)
        pen.line([(0.5 + k * 0.16, 0.41), (0.5 + k * 0.52, 0.5)], 0.016, BARK)
    for x, size in ((0.06, 0.08), (0.95, 0.09)):
        pen.ellipse(near(rng, x), 0.74, 1.6 * size, size, (110, 126, 78))


def garden(pen: Pen, rng: random.Random) -> None:
    """A hedge, a white picket fence and flower beds below a rose arch."""
    pen.sky((190, 220, 226), (232, 240, 224), y1=0.4)
    wave(pen, 0.36, 0.025, 4, rng.random(), tint(rng, (88, 134, 90)))
    floor(pen, 0.66, tint(rng, (164, 196, 128)))
    floor(pen, 0.84, tint(rng, (222, 206, 176)))
    pickets = [(i / 18, 0.46 if i % 2 else 0.51) for i in range(19)]
    pen.polygon([(0, 0.68), *pickets, (1, 0.68)], (244, 242, 232))
    for i in range(1, 9):
        pen.line([(i / 9, 0.53), (i / 9, 0.68)], 0.014, (164, 178, 150))
    pen.line([(0.24, 0.72), (0.24, 0.2), (0.36, 0.07), (0.64, 0.07), (0.76, 0.2), (0.76, 0.72)], 0.05, (96, 140, 92))
    for x, y in ((0.24, 0.2), (0.39, 0.08), (0.61, 0.08), (0.76, 0.2)):
        pen.circle(x, y, 0.042, (222, 138, 152))
    pinks: tuple[Color, ...] = ((222, 138, 152), (240, 214, 120), (182, 148, 206), (222, 138, 152))
    for x, color in zip((0.06, 0.17, 0.84, 0.95), pinks, strict=True):
        pen.circle(near(rng, x, 0.015), 0.75, 0.055, color)
