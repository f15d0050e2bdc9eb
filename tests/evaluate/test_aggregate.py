"""The table: means by group, gaps counted with reasons, columns and order."""

import pytest

from likeness.evaluate.aggregate import group_of, summary_rows, tallies


def row(value: float | None, group: str, note: str = "", key: str = "dino") -> dict[str, object]:
    return {**names(group), "values": {key: {"value": value, "note": note}}, "per_subject": []}


def names(group: str) -> dict[str, object]:
    return {"group": group, "subjects": [group], "prompt": "a cat"}


def test_groups_weigh_the_same_however_many_samples_they_have() -> None:
    rows = {"generated": [row(1.0, "a"), row(0.0, "b"), row(0.5, "b"), row(0.25, "b")], "floor": [], "ceiling": []}
    generated, floor, ceiling = summary_rows(rows, num_missing=0)
    assert generated["mean"] == pytest.approx((1 + 0.25) / 2)
    assert (generated["n"], generated["n_subjects"], generated["missing"]) == (4, 2, 0)
    assert generated["ci_low"] <= generated["mean"] <= generated["ci_high"]
    assert (floor["row"], floor["mean"], floor["ci_low"], floor["n"]) == ("floor", None, None, 0)
    assert floor["reason"]
    assert ceiling["row"] == "ceiling"


def test_gaps_are_counted_with_their_reasons_and_never_become_numbers() -> None:
    rows = {
        "generated": [row(1.0, "a"), row(None, "b", "no photo"), row(None, "c", "no photo")],
        "floor": [],
        "ceiling": [],
    }
    generated = summary_rows(rows, num_missing=2)[0]
    assert generated["mean"] == 1
    assert (generated["n"], generated["missing"]) == (1, 4)
    assert generated["reason"] == "2 x no photo; 2 x picture missing"


def test_keys_become_metric_and_column_in_the_tables_order() -> None:
    keys = ("leakage", "dino_conditioning_photo", "clip_t", "dino")
    values = {key: {"value": 0.5, "note": ""} for key in keys}
    rows = {"generated": [{**names("a"), "values": values, "per_subject": []}], "floor": [], "ceiling": []}
    rows = {kind: rows["generated"] for kind in rows}
    table = summary_rows(rows, num_missing=0)
    named = [(r["metric"], r["column"]) for r in table if r["row"] == "generated"]
    assert named == [("clip_t", ""), ("dino", "all_photos"), ("dino", "conditioning_photo"), ("leakage", "")]
    assert [r["higher_is_better"] for r in table if r["row"] == "floor"] == [True, True, True, False]


def test_a_group_is_the_combination_of_subjects_in_any_order() -> None:
    assert group_of(["dog", "cat"], case_id="x") == group_of(["cat", "dog"], case_id="y") == "cat+dog"
    assert group_of([], case_id="x") == "x"


def test_attributes_are_counted_over_subjects() -> None:
    parts: list[dict[str, dict[str, bool]]] = [
        {"parts": {"color": True, "hat": False}},
        {"parts": {"color": False}},
        {},
    ]
    subjects = [{"values": {"attribute_accuracy": part}} for part in parts]
    found = tallies([{"values": {"attribute_accuracy": {}}, "per_subject": subjects}])
    assert found == {"attributes": {"color": {"share_right": 0.5, "n": 2}, "hat": {"share_right": 0.0, "n": 1}}}
    assert tallies([{"values": {}, "per_subject": []}]) == {}
