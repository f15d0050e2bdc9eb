"""Drawing one character: torso with its pattern, limbs, a head for each species, and what it wears."""

from collections.abc import Callable
from dataclasses import dataclass

from likeness.world.identity import HAIR, PALETTE, SKIN, Identity
from likeness.world.outfits import BARE, Outfit
from likeness.world.pen import Color, Pen, Point, shade
from likeness.world.pose import HEAD_RX, HEAD_RY, TORSO_RX, TORSO_RY, TORSO_Y, Limb, Pose, arms, head_center, legs

INK: Color = (38, 32, 40)
WHITE: Color = (255, 255, 255)
BILL: Color = (250, 160, 40)


@dataclass(frozen=True)
class Look:
    """The colours a character is painted with, and its proportions."""

    identity: Identity
    coat: Color
    second: Color
    worn: Color
    head: Color
    limb: Color
    leg: Color
    paw: Color
    head_scale: float = 1.0
    cube: bool = False


def look_of(identity: Identity, *, cube: bool = False) -> Look:
    """Colours of `identity`; a person wears a shirt (body colour) and trousers (second colour)."""
    cube = cube or identity.species == "robot"
    coat, second = PALETTE[identity.body_color], PALETTE[identity.second_color]
    worn = PALETTE.get(identity.accessory_color, INK)
    if identity.species == "person":
        skin = SKIN[identity.skin]
        scale = 1.12 if identity.age == "child" else 0.9
        return Look(identity, coat, second, worn, skin, shade(coat, 0.86), second, skin, scale, cube)
    limb = shade(coat, 0.84)
    return Look(identity, coat, second, worn, coat, limb, limb, second, cube=cube)


# -- body ------------------------------------------------------------------------------------------------------
def draw_character(pen: Pen, identity: Identity, pose: Pose, *, outfit: Outfit = BARE) -> None:
    """Draws the whole character in its own units (see `likeness.world.pose`)."""
    look = look_of(identity, cube=outfit.cube)
    _tail(pen, look, pose)
    for limb in legs(pose):
        _leg(pen, look, limb)
    _torso(pen, look)
    outfit.torso(pen)
    for limb in arms(pose):
        _arm(pen, look, limb)
    hx, hy = head_center(pose)
    if identity.accessory == "scarf":
        _scarf(pen, look)
    with pen.at(hx, hy, angle=pose.head_tilt, scale=look.head_scale):
        _draw_head(pen, look, pose)
        with pen.at(0.0, _hat_lift(look)):
            outfit.head(pen)
    if identity.accessory == "bow tie":
        _bow_tie(pen, look)


def draw_hands(pen: Pen, identity: Identity, pose: Pose) -> None:
    """The hands again, to lie over something the character holds."""
    look = look_of(identity)
    for limb in arms(pose):
        pen.circle(*limb.end, 0.05, look.paw)


def _leg(pen: Pen, look: Look, limb: Limb) -> None:
    pen.line([limb.root, limb.joint, limb.end], 0.105, look.leg)
    x, y = limb.end
    foot = {"person": shade(look.second, 0.7), "duck": BILL}.get(look.identity.species, look.paw)
    pen.ellipse(x + (0.012 if x >= 0 else -0.012), y - 0.012, 0.075, 0.042, foot)


def _arm(pen: Pen, look: Look, limb: Limb) -> None:
    pen.line([limb.root, limb.joint, limb.end], 0.085, look.limb)
    pen.circle(*limb.end, 0.05, look.paw)


def _torso(pen: Pen, look: Look) -> None:
    if look.cube:
        x, y, w, h = -TORSO_RX, TORSO_Y - TORSO_RY, 2 * TORSO_RX, 2 * TORSO_RY
        pen.rect(x, y, w, h, look.coat, radius=0.05)
        with pen.inside_rect(x, y, w, h, radius=0.05):
            PATTERN_PAINTERS.get(look.identity.pattern, _plain)(pen, look.second)
        return
    pen.ellipse(0, TORSO_Y, TORSO_RX, TORSO_RY, look.coat)
    with pen.inside_ellipse(0, TORSO_Y, TORSO_RX, TORSO_RY):
        PATTERN_PAINTERS.get(look.identity.pattern, _plain)(pen, look.second)


