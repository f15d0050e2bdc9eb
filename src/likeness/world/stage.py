"""A stage: who stands where in which pose, holding which props, and in which order it is painted."""

import math
import random
from dataclasses import dataclass, field

from likeness.world.pen import Point
from likeness.world.pose import Pose

FLOOR = 0.9
"""The y at which feet stand."""


@dataclass(frozen=True)
class Actor:
    """One character on the stage: feet at (x, y), height h, all as shares of the picture's side."""

    x: float
    y: float
    h: float
    pose: Pose = field(default_factory=Pose)

    def at(self, x: float, y: float) -> Point:
        """The picture point of a point in the actor's own units, its turn included."""
        turn = math.radians(self.pose.turn)
        dx, dy = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
        return (self.x + self.h * dx, self.y + self.h * dy)


@dataclass(frozen=True)
class Placed:
    """A prop at (x, y) with its size, angle (degrees, clockwise) and mirror flag."""

    name: str
    x: float
    y: float
    size: float
    angle: float = 0.0
    flip: bool = False


@dataclass
class Stage:
    """Painted in this order: behind, actors (in `order`), in front, then the hands of the actors that `grip`."""

    rng: random.Random
    actors: dict[int, Actor] = field(default_factory=dict[int, Actor])
    order: list[int] = field(default_factory=list[int])
    behind: list[Placed] = field(default_factory=list[Placed])
    front: list[Placed] = field(default_factory=list[Placed])
    grip: list[int] = field(default_factory=list[int])

    def actor(self, index: int, *, x: float, h: float, y: float = FLOOR, pose: Pose, grip: bool = False) -> Actor:
        """Puts subject `index` on the stage and returns where it stands."""
        placed = Actor(x, y, h, pose)
        self.actors[index] = placed
        self.order.append(index)
        if grip:
            self.grip.append(index)
        return placed

    def back_prop(self, name: str, point: Point, size: float, *, angle: float = 0.0, flip: bool = False) -> None:
        self.behind.append(Placed(name, *point, size, angle, flip))

    def prop(self, name: str, point: Point, size: float, *, angle: float = 0.0, flip: bool = False) -> None:
        self.front.append(Placed(name, *point, size, angle, flip))

    def near(self, value: float, spread: float = 0.03) -> float:
        """`value` moved by at most `spread`."""
        return value + self.rng.uniform(-spread, spread)
