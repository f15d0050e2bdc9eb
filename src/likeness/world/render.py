"""Scenarios become pictures with exact labels."""

import math
import random
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from likeness.world.actions import ACTIONS
from likeness.world.character import draw_character, draw_hands, eye_points, look_of
from likeness.world.identity import NOT_APPLICABLE, Identity
from likeness.world.outfits import OUTFITS
from likeness.world.pen import Color, Pen, Point
from likeness.world.pose import TORSO_RX, TORSO_RY, TORSO_Y, Pose, arms, head_center, legs
from likeness.world.props import PROPS
from likeness.world.scenario import Scenario, caption
from likeness.world.scenes import SCENES
from likeness.world.stage import FLOOR, Actor, Placed, Stage

MIN_TORSO = 0.45
"""With less of its torso in sight, a subject's pattern is not labelled."""

BUN_HIDDEN_BY = ("top hat", "crown")
"""Under these a bun and short hair look alike, and neither is labelled."""


@dataclass(frozen=True)
class SubjectLabel:
    """Exact labels of one subject; masks are (size, size) bool, everything else in shares of the picture's side."""

    id: str
    class_name: str
    attributes: dict[str, str]
    box: tuple[float, float, float, float]
    head: tuple[float, float]
    keypoints: NDArray[np.float32]
    visible_mask: NDArray[np.bool_]
    full_mask: NDArray[np.bool_]


@dataclass(frozen=True)
class Labels:
    """Everything that is true of a picture. Triplets are (subject id, action, subject id or object name)."""

    caption: str
    action: str
    scene: str
    subjects: tuple[SubjectLabel, ...]
    objects: tuple[str, ...]
    triplets: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Rendering:
    """A (size, size, 3) uint8 image with its labels."""

    image: NDArray[np.uint8]
    labels: Labels


def render(scenario: Scenario, *, size: int = 128) -> Rendering:
    """The picture of `scenario` with every label; the same scenario and size give the same bytes."""
    stage = set_stage(scenario)
    return Rendering(render_image(scenario, size=size), _labels(scenario, stage, size))


def render_image(scenario: Scenario, *, size: int = 128) -> NDArray[np.uint8]:
    """Only the (size, size, 3) uint8 image of `render`, about half the work."""
    pen, stage = Pen(size), set_stage(scenario)
    SCENES[scenario.scene].back(pen, random.Random(f"scene/{scenario.seed}"))
    _paint(pen, scenario, stage)
    return pen.pixels()


def render_reference(identity: Identity, *, seed: int, size: int = 96) -> NDArray[np.uint8]:
    """A (size, size, 3) uint8 photo of one character on a plain light backdrop, in a neutral pose drawn from `seed`."""
    return _reference(Pen(size), identity, seed=seed)


def reference_mask(identity: Identity, *, seed: int, size: int = 96) -> NDArray[np.bool_]:
    """Where the character is in `render_reference` of the same identity, seed and size: (size, size) bool."""
    return _reference(Pen(size, flat=0), identity, seed=seed)[..., 0] > 0


def reference_keypoints(identity: Identity, *, seed: int) -> NDArray[np.float32]:
    """(17, 2) float32: where the keypoints are in `render_reference` of the same identity and seed, as shares."""
    actor = _posed(seed)[1]
    return np.asarray([actor.at(*joint) for joint in _joints(identity, actor.pose)], dtype=np.float32)


def _posed(seed: int) -> tuple[Color, Actor]:
    """The backdrop of a photo, and how its character stands."""
    rng = random.Random(f"reference/{seed}")
    grey = rng.randrange(206, 246)
    backdrop = (grey, grey, grey + rng.randrange(8))
    pose = rng.choice(
        (
            Pose(),
            Pose(right_hand=(0.36, -0.7)),
            Pose(left_hand=(-0.36, -0.7)),
            Pose((-0.2, -0.2), (0.34, -0.42), facing=1.0),
            Pose((-0.34, -0.42), (0.2, -0.2), facing=-1.0),
        )
    )
    x, y, scale = rng.uniform(0.46, 0.54), rng.uniform(0.94, 0.97), rng.uniform(0.7, 0.76)
    return backdrop, Actor(x, y, scale, pose)


