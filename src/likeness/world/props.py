"""The things characters use, hold or sit on, each drawn in its own unit coordinates around its anchor."""

import math
from collections.abc import Callable

from likeness.world.pen import Color, Pen, shade

INK: Color = (52, 52, 62)
STEEL: Color = (168, 174, 184)
WOOD: Color = (156, 104, 64)
DARK_WOOD: Color = (104, 70, 50)
CREAM: Color = (246, 240, 226)
BRASS: Color = (222, 174, 74)
RED: Color = (196, 66, 60)
LEAF: Color = (92, 148, 82)


def _wheel(pen: Pen, x: float, y: float, r: float, tyre: float) -> None:
    """A spoked wheel of outer radius `r`."""
    pen.circle(x, y, r, INK)
    pen.circle(x, y, r - tyre, (206, 210, 214))
    pen.circle(x, y, 0.22 * r, INK)


# -- music -----------------------------------------------------------------------------------------------------
def _guitar(pen: Pen) -> None:
    """An acoustic guitar; the anchor is its sound hole."""
    with pen.at(0, 0, angle=-18):
        pen.line([(0.05, 0), (0.6, 0)], 0.075, DARK_WOOD)
        pen.rect(0.57, -0.065, 0.17, 0.13, INK, radius=0.03)
        pen.ellipse(-0.16, 0, 0.19, 0.22, (206, 136, 72))
        pen.ellipse(0.06, 0, 0.13, 0.16, (206, 136, 72))
        pen.circle(0, 0, 0.075, (70, 44, 34))
        pen.line([(-0.2, -0.07), (-0.2, 0.07)], 0.04, DARK_WOOD)
        pen.line([(-0.2, 0), (0.55, 0)], 0.016, CREAM)


def _piano(pen: Pen) -> None:
    """An upright piano; its keyboard juts out towards -x."""
    body = (84, 56, 48)
    pen.rect(0.12, -0.5, 0.5, 1.0, body, radius=0.03)
    pen.rect(0.08, -0.5, 0.58, 0.07, shade(body, 1.25), radius=0.03)
    pen.rect(0.2, -0.37, 0.34, 0.24, shade(body, 1.2), radius=0.02)
    pen.rect(0.2, 0.16, 0.34, 0.24, shade(body, 1.2), radius=0.02)
    pen.rect(-0.14, 0.03, 0.76, 0.08, shade(body, 0.75), radius=0.02)
    pen.rect(-0.14, -0.05, 0.28, 0.09, CREAM)
    for x in (-0.07, 0.0, 0.07):
        pen.rect(x - 0.02, -0.05, 0.04, 0.05, INK)
    pen.rect(-0.1, 0.1, 0.07, 0.4, shade(body, 0.75))


def _microphone(pen: Pen) -> None:
    """A microphone on a stand."""
    pen.line([(0, 0.05), (0, 0.95)], 0.05, INK)
    pen.line([(-0.16, 0.98), (0, 0.92), (0.16, 0.98)], 0.05, INK)
    pen.polygon([(-0.06, 0.03), (0.06, 0.03), (0.035, 0.22), (-0.035, 0.22)], (84, 86, 98))
    pen.circle(0, -0.03, 0.1, (146, 152, 164))
    pen.line([(-0.07, 0.035), (0.07, 0.035)], 0.035, INK)


def _music_note(pen: Pen) -> None:
    """Two joined quavers."""
    for x, y in ((-0.22, 0.34), (0.24, 0.28)):
        pen.line([(x + 0.12, y), (x + 0.12, y - 0.66)], 0.085, (64, 56, 96))
        pen.ellipse(x, y, 0.17, 0.125, (64, 56, 96), angle=-20)
    pen.polygon([(-0.14, -0.44), (0.4, -0.5), (0.4, -0.32), (-0.14, -0.26)], (64, 56, 96))


