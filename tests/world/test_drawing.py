"""Every action, scene, prop, pattern and outfit draws."""

import random
from dataclasses import replace

import numpy as np
import pytest

from likeness.world.actions import ACTIONS
from likeness.world.identity import NOT_APPLICABLE, PALETTE, draw_identity
from likeness.world.outfits import OUTFITS
from likeness.world.pen import Pen, shade
from likeness.world.pose import head_center
from likeness.world.props import PROPS
from likeness.world.render import render, set_stage
from likeness.world.scenario import Scenario
from likeness.world.scenes import SCENES

WHOLE = [(name, count) for name, action in ACTIONS.items() for count in action.num_subjects]


@pytest.mark.parametrize(("name", "count"), WHOLE)
def test_every_action_keeps_heads_inside_the_picture(name: str, count: int) -> None:
    people = tuple(draw_identity(random.Random(f"{name}/{i}")) for i in range(count))
    for seed in range(20):
        stage = set_stage(Scenario(name, "plain", people, seed))
        assert sorted(stage.actors) == sorted(stage.order) == list(range(count))
        assert {prop.name for prop in (*stage.behind, *stage.front)} <= set(PROPS)
        for actor in stage.actors.values():
            x, y = actor.at(*head_center(actor.pose))
            assert 0.04 < x < 0.96, seed
            assert 0.04 < y < 0.9, seed
    labels = render(Scenario(name, "plain", people, 0), size=48).labels
    for subject in labels.subjects:
        assert subject.visible_mask.sum() > 0.3 * subject.full_mask.sum()


def test_two_subjects_of_a_pair_do_not_hide_each_other() -> None:
    for name, action in ACTIONS.items():
        if action.num_subjects == (2,):
            people = tuple(draw_identity(random.Random(i)) for i in range(2))
            labels = render(Scenario(name, "plain", people, 1), size=64).labels
            for subject in labels.subjects:
                x, y = (int(v * 64) for v in subject.head)
                assert subject.visible_mask[max(y - 2, 0) : y + 3, max(x - 2, 0) : x + 3].any(), name


@pytest.mark.parametrize("name", SCENES)
def test_every_scene_covers_the_picture_and_varies(name: str) -> None:
    drawn: list[np.ndarray] = []
    for seed in range(3):
        pen = Pen(48)
        pen.rect(0, 0, 1, 1, (255, 0, 255))
        SCENES[name].back(pen, random.Random(seed))
        drawn.append(pen.pixels())
        assert (drawn[-1] == (255, 0, 255)).all(2).mean() < 0.01, "the scene leaves holes"
    assert any((drawn[0] != other).any() for other in drawn[1:])


def test_scenes_differ_from_each_other() -> None:
    pictures: dict[str, np.ndarray] = {}
    for name, scene in SCENES.items():
        pen = Pen(32)
        scene.back(pen, random.Random(0))
        pictures[name] = pen.pixels().astype(float)
    names = list(pictures)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert np.abs(pictures[a] - pictures[b]).mean() > 4, (a, b)


@pytest.mark.parametrize("name", [name for name, scene in SCENES.items() if scene.front])
def test_strips_in_front_are_strips(name: str) -> None:
    pen, front = Pen(48), SCENES[name].front
    assert front is not None
    front(pen, random.Random(0))
    painted = np.any(pen.pixels(), axis=2)
    assert 0 < painted.mean() < 0.3
    assert not painted[:24].any()


@pytest.mark.parametrize("name", PROPS)
def test_every_prop_draws_around_its_anchor(name: str) -> None:
    pen = Pen(64, flat=200)
    with pen.at(0.5, 0.5, scale=0.4):
        PROPS[name](pen)
    painted = pen.pixels()[..., 0]
    assert set(np.unique(painted)) == {0, 200}
    assert painted.any(0).sum() > 3
    assert (painted > 0).mean() < 0.6


@pytest.mark.parametrize("name", [name for name in OUTFITS if name])
@pytest.mark.parametrize("species", ["cat", "person", "robot"])
def test_every_outfit_is_seen_and_labelled(name: str, species: str) -> None:
    outfit = OUTFITS[name]
    who = draw_identity(random.Random(3), species=species)
    other = next(color for color in PALETTE if color != name)
    who = replace(who, body_color=other, pattern="dots", accessory="scarf", accessory_color="green")
    if species == "person":
        who = replace(who, hair_style="long")  # which no hat hides
    bare = render(Scenario("stand", "plain", (who,), 2), size=64)
    dressed = render(Scenario("stand", "plain", (who,), 2, (name,)), size=64)
    if not (name == "cube" and species == "robot"):  # robots are cubes already
        assert (bare.image != dressed.image).any(2).sum() >= 8
    attributes = dressed.labels.subjects[0].attributes
    for attribute in outfit.hides:
        assert attributes[attribute] == NOT_APPLICABLE
    for attribute, value in outfit.replaces.items():
        assert attributes[attribute] == value
    kept = set(attributes) - set(outfit.hides) - set(outfit.replaces)
    assert {k: attributes[k] for k in kept} == {k: bare.labels.subjects[0].attributes[k] for k in kept}
    assert dressed.labels.subjects[0].id == who.id


def test_flat_pens_paint_exact_levels() -> None:
    pen = Pen(32, flat=3)
    pen.circle(0.5, 0.5, 0.3, (255, 255, 255))
    pen.line([(0.1, 0.1), (0.9, 0.8)], 0.05, (9, 9, 9), alpha=0.4)
    pen.sky((1, 2, 3), (4, 5, 6), y0=0.9)
    assert set(np.unique(pen.pixels())) == {0, 3}


def test_scopes_end() -> None:
    pen = Pen(32)
    with pen.at(0.5, 0.5, scale=0.5, angle=30, flip=True), pen.inside_ellipse(0, 0, 0.1, 0.1):
        pen.rect(-1, -1, 2, 2, (255, 0, 0))
    small = (pen.pixels()[..., 0] > 0).sum()
    assert 0 < small < 16
    pen.rect(0, 0, 1, 1, (255, 0, 0))
    assert (pen.pixels()[..., 0] == 255).all()


def test_shades() -> None:
    assert shade((100, 200, 50), 0.5) == (50, 100, 25)
    assert shade((100, 200, 50), 1.0) == (100, 200, 50)
    assert shade((100, 200, 50), 1.5) == (178, 228, 152)  # half-way to white, ties to even
    assert shade((100, 200, 50), 2.0) == (255, 255, 255)