def _reference(pen: Pen, identity: Identity, *, seed: int) -> NDArray[np.uint8]:
    backdrop, actor = _posed(seed)
    pen.rect(0, 0, 1, 1, backdrop)
    pen.flat = None if pen.flat is None else 255
    with pen.at(actor.x, actor.y, scale=actor.h):
        draw_character(pen, identity, actor.pose)
    return pen.pixels()


def set_stage(scenario: Scenario) -> Stage:
    """Who stands where, after crowding."""
    stage = Stage(random.Random(f"stage/{scenario.seed}"))
    ACTIONS[scenario.action].build(stage, len(scenario.identities))
    if scenario.crowd < 1:
        for index, actor in stage.actors.items():
            stage.actors[index] = Actor(0.5 + (actor.x - 0.5) * scenario.crowd, actor.y, actor.h, actor.pose)
    return stage


# -- painting --------------------------------------------------------------------------------------------------
@contextmanager
def _camera(pen: Pen, scenario: Scenario) -> Generator[None, None, None]:
    with pen.at(0.5 * (1 - scenario.zoom), FLOOR * (1 - scenario.zoom), scale=scenario.zoom):
        yield


def _paint(pen: Pen, scenario: Scenario, stage: Stage, *, label: bool = False) -> None:
    """Everything in front of the background. With `label`, subject i is painted in grey level i + 1, all else in 0."""
    with _camera(pen, scenario):
        for prop in stage.behind:
            _prop(pen, prop, label=label)
        for index in stage.order:
            pen.flat = index + 1 if label else None
            _actor(pen, scenario, stage, index)
        for prop in stage.front:
            _prop(pen, prop, label=label)
        for index in stage.grip:
            pen.flat = index + 1 if label else None
            actor = stage.actors[index]
            with pen.at(actor.x, actor.y, scale=actor.h, angle=actor.pose.turn):
                draw_hands(pen, scenario.worn(index), actor.pose)
    pen.flat = 0 if label else None
    if front := SCENES[scenario.scene].front:
        front(pen, random.Random(f"front/{scenario.seed}"))


def _prop(pen: Pen, prop: Placed, *, label: bool) -> None:
    pen.flat = 0 if label else None
    with pen.at(prop.x, prop.y, scale=prop.size, angle=prop.angle, flip=prop.flip):
        PROPS[prop.name](pen)


def _actor(pen: Pen, scenario: Scenario, stage: Stage, index: int) -> None:
    actor = stage.actors[index]
    with pen.at(actor.x, actor.y, scale=actor.h, angle=actor.pose.turn):
        draw_character(pen, scenario.worn(index), actor.pose, outfit=OUTFITS[scenario.outfit(index)])


# -- labels ----------------------------------------------------------------------------------------------------
def subject_levels(scenario: Scenario, *, size: int = 128) -> NDArray[np.uint8]:
    """What stands where in the picture of `scenario`: (size, size), i + 1 where subject i is visible, else 0."""
    return _levels(scenario, set_stage(scenario), size)


def _levels(scenario: Scenario, stage: Stage, size: int) -> NDArray[np.uint8]:
    pen = Pen(size, flat=0)
    _paint(pen, scenario, stage, label=True)
    return pen.pixels()[..., 0]


def _labels(scenario: Scenario, stage: Stage, size: int) -> Labels:
    levels = _levels(scenario, stage, size)
    subjects = tuple(_subject(scenario, stage, i, levels) for i in range(len(scenario.identities)))
    objects = tuple(dict.fromkeys(prop.name for prop in (*stage.behind, *stage.front)))
    return Labels(
        caption(scenario), scenario.action, scenario.scene, subjects, objects, _triplets(scenario, subjects, objects)
    )