def _drums(pen: Pen) -> None:
    """A drum kit with a bass drum, two toms and two cymbals."""
    for k in (-1, 1):
        pen.line([(0.4 * k, -0.2), (0.38 * k, 0.58)], 0.03, (110, 114, 124))
        pen.ellipse(0.36 * k, -0.2, 0.2, 0.04, BRASS, angle=10 * k)
    for k in (-1, 1):
        pen.rect(0.35 * k - 0.14, 0.16, 0.28, 0.22, (150, 58, 66), radius=0.03)
        pen.rect(0.35 * k - 0.15, 0.13, 0.3, 0.06, CREAM, radius=0.03)
    for k in (-1, 1):
        pen.rect(0.15 * k - 0.13, -0.05, 0.26, 0.19, (170, 70, 76), radius=0.03)
        pen.rect(0.15 * k - 0.14, -0.07, 0.28, 0.06, CREAM, radius=0.03)
    pen.circle(0, 0.35, 0.25, (150, 58, 66))
    pen.circle(0, 0.35, 0.19, CREAM)
    pen.star(0, 0.35, 0.09, BRASS)


def _trumpet(pen: Pen) -> None:
    """A brass trumpet from mouthpiece to bell."""
    deep = shade(BRASS, 0.78)
    pen.rect(0.22, 0.0, 0.4, 0.17, deep, radius=0.085)
    pen.rect(0.28, 0.05, 0.28, 0.07, (236, 214, 160), radius=0.035)
    for x in (0.33, 0.42, 0.51):
        pen.line([(x, -0.13), (x, 0.15)], 0.055, deep)
    pen.line([(0.02, 0), (0.7, 0)], 0.065, BRASS)
    pen.polygon([(0.62, -0.035), (0.8, -0.06), (0.96, -0.19), (0.96, 0.19), (0.8, 0.06), (0.62, 0.035)], BRASS)
    pen.ellipse(0.96, 0, 0.04, 0.19, shade(BRASS, 0.6))
    pen.line([(0.0, -0.03), (0.0, 0.03)], 0.05, deep)


# -- furniture and the kitchen ---------------------------------------------------------------------------------
def _dinner_table(pen: Pen) -> None:
    """A round table with a cloth, a meal and a glass."""
    pen.line([(0, 0.1), (0, 0.42)], 0.09, DARK_WOOD)
    pen.line([(-0.17, 0.43), (0.17, 0.43)], 0.05, DARK_WOOD)
    hem = [(0.44, 0.2), (0.22, 0.15), (0.0, 0.21), (-0.22, 0.15), (-0.44, 0.2)]
    pen.polygon([(-0.5, 0.0), (0.5, 0.0), *hem], (196, 184, 202))
    pen.ellipse(0, 0, 0.5, 0.075, CREAM)
    pen.ellipse(-0.12, -0.015, 0.22, 0.038, (150, 170, 188))
    with pen.inside_rect(-0.4, -0.2, 0.6, 0.185):
        pen.ellipse(-0.12, -0.02, 0.15, 0.11, (176, 98, 60))
    pen.line([(0.27, -0.01), (0.27, -0.1)], 0.03, (120, 140, 156))
    pen.polygon([(0.18, -0.28), (0.36, -0.28), (0.31, -0.1), (0.23, -0.1)], (142, 54, 84), rounding=0.02)


def _hammock_back(pen: Pen) -> None:
    """The far side of a hammock, with its ropes."""
    pen.line([(-0.5, -0.25), (-0.4, -0.15)], 0.025, (190, 168, 128))
    pen.line([(0.5, -0.25), (0.4, -0.15)], 0.025, (190, 168, 128))
    top = [(-0.42, -0.17), (-0.2, -0.1), (0, -0.08), (0.2, -0.1), (0.42, -0.17)]
    pen.polygon([*top, (0.24, -0.03), (0, 0), (-0.24, -0.03)], (168, 128, 88), rounding=0.03)


def _hammock_front(pen: Pen) -> None:
    """The near side of a hammock, in front of the sleeper."""
    top = [(-0.42, -0.17), (-0.22, -0.065), (0, -0.03), (0.22, -0.065), (0.42, -0.17)]
    pen.polygon([*top, (0.27, 0.04), (0, 0.1), (-0.27, 0.04)], (226, 178, 116), rounding=0.03)
    pen.curve((-0.36, -0.1), (0, 0.16), (0.36, -0.1), 0.045, (186, 104, 78))
    for k in (-1, 1):
        pen.line([(0.5 * k, -0.25), (0.41 * k, -0.17)], 0.03, (206, 186, 146))