def _plain(pen: Pen, color: Color) -> None:
    """Nothing: the second colour shows on paws and ears only."""


def _patch(pen: Pen, color: Color) -> None:
    pen.ellipse(0, TORSO_Y + 0.03, 0.115, 0.145, color)


def _stripes(pen: Pen, color: Color) -> None:
    for y in (-0.42, -0.31, -0.2):
        pen.rect(-0.2, y, 0.4, 0.05, color)


def _dots(pen: Pen, color: Color) -> None:
    for x, y in ((-0.08, -0.4), (0.07, -0.36), (-0.1, -0.27), (0.03, -0.26), (0.12, -0.24), (-0.03, -0.17)):
        pen.circle(x, y, 0.038, color)


def _star(pen: Pen, color: Color) -> None:
    pen.star(0, TORSO_Y + 0.02, 0.145, color)


def _checks(pen: Pen, color: Color) -> None:
    side = 0.09
    for row in range(5):
        for col in range(4):
            if (row + col) % 2 == 0:
                pen.rect(-0.18 + col * side, -0.53 + row * side, side, side, color)


PATTERN_PAINTERS: dict[str, Callable[[Pen, Color], None]] = {
    "plain": _plain,
    "patch": _patch,
    "stripes": _stripes,
    "dots": _dots,
    "star": _star,
    "checks": _checks,
}


def _tail(pen: Pen, look: Look, pose: Pose) -> None:
    side = -1.0 if pose.facing >= 0 else 1.0
    match look.identity.species:
        case "cat":
            pen.curve((side * 0.12, -0.2), (side * 0.36, -0.12), (side * 0.3, -0.38), 0.05, look.limb)
        case "dog":
            pen.curve((side * 0.12, -0.22), (side * 0.26, -0.22), (side * 0.27, -0.36), 0.055, look.coat)
        case "fox":
            pen.ellipse(side * 0.25, -0.22, 0.145, 0.075, look.limb, angle=side * -35)
            pen.ellipse(side * 0.335, -0.275, 0.055, 0.045, WHITE, angle=side * -35)
        case "rabbit":
            pen.circle(side * 0.18, -0.2, 0.06, WHITE)
        case "duck":
            pen.polygon([(side * 0.1, -0.27), (side * 0.3, -0.34), (side * 0.14, -0.14)], look.limb, rounding=0.02)
        case "pig":
            pen.curve((side * 0.15, -0.24), (side * 0.27, -0.3), (side * 0.21, -0.2), 0.025, look.limb)
        case _:
            return


# -- head ------------------------------------------------------------------------------------------------------
def _draw_head(pen: Pen, look: Look, pose: Pose) -> None:
    species = look.identity.species
    if species == "person":
        _hair_behind(pen, look)
    EARS.get(species, _no_ears)(pen, look)
    if look.cube:
        pen.rect(-0.235, -0.2, 0.47, 0.4, look.head, radius=0.07)
    else:
        pen.ellipse(0, 0, HEAD_RX, HEAD_RY, look.head)
    if species == "person":
        _hair_front(pen, look)
    with pen.at(0.055 * pose.facing, 0):
        SNOUTS.get(species, _plain_mouth)(pen, look, pose)
        _eyes(pen, look, pose)
    with pen.at(0, _hat_lift(look)):
        HATS.get(look.identity.accessory, _no_hat)(pen, look)
    if look.identity.accessory == "glasses":
        with pen.at(0.055 * pose.facing, 0):
            _glasses(pen, look)


def _hat_lift(look: Look) -> float:
    """A frog's eyes sit on top of its head, so its hats sit higher."""
    return -0.09 if look.identity.species == "frog" else 0.0


def eye_points(species: str) -> tuple[Point, Point]:
    """The eyes of a face that looks straight ahead, in head units around the middle of the head."""
    return ((-0.11, -0.2), (0.11, -0.2)) if species == "frog" else ((-0.095, -0.03), (0.095, -0.03))


def _eyes(pen: Pen, look: Look, pose: Pose) -> None:
    ring = 0.062 if look.identity.body_color in ("black", "blue", "brown", "purple") else 0.056
    for x, y in eye_points(look.identity.species):
        if pose.eyes_closed:
            pen.curve((x - 0.045, y), (x, y + 0.045), (x + 0.045, y), 0.022, INK)
            continue
        pen.circle(x, y, ring, WHITE)
        pen.circle(x + 0.014 * pose.facing, y + 0.004, 0.035, INK)
        pen.circle(x + 0.014 * pose.facing - 0.012, y - 0.012, 0.012, WHITE)