def _triplets(
    scenario: Scenario, subjects: tuple[SubjectLabel, ...], objects: tuple[str, ...]
) -> tuple[tuple[str, str, str], ...]:
    first = subjects[0].id
    if len(subjects) > 1:
        return tuple((first, scenario.action, other.id) for other in subjects[1:])
    return tuple((first, scenario.action, name) for name in objects[:1])


def _subject(scenario: Scenario, stage: Stage, index: int, levels: NDArray[np.uint8]) -> SubjectLabel:
    size, actor, worn = len(levels), stage.actors[index], scenario.worn(index)
    pen = Pen(size, flat=255)
    with _camera(pen, scenario):
        _actor(pen, scenario, stage, index)
    full, visible = pen.pixels()[..., 0] > 0, levels == index + 1
    attributes = worn.attributes()
    if _torso_shown(scenario, actor, visible) < MIN_TORSO:
        attributes["pattern"] = NOT_APPLICABLE
    if worn.accessory in BUN_HIDDEN_BY and worn.hair_style in ("short", "bun"):
        attributes["hair_style"] = NOT_APPLICABLE
    return SubjectLabel(
        scenario.identities[index].id,
        scenario.identities[index].class_name,
        attributes,
        _box(full),
        _seen(scenario, actor, head_center(actor.pose)),
        _keypoints(scenario, index, actor, visible),
        visible,
        full,
    )


def _torso_shown(scenario: Scenario, actor: Actor, visible: NDArray[np.bool_]) -> float:
    """The share of the torso that nothing else covers."""
    pen = Pen(len(visible), flat=255)
    with _camera(pen, scenario), pen.at(actor.x, actor.y, scale=actor.h, angle=actor.pose.turn):
        pen.ellipse(0, TORSO_Y, TORSO_RX, TORSO_RY, (0, 0, 0))
    torso = pen.pixels()[..., 0] > 0
    return float((torso & visible).sum() / max(int(torso.sum()), 1))


def _box(mask: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    size = len(mask)
    rows, cols = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (cols[0] / size, rows[0] / size, (cols[-1] + 1) / size, (rows[-1] + 1) / size)


def _seen(scenario: Scenario, actor: Actor, point: Point) -> Point:
    x, y = actor.at(*point)
    zoom = scenario.zoom
    return (0.5 + (x - 0.5) * zoom, FLOOR + (y - FLOOR) * zoom)


def _face(worn: Identity, pose: Pose) -> list[Point]:
    """Left eye, right eye and nose as the head is drawn: shifted with the gaze, scaled and tilted."""
    (right, left), shift = eye_points(worn.species), 0.055 * pose.facing
    head = Actor(*head_center(pose), h=look_of(worn).head_scale, pose=Pose(turn=pose.head_tilt))
    return [head.at(x + shift, y) for x, y in (left, right, (0.0, 0.055))]


def _joints(worn: Identity, pose: Pose) -> list[Point]:
    """The 17 keypoints in AP-10K order, in the actor's units."""
    (left_arm, right_arm), (left_leg, right_leg) = arms(pose), legs(pose)
    trunk: list[Point] = [(0.0, -0.48), (0.0, -0.2)]
    limbs = [p for limb in (right_arm, left_arm, right_leg, left_leg) for p in (limb.root, limb.joint, limb.end)]
    return [*_face(worn, pose), *trunk, *limbs]


def _keypoints(scenario: Scenario, index: int, actor: Actor, visible: NDArray[np.bool_]) -> NDArray[np.float32]:
    """(17, 3) float32: x, y, and 1 when the point lies in the picture on a visible part of its subject (within 2%)."""
    size = len(visible)
    reach = max(1, round(0.02 * size))
    rows: list[tuple[float, float, float]] = []
    for x, y in (_seen(scenario, actor, joint) for joint in _joints(scenario.worn(index), actor.pose)):
        col, row = math.floor(x * size), math.floor(y * size)
        inside = 0 <= col < size and 0 <= row < size
        near = visible[max(row - reach, 0) : row + reach + 1, max(col - reach, 0) : col + reach + 1]
        rows.append((x, y, float(inside and bool(near.any()))))
    return np.asarray(rows, dtype=np.float32)
