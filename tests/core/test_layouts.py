"""Whose box is whose, and boxes proposed where nobody gave any."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from likeness.core.layouts import box_numbers, layout_of, proposed_boxes
from likeness.core.records import Case

LEFT, RIGHT = (0.0, 0.2, 0.5, 0.8), (0.5, 0.2, 1.0, 0.8)


def case(*names: str, layout: dict[str, Any] | None = None) -> Case:
    subjects = [
        {"id": f"s{i}", "class_name": name, "reference_image": Path(f"{i}.png")} for i, name in enumerate(names)
    ]
    return Case.model_validate({"id": "a", "prompt": "a prompt", "subjects": subjects, "layout": layout})


def test_boxes_follow_the_subjects_by_id_or_by_name() -> None:
    told = {"boxes": [LEFT, RIGHT], "phrases": ["a red dog", "Cat"]}
    both = case("cat", "dog", layout=told)
    assert box_numbers(both) == [1, 0]
    placed = layout_of(both)
    assert placed is not None
    assert (placed.boxes, placed.phrases) == ((RIGHT, LEFT), ("Cat", "a red dog"))
    by_id = layout_of(case("cat", "cat", layout={"boxes": [LEFT, RIGHT], "phrases": ["s1", "s0"]}))
    assert by_id is not None
    assert (by_id.boxes, by_id.phrases) == ((RIGHT, LEFT), ("cat", "cat"))  # an id is no word


def test_a_case_without_a_box_for_each_gets_proposed_ones() -> None:
    for layout in (None, {"boxes": [LEFT], "phrases": ["cat"]}):
        unplaced = case("cat", "dog", layout=layout)
        assert box_numbers(unplaced) is None
        found = layout_of(unplaced)
        assert found is not None
        assert (found.boxes, found.phrases) == (proposed_boxes(2), ("cat", "dog"))
    assert layout_of(case()) is None
    nameless = layout_of(case(" "))
    assert nameless is not None
    assert nameless.phrases == ("subject",)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_proposed_boxes_stand_side_by_side_and_overlap(count: int) -> None:
    boxes = proposed_boxes(count)
    assert len(boxes) == count
    assert (boxes[0][0], boxes[-1][2]) == (0.05, pytest.approx(0.95))
    assert {(top, bottom) for _, top, _, bottom in boxes} == {(0.2, 0.9)}
    for one, two in pairwise(boxes):
        assert one[2] - two[0] == pytest.approx(0.1)
    if count == 2:
        assert boxes == (pytest.approx((0.05, 0.2, 0.55, 0.9)), pytest.approx((0.45, 0.2, 0.95, 0.9)))
