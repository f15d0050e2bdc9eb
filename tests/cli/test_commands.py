"""Bad inputs, --json, and what the commands hand to the rooms behind them."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from likeness.cli import app
from likeness.cli.generate import _num_workers
from likeness.core.files import write_json, write_jsonl

runner = CliRunner()


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """The smallest run: one case, one picture."""
    run = tmp_path / "run"
    (run / "images").mkdir(parents=True)
    Image.new("RGB", (32, 32), "teal").save(run / "images" / "a-0.png")
    write_json(run / "run.json", {"settings": {}})
    write_jsonl(run / "cases.jsonl", [{"id": "a", "prompt": "a cat"}])
    write_jsonl(run / "manifest.jsonl", [{"id": "a-0", "case_id": "a", "image": "images/a-0.png", "seed": 0}])
    return run


@pytest.fixture
def generated(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Calls that reach generate_run, which draws nothing here."""
    from likeness.generate.run import RunSummary

    calls: list[dict[str, Any]] = []

    def fake(cases: Any, **settings: Any) -> RunSummary:
        calls.append({"cases": cases, **settings})
        settings["progress"](1, 1)
        return RunSummary(settings["out"], len(cases), len(cases), (), {})

    monkeypatch.setattr("likeness.generate.run.generate_run", fake)
    return calls


def test_report_prints_the_page_or_json(run_folder: Path) -> None:
    assert runner.invoke(app, ["report", str(run_folder)]).stdout.strip() == str(run_folder / "report.html")
    facts = json.loads(runner.invoke(app, ["report", str(run_folder), "--json"]).stdout)
    assert facts["bytes"] == (run_folder / "report.html").stat().st_size