def _stove(pen: Pen) -> None:
    """A cooker with a steaming pot; the anchor is the pot."""
    pen.rect(-0.5, 0.2, 1.0, 1.0, (150, 178, 166), radius=0.05)
    pen.rect(-0.5, 0.17, 1.0, 0.11, INK, radius=0.04)
    pen.rect(-0.36, 0.56, 0.72, 0.46, (70, 76, 90), radius=0.06)
    pen.rect(-0.27, 0.66, 0.54, 0.28, (232, 150, 74), radius=0.04)
    pen.line([(-0.32, 0.42), (0.32, 0.42)], 0.08, CREAM)
    for x in (-0.1, 0.14):
        pen.curve((x, -0.34), (x + 0.18, -0.48), (x, -0.62), 0.07, (236, 240, 242))
    pen.line([(-0.38, -0.06), (0.38, -0.06)], 0.07, INK)
    pen.rect(-0.29, -0.17, 0.58, 0.36, (92, 124, 142), radius=0.05)
    pen.line([(-0.3, -0.18), (0.3, -0.18)], 0.08, (62, 88, 106))
    pen.circle(0, -0.26, 0.05, INK)


def _chess_table(pen: Pen) -> None:
    """A small table with a board and a few pieces."""
    for k in (-1, 1):
        pen.line([(0.36 * k, 0.1), (0.4 * k, 0.57)], 0.07, DARK_WOOD)
    pen.rect(-0.5, 0.04, 1.0, 0.1, WOOD, radius=0.03)
    pen.polygon([(-0.34, -0.09), (0.34, -0.09), (0.46, 0.07), (-0.46, 0.07)], CREAM)
    for i, (y0, y1) in enumerate(((-0.09, -0.01), (-0.01, 0.07))):
        for k in range(-2 + i, 3, 2):
            a, b = 0.17 + 0.03 * i, 0.2 + 0.03 * i
            far, near = ((k - 0.5) * a, (k + 0.5) * a), ((k - 0.5) * b, (k + 0.5) * b)
            pen.polygon([(far[0], y0), (far[1], y0), (near[1], y1), (near[0], y1)], (92, 70, 60))
    for x, color in ((-0.24, CREAM), (0.0, INK), (0.25, (228, 214, 180))):
        pen.polygon([(x - 0.07, 0.01), (x, -0.22), (x + 0.07, 0.01)], color, rounding=0.02)
        pen.circle(x, -0.23, 0.06, color)


def _easel(pen: Pen) -> None:
    """A canvas with a landscape on a wooden easel."""
    for x in (-0.34, 0.34):
        pen.line([(0.2 * x, -0.5), (x, 0.68)], 0.05, WOOD)
    pen.line([(0, -0.56), (0, 0.6)], 0.05, DARK_WOOD)
    pen.rect(-0.42, -0.4, 0.84, 0.72, CREAM, radius=0.02)
    pen.rect(-0.36, -0.34, 0.72, 0.36, (150, 196, 216))
    pen.circle(0.18, -0.2, 0.09, (244, 206, 100))
    hills = [(-0.36, 0.06), (-0.12, -0.14), (0.1, 0.06), (0.36, -0.02)]
    pen.polygon([(-0.36, 0.26), *hills, (0.36, 0.26)], (112, 156, 104))
    pen.rect(-0.46, 0.31, 0.92, 0.06, DARK_WOOD, radius=0.02)


def _chair(pen: Pen) -> None:
    """A wooden chair from the side, its back towards -x."""
    for x, y in ((-0.42, -0.95), (0.42, 0.0)):
        pen.line([(x, y), (x, 0.86)], 0.12, WOOD)
    pen.line([(-0.42, 0.5), (0.42, 0.5)], 0.08, DARK_WOOD)
    pen.rect(-0.5, -0.06, 1.0, 0.15, (180, 126, 80), radius=0.06)
    pen.line([(-0.44, -0.95), (-0.44, -0.55)], 0.17, (180, 126, 80))


