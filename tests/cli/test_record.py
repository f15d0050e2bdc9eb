"""What a run remembers of its commands: the benchmark, the flags, and the cases of pictures made elsewhere."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from likeness.benchmarks import BENCHMARKS
from likeness.cli import app
from likeness.cli.record import recorded_benchmark
from likeness.core.files import read_json, write_json, write_jsonl
from likeness.core.records import Case, read_cases
from likeness.generate.run import RunSummary, generate_run

runner = CliRunner()


@pytest.fixture
def no_encoders(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Evaluation without encoders, so that nothing is measured; the list holds the encoders asked for."""
    asked: list[dict[str, str]] = []

    def load(specs: dict[str, str], **_: Any) -> dict[str, Any]:
        asked.append(specs)
        return {}

    monkeypatch.setattr("likeness.evaluate.run.load_encoders", load)
    return asked


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Calls that reach generate_run, which draws nothing here."""
    calls: list[dict[str, Any]] = []

    def fake(cases: Any, **settings: Any) -> RunSummary:
        calls.append(settings)
        settings["out"].mkdir()
        return RunSummary(settings["out"], len(cases), len(cases), ())

    monkeypatch.setattr("likeness.generate.run.generate_run", fake)
    return calls


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with pictures only, made by another program, for the cases that lie beside it."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (16, 16), "orange").save(tmp_path / "photos" / "rex.png")
    for name in ("first", "second"):
        Image.new("RGB", (16, 16), "teal").save(tmp_path / "pictures" / f"{name}.jpg")
    rows = [{"id": name, "prompt": f"a dog, {name}", "references": ["photos/rex.png"]} for name in ("first", "second")]
    write_jsonl(tmp_path / "mine.jsonl", rows)
    return tmp_path


def test_run_json_names_the_benchmark(tmp_path: Path) -> None:
    for name in ("world-single", None):
        out = tmp_path / str(name)
        (tmp_path / "model").mkdir(exist_ok=True)
        (tmp_path / "model" / "model.txt").write_text("weights")
        generate_run(
            [Case(id="a", prompt="a cat")],
            out=out,
            model=str(tmp_path / "model"),
            device="cpu",
            dtype="float32",
            maker="fake_maker:load",
            benchmark=name,
        )
        assert recorded_benchmark(out) == name


def test_the_command_is_recorded_with_its_flags_and_seed(tmp_path: Path, drawn: list[dict[str, Any]]) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "rex.png")
    out = tmp_path / "run"
    words = ["--prompt", "a dog's day", "--ref", str(tmp_path / "rex.png"), "-n", "2", "--workers", "2"]
    result = runner.invoke(app, ["generate", *words, "--device", "cpu", "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    line = read_json(out / "commands.json")["generate"]
    given = "--prompt 'a dog'\"'\"'s day' --ref rex.png --seed 0 --num-images 2 --device cpu"
    assert line == f"likeness generate --out run {given}"
    assert drawn[0]["device"] == "cpu"


@pytest.mark.parametrize("name", [name for name in BENCHMARKS if name.startswith("world-")])
def test_every_world_benchmark_is_accepted_and_recorded(tmp_path: Path, drawn: list[Any], name: str) -> None:
    out = tmp_path / "run"
    result = runner.invoke(app, ["generate", "--benchmark", name, "--limit", "1", "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    assert drawn[0]["benchmark"] == name
    assert read_json(out / "commands.json")["generate"] == f"likeness generate --out run --benchmark {name} --limit 1"


def test_evaluate_finds_the_benchmark_in_the_run(elsewhere: Path, no_encoders: list[dict[str, str]]) -> None:
    run = elsewhere / "pictures"
    write_jsonl(run / "cases.jsonl", [{"id": "first", "prompt": "x"}, {"id": "second", "prompt": "y"}])
    write_json(run / "run.json", {"benchmark": "world-multi"})
    result = runner.invoke(app, ["evaluate", str(run), "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["benchmark"] == "world-multi"
    assert "probe" in no_encoders[0]
    result = runner.invoke(app, ["evaluate", str(run), "--benchmark", "world-hard", "--json"])
    assert json.loads(result.stdout)["benchmark"] == "world-hard"


def test_pictures_made_elsewhere_can_be_evaluated_and_reported(elsewhere: Path, no_encoders: list[Any]) -> None:
    run = elsewhere / "pictures"
    result = runner.invoke(app, ["evaluate", str(run), "--cases", str(elsewhere / "mine.jsonl"), "--json"])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["benchmark"] == "mine"
    moved = elsewhere.rename(elsewhere.with_name("moved"))
    kept = read_cases(moved / "pictures" / "evaluation" / "cases.jsonl")
    assert [case.id for case in kept.cases] == ["first", "second"]
    assert kept.cases[0].subjects[0].reference_image.is_file()
    result = runner.invoke(app, ["report", str(moved / "pictures")])
    assert result.exit_code == 0, result.stderr
    html = (moved / "pictures" / "report.html").read_text(encoding="utf-8")
    assert html.count('alt="generated: a dog, ') >= 2
    assert html.count('alt="reference: subject"') >= 2
    assert "likeness evaluate pictures --cases mine.jsonl" in html


def test_own_cases_replace_those_from_elsewhere(elsewhere: Path, no_encoders: list[Any]) -> None:
    run = elsewhere / "pictures"
    runner.invoke(app, ["evaluate", str(run), "--cases", str(elsewhere / "mine.jsonl")])
    write_jsonl(run / "cases.jsonl", [{"id": "first", "prompt": "x"}, {"id": "second", "prompt": "y"}])
    result = runner.invoke(app, ["evaluate", str(run)])
    assert result.exit_code == 0, result.stderr
    assert not (run / "evaluation" / "cases.jsonl").exists()
