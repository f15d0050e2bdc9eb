"""Two evaluated runs compared: paired differences against arithmetic by hand, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from metric_facts import metric_facts

from likeness.core.errors import DataError
from likeness.core.files import read_json, write_json, write_jsonl
from likeness.evaluate.compare import ALL, compare_runs, why_not_compared

Values = dict[str, float | None]
RunMaker = Callable[..., Path]


@pytest.fixture
def run_maker(tmp_path: Path) -> RunMaker:
    """A run with one picture per case, measured as told: run_maker("name", [{metric: value}, ...], groups="aabc")."""

    def make(name: str, values: list[Values], *, groups: str = "", prompt: str = "a cat") -> Path:
        folder, ids = tmp_path / name, [f"c-{k}" for k in range(len(values))]
        write_jsonl(folder / "cases.jsonl", [{"id": case_id, "prompt": prompt} for case_id in ids])
        rows = [
            {
                **{"id": f"{case_id}-0", "case_id": case_id, "prompt": prompt, "subjects": []},
                "group": groups[k] if groups else case_id,
                "values": {key: {"value": value, "note": ""} for key, value in values[k].items()},
            }
            for k, case_id in enumerate(ids)
        ]
        write_jsonl(folder / "evaluation" / "scores.jsonl", rows)
        summary = {"benchmark": "world-multi", "inputs_sha256": f"hash of {name}", "metrics": metric_facts()}
        write_json(folder / "evaluation" / "summary.json", summary)
        return folder

    return make


def accuracies(*values: float | None) -> list[Values]:
    return [{"attribute_accuracy": value} for value in values]


def only(rows: list[dict[str, Any]], metric: str) -> dict[str, Any]:
    (found,) = [row for row in rows if row["metric"] == metric]
    return found


def test_the_difference_is_the_mean_of_paired_differences(run_maker: RunMaker, tmp_path: Path) -> None:
    eighths = [{"attribute_accuracy": 1 - k / 8, "leakage": 0.25, "clip_t": None} for k in range(8)]
    raised = [{**row} for row in eighths]
    raised[7]["attribute_accuracy"] = 1 - 7 / 8 + 0.25
    raised[1]["attribute_accuracy"] = 1 - 1 / 8 - 0.125
    before, after = run_maker("before", eighths), run_maker("after", raised)
    found = compare_runs([before], [after], out=tmp_path / "comparison.json")
    assert read_json(tmp_path / "comparison.json") == found
    assert found["runs"] == [{"benchmark": "world-multi", "before": "hash of before", "after": "hash of after"}]
    accuracy = only(found["rows"], "attribute_accuracy")
    assert accuracy["before"] == pytest.approx(sum(1 - k / 8 for k in range(8)) / 8)
    found_difference = accuracy["difference"]
    assert found_difference["mean"] == pytest.approx((0.25 - 0.125) / 8)
    assert accuracy["after"] - accuracy["before"] == pytest.approx(found_difference["mean"])
    assert [found_difference[key] for key in ("n", "n_subjects", "missing", "reason")] == [8, 8, 0, ""]
    assert found_difference["ci_low"] < 0 < found_difference["ci_high"]
    leakage = only(found["rows"], "leakage")
    assert (leakage["difference"]["mean"], leakage["higher_is_better"]) == (0, False)
    assert (accuracy["label"], accuracy["higher_is_better"]) == ("Attributes right", True)
    assert [row["metric"] for row in found["rows"]] == ["attribute_accuracy", "leakage"]  # clip_t on neither side


def test_subjects_weigh_the_same_and_samples_of_one_side_are_left_out(run_maker: RunMaker, tmp_path: Path) -> None:
    before = run_maker("before", accuracies(0.0, 0.0, 0.0, 0.5), groups="aabb")
    after = run_maker("after", accuracies(0.1, 0.3, 0.6, None), groups="aabb")
    (row,) = compare_runs([before], [after], out=tmp_path / "comparison.json")["rows"]
    assert row["difference"]["mean"] == pytest.approx((0.2 + 0.6) / 2)
    assert (row["before"], row["after"]) == (0, pytest.approx(1 / 3))  # means over samples
    assert [row["difference"][key] for key in ("n", "n_subjects", "missing")] == [3, 2, 1]


def test_one_subject_has_a_reason_and_no_interval(run_maker: RunMaker, tmp_path: Path) -> None:
    runs = [run_maker("before", accuracies(0.25)), run_maker("after", accuracies(0.5))]
    (row,) = compare_runs(runs[:1], runs[1:], out=tmp_path / "comparison.json")["rows"]
    assert [row["difference"][key] for key in ("mean", "ci_low", "ci_high")] == [0.25, None, None]
    assert "an interval needs at least two" in row["difference"]["reason"]


def test_several_benchmarks_come_together_first(run_maker: RunMaker, tmp_path: Path) -> None:
    before, after = run_maker("before", accuracies(0.5, 0.5)), run_maker("after", accuracies(0.5, 1.0))
    rows = compare_runs([before, before], [after, after], out=tmp_path / "comparison.json")["rows"]
    assert [row["benchmark"] for row in rows] == [ALL, "world-multi", "world-multi"]
    assert [row["difference"]["n"] for row in rows] == [4, 2, 2]
    assert rows[0]["difference"]["n_subjects"] == 2  # the same subjects twice


def test_which_metrics_are_compared_and_in_which_order_the_summary_says(run_maker: RunMaker, tmp_path: Path) -> None:
    values: list[Values] = [{"attribute_accuracy": 0.5, "leakage": 0.5, "scene_recognised": 1.0}]
    runs = [run_maker("before", values), run_maker("after", values)]
    path = runs[0] / "evaluation" / "summary.json"
    summary = read_json(path)
    summary["metrics"]["scene_recognised"]["compared"] = -1
    summary["metrics"]["leakage"]["compared"] = None
    write_json(path, summary)
    rows = compare_runs(runs[:1], runs[1:], out=tmp_path / "comparison.json")["rows"]
    assert [row["metric"] for row in rows] == ["scene_recognised", "attribute_accuracy"]


def test_runs_of_other_cases_are_refused(run_maker: RunMaker, tmp_path: Path) -> None:
    before = run_maker("before", accuracies(0.5))
    others = [run_maker("more", accuracies(0.5, 0.5)), run_maker("other", accuracies(0.5), prompt="a dog")]
    for after in others:
        with pytest.raises(DataError, match="draw the same cases with both models"):
            compare_runs([before], [after], out=tmp_path / "comparison.json")
    assert not (tmp_path / "comparison.json").exists()


def test_cases_that_came_from_elsewhere_are_those_of_the_evaluation(run_maker: RunMaker, tmp_path: Path) -> None:
    before, after = run_maker("before", accuracies(0.5)), run_maker("after", accuracies(0.5))
    write_jsonl(after / "evaluation" / "cases.jsonl", [{"id": "c-0", "prompt": "a dog"}])
    with pytest.raises(DataError, match=r"expected the cases of .*before, got others"):
        compare_runs([before], [after], out=tmp_path / "comparison.json")


def test_a_run_that_was_not_evaluated_is_refused(run_maker: RunMaker, tmp_path: Path) -> None:
    before, after = run_maker("before", accuracies(0.5)), run_maker("after", accuracies(0.5))
    path = after / "evaluation" / "summary.json"
    write_json(path, {"benchmark": "world-multi", "rows": []})  # as it was written before it said how metrics are shown
    for _ in range(2):
        with pytest.raises(DataError, match=r"after/evaluation/summary\.json: expected the facts of its metrics"):
            compare_runs([before], [after], out=tmp_path / "comparison.json")
        path.unlink(missing_ok=True)


def test_runs_under_different_cards_are_not_compared(run_maker: RunMaker, tmp_path: Path) -> None:
    runs = [run_maker("before", accuracies(0.5, 0.5)), run_maker("after", accuracies(0.5, 1.0))]
    for run, name in zip(runs, ("toys/one@1", "toys/two@1"), strict=True):
        path = run / "evaluation" / "summary.json"
        cards = {name: {"sha256": "a" * 64, "rows": [{"column": "DINO", "encoders": {}}]}}
        write_json(path, read_json(path) | {"cards": cards})
    with pytest.raises(DataError, match=r"after: expected numbers under the cards of .*toys/one@1.*got toys/two@1"):
        compare_runs(runs[:1], runs[1:], out=tmp_path / "comparison.json")
    assert "different cards: toys/one@1" in why_not_compared(*runs)
    rows = compare_runs(runs[:1], runs[:1], out=tmp_path / "comparison.json")
    assert rows["runs"][0]["cards"] == ["toys/one@1"]
