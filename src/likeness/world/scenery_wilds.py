"""Mountains, snow, woods and the sea: one painter per scene."""

import random

from likeness.world.pen import Pen, shade
from likeness.world.scenery_shapes import WHITE, cloud, flakes, floor, near, pine, tint, trunks, wave


# -- mountains and snow ----------------------------------------------------------------------------------------
def alps(pen: Pen, rng: random.Random) -> None:
    """A steep diagonal slope below jagged peaks, in falling snow."""
    pen.sky((112, 152, 194), (190, 212, 230), y1=0.7)
    x = near(rng, 0.66, 0.03)
    ridge = [(x - 0.34, 0.7), (x - 0.1, 0.24), (x, 0.32), (x + 0.14, 0.1), (x + 0.5, 0.8)]
    pen.polygon(ridge, tint(rng, (110, 126, 156)))
    pen.polygon([(x + 0.14, 0.1), (x + 0.05, 0.25), (x + 0.12, 0.23), (x + 0.17, 0.3), (x + 0.24, 0.28)], WHITE)
    pen.polygon([(x - 0.1, 0.24), (x - 0.16, 0.36), (x - 0.09, 0.33), (x - 0.04, 0.36), (x - 0.03, 0.3)], WHITE)
    pen.polygon([(-0.01, 0.3), (1.01, 0.74), (1.01, 1.01), (-0.01, 1.01)], (240, 245, 250))
    pen.polygon([(-0.01, 0.5), (1.01, 0.94), (1.01, 1.01), (-0.01, 1.01)], (224, 233, 244))
    for y in (0.6, 0.66):
        pen.line([(-0.02, y), (0.9, y + 0.43)], 0.014, (192, 208, 228))
    for x, size in ((0.08, 0.3), (0.93, 0.24)):
        pine(pen, x, 0.38 + 0.4 * x, size, (62, 98, 96))
    flakes(pen, rng, 8, 0.06, 0.56)


def mountain(pen: Pen, rng: random.Random) -> None:
    """One huge snow-capped mountain."""
    pen.sky((246, 208, 176), (250, 234, 208), y1=0.75)
    x = near(rng, 0.5, 0.04)
    rock = tint(rng, (124, 112, 146))
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
    wave(pen, 0.7, 0.008, 1, rng.random(), tint(rng, (146, 176, 114)))


def snow(pen: Pen, rng: random.Random) -> None:
    """Round white drifts, white firs and a snowman."""
    pen.sky((178, 190, 206), (222, 228, 236), y1=0.85)
    for x, size in ((0.1, 0.42), (0.32, 0.3), (0.62, 0.32)):
        pine(pen, near(rng, x, 0.02), 0.62, size, (112, 138, 142), WHITE)
    pen.ellipse(0.2, 0.78, 0.6, 0.22, (232, 237, 243))
    pen.ellipse(0.85, 0.84, 0.65, 0.26, (243, 246, 249))
    x = near(rng, 0.87, 0.02)
    pen.circle(x, 0.58, 0.125, WHITE)
    pen.circle(x, 0.39, 0.085, WHITE)
    pen.line([(x - 0.07, 0.47), (x + 0.07, 0.47)], 0.036, (160, 86, 86))
    pen.polygon([(x, 0.38), (x, 0.41), (x - 0.09, 0.41)], (226, 140, 66))
    pen.rect(x - 0.06, 0.2, 0.12, 0.11, (70, 74, 88))
    pen.rect(x - 0.1, 0.295, 0.2, 0.03, (70, 74, 88))
    floor(pen, 0.82, (236, 240, 246))
    flakes(pen, rng, 6, 0.08, 0.36)


# -- woods -----------------------------------------------------------------------------------------------------
def forest(pen: Pen, rng: random.Random) -> None:
    """Dark tall trunks below a closed canopy."""
    pen.sky((126, 160, 130), (174, 194, 150), y1=0.66)
    trunks(pen, rng, (0.3, 0.44, 0.58, 0.72), 0.64, (104, 122, 98))
    floor(pen, 0.62, tint(rng, (82, 110, 72)))
    trunks(pen, rng, (0.06, 0.2, 0.82, 0.95), 0.7, tint(rng, (82, 66, 54)))
    leaf = tint(rng, (50, 84, 62))
    for x, size in ((0.02, 0.22), (0.3, 0.16), (0.55, 0.15), (0.78, 0.17), (1.0, 0.22)):
        pen.circle(near(rng, x), 0.02, size, leaf)
    for x in (0.03, 0.97):
        pen.ellipse(x, 0.74, 0.16, 0.08, shade(leaf, 1.1))