def _stool(pen: Pen) -> None:
    """A round padded stool."""
    for k in (-1, 1):
        pen.line([(0.3 * k, 0.1), (0.42 * k, 0.85)], 0.1, DARK_WOOD)
    pen.line([(-0.36, 0.55), (0.36, 0.55)], 0.07, DARK_WOOD)
    pen.rect(-0.5, 0.0, 1.0, 0.14, WOOD, radius=0.05)
    pen.rect(-0.48, -0.1, 0.96, 0.16, (170, 76, 70), radius=0.08)


def _bench(pen: Pen) -> None:
    """A wooden bench with a back rest."""
    for k in (-1, 1):
        pen.line([(0.4 * k, -0.28), (0.4 * k, 0.23)], 0.05, INK)
    for y in (-0.29, -0.17):
        pen.rect(-0.5, y, 1.0, 0.085, WOOD, radius=0.02)
    pen.rect(-0.5, -0.03, 1.0, 0.09, (180, 126, 80), radius=0.02)


def _cup(pen: Pen) -> None:
    """A cup of cocoa with a handle."""
    pen.circle(0.3, 0.04, 0.2, (96, 132, 150))
    pen.circle(0.3, 0.04, 0.1, CREAM)
    pen.polygon([(-0.44, -0.3), (0.3, -0.3), (0.22, 0.38), (-0.36, 0.38)], (118, 158, 176), rounding=0.06)
    pen.ellipse(-0.07, -0.3, 0.4, 0.1, CREAM)
    pen.ellipse(-0.07, -0.29, 0.33, 0.07, (116, 74, 54))
    pen.line([(-0.36, 0.06), (0.24, 0.06)], 0.1, CREAM)


# -- sports ----------------------------------------------------------------------------------------------------
def _barbell(pen: Pen) -> None:
    """A barbell with two plates at either end."""
    pen.line([(-0.475, 0), (0.475, 0)], 0.05, (128, 134, 146))
    for k in (-1, 1):
        pen.rect(0.42 * k - 0.035, -0.15, 0.07, 0.3, (150, 58, 62), radius=0.025)
        pen.rect(0.335 * k - 0.045, -0.22, 0.09, 0.44, INK, radius=0.03)


def _ski(pen: Pen) -> None:
    """One ski, its tip turned up at +x."""
    pen.line([(-0.48, 0), (0.36, 0), (0.44, -0.02), (0.48, -0.1)], 0.075, (196, 92, 60))
    pen.line([(-0.3, -0.008), (0.25, -0.008)], 0.028, (244, 216, 150))
    pen.rect(-0.1, -0.06, 0.17, 0.055, INK, radius=0.015)


def _ski_pole(pen: Pen) -> None:
    """One ski pole from its grip down to its tip."""
    pen.line([(0, 0), (0, 0.98)], 0.045, (110, 118, 132))
    pen.ellipse(0, 0.88, 0.1, 0.035, INK)
    pen.line([(0, 0.0), (0, 0.12)], 0.085, INK)


def _soccer_ball(pen: Pen) -> None:
    """A white ball with dark patches."""
    pen.circle(0, 0, 0.5, INK)
    pen.circle(0, 0, 0.46, (248, 248, 246))
    with pen.inside_ellipse(0, 0, 0.46, 0.46):
        pen.polygon([(0.2 * math.sin(math.tau * i / 5), -0.2 * math.cos(math.tau * i / 5)) for i in range(5)], INK)
        for i in range(5):
            turn = math.tau * i / 5
            pen.circle(0.52 * math.sin(turn), -0.52 * math.cos(turn), 0.16, INK)


