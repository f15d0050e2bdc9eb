"""Failures of a run, counted: from rows written by hand to shares, reasons and the worst pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from likeness.core.records import Case, Labels, Subject
from likeness.evaluate.failures import NUM_WORST, failures_of
from likeness.metrics.base import Value, not_measured
from likeness.metrics.contact import MIXED, NO_CONTACT

METRICS = ("contact_distance", "contact_leakage", "limb_growth")


def case(name: str, action: str = "hug", *, count: int = 2) -> Case:
    subjects = tuple(Subject(id=f"{i}", class_name="cat", reference_image=Path("x")) for i in range(count))
    return Case(id=name, prompt="a", subjects=subjects, labels=Labels(action=action))


def row(name: str, k: int = 0, **values: Value) -> dict[str, Any]:
    """A picture with the values of its metrics; limbs are of each subject: (picture, photos)."""
    each = [{"subject": f"{i}", "values": {}} for i in range(2)]
    return {
        "id": f"{name}-{k}",
        "case_id": name,
        "values": {key: value.to_json() for key, value in values.items()},
        "per_subject": each,
    }


def by_name(found: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in found["failures"]}


def test_shares_have_wilsons_interval_and_the_worst_come_first() -> None:
    limit = NO_CONTACT["hand and trunk"]
    distances = [0.0, limit - 1e-6, limit, 0.9, 2.0, 0.8, 1.0, 0.0, 0.7, 0.1]
    rows = [row("a", k, contact_distance=Value(gap)) for k, gap in enumerate(distances)]
    found = by_name(failures_of(rows, cases=[case("a")]))["no_contact"]
    assert (found["n"], found["failed"], found["share"]) == (10, 6, 0.6)
    # Wilson (1927), 6 of 10
    assert (found["ci_low"], found["ci_high"]) == (pytest.approx(0.3127, abs=1e-4), pytest.approx(0.8318, abs=1e-4))
    assert found["worst"][0]["value"] == pytest.approx(2.0 / limit)
    assert [one["id"] for one in found["worst"]] == ["a-4", "a-6", "a-3", "a-5"]
    assert len(found["worst"]) == NUM_WORST
    assert (found["limit"], found["unit"]) == (1.0, "x limit")


def test_what_was_not_measured_is_told_and_never_counts() -> None:
    gone = not_measured("a subject was not found", status="nothing_found")
    rows = [
        row("a", contact_distance=gone, contact_leakage=Value(MIXED["hand and trunk"])),
        row("b", contact_distance=Value(0.0), contact_leakage=gone),
        row("c"),
        row("d", contact_distance=Value(5.0)),
    ]
    cases = [case("a"), case("b"), case("c"), case("d", "chase"), case("e")]
    found = by_name(failures_of(rows, cases=cases))
    contact = found["no_contact"]
    assert (contact["n"], contact["failed"], contact["share"]) == (1, 0, 0.0)
    assert contact["not_measured"] == {
        "a subject was not found": 1,
        "not asked for; likeness evaluate RUN --metric contact_distance": 1,
        "no picture of the case": 1,
    }
    assert contact["not_applicable"] == {"the relation names no joints that touch": 1}
    assert found["confusion"]["worst"] == [{"id": "a-0", "case_id": "a", "value": 1.0}]
    assert found["limb_growth"]["n"] == 0
    assert [found["limb_growth"][key] for key in ("share", "ci_low", "ci_high")] == [None] * 3


def test_limbs_are_read_of_every_subject() -> None:
    one = row("a", limb_growth=Value(1.0))
    for subject, (here, usual) in zip(one["per_subject"], [(3, 0.0), (4, 4.0)], strict=True):
        value = Value(max(0.0, here - usual), parts={"picture": here, "reference": usual})
        subject["values"]["limb_growth"] = value.to_json()
    found = by_name(failures_of([one], cases=[case("a")]))["limb_growth"]
    assert (found["n"], found["failed"]) == (1, 1)
    assert found["worst"][0]["value"] == 3.0


@pytest.mark.parametrize("cases", [[case("a", "bike", count=1)], [case("a", "together")], []])
def test_a_run_without_a_relation_between_subjects_has_none(cases: list[Case]) -> None:
    assert failures_of([row("a", contact_distance=Value(1.0))], cases=cases) == {}