def _mouth(pen: Pen, pose: Pose, y: float, *, width: float = 0.05) -> None:
    if pose.mouth_open:
        pen.ellipse(0, y + 0.02, width * 0.8, 0.045, (150, 40, 50))
    else:
        pen.curve((-width, y), (0, y + 0.04), (width, y), 0.018, INK)


def _plain_mouth(pen: Pen, look: Look, pose: Pose) -> None:
    _mouth(pen, pose, 0.1)


def _cat_snout(pen: Pen, look: Look, pose: Pose) -> None:
    pen.polygon([(-0.025, 0.045), (0.025, 0.045), (0, 0.075)], (240, 120, 140), rounding=0.015)
    for s in (-1, 1):
        pen.line([(s * 0.12, 0.06), (s * 0.235, 0.035)], 0.012, INK)
        pen.line([(s * 0.12, 0.085), (s * 0.23, 0.1)], 0.012, INK)
    _mouth(pen, pose, 0.1)


def _dog_snout(pen: Pen, look: Look, pose: Pose) -> None:
    pen.ellipse(0, 0.095, 0.115, 0.085, shade(look.head, 1.6))
    pen.ellipse(0, 0.05, 0.045, 0.032, INK)
    if pose.mouth_open:
        _mouth(pen, pose, 0.11)
    else:
        pen.ellipse(0, 0.145, 0.035, 0.05, (235, 100, 120))


def _bear_snout(pen: Pen, look: Look, pose: Pose) -> None:
    pen.ellipse(0, 0.085, 0.1, 0.08, shade(look.head, 1.72))
    pen.ellipse(0, 0.055, 0.04, 0.028, INK)
    _mouth(pen, pose, 0.105, width=0.04)


def _rabbit_snout(pen: Pen, look: Look, pose: Pose) -> None:
    pen.ellipse(0, 0.06, 0.03, 0.022, (240, 120, 140))
    _mouth(pen, pose, 0.09, width=0.055)
    pen.rect(-0.032, 0.115, 0.064, 0.06, WHITE, radius=0.012)


def _duck_bill(pen: Pen, look: Look, pose: Pose) -> None:
    if pose.mouth_open:
        pen.ellipse(0, 0.125, 0.09, 0.05, shade(BILL, 0.8))
    pen.ellipse(0, 0.075, 0.135, 0.055, BILL)
    pen.line([(-0.09, 0.08), (0.09, 0.08)], 0.012, shade(BILL, 0.65))


def _fox_snout(pen: Pen, look: Look, pose: Pose) -> None:
    pen.polygon([(-0.22, 0.03), (-0.04, 0.06), (-0.02, 0.19), (-0.12, 0.15)], WHITE, rounding=0.02)
    pen.polygon([(0.22, 0.03), (0.04, 0.06), (0.02, 0.19), (0.12, 0.15)], WHITE, rounding=0.02)
    pen.ellipse(0, 0.085, 0.04, 0.03, INK)
    _mouth(pen, pose, 0.13, width=0.04)


def _frog_mouth(pen: Pen, look: Look, pose: Pose) -> None:
    if pose.mouth_open:
        pen.ellipse(0, 0.08, 0.12, 0.07, (150, 40, 50))
    pen.curve((-0.17, 0.03), (0, 0.17), (0.17, 0.03), 0.024, INK)


def _pig_snout(pen: Pen, look: Look, pose: Pose) -> None:
    snout = (238, 128, 150)
    pen.ellipse(0, 0.075, 0.1, 0.068, snout)
    for s in (-1, 1):
        pen.ellipse(s * 0.035, 0.075, 0.017, 0.027, shade(snout, 0.5))
    _mouth(pen, pose, 0.158, width=0.045)


def _robot_mouth(pen: Pen, look: Look, pose: Pose) -> None:
    pen.rect(-0.1, 0.075, 0.2, 0.075 if pose.mouth_open else 0.05, INK, radius=0.012)
    for x in (-0.05, 0.0, 0.05):
        pen.line([(x, 0.085), (x, 0.115)], 0.012, WHITE)


