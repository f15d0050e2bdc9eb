"""Stages, rings, rooms and what lies on a floor: one painter per scene."""

import math
import random

from likeness.world.pen import Color, Pen, shade
from likeness.world.scenery_shapes import CREAM, GOLD, WHITE, chandelier, checker, fan, floor, near, tint, wave, window


# -- night and show --------------------------------------------------------------------------------------------
def moonlight(pen: Pen, rng: random.Random) -> None:
    """A full moon over dark hills."""
    pen.sky((22, 28, 66), (70, 82, 132), y1=0.75)
    x, y = near(rng, 0.77, 0.04), near(rng, 0.2)
    pen.circle(x, y, 0.19, (74, 82, 128))
    pen.circle(x, y, 0.125, (246, 240, 208))
    pen.circle(x + 0.04, y - 0.03, 0.03, (222, 214, 178))
    for sx, sy in ((0.12, 0.12), (0.3, 0.24), (0.44, 0.08), (0.1, 0.38)):
        pen.star(near(rng, sx), near(rng, sy), 0.03, (226, 228, 210), tips=4, inner=0.4)
    pen.ellipse(0.15, 0.78, 0.5, 0.2, (44, 54, 96))
    pen.ellipse(0.85, 0.82, 0.55, 0.22, (38, 48, 84))
    floor(pen, 0.76, tint(rng, (46, 58, 82)))


def stage(pen: Pen, rng: random.Random) -> None:
    """Coloured beams over a dark festival stage with towers of loudspeakers."""
    pen.sky((42, 26, 66), (86, 46, 104), y1=0.75)
    pink, cyan, amber, violet = (232, 92, 170), (96, 200, 220), (244, 206, 104), (156, 116, 232)
    beams = ((0.22, 0.05, pink), (0.42, 0.36, cyan), (0.6, 0.66, amber), (0.8, 0.97, violet))
    for x, low, color in beams:
        low = near(rng, low, 0.05)
        pen.polygon([(x - 0.02, 0.05), (x + 0.02, 0.05), (low + 0.14, 0.76), (low - 0.14, 0.76)], color, alpha=0.5)
    pen.rect(0, 0.02, 1, 0.055, (60, 58, 72))
    for x, _, color in beams:
        pen.circle(x, 0.08, 0.036, shade(color, 1.4))
    floor(pen, 0.74, tint(rng, (62, 50, 78)))
    pen.rect(0, 0.74, 1, 0.025, (206, 110, 170))
    for x in (0.0, 0.84):
        pen.rect(x, 0.34, 0.16, 0.42, (34, 32, 42), radius=0.015)
        for y, size in ((0.45, 0.045), (0.62, 0.06)):
            pen.circle(x + 0.08, y, size, (98, 94, 110))


def ring(pen: Pen, rng: random.Random) -> None:
    """Three ropes between a red and a blue corner, under the lamps of a dark hall."""
    pen.sky((36, 38, 50), (66, 66, 82), y1=0.68)
    for x in (0.3, 0.7):
        pen.polygon([(x - 0.09, 0.05), (x + 0.09, 0.05), (x + 0.3, 0.68), (x - 0.3, 0.68)], (255, 246, 206), alpha=0.22)
        pen.rect(x - 0.12, 0.02, 0.24, 0.045, (255, 246, 206), radius=0.02)
    floor(pen, 0.66, tint(rng, (176, 188, 200)))
    pen.polygon([(0.02, 1.01), (0.12, 0.7), (0.88, 0.7), (0.98, 1.01)], (206, 214, 220))
    for y, color in ((0.36, (190, 74, 74)), (0.47, (236, 234, 226)), (0.58, (78, 108, 176))):
        pen.line([(-0.02, y + 0.1), (0.1, y), (0.9, y), (1.02, y + 0.1)], 0.028, color)
    for x, color in ((0.1, (178, 62, 64)), (0.9, (66, 94, 166))):
        pen.rect(x - 0.035, 0.29, 0.07, 0.43, color, radius=0.02)
    pen.star(0.5, near(rng, 0.2, 0.01), 0.07, GOLD)