def _basketball(pen: Pen) -> None:
    """An orange ball with dark seams."""
    pen.circle(0, 0, 0.5, (98, 56, 38))
    pen.circle(0, 0, 0.46, (218, 124, 62))
    with pen.inside_ellipse(0, 0, 0.46, 0.46):
        pen.line([(0, -0.5), (0, 0.5)], 0.055, (98, 56, 38))
        pen.line([(-0.5, 0), (0.5, 0)], 0.055, (98, 56, 38))
        for k in (-1, 1):
            pen.curve((0.36 * k, -0.45), (-0.02 * k, 0), (0.36 * k, 0.45), 0.055, (98, 56, 38))


def _ball(pen: Pen) -> None:
    """A red ball with a white stripe."""
    pen.circle(0, 0, 0.5, RED)
    with pen.inside_ellipse(0, 0, 0.5, 0.5):
        pen.line([(-0.6, 0.14), (0.6, -0.14)], 0.24, CREAM)
    pen.ellipse(-0.17, -0.31, 0.13, 0.07, (228, 128, 116), angle=-30)


def _boxing_glove(pen: Pen) -> None:
    """A dark red glove that punches towards +x."""
    glove = (146, 40, 46)
    pen.rect(-0.5, -0.24, 0.24, 0.48, CREAM, radius=0.05)
    pen.rect(-0.34, -0.27, 0.3, 0.54, shade(glove, 0.75), radius=0.06)
    pen.circle(0.13, 0.04, 0.37, glove)
    pen.rect(-0.2, -0.22, 0.4, 0.6, glove, radius=0.14)
    pen.ellipse(0.06, -0.27, 0.25, 0.14, shade(glove, 1.16), angle=-12)
    pen.curve((-0.12, -0.12), (0.12, -0.06), (0.26, -0.18), 0.045, shade(glove, 0.66))


def _foil(pen: Pen) -> None:
    """A fencing sword with a round guard."""
    pen.line([(0.12, 0), (0.97, 0)], 0.04, (128, 136, 150))
    pen.circle(0.97, 0, 0.032, INK)
    pen.line([(-0.08, 0), (0.1, 0)], 0.075, DARK_WOOD)
    pen.ellipse(0.13, 0, 0.045, 0.14, BRASS)


# -- riding ----------------------------------------------------------------------------------------------------
def _bicycle(pen: Pen) -> None:
    """A bicycle that faces +x; the anchor is the saddle."""
    for x in (-0.27, 0.27):
        _wheel(pen, x, 0.32, 0.23, 0.055)
    frame = (64, 136, 132)
    pen.line([(-0.27, 0.32), (-0.02, 0.34), (0.2, 0.07), (-0.08, 0.07), (-0.27, 0.32)], 0.045, frame)
    pen.line([(-0.02, 0.34), (-0.11, 0.02)], 0.045, frame)
    pen.line([(0.27, 0.32), (0.18, -0.06), (0.28, -0.09)], 0.045, INK)
    pen.line([(-0.17, 0.015), (-0.03, 0.015)], 0.06, DARK_WOOD)
    pen.circle(-0.02, 0.34, 0.05, BRASS)


def _motorbike(pen: Pen) -> None:
    """A motorbike that faces +x; the anchor is the seat."""
    for x in (-0.3, 0.3):
        _wheel(pen, x, 0.25, 0.2, 0.075)
    pen.line([(0.3, 0.25), (0.17, -0.1), (0.08, -0.15)], 0.05, STEEL)
    pen.polygon([(-0.3, 0.08), (0.14, 0.05), (0.1, 0.3), (-0.14, 0.3)], (92, 98, 112), rounding=0.04)
    pen.line([(-0.08, 0.31), (-0.42, 0.3)], 0.06, STEEL)
    pen.line([(-0.38, 0.0), (-0.06, 0.03)], 0.085, INK)
    pen.ellipse(0.07, 0.0, 0.15, 0.085, (156, 52, 58), angle=8)
    pen.circle(0.24, -0.05, 0.06, (250, 232, 160))
    pen.curve((0.14, 0.14), (0.28, -0.02), (0.47, 0.13), 0.05, (156, 52, 58))


