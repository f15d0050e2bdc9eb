"""What stands beside a comparison, by hand: cases furthest apart, correlations, votes, leakage matrices."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from likeness.core.errors import DataError
from likeness.core.files import read_jsonl, write_jsonl
from likeness.core.stats.correlation import correlation
from likeness.evaluate.compare import Wanted, compare_methods

RunMaker = Callable[..., Path]
GAINS = [0.25, -0.25, 0.0, 0.5, -0.125]


@pytest.fixture
def runs(run_maker: RunMaker) -> dict[str, list[Path]]:
    """Of five cases: "tuned" differs from "plain" by GAINS in attributes; what leaks is what is not right."""
    values = {"plain": [0.25, 0.5, 0.375, 0.125, 0.5]}
    values["tuned"] = [value + gain for value, gain in zip(values["plain"], GAINS, strict=True)]
    return {
        name: [run_maker(name, [{"attribute_accuracy": value, "leakage": 1 - value} for value in some])]
        for name, some in values.items()
    }


def test_the_cases_furthest_apart_come_by_turns_above_and_below(runs: dict[str, list[Path]]) -> None:
    found = compare_methods(runs)["cases"]
    assert [(row["case"], row["difference"]) for row in found] == [
        ("c-3", 0.5), ("c-1", -0.25), ("c-0", 0.25), ("c-4", -0.125),
    ]  # fmt: skip
    assert {(row["method"], row["metric"]) for row in found} == {("tuned", "attribute_accuracy")}


def test_correlations_pool_the_pictures_of_all_methods(runs: dict[str, list[Path]]) -> None:
    found = compare_methods(runs)["correlations"]
    assert found["metrics"] == ["attribute_accuracy", "leakage"]
    for kind in ("pearson", "spearman", "kendall"):
        assert found[kind] == [[pytest.approx(1), pytest.approx(-1)], [pytest.approx(-1), pytest.approx(1)]]
    assert found["n"] == [[10, 10], [10, 10]]
    assert [found[f"pearson_ci_{end}"][0][1] for end in ("low", "high")] == pytest.approx([-1, -1])
    assert found["pearson_reason"] == [["", ""], ["", ""]]


def test_correlations_have_intervals_by_subject_and_prompt(runs: dict[str, list[Path]]) -> None:
    scores = runs["tuned"][0] / "evaluation" / "scores.jsonl"
    rows = read_jsonl(scores)
    for row, value in zip(rows, (0.5, 0.875, 0.125, 0.25, 0.375), strict=True):
        row["values"]["leakage"]["value"] = value
    write_jsonl(scores, rows)
    found = compare_methods(runs)["correlations"]
    read = [row for name in ("plain", "tuned") for row in read_jsonl(runs[name][0] / "evaluation" / "scores.jsonl")]
    columns = [[row["values"][key]["value"] for row in read] for key in found["metrics"]]
    groups, prompts = [frozenset(row["subjects"] or [row["group"]]) for row in read], [row["prompt"] for row in read]
    one = correlation(*columns, groups=groups, prompts=prompts)
    ends = [found[key][1][0] for key in ("pearson", "pearson_ci_low", "pearson_ci_high")]
    assert ends == pytest.approx([one.value, one.ci_low, one.ci_high])


def voted(folder: Path, choices: dict[str, str], *, options: tuple[str, ...] = ("plain", "tuned")) -> Path:
    """A votes file in which one rater chose."""
    rows = [
        {"query": query, "rater": "r", "options": list(options), "choice": choice} for query, choice in choices.items()
    ]
    write_jsonl(folder / "votes.jsonl", rows)
    return folder / "votes.jsonl"


def test_votes_for_the_higher_score_agree_and_what_cannot_be_scored_is_counted(
    runs: dict[str, list[Path]], tmp_path: Path
) -> None:
    """tau-b per query is 1, 1 and -1 for accuracy; where less is better it is the same; case 2 has equal scores."""
    path = voted(tmp_path, {"c-0": "tuned", "c-1": "plain", "c-3": "plain", "c-2": "tuned", "c-4": "equal"})
    accuracy, leakage = compare_methods(runs, wanted=Wanted(votes=path))["votes"]
    for row in (accuracy, leakage):
        assert row["tau_mean"] == pytest.approx(1 / 3)
        assert [row[name] for name in ("question", "queries", "kept", "equal", "not_scored")] == ["overall", 5, 5, 1, 1]
    assert (accuracy["metric"], leakage["metric"]) == ("attribute_accuracy", "leakage")


def test_votes_on_what_was_not_compared_are_refused(runs: dict[str, list[Path]], tmp_path: Path) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"choices": {"c-9": "tuned"}}, "the id of a case as query, got c-9"),
        ({"choices": {"c-0": "a"}, "options": ("a", "tuned")}, "options among plain, tuned, got a for c-0"),
    ]
    for changes, message in wrong:
        path = voted(tmp_path, changes.pop("choices"), **changes)
        with pytest.raises(DataError, match=message):
            compare_methods(runs, wanted=Wanted(votes=path))


def test_leakage_matrices_are_means_by_number_of_places(runs: dict[str, list[Path]]) -> None:
    scores = runs["tuned"][0] / "evaluation" / "scores.jsonl"
    rows = read_jsonl(scores)
    pictures = [[[0.0, 0.5], [0.25, 0.0]], [[0.0, 0.0], [0.75, 0.5]], [[0.125]]]
    for row, matrix in zip(rows, pictures, strict=False):
        row["values"]["leakage_matrix"] = {"value": 0.5, "note": "", "parts": {"matrix": matrix}}
    write_jsonl(scores, rows)
    assert compare_methods(runs)["leakage"] == [
        {"method": "tuned", "places": 1, "n": 1, "matrix": [[0.125]]},
        {"method": "tuned", "places": 2, "n": 2, "matrix": [[0.0, 0.25], [0.5, 0.25]]},
    ]