def arena(pen: Pen, rng: random.Random) -> None:
    """An oval sand floor inside curved blue tiers with golden rims."""
    floor(pen, 0, tint(rng, (38, 54, 84)))
    for i, y in enumerate((0.26, 0.44, 0.62)):
        tone = shade((64, 92, 128), 0.8 + 0.18 * i)
        pen.ellipse(0.5, y + 0.4, 0.86 - 0.05 * i, 0.4, GOLD)
        pen.ellipse(0.5, y + 0.42, 0.86 - 0.05 * i, 0.4, tone)
    pen.ellipse(0.5, 0.99, 0.66, 0.33, WHITE)
    pen.ellipse(0.5, 1.01, 0.66, 0.33, tint(rng, (226, 208, 172)))
    for x, color in ((0.08, (150, 84, 98)), (0.36, (214, 206, 190)), (0.64, (214, 206, 190)), (0.92, (150, 84, 98))):
        pen.polygon([(x - 0.06, -0.01), (x + 0.06, -0.01), (x + 0.06, 0.22), (x, 0.16), (x - 0.06, 0.22)], color)
    for x in (0.2, 0.8):
        x = near(rng, x)
        low = 0.5 * x + 0.25
        pen.polygon([(x - 0.02, 0), (x + 0.02, 0), (low + 0.15, 0.9), (low - 0.15, 0.9)], (255, 248, 220), alpha=0.16)


# -- rooms -----------------------------------------------------------------------------------------------------
def grand_hall(pen: Pen, rng: random.Random) -> None:
    """Ivory columns, tall windows and a red carpet."""
    floor(pen, 0, tint(rng, (222, 210, 188)))
    for x in (0.3, 0.56):
        pen.rect(x, 0.18, 0.14, 0.46, (178, 206, 218), radius=0.07)
    pen.rect(0, 0, 1, 0.09, (194, 176, 146))
    floor(pen, 0.66, tint(rng, (196, 182, 160)))
    pen.polygon([(0.38, 0.66), (0.62, 0.66), (0.96, 1.01), (0.04, 1.01)], GOLD)
    pen.polygon([(0.4, 0.66), (0.6, 0.66), (0.91, 1.01), (0.09, 1.01)], tint(rng, (156, 62, 66)))
    for x in (0.02, 0.8):
        x = near(rng, x, 0.01)
        pen.rect(x + 0.02, 0.1, 0.14, 0.62, (244, 238, 224))
        pen.rect(x + 0.11, 0.1, 0.05, 0.62, (214, 202, 182))
        for y in (0.07, 0.69):
            pen.rect(x - 0.01, y, 0.2, 0.055, GOLD, radius=0.01)
    chandelier(pen, 0.5, 0.15, 0.15, GOLD)


def ballroom(pen: Pen, rng: random.Random) -> None:
    """Dark green walls with golden arches and curtains above a chequered floor."""
    floor(pen, 0, tint(rng, (58, 84, 78)))
    for x in (0.25, 0.55):
        pen.rect(x, 0.2, 0.2, 0.6, GOLD, radius=0.1)
        pen.rect(x + 0.025, 0.225, 0.15, 0.6, (118, 148, 138), radius=0.075)
    floor(pen, 0.64, tint(rng, (226, 214, 190)))
    checker(pen, (0.64, 0.72, 0.84, 1.01), (124, 106, 92))
    for x, k in ((0.0, 1), (1.0, -1)):
        hem = [(x + 0.16 * k, 0.3), (x + 0.06 * k, 0.42), (x + 0.12 * k, 0.7), (x, 0.7)]
        pen.polygon([(x, 0), (x + 0.24 * k, 0), *hem], (140, 58, 72))
    pen.rect(0, 0, 1, 0.06, (160, 70, 82))
    chandelier(pen, near(rng, 0.5, 0.015), 0.13, 0.13, (232, 200, 124))


def restaurant(pen: Pen, rng: random.Random) -> None:
    """Guests at white tables below hanging lamps."""
    floor(pen, 0, tint(rng, (116, 62, 56)))
    pen.rect(0, 0.3, 1, 0.4, tint(rng, (150, 88, 70)))
    for x, color in ((0.1, (90, 92, 112)), (0.3, (104, 116, 96)), (0.7, (128, 100, 122)), (0.9, (98, 88, 76))):
        x = near(rng, x, 0.02)
        pen.rect(x - 0.085, 0.48, 0.17, 0.2, color, radius=0.06)
        pen.circle(x, 0.42, 0.06, (222, 184, 150))
    floor(pen, 0.7, tint(rng, (92, 66, 58)))
    for x in (0.2, 0.8):
        pen.polygon([(x - 0.17, 0.58), (x + 0.17, 0.58), (x + 0.2, 0.78), (x - 0.2, 0.78)], (232, 224, 208))
        pen.ellipse(x, 0.58, 0.17, 0.03, WHITE)
    for x in (0.18, 0.5, 0.82):
        pen.line([(x, 0), (x, 0.12)], 0.014, (60, 42, 40))
        pen.polygon([(x - 0.03, 0.11), (x + 0.03, 0.11), (x + 0.1, 0.2), (x - 0.1, 0.2)], (232, 176, 92))
        pen.ellipse(x, 0.205, 0.07, 0.028, (255, 240, 190))