def _teapot_mouth(pen: Pen, look: Look, pose: Pose) -> None:
    for s in (-1, 1):
        pen.circle(s * 0.16, 0.06, 0.035, (250, 150, 160), alpha=0.8)
    _mouth(pen, pose, 0.075)


def _person_face(pen: Pen, look: Look, pose: Pose) -> None:
    if look.identity.beard == "bearded":
        with pen.inside_ellipse(0, 0, HEAD_RX, HEAD_RY + 0.03):
            pen.ellipse(0, 0.18, 0.2, 0.13, HAIR[look.identity.hair_color])
        pen.ellipse(0, 0.12, 0.06, 0.032, look.head)
    pen.circle(0, 0.05, 0.022, shade(look.head, 0.8))
    _mouth(pen, pose, 0.105, width=0.045)


SNOUTS: dict[str, Callable[[Pen, Look, Pose], None]] = {
    "cat": _cat_snout,
    "dog": _dog_snout,
    "bear": _bear_snout,
    "rabbit": _rabbit_snout,
    "duck": _duck_bill,
    "fox": _fox_snout,
    "frog": _frog_mouth,
    "pig": _pig_snout,
    "robot": _robot_mouth,
    "teapot": _teapot_mouth,
    "person": _person_face,
}


# -- ears ------------------------------------------------------------------------------------------------------
def _no_ears(pen: Pen, look: Look) -> None:
    """Species without ears."""


def _cat_ears(pen: Pen, look: Look) -> None:
    for s in (-1, 1):
        pen.polygon([(s * 0.23, -0.04), (s * 0.21, -0.31), (s * 0.05, -0.17)], look.head, rounding=0.02)
        pen.polygon([(s * 0.195, -0.12), (s * 0.185, -0.25), (s * 0.105, -0.18)], look.second, rounding=0.01)


def _dog_ears(pen: Pen, look: Look) -> None:
    for s in (-1, 1):
        pen.ellipse(s * 0.25, 0.02, 0.075, 0.165, look.limb, angle=s * -12)


def _rabbit_ears(pen: Pen, look: Look) -> None:
    for s in (-1, 1):
        pen.ellipse(s * 0.11, -0.31, 0.062, 0.18, look.head, angle=s * 9)
        pen.ellipse(s * 0.11, -0.3, 0.032, 0.13, look.second, angle=s * 9)


def _bear_ears(pen: Pen, look: Look) -> None:
    for s in (-1, 1):
        pen.circle(s * 0.18, -0.17, 0.085, look.head)
        pen.circle(s * 0.18, -0.17, 0.045, look.second)


def _duck_tuft(pen: Pen, look: Look) -> None:
    for x, angle in ((-0.03, -30.0), (0.03, 20.0)):
        pen.ellipse(x, -0.24, 0.025, 0.07, look.head, angle=angle)


def _fox_ears(pen: Pen, look: Look) -> None:
    for s in (-1, 1):
        pen.polygon([(s * 0.24, -0.03), (s * 0.25, -0.34), (s * 0.04, -0.18)], look.head, rounding=0.02)
        pen.polygon([(s * 0.245, -0.2), (s * 0.25, -0.34), (s * 0.155, -0.26)], INK, rounding=0.02)


def _frog_eyes_base(pen: Pen, look: Look) -> None:
    for s in (-1, 1):
        pen.circle(s * 0.11, -0.19, 0.095, look.head)


def _pig_ears(pen: Pen, look: Look) -> None:
    for s in (-1, 1):
        pen.polygon([(s * 0.23, -0.08), (s * 0.26, -0.24), (s * 0.1, -0.19)], look.limb, rounding=0.03)


def _robot_antenna(pen: Pen, look: Look) -> None:
    pen.line([(0, -0.18), (0, -0.28)], 0.025, INK)
    pen.circle(0, -0.3, 0.042, look.second)
    for s in (-1, 1):
        pen.rect(s * 0.25 - 0.03, -0.06, 0.06, 0.12, look.second, radius=0.015)


def _teapot_spout(pen: Pen, look: Look) -> None:
    pen.line([(0.2, 0.06), (0.3, 0.0), (0.34, -0.12)], 0.07, look.limb)
    pen.curve((-0.2, -0.1), (-0.46, -0.03), (-0.2, 0.1), 0.045, look.limb)
    pen.ellipse(0, -0.2, 0.15, 0.05, look.second)
    pen.circle(0, -0.26, 0.04, look.second)


