"""`likeness verify` and `likeness export` on the command line: exit codes, table, JSON."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from likeness.cli import app
from likeness.core.errors import DataError
from likeness.evaluate.differences import Check
from likeness.evaluate.verify import Verified
from likeness.generate.redraw import Redrawing, Redrawn

runner = CliRunner()


def told(result: Any) -> str:
    return " ".join(result.output.split())


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Verified:
    """What verification finds, to be changed by a test; how it finds it is tested in its own room."""
    picture, dino = Check("picture", exact=3), Check("dino", exact=2, close=1, largest=1e-7)
    verified = Verified(Path("run"), ["a-0", "b-0"], 3, 0, 1e-5, [picture, dino], ["torch 1 when it was drawn, 2 here"])
    monkeypatch.setattr("likeness.evaluate.verify.verify_run", lambda run, **_: verified)
    return verified


def test_equal_ends_with_0_and_says_what_was_chosen(found: Verified) -> None:
    result = runner.invoke(app, ["verify", "run"])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("run: 2 of 3 pictures, seed 0\n")
    assert "note: torch 1 when it was drawn, 2 here" in result.stdout
    assert result.stdout.endswith("Nothing differs.\n")
    line = next(line for line in result.stdout.splitlines() if line.startswith("dino"))
    assert [cell.strip() for cell in line.split("|")] == ["dino", "3", "2", "1", "0", "0", "1.0e-07"]


def test_a_difference_ends_with_1_and_names_place_column_and_both_values(found: Verified) -> None:
    found.checks[1].compare("b-0", {"value": 0.5}, {"value": 0.25})
    result = runner.invoke(app, ["verify", "run"])
    assert result.exit_code == 1
    assert "differs: b-0, dino.value: recorded 0.5, found 0.25" in result.stdout
    result = runner.invoke(app, ["verify", "run", "--json"])
    assert result.exit_code == 1
    facts = json.loads(result.stdout)
    assert facts["equal"] is False
    assert facts["faults"] == [{"where": "b-0", "column": "dino.value", "recorded": 0.5, "found": 0.25}]
    assert facts["checks"][1]["differ"] == 1


def test_what_could_not_be_checked_is_told(found: Verified) -> None:
    found.checks[1].skip("no weights", count=2)
    result = runner.invoke(app, ["verify", "run"])
    assert result.exit_code == 0
    assert "not checked, dino: no weights" in result.stdout
    assert "Nothing differs, but not all could be checked." in result.stdout
    assert json.loads(runner.invoke(app, ["verify", "run", "--json"]).stdout)["complete"] is False


@pytest.mark.parametrize(("elsewhere", "code", "word"), [((), 1, "differs"), (("processor a, b here",), 0, "note")])
def test_pictures_drawn_again_must_be_equal_on_the_same_machine(
    found: Verified, monkeypatch: pytest.MonkeyPatch, elsewhere: tuple[str, ...], code: int, word: str
) -> None:
    drawn = Redrawing(
        (Redrawn("a-0", True, 0), Redrawn("b-0", False, 3, "7 px differ, by at most 3 of 255")), elsewhere
    )
    monkeypatch.setattr("likeness.generate.redraw.redraw", lambda run, **_: drawn)
    result = runner.invoke(app, ["verify", "run", "--redraw", "2"])
    assert result.exit_code == code
    assert f"{word}: b-0: 7 px differ, by at most 3 of 255" in result.stdout
    assert "3 of 255" in next(line for line in result.stdout.splitlines() if line.startswith("drawn again"))
    facts = json.loads(runner.invoke(app, ["verify", "run", "--redraw", "2", "--json"]).stdout)
    assert facts["redrawn"]["pictures"][1]["largest"] == 3
    assert facts["equal"] is (code == 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["verify", "nowhere"], "expected the facts of its metrics, got none"),
        (["verify", ".", "--sample", "0"], "where --sample what expected at least 1"),
        (["verify", ".", "--model", "flux"], "add --redraw N"),
        (["verify", ".", "--encoder", "dino"], "expected NAME=WEIGHTS"),
        (["export", ".", "--to", "csv", "--out", "a.csv"], "call `likeness evaluate`"),
        (["export", ".", "--to", "csv", "--out", "a.txt"], "ends in .csv"),
        (["export", ".", "--to", "hub", "--out", "a.yaml", "--option", "dataset"], "expected NAME=VALUE"),
        (["evaluate", ".", "--track", "wandb"], "where --track what expected trackio"),
    ],
)
def test_what_is_wrong_ends_with_2(words: list[str], said: str) -> None:
    result = runner.invoke(app, words)
    assert result.exit_code == 2, result.output
    assert said in told(result)


def test_an_error_while_measuring_is_wrong_input(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(run: Path, **_: Any) -> Verified:
        raise DataError("photo.png: expected a picture, got none; mend it.")

    monkeypatch.setattr("likeness.evaluate.verify.verify_run", fail)
    assert runner.invoke(app, ["verify", "run"]).exit_code == 2


def test_export_says_what_it_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from likeness.core.rows import LeftOut

    out = tmp_path / "a.yaml"

    def fake(run: Path, *, to: str, out: Path, options: dict[str, str]) -> tuple[LeftOut, ...]:
        assert (to, options) == ("hub", {"dataset": "o/d", "notes": "a=b"})
        out.write_text("- x")
        return (LeftOut(where="c@1, DINO", reason="no picture"),)

    monkeypatch.setattr("likeness.evaluate.exports.export_run", fake)
    words = ["export", "run", "--to", "hub", "--out", str(out), "--option", "dataset=o/d", "--option", "notes=a=b"]
    assert "left out, c@1, DINO: no picture" in runner.invoke(app, words).stdout
    facts = json.loads(runner.invoke(app, [*words, "--json"]).stdout)
    assert facts == {
        "out": str(out), "format": "hub", "bytes": 3, "left_out": [{"where": "c@1, DINO", "reason": "no picture"}]
    }  # fmt: skip


@pytest.mark.slow
def test_a_run_of_the_embedded_model_is_what_it_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawn, evaluated, measured again and drawn again, all through the command line."""
    from likeness.core.files import read_jsonl, write_jsonl

    monkeypatch.setenv("LIKENESS_FEATURES", str(tmp_path / "features"))
    run = tmp_path / "run"
    words = ["generate", "--benchmark", "world-multi", "--limit", "2", "--steps", "2", "--out", str(run)]
    for command in (words, ["evaluate", str(run)]):
        assert runner.invoke(app, command).exit_code == 0
    result = runner.invoke(app, ["verify", str(run), "--redraw", "1", "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["equal"]
    assert facts["complete"]
    assert facts["redrawn"]["pictures"][0]["same_bytes"]
    rows = read_jsonl(run / "evaluation" / "scores.jsonl")
    rows[1]["values"]["dino"]["value"] += 0.01
    write_jsonl(run / "evaluation" / "scores.jsonl", rows)
    result = runner.invoke(app, ["verify", str(run)])
    assert result.exit_code == 1
    assert f"differs: {rows[1]['id']}, dino.value: recorded" in result.stdout
