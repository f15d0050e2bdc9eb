"""Streets and houses: one painter per scene."""

import random

from likeness.world.pen import Color, Pen, shade
from likeness.world.scenery_shapes import ASPHALT, PAVING, WHITE, cloud, fan, floor, near, panes, tint, wave, window


def street(pen: Pen, rng: random.Random) -> None:
    """A row of coloured shops along an asphalt road."""
    pen.sky((178, 212, 226), (226, 236, 234), y1=0.5)
    walls: tuple[Color, ...] = ((206, 158, 122), (164, 178, 160), (216, 194, 140), (172, 146, 158))
    for i, wall in enumerate(walls):
        x, y = 0.25 * i, near(rng, (0.24, 0.12, 0.22, 0.1)[i], 0.02)
        pen.rect(x, y, 0.255, 0.62 - y, tint(rng, wall))
        pen.rect(x - 0.005, y - 0.02, 0.265, 0.045, shade(wall, 0.72))
        panes(pen, x, y + 0.08, 0.25, 2, (240, 232, 196))
        pen.rect(x + 0.04, 0.44, 0.17, 0.17, shade(wall, 0.62), radius=0.012)
    floor(pen, 0.6, PAVING)
    floor(pen, 0.68, tint(rng, ASPHALT))
    for x in (0.1, 0.62):
        pen.rect(x, 0.79, 0.28, 0.03, (236, 228, 200))


def city(pen: Pen, rng: random.Random) -> None:
    """A skyline of towers at dusk."""
    pen.sky((236, 176, 150), (250, 222, 184), y1=0.7)
    towers = ((-0.02, 0.3), (0.2, 0.12), (0.38, 0.26), (0.64, 0.06), (0.82, 0.24))
    for x, y in ((0.1, 0.22), (0.54, 0.18), (0.74, 0.3)):
        pen.rect(near(rng, x, 0.02), y, 0.16, 0.5, (182, 142, 148))
    for i, (x, y) in enumerate(towers):
        x, y = near(rng, x, 0.01), near(rng, y, 0.02)
        pen.rect(x, y, 0.18, 0.68 - y, ((84, 90, 122), (70, 76, 108))[i % 2])
        for k in (0.07, 0.19):
            pen.rect(x + 0.035, y + k, 0.11, 0.05, (246, 214, 146))
    pen.line([(0.73, 0.08), (0.73, 0.0)], 0.016, (70, 76, 108))
    floor(pen, 0.66, tint(rng, (150, 140, 146)))
    floor(pen, 0.72, tint(rng, (172, 162, 164)))


def blue_house(pen: Pen, rng: random.Random) -> None:
    """A big blue house with a white door on a lawn."""
    pen.sky((222, 232, 226), (244, 240, 222), y1=0.72)
    pen.circle(0.02, 0.56, 0.17, (134, 164, 118))
    pen.circle(0.98, 0.56, 0.17, (134, 164, 118))
    blue = tint(rng, (82, 130, 184))
    x = near(rng, 0.5, 0.02)
    pen.rect(x + 0.17, 0.06, 0.09, 0.2, (166, 104, 88))
    pen.rect(x - 0.37, 0.32, 0.74, 0.4, blue)
    pen.polygon([(x - 0.45, 0.34), (x - 0.24, 0.1), (x + 0.24, 0.1), (x + 0.45, 0.34)], (56, 74, 112))
    for dx in (-0.32, 0.16):
        window(pen, x + dx, 0.4, 0.16, 0.15, WHITE, (250, 228, 162))
    pen.rect(x - 0.07, 0.44, 0.14, 0.28, WHITE, radius=0.01)
    pen.rect(x - 0.045, 0.47, 0.09, 0.25, (196, 112, 88))
    floor(pen, 0.7, tint(rng, (150, 188, 116)))
    pen.polygon([(x - 0.08, 0.7), (x + 0.08, 0.7), (0.72, 1.01), (0.28, 1.01)], (222, 210, 184))


def eiffel(pen: Pen, rng: random.Random) -> None:
    """The Eiffel Tower above the lawns of the Champ de Mars."""
    pen.sky((190, 196, 224), (246, 222, 214), y1=0.65)
    cloud(pen, near(rng, 0.14), 0.26, 0.09, (252, 244, 240))
    cloud(pen, near(rng, 0.87), 0.18, 0.09, (252, 244, 240))
    wave(pen, 0.6, 0.025, 3, rng.random(), (128, 148, 124))
    x, iron = near(rng, 0.5, 0.03), tint(rng, (112, 86, 74))
    right = ((0.012, 0.03), (0.035, 0.22), (0.09, 0.42), (0.28, 0.72), (0.15, 0.72), (0.09, 0.6), (0.0, 0.55))
    sides = [(x + dx, y) for dx, y in right] + [(x - dx, y) for dx, y in right[::-1]]
    pen.polygon(sides, iron)
    pen.polygon([(x, 0.27), (x + 0.035, 0.4), (x - 0.035, 0.4)], (218, 208, 218))
    for y, w in ((0.23, 0.055), (0.42, 0.115), (0.54, 0.185)):
        pen.rect(x - w, y, 2 * w, 0.028, shade(iron, 0.75))
    floor(pen, 0.7, tint(rng, (140, 170, 112)))
    pen.polygon([(x - 0.09, 0.7), (x + 0.09, 0.7), (0.86, 1.01), (0.14, 1.01)], (226, 212, 186))