def purple_rug(pen: Pen, rng: random.Random) -> None:
    """Birches in a pale wood, with a big purple rug."""
    pen.sky((176, 206, 168), (214, 226, 182), y1=0.6)
    wave(pen, 0.52, 0.03, 2.5, rng.random(), (138, 172, 122))
    floor(pen, 0.62, tint(rng, (112, 142, 88)))
    trunks(pen, rng, (0.1, 0.33, 0.66, 0.9), 0.66, (226, 220, 206))
    for x, y in ((0.1, 0.3), (0.33, 0.42), (0.66, 0.34), (0.9, 0.46)):
        pen.line([(x - 0.02, y), (x + 0.01, y)], 0.022, (92, 84, 80))
    for x in (0.05, 0.35, 0.65, 0.95):
        pen.ellipse(near(rng, x), 0.03, 0.2, 0.12, (118, 158, 96))
    rug = tint(rng, (124, 82, 158))
    pen.ellipse(0.5, 0.86, 0.49, 0.135, shade(rug, 0.72))
    pen.ellipse(0.5, 0.85, 0.49, 0.13, rug)
    pen.ellipse(0.5, 0.85, 0.4, 0.1, (196, 168, 214))
    pen.ellipse(0.5, 0.85, 0.37, 0.088, shade(rug, 1.12))


def jungle(pen: Pen, rng: random.Random) -> None:
    """Lianas and giant leaves around a bright clearing."""
    pen.sky((62, 106, 78), (92, 132, 76), y1=0.8)
    pen.ellipse(near(rng, 0.5), 0.42, 0.34, 0.42, (188, 206, 128))
    floor(pen, 0.7, tint(rng, (86, 104, 58)))
    for x, sag in ((0.2, 0.2), (0.62, 0.16)):
        pen.curve((x, -0.02), (x + 0.12, 2.4 * sag), (x + 0.26, -0.02), 0.03, (84, 92, 50))
    leaf = tint(rng, (42, 94, 66))
    for x, y, angle in (
        (0.03, 0.08, 50),
        (0.04, 0.34, 15),
        (0.97, 0.08, -50),
        (0.96, 0.34, -15),
        (0.36, 0.0, 75),
        (0.68, 0.0, -75),
    ):
        pen.ellipse(x, near(rng, y), 0.2, 0.065, leaf, angle=angle)
        pen.ellipse(x, y - 0.06, 0.17, 0.04, shade(leaf, 1.16), angle=angle - 12)
    for x, angle in ((0.04, -40), (0.16, -75), (0.84, 75), (0.96, 40)):
        pen.ellipse(x, 0.67, 0.18, 0.05, tint(rng, (70, 128, 62)), angle=angle)


# -- the sea and warm places -----------------------------------------------------------------------------------
def _palm(pen: Pen, x: float, base: float, top: float, size: float) -> None:
    """A leaning palm tree with fronds of length `size`."""
    pen.curve((x - 0.1, base), (x - 0.08, (base + top) / 2), (x, top), 0.055, (150, 112, 74))
    fronds = ((-1.0, 0.35), (-0.95, -0.2), (-0.35, -0.5), (0.45, -0.5), (1.0, -0.2), (1.05, 0.35), (0.5, 0.6))
    for i, (dx, dy) in enumerate(fronds):
        bend = (x + 0.55 * dx * size, top + (dy - 0.42) * size * 0.7)
        pen.curve((x, top), bend, (x + dx * size, top + dy * size), 0.062, ((84, 138, 84), (108, 160, 92))[i % 2])
    pen.circle(x + 0.03, top + 0.045, 0.03, (112, 78, 52))


def palm_tree(pen: Pen, rng: random.Random) -> None:
    """A big palm on warm sand at sunset."""
    pen.sky((246, 196, 150), (252, 232, 190), y1=0.66)
    pen.circle(0.84, near(rng, 0.44), 0.1, (254, 246, 214))
    pen.ellipse(near(rng, 0.8), 0.62, 0.5, 0.07, (158, 168, 112))
    wave(pen, 0.63, 0.012, 1, rng.random(), tint(rng, (232, 206, 158)))
    pen.ellipse(0.5, 0.87, 0.42, 0.075, (200, 170, 126))
    _palm(pen, near(rng, 0.3, 0.03), 0.74, 0.2, 0.3)