def _horse(pen: Pen) -> None:
    """A brown horse that faces +x; the anchor is the saddle."""
    coat, dark = (142, 94, 62), (70, 48, 42)
    pen.line([(-0.45, 0.08), (-0.57, 0.2), (-0.56, 0.42)], 0.1, dark)
    for x, tone in ((-0.28, 0.8), (0.36, 0.8), (-0.4, 1.0), (0.24, 1.0)):
        pen.line([(x, 0.25), (x, 0.7)], 0.1, shade(coat, tone))
        pen.line([(x, 0.69), (x, 0.71)], 0.105, dark)
    pen.rect(-0.5, 0.02, 1.0, 0.34, coat, radius=0.16)
    pen.polygon([(0.22, 0.12), (0.48, -0.34), (0.66, -0.28), (0.48, 0.2)], coat, rounding=0.06)
    pen.line([(0.2, 0.04), (0.34, -0.2), (0.5, -0.42)], 0.12, dark)
    pen.polygon([(0.5, -0.42), (0.6, -0.42), (0.86, -0.22), (0.8, -0.12), (0.56, -0.2)], coat, rounding=0.06)
    pen.polygon([(0.5, -0.4), (0.55, -0.56), (0.61, -0.4)], coat)
    pen.circle(0.63, -0.34, 0.03, INK)
    pen.rect(-0.17, -0.02, 0.36, 0.17, (162, 66, 62), radius=0.06)


def _skateboard(pen: Pen) -> None:
    """A skateboard from the side."""
    for x in (-0.27, 0.27):
        pen.circle(x, 0.15, 0.1, (206, 98, 78))
        pen.circle(x, 0.15, 0.04, CREAM)
    pen.line([(-0.45, -0.07), (-0.35, 0.04), (0.35, 0.04), (0.45, -0.07)], 0.1, (70, 108, 122))
    pen.line([(-0.28, 0.03), (0.28, 0.03)], 0.035, (236, 196, 104))


# -- presents and play -----------------------------------------------------------------------------------------
def _book(pen: Pen) -> None:
    """An open book, its pages turned up; the anchor is the spine's foot."""
    for k in (-1, 1):
        pen.polygon([(0, 0), (0.5 * k, -0.1), (0.5 * k, -0.62), (0, -0.5)], (112, 76, 120))
        pen.polygon([(0, -0.06), (0.44 * k, -0.16), (0.44 * k, -0.66), (0, -0.54)], CREAM, rounding=0.02)
        for y in (0.0, 0.15):
            pen.line([(0.1 * k, y - 0.45), (0.34 * k, y - 0.51)], 0.045, (176, 168, 162))
    pen.line([(0, -0.52), (0, -0.03)], 0.035, (150, 120, 150))


def _brush(pen: Pen) -> None:
    """A paint brush from its grip to its tip."""
    pen.line([(0, 0), (0.36, -0.216)], 0.055, (196, 146, 88))
    pen.line([(0.3, -0.18), (0.38, -0.228)], 0.07, STEEL)
    pen.polygon([(0.34, -0.26), (0.52, -0.315), (0.4, -0.175)], (78, 110, 168), rounding=0.03)


def _heart(pen: Pen) -> None:
    """A heart."""
    pink = (226, 84, 112)
    for k in (-1, 1):
        pen.circle(0.235 * k, -0.16, 0.265, pink)
    pen.polygon([(-0.465, -0.03), (-0.2, -0.3), (0, -0.2), (0.2, -0.3), (0.465, -0.03), (0, 0.46)], pink, rounding=0.02)
    pen.ellipse(-0.24, -0.23, 0.1, 0.065, (246, 164, 178), angle=-35)


def _umbrella(pen: Pen) -> None:
    """An open umbrella held by its crook."""
    pen.line([(0, -1.08), (0, 0.02)], 0.035, DARK_WOOD)
    pen.curve((0, 0.02), (0.02, 0.14), (0.11, 0.05), 0.045, DARK_WOOD)
    with pen.inside_rect(-0.5, -1.06, 1.0, 0.42):
        pen.ellipse(0, -0.64, 0.5, 0.4, (126, 88, 150))
        pen.ellipse(0, -0.64, 0.3, 0.4, (238, 204, 130))
        pen.ellipse(0, -0.64, 0.13, 0.4, (126, 88, 150))
    for x in (-0.4, -0.21, 0.0, 0.21, 0.4):
        pen.ellipse(x, -0.64, 0.1, 0.035, (104, 70, 126))