def test_report_of_several_runs_needs_a_page_to_write(run_folder: Path) -> None:
    result = runner.invoke(app, ["report", str(run_folder), str(run_folder.parent / "another")])
    assert result.exit_code == 2
    assert "add --out PAGE.html" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "got none of them"),
        (["--prompt", "a cat", "--benchmark", "world-single"], "got --prompt and --benchmark"),
        (["--benchmark", "dreambench-single"], "add --data FOLDER"),
        (["--benchmark", "dreambench-single", "--data", "/nonexistent"], "dreambench_singleip.json"),
        (["--cases", "/nonexistent/cases.jsonl"], "/nonexistent/cases.jsonl"),
        (["--cases", "c.jsonl", "--ref", "a.png"], "got it beside --cases"),
        (["--prompt", "a cat", "--ref", "/nonexistent.png"], "got nothing at /nonexistent.png"),
        (["--benchmark", "world-soft"], "stellar-world, got world-soft"),
        (["--prompt", "   "], "expected at least one word"),
        (["--prompt", "a cat", "--model", "no such model"], "no such model"),
        (["--prompt", "a cat", "-n", "0"], "--num-images"),
        (["--prompt", "a cat", "--steps", "-1"], "--steps"),
        (["--prompt", "a cat", "--seed", "-1"], "--seed"),
        (["--prompt", "a cat", "--seed", str(2**63)], "--seed"),
        (["--prompt", "a cat", "--guidance", "inf"], "--guidance"),
        (["--prompt", "a cat", "--cfg-scale", "nan"], "--cfg-scale"),
        (["--prompt", "a cat", "--reference-cfg-scale", "inf"], "--reference-cfg-scale"),
        (["--prompt", "a cat", "--option", "width"], "expected NAME=VALUE, got 'width'"),
        (["--prompt", "a cat", "--steps", "3", "--option", "steps=4"], "expected each option once, got steps again"),
        (["--prompt", "a cat", "--option", "stepz=4"], "an option among size, width, steps,"),
        (["--prompt", "a cat", "--option", "stepz=4"], "did you mean steps"),
        (["--prompt", "a cat", "--option", "guidance=much"], "got 'much'"),
        (["--prompt", "a cat", "--option", "cfg_scale=inf"], "expected a finite number, got 'inf'"),
        (["--benchmark", "world-single", "--option", "steps=0"], "expected at least 1, got 0"),
        (["--benchmark", "world-single", "--model", "no such model"], "no such model"),
        (["--benchmark", "world-single", "--lora", "no such lora"], "no such lora"),
        (["--benchmark", "world-single", "--dtype", "int8"], "int8"),
        (["--prompt", "a cat", "--size", "big"], "--size"),
        (["--prompt", "a cat", "--device", "abacus"], "abacus"),
    ],
)
def test_generate_refuses_wrong_input_with_a_reason(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = runner.invoke(app, ["generate", "--out", str(tmp_path / "run"), *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert said in result.stderr
    assert not list(tmp_path.iterdir())


def test_generate_refuses_five_references(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    refs = ["--ref", str(tmp_path / "a.png")] * 5
    result = runner.invoke(app, ["generate", "--prompt", "a cat", *refs, "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert "at most 4" in result.stderr


def test_generate_turns_a_prompt_into_one_case(tmp_path: Path, generated: list[dict[str, Any]]) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "rex.png")
    arguments = [
        "--prompt",
        "a dog",
        "--ref",
        str(tmp_path / "rex.png"),
        "--seed",
        "7",
        "-n",
        "2",
        "--cfg-scale",
        "2.5",
        "--reference-cfg-scale",
        "3.5",
        "--option",
        "width=96",
    ]
    result = runner.invoke(app, ["generate", *arguments, "--out", str(tmp_path / "run"), "--json"])
    assert result.exit_code == 0, result.stderr
    (call,) = generated
    (case,) = call["cases"]
    assert (case.prompt, case.seed, case.subjects[0].class_name) == ("a dog", 7, "rex")
    assert call["num_images"] == 2
    assert call["options"] == {"cfg_scale": 2.5, "reference_cfg_scale": 3.5, "width": "96"}
    assert json.loads(result.stdout)["num_images"] == 1


def test_generate_keeps_own_seeds_unless_told(tmp_path: Path, generated: list[dict[str, Any]]) -> None:
    rows = [{"id": name, "prompt": "a cat", "seed": 5} for name in "abc"]
    write_jsonl(tmp_path / "cases.jsonl", rows)
    base = ["generate", "--cases", str(tmp_path / "cases.jsonl"), "--out", str(tmp_path / "run")]
    runner.invoke(app, [*base, "--limit", "2"])
    runner.invoke(app, [*base, "--seed", "1"])
    kept, replaced = ([case.seed for case in call["cases"]] for call in generated)
    assert kept == [5, 5]
    assert len(set(replaced)) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["/nonexistent"], "/nonexistent"),
        (["RUN", "--benchmark", "dreambench-single", "--cases", "/nonexistent.jsonl"], "/nonexistent.jsonl"),
        (["RUN", "--clip", "no such model"], "no such model"),
        (["RUN", "--device", "abacus"], "abacus"),
        (["RUN", "--workers", "0"], "--workers"),
        (["RUN", "--encoder", "nonsense"], "expected NAME=WEIGHTS with a name of clip, dino, probe"),
        (["RUN", "--encoder", "face=somewhere"], "got 'face=somewhere'"),
        (["RUN", "--encoder", "clip="], "got 'clip='"),
        (["RUN", "--encoder", "clip=no such model"], "no such model"),
        ([], "expected a folder of pictures, got none"),
    ],
)
def test_evaluate_refuses_wrong_input_with_a_reason(run_folder: Path, arguments: list[str], said: str) -> None:
    given = [str(run_folder) if word == "RUN" else word for word in arguments]
    result = runner.invoke(app, ["evaluate", *given], env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert said in result.stderr


def test_evaluate_lists_every_metric_and_encoder() -> None:
    from likeness.encoders import ENCODERS
    from likeness.metrics import METRICS

    shown = runner.invoke(app, ["evaluate", "--list"])
    assert shown.exit_code == 0
    first_words = [line.split()[0] for line in shown.stdout.splitlines() if line.startswith("  ")]
    assert first_words == [*METRICS, *ENCODERS]
    listed = json.loads(runner.invoke(app, ["evaluate", "--list", "--json"]).stdout)
    assert list(listed["metrics"]) == list(METRICS)
    assert listed["metrics"]["leakage"]["higher_is_better"] is False
    assert list(listed["encoders"]) == list(ENCODERS)
    assert listed["encoders"]["dino"]["photo"] == ENCODERS["dino"].photo


@pytest.mark.parametrize(
    "arguments",
    [["0", "--out", "x"], ["3"], ["3", "--out", "x", "--split", "exam"], ["3", "--out", "x", "--size", "1"]],
)
def test_world_sample_refuses_wrong_input(arguments: list[str]) -> None:
    assert runner.invoke(app, ["world", "sample", *arguments]).exit_code == 2


@pytest.mark.parametrize("cases", ["0", "-3", "many"])
def test_demo_refuses_a_wrong_number_of_cases(cases: str) -> None:
    assert runner.invoke(app, ["demo", "--cases", cases]).exit_code == 2


def test_many_pictures_of_an_embedded_model_are_drawn_by_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert [_num_workers(n, model="flux", device="cpu") for n in (1, 15, 16, 31, 1024)] == [1, 1, 2, 3, 4]
    assert _num_workers(1024, model="black-forest-labs/FLUX.1-dev", device="cpu") == 1
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert _num_workers(1024, model="flux", device="cpu") == 1
