"""Agreement with votes: the taus of the paper's designs by hand, filters, bad rows."""

import json
import math
from pathlib import Path

import pytest

from likeness.core.errors import DataError
from likeness.core.stats.agreement import EQUAL, Vote, agreement, majority, read_votes

FOUR = ("a", "b", "c", "d")


def vote(query: str, choice: str, rater: str = "r", options: tuple[str, ...] = FOUR) -> Vote:
    return Vote(query=query, rater=rater, options=options, choice=choice)


@pytest.mark.parametrize(("choice", "tau"), [("a", 0.7071), ("b", 0.2357), ("c", -0.2357), ("d", -0.7071)])
def test_one_of_four_has_the_taus_of_the_note(choice: str, tau: float) -> None:
    scores = {("q", option): -float(rank) for rank, option in enumerate(FOUR)}
    found = agreement([vote("q", choice)], scores)
    assert found.tau.mean == pytest.approx(tau, abs=1e-4)
    turned = agreement([vote("q", choice)], {key: -value for key, value in scores.items()}, higher_is_better=False)
    assert turned.tau.mean == pytest.approx(tau, abs=1e-4)


def test_the_majority_needs_more_than_half() -> None:
    assert majority(["a", "a", "b"]) == "a"
    assert majority(["a", "b"]) is None
    assert majority(["a", "a"]) == "a"
    assert majority(["a", "b", "c"]) is None
    assert majority([]) is None


def test_what_is_left_out_is_counted() -> None:
    two = ("x", "y")
    votes = [
        *(vote("agreed", "x", rater, two) for rater in "12"),
        *(vote("split", choice, choice, two) for choice in two),
        *(vote("tied", EQUAL, rater, two) for rater in "12"),
        *(vote("unscored", "x", rater, two) for rater in "12"),
        *(vote("same", "x", rater, two) for rater in "12"),
        *(vote("wrong", "x", rater, two) for rater in "12"),
    ]
    scores = {("agreed", "x"): 1.0, ("agreed", "y"): 0.0, ("same", "x"): 1.0, ("same", "y"): 1.0}
    scores |= {("wrong", "x"): 0.0, ("wrong", "y"): 0.5}
    found = agreement(votes, scores)
    assert (found.queries, found.kept, found.equal, found.not_scored) == (6, 5, 1, 2)
    assert (found.tau.mean, found.tau.n) == (0, 2)  # +1 and -1
    assert math.isnan(agreement([], {}).tau.mean)


def rows(*changes: dict[str, object]) -> str:
    plain = {"query": "q", "rater": "r", "options": ["x", "y"], "choice": "x"}
    return "".join(json.dumps(plain | change) + "\n" for change in changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (rows({"choice": "z"}), ":1: vote: expected one of x, y or equal, got z"),
        (rows({"options": ["x"]}), "two or more different options"),
        (rows({"options": ["x", "x"]}), "two or more different options"),
        (rows({}, {"rater": "s", "options": ["x", "z"]}), ":2: vote: expected the options that query q"),
        (rows({}, {"choice": "y"}), ":2: vote: expected one per rater"),
        (rows({"rater": 3}), "rater"),
        ("[1]\n", "JSON object, got list"),
        ("{\n", "one JSON object"),
    ],
)
def test_bad_votes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_votes(path)


def test_votes_are_read(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text(rows({}, {"rater": "s", "choice": EQUAL}, {"question": "objects"}))
    assert [each.choice for each in read_votes(path)] == ["x", EQUAL, "x"]