def _balloon(pen: Pen) -> None:
    """A balloon on a string."""
    pen.curve((0, 0), (0.08, -0.28), (0, -0.54), 0.022, (110, 104, 104))
    pen.polygon([(0, -0.57), (-0.045, -0.5), (0.045, -0.5)], (176, 62, 104))
    pen.ellipse(0, -0.8, 0.225, 0.25, (212, 86, 128))
    pen.ellipse(-0.08, -0.89, 0.05, 0.075, (244, 186, 204), angle=25)


def _kite(pen: Pen) -> None:
    """A four-coloured kite with a tail."""
    pen.line([(0, 0.48), (0.1, 0.62), (-0.06, 0.74), (0.04, 0.9)], 0.03, (110, 104, 104))
    colors: tuple[Color, ...] = ((232, 184, 82), (74, 140, 148), (206, 98, 78), (236, 214, 160))
    for i, color in enumerate(colors):
        pen.polygon([(0, (-0.5, 0.5)[i // 2]), ((-0.36, 0.36)[i % 2], -0.12), (0, -0.12)], color)
    for x, y in ((0.07, 0.64), (-0.02, 0.8)):
        pen.polygon([(x - 0.1, y - 0.05), (x + 0.1, y + 0.05), (x + 0.1, y - 0.05), (x - 0.1, y + 0.05)], (206, 98, 78))


def _gift(pen: Pen) -> None:
    """A box with a ribbon and a bow."""
    pen.rect(-0.43, -0.12, 0.86, 0.56, (96, 150, 158), radius=0.03)
    pen.rect(-0.5, -0.24, 1.0, 0.2, (120, 174, 180), radius=0.03)
    pen.rect(-0.09, -0.24, 0.18, 0.68, (244, 206, 112))
    for k in (-1, 1):
        pen.polygon([(0, -0.25), (0.3 * k, -0.44), (0.32 * k, -0.24)], (244, 206, 112), rounding=0.06)
    pen.circle(0, -0.27, 0.08, (222, 174, 80))


def _flower(pen: Pen) -> None:
    """A daisy on a stem with two leaves."""
    pen.line([(0, 0), (0, -0.75)], 0.055, LEAF)
    for k in (-1, 1):
        pen.ellipse(0.13 * k, -0.25, 0.15, 0.055, LEAF, angle=-30 * k)
    for i in range(6):
        turn = math.tau * i / 6
        pen.circle(0.16 * math.cos(turn), -0.8 + 0.16 * math.sin(turn), 0.105, (240, 150, 170))
    pen.circle(0, -0.8, 0.11, (248, 214, 112))


PROPS: dict[str, Callable[[Pen], None]] = {
    "guitar": _guitar,
    "piano": _piano,
    "dinner_table": _dinner_table,
    "barbell": _barbell,
    "book": _book,
    "ski": _ski,
    "ski_pole": _ski_pole,
    "hammock_back": _hammock_back,
    "hammock_front": _hammock_front,
    "stove": _stove,
    "microphone": _microphone,
    "bicycle": _bicycle,
    "horse": _horse,
    "motorbike": _motorbike,
    "soccer_ball": _soccer_ball,
    "chess_table": _chess_table,
    "foil": _foil,
    "basketball": _basketball,
    "boxing_glove": _boxing_glove,
    "heart": _heart,
    "music_note": _music_note,
    "umbrella": _umbrella,
    "balloon": _balloon,
    "kite": _kite,
    "easel": _easel,
    "brush": _brush,
    "drums": _drums,
    "trumpet": _trumpet,
    "skateboard": _skateboard,
    "gift": _gift,
    "flower": _flower,
    "chair": _chair,
    "stool": _stool,
    "bench": _bench,
    "ball": _ball,
    "cup": _cup,
}
