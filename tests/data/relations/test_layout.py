"""Layouts proposed: the stored means are those of the drawing, and every action and number of subjects has one."""

import random

import numpy as np
import pytest

from likeness.core.errors import ConfigError
from likeness.core.files import read_json
from likeness.data.relations import layout
from likeness.data.relations.layout import PLACE, is_known, mean_boxes, propose_layout
from likeness.world.actions import ACTIONS
from likeness.world.identity import sample_identity
from likeness.world.render import render
from likeness.world.scenario import Scenario
from likeness.world.stage import FLOOR


def test_the_stored_file_is_what_the_command_writes() -> None:
    stored = read_json(PLACE)
    assert PLACE.read_text() == layout._text(stored)
    assert PLACE.stat().st_size <= 20_000
    assert (stored["draws"], stored["side"]) == (layout.DRAWS, layout.SIDE)
    assert {name: list(map(int, table)) for name, table in stored["actions"].items()} == {
        name: list(action.num_subjects) for name, action in ACTIONS.items()
    }
    assert stored["actions"]["hug"]["2"] == mean_boxes("hug", 2)
    assert layout.FLOOR == FLOOR


@pytest.mark.slow
def test_the_whole_file_is_what_the_command_writes() -> None:
    assert PLACE.read_text() == layout._text(layout.layout_statistics())


def test_proposals_lie_where_other_pictures_of_the_action_show_their_subjects() -> None:
    """Pictures of other seeds, and the boxes of their full silhouettes."""
    for action in ("carry", "chase"):
        boxes: list[list[tuple[float, ...]]] = []
        for seed in range(12):
            rng = random.Random(seed)
            people = tuple(sample_identity(rng, split="validation") for _ in range(2))
            labels = render(Scenario(action, "plain", people, seed), size=64).labels
            boxes.append([subject.box for subject in labels.subjects])
        np.testing.assert_allclose(propose_layout(action, 2).boxes, np.mean(boxes, axis=0), atol=0.03)


def test_roles_differ_where_the_action_has_roles() -> None:
    carrier, carried = propose_layout("carry", 2).boxes
    assert carried[1] < carrier[1]
    assert carried[3] < carrier[3] - 0.2
    left, right = propose_layout("hug", 2).boxes
    assert left[0] < right[0] < left[2]  # they overlap


def test_a_predicate_names_its_action_and_what_is_unknown_stands_side_by_side() -> None:
    assert propose_layout("hugging", 2) == propose_layout("Hug".lower(), 2)
    assert propose_layout("Hugging ", 2).source == "hug: mean of 96 drawn pictures"
    unknown = propose_layout("high-fiving", 2)
    assert unknown.boxes == propose_layout("together", 2).boxes
    assert unknown.source == "together: mean of 96 drawn pictures; nothing is known of 'high-fiving' with 2 subjects"
    assert propose_layout("hug", 3).boxes == propose_layout("group", 3).boxes
    assert propose_layout("hugs", 2) == propose_layout("hug", 2)
    assert [is_known(name, n) for name, n in (("hugging", 2), ("hug", 3), ("sky", 1), (None, 1))] == [True] + [
        False
    ] * 3
    assert propose_layout(None, 1).source == "stand: mean of 96 drawn pictures; no action"


def test_boxes_keep_their_shape_in_pictures_of_other_shapes() -> None:
    square = np.array(propose_layout("hug", 2).boxes)
    for aspect in (16 / 9, 0.5, 4.0, 0.25):
        boxes = np.array(propose_layout("hug", 2, aspect=aspect).boxes)
        assert (boxes >= 0).all()
        assert (boxes <= 1).all()
        for box, own in zip(boxes, square, strict=True):
            shape = (box[2] - box[0]) * aspect / (box[3] - box[1])
            assert shape == pytest.approx((own[2] - own[0]) / (own[3] - own[1]), rel=0.01)
    tall = propose_layout("hug", 2, aspect=0.5).boxes[0]
    assert tall[3] == pytest.approx(FLOOR + (square[0][3] - FLOOR) * 0.5, abs=1e-4)


def test_it_makes_a_layout_of_a_case() -> None:
    assert propose_layout("hug", 2).named(("cat", "dog")).phrases == ("cat", "dog")


@pytest.mark.parametrize(
    ("n", "aspect", "said"), [(0, 1.0, "n: expected 1 to 4"), (5, 1.0, "got 5"), (2, 9.0, "aspect: expected")]
)
def test_what_has_no_layout_is_told(n: int, aspect: float, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        propose_layout("hug", n, aspect=aspect)