def gym(pen: Pen, rng: random.Random) -> None:
    """A bright hall with a punch bag, a rack of weights and a wall bar."""
    floor(pen, 0, tint(rng, (206, 214, 220)))
    pen.rect(0.26, 0.1, 0.48, 0.48, (232, 240, 244), radius=0.015)
    pen.polygon([(0.34, 0.58), (0.5, 0.1), (0.58, 0.1), (0.42, 0.58)], WHITE)
    pen.rect(0, 0.6, 1, 0.05, tint(rng, (206, 214, 92)))
    floor(pen, 0.65, tint(rng, (84, 90, 100)))
    floor(pen, 0.84, (72, 78, 88))
    x = near(rng, 0.12, 0.015)
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
    flame = [(0.5 + dx * (0.5 + size / 2), 0.77 - 0.4 * size * near(rng, dy, 0.05)) for dx, dy in tips]
    pen.polygon([(0.26, 0.77), *flame, (0.74, 0.77)], color)


def fireplace(pen: Pen, rng: random.Random) -> None:
    """A wide brick hearth with a blazing fire."""
    floor(pen, 0, tint(rng, (92, 66, 62)))
    floor(pen, 0.74, tint(rng, (70, 50, 46)))
    brick = tint(rng, (158, 92, 74))
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


def kitchen(pen: Pen, rng: random.Random) -> None:
    """Mint cupboards, a hood over the cooker and a tiled floor."""
    floor(pen, 0, tint(rng, (240, 234, 216)))
    mint = tint(rng, (150, 190, 174))
    for x, w in ((0.0, 0.26), (0.74, 0.26)):
        pen.rect(x, 0.0, w, 0.28, mint)
        pen.line([(x + w / 2, 0.0), (x + w / 2, 0.28)], 0.01, shade(mint, 0.75))
    x = near(rng, 0.5, 0.01)
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
    floor(pen, 0.73, tint(rng, (222, 214, 202)))
    checker(pen, (0.73, 0.84, 1.01), (176, 160, 148))


def diving_room(pen: Pen, rng: random.Random) -> None:
    """An indoor pool with a diving tower."""
    floor(pen, 0, tint(rng, (206, 228, 226)))
    pen.rect(0, 0.03, 1, 0.15, (242, 248, 246))
    for x in (0.2, 0.4, 0.6, 0.8):
        pen.line([(x, 0.03), (x, 0.18)], 0.014, (160, 190, 192))
    pen.rect(0, 0.3, 1, 0.03, (124, 178, 184))
    pool = tint(rng, (66, 164, 186))
    pen.rect(0, 0.48, 1, 0.26, pool)
    for y in (0.55, 0.64):
        pen.line([(0, y), (1, y)], 0.018, (238, 214, 150) if y < 0.6 else shade(pool, 1.4))
    floor(pen, 0.72, (240, 240, 232))
    floor(pen, 0.75, tint(rng, (188, 206, 206)))
    x = near(rng, 0.88, 0.015)
    for dx in (-0.05, 0.08):
        pen.line([(x + dx, 0.26), (x + dx, 0.74)], 0.03, (108, 118, 130))
    for y in (0.4, 0.54, 0.67):
        pen.line([(x - 0.05, y), (x + 0.08, y)], 0.02, (108, 118, 130))
    pen.rect(x - 0.52, 0.22, 0.68, 0.055, (226, 138, 84), radius=0.015)
    pen.line([(x - 0.05, 0.22), (x - 0.05, 0.11), (x + 0.14, 0.11)], 0.02, (108, 118, 130))


def plain(pen: Pen, rng: random.Random) -> None:
    """A soft studio backdrop in a random pastel."""
    tones: tuple[Color, ...] = ((232, 222, 212), (214, 226, 234), (226, 218, 234), (220, 232, 218), (240, 226, 222))
    color = tint(rng, rng.choice(tones))
    pen.sky(shade(color, 0.95), shade(color, 1.35), y1=0.76)
    pen.sky(shade(color, 0.93), shade(color, 1.1), y0=0.75)
    pen.ellipse(0.5, 0.9, 0.4, 0.05, shade(color, 0.9))