def street_court(pen: Pen, rng: random.Random) -> None:
    """A basketball hoop above a painted court behind a wire fence."""
    pen.sky((170, 184, 196), (206, 212, 214), y1=0.6)
    for x, y in ((0.0, 0.26), (0.22, 0.34), (0.5, 0.24)):
        pen.rect(near(rng, x, 0.015), y, 0.2, 0.3, (142, 138, 148))
    for k in (0, 1):
        wire = [(i / 7, 0.3 if (i + k) % 2 else 0.58) for i in range(9)]
        pen.line(wire, 0.012, (112, 122, 130))
    pen.line([(0, 0.3), (1, 0.3)], 0.018, (98, 108, 116))
    floor(pen, 0.57, tint(rng, (62, 108, 112)))
    pen.polygon([(0.3, 0.62), (0.7, 0.62), (0.95, 1.01), (0.05, 1.01)], tint(rng, (186, 110, 82)))
    pen.line([(0.05, 1.02), (0.3, 0.62), (0.7, 0.62), (0.95, 1.02)], 0.022, (240, 236, 224))
    x = near(rng, 0.8, 0.03)
    pen.line([(x + 0.13, 0.66), (x + 0.13, 0.3), (x, 0.2)], 0.034, (74, 80, 90))
    pen.rect(x - 0.18, 0.04, 0.36, 0.25, WHITE, radius=0.015)
    pen.line([(x - 0.07, 0.24), (x - 0.07, 0.13), (x + 0.07, 0.13), (x + 0.07, 0.24)], 0.018, (190, 84, 64))
    pen.polygon([(x - 0.09, 0.29), (x + 0.09, 0.29), (x + 0.05, 0.42), (x - 0.05, 0.42)], (226, 226, 222))
    pen.line([(x - 0.1, 0.28), (x + 0.1, 0.28)], 0.03, (220, 104, 56))


def cobblestone(pen: Pen, rng: random.Random) -> None:
    """An old lane with timbered gables and round stones."""
    pen.sky((206, 196, 204), (240, 220, 196), y1=0.75)
    for x, k, color in ((0.0, 1, (226, 204, 166)), (1.0, -1, (206, 170, 140))):
        wall = [(x, 0.08), (x + 0.2 * k, 0.24), (x + 0.34 * k, 0.32), (x + 0.34 * k, 0.64), (x, 0.74)]
        pen.polygon(wall, tint(rng, color))
        pen.polygon([(x, -0.01), (x + 0.16 * k, 0.02), (x + 0.39 * k, 0.32), (x, 0.16)], (142, 82, 70))
        for dx in (0.1, 0.25):
            pen.line([(x + dx * k, 0.34), (x + dx * k, 0.46)], 0.07, (98, 72, 62))
    stone = tint(rng, (112, 110, 120))
    pen.polygon([(-0.01, 0.7), (0.34, 0.6), (0.66, 0.6), (1.01, 0.7), (1.01, 1.01), (-0.01, 1.01)], shade(stone, 0.8))
    for i, (y, count) in enumerate(((0.68, 5), (0.8, 4), (0.94, 4))):
        for k in range(count):
            x = near(rng, (k + 0.25 + 0.5 * (i % 2)) / count, 0.01)
            pen.ellipse(x, y, 0.42 / count, 0.03 + 0.014 * i, shade(stone, 1.0 + 0.14 * ((k + i) % 3)))


def sidewalk(pen: Pen, rng: random.Random) -> None:
    """A pavement before shop awnings and a crowd of passers-by."""
    floor(pen, 0, tint(rng, (112, 120, 132)))
    for i in range(6):
        color = ((196, 118, 104), (236, 228, 212))[i % 2]
        x, end = i / 6, (i + 1) / 6
        pen.polygon([(x, 0.1), (end, 0.1), (end, 0.24), (x + 0.083, 0.28), (x, 0.24)], color)
    coats: tuple[Color, ...] = ((92, 84, 104), (138, 112, 98), (84, 104, 104), (124, 92, 100), (90, 98, 126))
    for i, coat in enumerate(coats):
        x, y = near(rng, 0.08 + 0.21 * i, 0.02), 0.37 + 0.03 * (i % 2)
        pen.line([(x, y + 0.16), (x, 0.72)], 0.14, coat)
        pen.circle(x, y, 0.055, ((206, 172, 146), (160, 122, 100))[i % 2])
    floor(pen, 0.69, tint(rng, (194, 192, 190)))
    fan(pen, 0.7, (156, 154, 154), count=5, top=1.0, bottom=1.9)
    pen.line([(0, 0.83), (1, 0.83)], 0.012, (156, 154, 154))