def beach(pen: Pen, rng: random.Random) -> None:
    """Sun, sea and sand with a striped parasol."""
    pen.sky((140, 200, 232), (206, 232, 238), y1=0.45)
    pen.circle(near(rng, 0.16), 0.15, 0.085, (252, 230, 140))
    pen.rect(0, 0.42, 1, 0.25, tint(rng, (74, 146, 180)))
    x = near(rng, 0.4, 0.06)
    pen.polygon([(x, 0.24), (x, 0.4), (x - 0.11, 0.4)], WHITE)
    pen.polygon([(x - 0.12, 0.42), (x + 0.08, 0.42), (x + 0.04, 0.46), (x - 0.09, 0.46)], (150, 92, 70))
    wave(pen, 0.61, 0.012, 2, rng.random(), (236, 246, 244))
    wave(pen, 0.64, 0.012, 2, rng.random(), tint(rng, (238, 218, 170)))
    x = near(rng, 0.84, 0.02)
    pen.line([(x, 0.3), (x + 0.03, 0.76)], 0.022, (240, 236, 226))
    with pen.inside_rect(x - 0.2, 0.14, 0.4, 0.2):
        pen.ellipse(x, 0.34, 0.19, 0.17, (206, 100, 92))
        pen.ellipse(x, 0.34, 0.115, 0.17, WHITE)
        pen.ellipse(x, 0.34, 0.045, 0.17, (206, 100, 92))


def water(pen: Pen, rng: random.Random) -> None:
    """Open sea with a lighthouse on the horizon."""
    pen.sky((198, 222, 232), (236, 240, 236), y1=0.46)
    x = near(rng, 0.14, 0.02)
    pen.ellipse(x, 0.42, 0.17, 0.06, (120, 122, 116))
    pen.polygon([(x - 0.035, 0.14), (x + 0.035, 0.14), (x + 0.055, 0.4), (x - 0.055, 0.4)], WHITE)
    pen.rect(x - 0.046, 0.22, 0.092, 0.07, (184, 88, 82))
    pen.rect(x - 0.035, 0.08, 0.07, 0.065, (246, 216, 120))
    cloud(pen, near(rng, 0.76, 0.06), 0.16, 0.1)
    blue = tint(rng, (112, 172, 200))
    for i, y in enumerate((0.42, 0.54, 0.68, 0.8)):
        wave(pen, y, 0.006 + 0.005 * i, 4.5 - i, rng.random(), shade(blue, 1.0 - 0.09 * i))


def water_front(pen: Pen, rng: random.Random) -> None:
    """Water over the feet."""
    wave(pen, 0.875, 0.012, 2, rng.random(), (60, 118, 156))
    wave(pen, 0.94, 0.012, 1.5, rng.random(), (48, 100, 140))


def milk(pen: Pen, rng: random.Random) -> None:
    """An ocean of milk below a chocolate sky, with floating biscuits."""
    pen.sky((146, 106, 86), (214, 170, 136), y1=0.5)
    for x, size in ((0.14, 0.1), (0.86, 0.12)):
        x, y = near(rng, x), near(rng, 0.42)
        pen.circle(x, y, size, (206, 156, 96))
        for dx, dy in ((-0.4, -0.4), (0.3, -0.5), (0.0, 0.1)):
            pen.circle(x + dx * size, y + dy * size, 0.16 * size, (104, 68, 50))
    x = near(rng, 0.5, 0.06)
    right = [(x + 0.1, -0.01), (x + 0.05, 0.2), (x + 0.07, 0.55)]
    pen.polygon([*right, (x - 0.07, 0.55), (x - 0.05, 0.2), (x - 0.1, -0.01)], (246, 236, 220))
    for i, y in enumerate((0.47, 0.6, 0.74)):
        wave(pen, y, 0.02, 2.5 - 0.5 * i, rng.random(), ((236, 222, 204), (244, 234, 220), (250, 244, 234))[i])


def milk_front(pen: Pen, rng: random.Random) -> None:
    """Milk over the feet."""
    wave(pen, 0.875, 0.014, 2, rng.random(), (236, 226, 212))
    wave(pen, 0.9, 0.014, 2, rng.random(), (254, 250, 243))
