"""Two evaluated runs compared: paired differences against arithmetic by hand, and what is refused."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_json, write_json, write_jsonl
from likeness.core.stats.paired import difference
from likeness.evaluate.compare import ALL, Wanted, compare_methods, compare_runs, why_not_compared

Values = dict[str, float | None]
RunMaker = Callable[..., Path]


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


# -- several methods -------------------------------------------------------------------------------------------
PLAIN = [k / 16 for k in range(8)]
ODD = [value + (0.125 if k % 2 else -0.125) for k, value in enumerate(PLAIN)]
NEAR = [value + 0.25 for value in ODD]


@pytest.fixture
def methods(run_maker: RunMaker) -> dict[str, list[Path]]:
    """Of eight subjects: "tuned" is 0.25 above "plain" everywhere, "odd" 0.125 above or below by turns, "near" is
    as much around "tuned"."""
    values = {"plain": PLAIN, "tuned": [value + 0.25 for value in PLAIN], "odd": ODD, "near": NEAR}
    return {name: [run_maker(name, accuracies(*some))] for name, some in values.items()}


def test_every_method_against_the_base_by_hand(methods: dict[str, list[Path]]) -> None:
    found = compare_methods(methods)
    assert (found["base"], found["benchmark"], found["num_cases"]) == ("plain", "world-multi", 8)
    assert [method["name"] for method in found["methods"]] == list(methods)
    (metric,) = found["metrics"]
    rows = {row["method"]: row for row in metric["differences"]}
    assert list(rows) == ["tuned", "odd", "near"]
    tuned, odd = rows["tuned"], rows["odd"]
    assert [tuned[name] for name in ("mean", "ci_low", "ci_high", "n", "missing")] == [0.25, 0.25, 0.25, 8, 0]
    assert tuned["p"] == 2 / 2**8  # of all exchanges, the one made and its opposite are as far from 0
    assert (tuned["effect"], tuned["detectable"], tuned["subjects_needed"]) == (None, 0, 2)
    assert (odd["mean"], odd["p"]) == (0, 1)
    apart = [value - old for value, old in zip(ODD, PLAIN, strict=True)]
    assert odd["detectable"] == pytest.approx(difference(apart, range(8)).detectable)
    assert odd["subjects_needed"] is None
    near = sorted([(tuned["p"], "tuned"), (rows["near"]["p"], "near")])
    assert {name: rows[name]["p_holm"] for _, name in near} == {near[0][1]: 3 * near[0][0], near[1][1]: 3 * near[0][0]}


def test_the_best_and_what_cannot_be_told_from_it(methods: dict[str, list[Path]]) -> None:
    means = {row["method"]: row for row in compare_methods(methods)["metrics"][0]["means"]}
    assert [name for name, row in means.items() if row["is_best"]] == ["tuned"]
    assert {name: row["tied_with_best"] for name, row in means.items()} == {
        "plain": False, "tuned": True, "odd": False, "near": True,
    }  # fmt: skip
    assert means["plain"]["mean"] == pytest.approx(sum(PLAIN) / 8)
    assert means["plain"]["ci_low"] < means["plain"]["mean"] < means["plain"]["ci_high"]


def test_less_is_best_where_lower_is_better(run_maker: RunMaker) -> None:
    runs = {
        name: [run_maker(name, [{"leakage": value}, {"leakage": value}])] for name, value in (("a", 0.5), ("b", 0.25))
    }
    (metric,) = compare_methods(runs)["metrics"]
    assert [row["is_best"] for row in metric["means"]] == [False, True]


@pytest.mark.parametrize(("margin", "ties"), [(0.2, False), (0.3, True)])
def test_a_tie_is_an_interval_inside_the_margin(methods: dict[str, list[Path]], margin: float, ties: bool) -> None:
    wanted = Wanted("tuned", margins={"attribute_accuracy": margin})
    (metric,) = compare_methods(methods, wanted=wanted)["metrics"]
    plain = metric["differences"][0]
    assert (plain["method"], plain["mean"], plain["margin"], plain["ties"]) == ("plain", -0.25, margin, ties)


def test_two_runs_and_several_methods_get_the_same_difference(methods: dict[str, list[Path]], tmp_path: Path) -> None:
    (row,) = compare_runs(methods["plain"], methods["near"], out=tmp_path / "comparison.json")["rows"]
    near = compare_methods(methods)["metrics"][0]["differences"][-1]
    assert {name: near[name] for name in row["difference"]} == row["difference"]


def test_other_readings_of_a_metric_are_shown_when_asked_for(run_maker: RunMaker) -> None:
    values: list[Values] = [{"dino_conditioning_photo": k / 4, "dino": k / 8, "leakage": 0.0} for k in range(3)]
    runs = {name: [run_maker(name, values)] for name in ("a", "b")}
    assert [row["metric"] for row in compare_methods(runs)["metrics"]] == ["leakage", "dino"]
    asked = compare_methods(runs, wanted=Wanted(metrics=("dino_conditioning_photo",)))
    assert [row["metric"] for row in asked["metrics"]] == ["dino_conditioning_photo"]
    with pytest.raises(ConfigError, match="expected metrics among dino"):
        compare_methods(runs, wanted=Wanted(metrics=("clip_t",)))


def test_bounds_come_from_the_summary_and_missing_pictures_are_counted(run_maker: RunMaker) -> None:
    runs = {name: [run_maker(name, accuracies(0.25, None, 0.5))] for name in ("a", "b")}
    path = runs["b"][0] / "evaluation" / "summary.json"
    bound = {"metric": "attribute_accuracy", "column": ""}
    rows = [{**bound, "row": "floor", "mean": 0.125}, {**bound, "row": "ceiling", "mean": 0.75}]
    write_json(path, {**read_json(path), "rows": rows, "missing_images": ["c-9-0"]})
    (metric,) = compare_methods(runs)["metrics"]
    assert (metric["floor"], metric["ceiling"]) == (0.125, 0.75)
    assert [row["missing"] for row in metric["means"]] == [1, 2]


def test_what_cannot_be_compared_is_refused_by_name(methods: dict[str, list[Path]], run_maker: RunMaker) -> None:
    with pytest.raises(ConfigError, match="two runs or more, got 1"):
        compare_methods({"plain": methods["plain"]})
    with pytest.raises(ConfigError, match=r"--base: expected one of plain, tuned, odd, near, got else"):
        compare_methods(methods, wanted=Wanted("else"))
    with pytest.raises(DataError, match=r"fewer: expected the cases of .*plain, got others"):
        compare_methods({**methods, "fewer": [run_maker("fewer", accuracies(0.5))]})
    path = methods["odd"][0] / "evaluation" / "summary.json"
    write_json(path, {**read_json(path), "benchmark": "world-single"})
    with pytest.raises(ConfigError, match=r"odd: expected a run of world-multi, got one of world-single"):
        compare_methods(methods)


def test_runs_measured_by_other_encoders_are_not_compared(methods: dict[str, list[Path]], tmp_path: Path) -> None:
    for name, weights in (("plain", "ab"), ("tuned", "cd")):
        path = methods[name][0] / "evaluation" / "summary.json"
        write_json(path, {**read_json(path), "encoders": {"clip": weights}})
    with pytest.raises(DataError, match=r"tuned: expected the encoder clip with the weights of .*plain, got others"):
        compare_methods(methods)
    with pytest.raises(DataError, match="evaluate both runs with the same"):
        compare_runs(methods["plain"], methods["tuned"], out=tmp_path / "comparison.json")
    assert "different weights of clip" in why_not_compared(methods["plain"][0], methods["tuned"][0])


# -- trainings of one method -----------------------------------------------------------------------------------
def test_a_mean_over_trainings_and_subjects_by_hand(run_maker: RunMaker) -> None:
    """Subjects weigh the same; what was not measured is left out, not zero."""
    first = run_maker("first", accuracies(1.0, 0.0, 1.0, None), groups="ccdf")
    second = run_maker("second", accuracies(1.0, 1.0, 0.0, None), groups="ccdf")
    found = compare_methods({"both": [first, second], "one": [first]})["metrics"][0]["means"][0]
    assert (found["mean"], found["n"], found["missing"]) == (pytest.approx((0.75 + 0.5) / 2), 6, 2)


def test_a_method_of_one_training_meets_every_training_of_another(
    methods: dict[str, list[Path]], run_maker: RunMaker
) -> None:
    """0.25 above in one training and 0.5 in the other: by training the standard error is 0.125 with 1 degree."""
    higher = run_maker("higher", accuracies(*(value + 0.5 for value in PLAIN)))
    found = compare_methods({"plain": methods["plain"], "tuned": [*methods["tuned"], higher]})
    (row,) = found["metrics"][0]["differences"]
    assert (row["mean"], row["n"], row["n_subjects"]) == (0.375, 16, 8)
    half = 0.125 * math.tan(0.475 * math.pi)
    assert (row["ci_low"], row["ci_high"]) == pytest.approx((0.375 - half, 0.375 + half))


def test_trainings_that_cannot_be_paired_are_refused(methods: dict[str, list[Path]]) -> None:
    two, three = [*methods["plain"], *methods["odd"]], [*methods["tuned"], *methods["near"], *methods["odd"]]
    with pytest.raises(DataError, match="expected 3 trainings, as another method has, or one, got 2"):
        compare_methods({"two": two, "three": three})


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
