"""`likeness data dip`: what it hands to the recipe, what it says, and how it ends."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from likeness.cli import app
from likeness.core.pairs import read_pairs
from likeness.data.judging.gate import Thresholds
from likeness.data.pairs.dip import DipSummary

runner = CliRunner()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Calls that reach make_pairs, which draws nothing here."""
    calls: list[dict[str, Any]] = []

    def fake(n: int, **settings: Any) -> DipSummary:
        calls.append({"n": n, **settings})
        settings["progress"](n, n)
        return DipSummary(settings["out"], n, 2 * n, {"preferred": n})

    monkeypatch.setattr("likeness.data.pairs.dip.make_pairs", fake)
    return calls


def test_the_defaults_are_the_papers(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    result = runner.invoke(app, ["data", "dip", "-n", "3", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    (call,) = asked
    assert call["thresholds"] == Thresholds(9, 6)
    assert (call["split"], call["subset"], call["losers"], call["hard"]) == ("train", "both", "drawn", False)
    assert call["judge"].probe == "probe"
    assert call["regenerate"] is None
    assert "3 pairs" in result.stdout
    assert "50% of 6 attempts" in result.stdout


def test_flags_reach_the_recipe(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    flags = {
        "--source": "world", "--split": "test", "--subset": "multi", "--losers": "mixed", "--seed": "4",
        "--workers": "2", "--size": "64", "--preferred-min": "8", "--rejected-max": "5", "--model": "somewhere",
        "--probe": "mine", "--device": "cpu",
    }  # fmt: skip
    given = [word for flag in flags.items() for word in flag]
    result = runner.invoke(app, ["data", "dip", "-n", "3", "--out", str(tmp_path), "--hard", "--json", *given])
    assert result.exit_code == 0, result.output
    (call,) = asked
    assert (call["split"], call["subset"], call["losers"], call["hard"]) == ("test", "multi", "mixed", True)
    assert (call["seed"], call["workers"], call["size"]) == (4, 2, 64)
    assert call["thresholds"] == Thresholds(8, 5)
    assert (call["regenerate"].model, call["regenerate"].device, call["judge"].probe) == ("somewhere", "cpu", "mine")
    facts = json.loads(result.stdout)
    assert (facts["num_pairs"], facts["num_attempts"], facts["source"]) == (3, 6, "world")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--source", "web"], "web"),
        (["--split", "all"], "all"),
        (["--losers", "bought"], "bought"),
        (["-n", "0"], "or equal"),
        (["--rejected-max", "9"], "expected 0 <= rejected_max < preferred_min <= 10"),
        (["--probe", "nowhere"], "got 'nowhere'"),
        (["--losers", "mixed", "--model", "nowhere"], "got 'nowhere'"),
    ],
)
def test_wrong_flags_end_with_2_and_leave_nothing(
    tmp_path: Path, unchecked: None, arguments: list[str], said: str
) -> None:
    out = tmp_path / "pairs"
    result = runner.invoke(app, ["data", "dip", "-n", "1", "--out", str(out), *arguments])
    assert result.exit_code == 2
    assert said in result.stderr
    assert not out.exists()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").write_bytes(b"x")
    result = runner.invoke(app, ["data", "dip", "-n", "1", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "holiday.jpg" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


@pytest.mark.slow
def test_the_embedded_probe_keeps_pairs(tmp_path: Path) -> None:
    out = tmp_path / "pairs"
    result = runner.invoke(app, ["data", "dip", "-n", "6", "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["num_pairs"] == 6
    for pair in read_pairs(out).pairs:
        assert all(sum(answer is True for answer in answers) >= 9 for answers in pair.qa.preferred.judge)
        for index in pair.disrupted:
            assert sum(answer is not False for answer in pair.qa.rejected.judge[index]) <= 6
