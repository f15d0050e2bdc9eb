"""Where the limbs of a character are, in its own units.

Units: the character's height is 1, the point between its feet is (0, 0), x grows to the picture's right, y downwards,
so the head is near y = -0.7. Left and right in this module are the picture's left and right.
"""

import math
from dataclasses import dataclass, replace

from likeness.world.pen import Point

SHOULDER_X, SHOULDER_Y = 0.145, -0.435
HIP_X, HIP_Y = 0.085, -0.17
HEAD_Y = -0.69
HEAD_RX, HEAD_RY = 0.245, 0.22
TORSO_Y, TORSO_RX, TORSO_RY = -0.315, 0.18, 0.205
ARM, LEG = 0.25, 0.19


@dataclass(frozen=True)
class Pose:
    """Limb ends and mood. Hands and feet are points; `facing` is -1, 0 or 1; `turn` rotates the body (degrees)."""

    left_hand: Point = (-0.25, -0.22)
    right_hand: Point = (0.25, -0.22)
    left_foot: Point = (-0.1, -0.015)
    right_foot: Point = (0.1, -0.015)
    facing: float = 0.0
    head_tilt: float = 0.0
    head_shift: Point = (0.0, 0.0)
    turn: float = 0.0
    eyes_closed: bool = False
    mouth_open: bool = False

    def mirrored(self) -> "Pose":
        """The same pose seen in a mirror."""

        def flip(p: Point) -> Point:
            return (-p[0], p[1])

        return replace(
            self,
            left_hand=flip(self.right_hand),
            right_hand=flip(self.left_hand),
            left_foot=flip(self.right_foot),
            right_foot=flip(self.left_foot),
            facing=-self.facing,
            head_tilt=-self.head_tilt,
            head_shift=flip(self.head_shift),
            turn=-self.turn,
        )


@dataclass(frozen=True)
class Limb:
    """A two-bone limb: root, middle joint and end."""

    root: Point
    joint: Point
    end: Point


def bend(root: Point, end: Point, *, length: float, outward: float) -> Limb:
    """The limb of two equal bones from root to end, its joint on the `outward` side; it stretches when out of reach."""
    dx, dy = end[0] - root[0], end[1] - root[1]
    distance = math.hypot(dx, dy)
    middle = (root[0] + dx / 2, root[1] + dy / 2)
    if distance >= length or distance == 0:
        return Limb(root, middle, end)
    bulge = math.sqrt(length**2 - distance**2) / 2
    normal = (-dy / distance, dx / distance)
    side = 1.0 if normal[0] * outward >= 0 else -1.0
    return Limb(root, (middle[0] + side * bulge * normal[0], middle[1] + side * bulge * normal[1]), end)


def arms(pose: Pose) -> tuple[Limb, Limb]:
    """The picture-left and the picture-right arm."""
    return (
        bend((-SHOULDER_X, SHOULDER_Y), pose.left_hand, length=ARM, outward=-1),
        bend((SHOULDER_X, SHOULDER_Y), pose.right_hand, length=ARM, outward=1),
    )


def legs(pose: Pose) -> tuple[Limb, Limb]:
    """The picture-left and the picture-right leg."""
    return (
        bend((-HIP_X, HIP_Y), pose.left_foot, length=LEG, outward=-1),
        bend((HIP_X, HIP_Y), pose.right_foot, length=LEG, outward=1),
    )


def head_center(pose: Pose) -> Point:
    """The middle of the face."""
    return (pose.head_shift[0] + 0.03 * pose.facing, HEAD_Y + pose.head_shift[1])