EARS: dict[str, Callable[[Pen, Look], None]] = {
    "cat": _cat_ears,
    "dog": _dog_ears,
    "rabbit": _rabbit_ears,
    "bear": _bear_ears,
    "duck": _duck_tuft,
    "fox": _fox_ears,
    "frog": _frog_eyes_base,
    "pig": _pig_ears,
    "robot": _robot_antenna,
    "teapot": _teapot_spout,
}


# -- hair ------------------------------------------------------------------------------------------------------
def _hair_behind(pen: Pen, look: Look) -> None:
    color = HAIR[look.identity.hair_color]
    match look.identity.hair_style:
        case "long":
            pen.rect(-0.285, -0.18, 0.57, 0.46, color, radius=0.13)
        case "curly":
            for x, y in ((-0.24, -0.04), (0.24, -0.04), (-0.22, -0.16), (0.22, -0.16), (-0.23, 0.07), (0.23, 0.07)):
                pen.circle(x, y, 0.085, color)
        case "bun":
            pen.circle(0, -0.27, 0.095, color)
        case _:
            return


def _hair_front(pen: Pen, look: Look) -> None:
    color = HAIR[look.identity.hair_color]
    with pen.inside_rect(-0.35, -0.4, 0.7, 0.315):
        pen.ellipse(0, 0, HEAD_RX + 0.012, HEAD_RY + 0.018, color)
    if look.identity.hair_style == "curly":
        for x, y in ((-0.14, -0.18), (0, -0.21), (0.14, -0.18)):
            pen.circle(x, y, 0.085, color)
    if look.identity.hair_style == "short":
        pen.polygon([(-0.2, -0.1), (-0.02, -0.1), (-0.12, -0.03)], color, rounding=0.01)


# -- what it wears ---------------------------------------------------------------------------------------------
def _no_hat(pen: Pen, look: Look) -> None:
    """Bare head."""


def _top_hat(pen: Pen, look: Look) -> None:
    pen.rect(-0.125, -0.42, 0.25, 0.25, look.worn, radius=0.015)
    pen.rect(-0.21, -0.2, 0.42, 0.055, look.worn, radius=0.025)
    pen.rect(-0.125, -0.245, 0.25, 0.045, shade(look.worn, 0.6))


def _cap(pen: Pen, look: Look) -> None:
    with pen.inside_rect(-0.3, -0.4, 0.6, 0.29):
        pen.ellipse(0, -0.1, 0.215, 0.19, look.worn)
    pen.ellipse(0.15, -0.12, 0.17, 0.035, shade(look.worn, 0.75))


def _crown(pen: Pen, look: Look) -> None:
    points = [(-0.17, -0.15), (-0.19, -0.36), (-0.09, -0.27), (0, -0.39), (0.09, -0.27), (0.19, -0.36), (0.17, -0.15)]
    pen.polygon(points, look.worn, rounding=0.012)
    pen.rect(-0.17, -0.185, 0.34, 0.035, shade(look.worn, 0.72))


def _glasses(pen: Pen, look: Look) -> None:
    frame = look.worn
    for x, y in eye_points(look.identity.species):
        for r, color in ((0.092, frame), (0.06, WHITE)):
            pen.circle(x, y, r, color)
        pen.circle(x, y + 0.004, 0.034, INK)
    y = eye_points(look.identity.species)[0][1]
    pen.line([(-0.03, y), (0.03, y)], 0.03, frame)


def _scarf(pen: Pen, look: Look) -> None:
    pen.rect(-0.04, -0.47, 0.1, 0.26, shade(look.worn, 0.8), radius=0.03)
    pen.ellipse(0, -0.465, 0.195, 0.07, look.worn)


def _bow_tie(pen: Pen, look: Look) -> None:
    for s in (-1, 1):
        pen.polygon([(0, -0.45), (s * 0.14, -0.515), (s * 0.14, -0.385)], look.worn, rounding=0.02)
    pen.circle(0, -0.45, 0.035, shade(look.worn, 0.7))


HATS: dict[str, Callable[[Pen, Look], None]] = {"top hat": _top_hat, "cap": _cap, "crown": _crown}