def pink_fabric(pen: Pen, rng: random.Random) -> None:
    """Pink cloth that hangs in folds and spreads over the ground."""
    pink = tint(rng, (232, 168, 184))
    floor(pen, 0, pink)
    for i, x in enumerate((0.06, 0.3, 0.56, 0.82)):
        x = near(rng, x, 0.02)
        pen.polygon([(x, 0), (x + 0.11, 0), (x + 0.15, 0.62), (x - 0.03, 0.62)], shade(pink, (0.88, 1.2)[i % 2]))
    wave(pen, 0.6, 0.025, 1.5, rng.random(), shade(pink, 0.82))
    wave(pen, 0.64, 0.025, 1.5, rng.random(), shade(pink, 1.15))
    for x, y in ((0.0, 0.8), (0.34, 0.94), (0.62, 0.78)):
        x = near(rng, x, 0.04)
        pen.curve((x, y), (x + 0.2, y - 0.09), (x + 0.42, y + 0.03), 0.03, shade(pink, 0.9))


def wooden_floor(pen: Pen, rng: random.Random) -> None:
    """Honey-coloured boards below a pale wall with a window."""
    floor(pen, 0, tint(rng, (206, 212, 204)))
    window(pen, near(rng, 0.1, 0.02), 0.07, 0.26, 0.26, WHITE, (172, 206, 222))
    floor(pen, 0.43, tint(rng, (190, 140, 92)))
    fan(pen, 0.475, (148, 102, 64), count=7)
    for x, y in ((0.36, 0.58), (0.76, 0.66), (0.2, 0.76), (0.55, 0.9)):
        pen.line([(x - 0.06, y), (x + 0.06, y)], 0.012, (148, 102, 64))
    pen.rect(0, 0.42, 1, 0.055, WHITE)


def white_rug(pen: Pen, rng: random.Random) -> None:
    """A fluffy white rug in a dark blue room with a lamp and a plant."""
    floor(pen, 0, tint(rng, (86, 108, 128)))
    floor(pen, 0.62, tint(rng, (116, 82, 64)))
    pen.rect(0, 0.6, 1, 0.035, (210, 206, 198))
    x = near(rng, 0.1, 0.015)
    pen.line([(x, 0.3), (x, 0.68)], 0.022, (214, 196, 160))
    pen.polygon([(x - 0.05, 0.16), (x + 0.05, 0.16), (x + 0.1, 0.32), (x - 0.1, 0.32)], (250, 226, 168))
    for angle in (-50, -90, -130):
        turn = math.radians(angle)
        pen.ellipse(0.89 + 0.1 * math.cos(turn), 0.5 + 0.12 * math.sin(turn), 0.12, 0.045, (104, 148, 112), angle=angle)
    pen.polygon([(0.8, 0.54), (0.98, 0.54), (0.95, 0.69), (0.83, 0.69)], (206, 146, 112))
    pen.ellipse(0.5, 0.875, 0.49, 0.125, (206, 202, 196))
    pen.ellipse(0.5, 0.86, 0.49, 0.125, (250, 249, 245))
    pen.ellipse(0.5, 0.86, 0.38, 0.09, (236, 234, 230))


def mirror(pen: Pen, rng: random.Random) -> None:
    """A great oval mirror that lies on the floor and shines."""
    pen.sky((104, 88, 116), (140, 118, 148), y1=0.56)
    floor(pen, 0.52, tint(rng, (88, 74, 94)))
    for x in (0.06, 0.94):
        pen.rect(x - 0.08, -0.01, 0.16, 0.56, (122, 100, 132))
    for x, y, size in ((0.2, 0.16, 0.055), (0.8, 0.22, 0.06), (0.5, 0.1, 0.045)):
        pen.star(near(rng, x), near(rng, y), size, (236, 226, 236), tips=4, inner=0.3)
    pen.ellipse(0.5, 0.8, 0.5, 0.21, (226, 190, 104))
    pen.ellipse(0.5, 0.795, 0.455, 0.175, (158, 124, 62))
    pen.ellipse(0.5, 0.8, 0.45, 0.17, tint(rng, (188, 218, 228)))
    with pen.inside_ellipse(0.5, 0.8, 0.45, 0.17):
        for x, w in ((0.12, 0.12), (0.3, 0.05), (0.72, 0.14)):
            x = near(rng, x, 0.02)
            pen.polygon([(x, 1), (x + 0.2, 0.6), (x + 0.2 + w, 0.6), (x + w, 1)], (238, 248, 250))
