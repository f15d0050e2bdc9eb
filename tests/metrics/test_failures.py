"""The three categories of failure: who can fail so, and what is read; every number is by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from likeness.core.records import Case, Labels, Subject
from likeness.metrics import METRICS
from likeness.metrics.base import Measured, NotApplicableError, Value, not_measured
from likeness.metrics.contact import MIXED, NO_CONTACT
from likeness.metrics.failures import FAILURES, GROWN, LIMBLESS

BY_NAME = {failure.name: failure for failure in FAILURES}
UNSEEN = not_measured("the subject was not found in the picture", status="nothing_found")


def case(action: str, *, count: int = 2) -> Case:
    subjects = tuple(Subject(id=f"{i}", class_name="cat", reference_image=Path("x")) for i in range(count))
    return Case(id="a", prompt="a", subjects=subjects, labels=Labels(action=action))


def subject(*, picture: int, reference: float) -> Value:
    return Value(max(0.0, picture - reference), parts={"picture": picture, "reference": reference})


def test_every_failure_reads_a_metric_of_which_more_is_worse() -> None:
    assert list(BY_NAME) == ["limb_growth", "no_contact", "confusion"], "the paper's order"
    for failure in FAILURES:
        facts = METRICS[failure.metric].facts
        assert not facts.higher_is_better
        assert facts.range[0] < failure.limit <= facts.range[1]


@pytest.mark.parametrize(
    ("action", "kind"),
    [("hug", "hand and trunk"), ("kiss", "noses"), ("back_to_back", "trunks"), ("high_five", "hands")],
)
def test_a_value_is_held_against_the_limit_of_its_joints(action: str, kind: str) -> None:
    for name, limits in (("no_contact", NO_CONTACT), ("confusion", MIXED)):
        if kind not in limits:
            continue
        found = BY_NAME[name].reading(Measured(Value(1.5 * limits[kind])), case(action))
        assert found.value == pytest.approx(1.5)
        assert not BY_NAME[name].reading(Measured(UNSEEN), case(action)).measured


@pytest.mark.parametrize(
    ("action", "able"),
    [
        ("shake_hands", {"limb_growth", "no_contact"}),
        ("hold_hands", {"limb_growth"}),
        ("hug", {"limb_growth", "no_contact", "confusion"}),
        ("kiss", {"no_contact"}),
        ("back_to_back", {"no_contact", "confusion"}),
        ("chase", set()),
    ],
)
def test_which_relations_can_fail_so(action: str, able: set[str]) -> None:
    found: set[str] = set()
    for failure in FAILURES:
        try:
            failure.require(case(action))
        except NotApplicableError:
            continue
        found.add(failure.name)
    assert found == able


def test_three_subjects_have_no_pair_that_touches() -> None:
    with pytest.raises(NotApplicableError, match="not two subjects"):
        BY_NAME["no_contact"].require(case("hug", count=3))


@pytest.mark.parametrize(
    ("each", "expected"),
    [
        # a teapot without limbs has four in the picture; the cat, who had four, has five and does not count
        ((subject(picture=4, reference=0.0), subject(picture=4, reference=3.0)), 4.0),
        ((subject(picture=0, reference=0.0), subject(picture=4, reference=4.0)), 0.0),
        ((subject(picture=4, reference=LIMBLESS), subject(picture=2, reference=0.0)), 3.0),
    ],
)
def test_limbs_grow_on_subjects_without_them(each: Any, expected: float) -> None:
    found = BY_NAME["limb_growth"].reading(Measured(Value(9.0), each), case("hug"))
    assert found.value == expected
    assert (found.value >= BY_NAME["limb_growth"].limit) == (expected >= GROWN)


@pytest.mark.parametrize(
    ("each", "status"),
    [
        ((subject(picture=4, reference=4.0), subject(picture=4, reference=2.5)), "not_applicable"),
        ((subject(picture=0, reference=0.0), UNSEEN), "nothing_found"),
        (
            (subject(picture=4, reference=0.0), UNSEEN),
            "nothing_found",
        ),  # counted only if it fails, the share would rise
        ((subject(picture=4, reference=4.0), UNSEEN), "nothing_found"),
    ],
)
def test_nobody_without_limbs_and_somebody_unseen_are_told_apart(each: Any, status: str) -> None:
    found = BY_NAME["limb_growth"].reading(Measured(Value(9.0), each), case("hug"))
    assert not found.measured
    assert found.status == status
