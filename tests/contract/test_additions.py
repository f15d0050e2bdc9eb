"""Toys of every kind are one new file and one table line each, and run through the command line to the report."""

import json
import os
import subprocess
import sys
from pathlib import Path

import preference_runs as runs
import pytest
from scripts import load_script

from likeness.core.errors import LikenessError

additions = load_script("tests/contract/additions.py")


@pytest.mark.parametrize("toy", additions.LIMITS)
def test_an_addition_touches_few_files(toy: str) -> None:
    found = additions.touched(toy)
    assert 1 <= len(found.files) <= additions.LIMITS[toy], found.files
    tables = [name for name in found.files if not (additions.TOYS / toy / name).is_file()]
    assert len(tables) == 1, "one table, or the backbone's own options"


def test_a_line_without_a_place_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(additions, "TOYS", tmp_path)
    (tmp_path / "lost").mkdir()
    line = '[[line]]\nfile = "metrics/__init__.py"\nafter = "no such line"\ninsert = "x"\n'
    (tmp_path / "lost" / "lines.toml").write_text(line)
    with pytest.raises(LookupError, match="0 times"):
        additions.touched("lost")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package with every toy."""
    folder = tmp_path_factory.mktemp("house")
    package = additions.copy_package(folder)
    for toy in additions.LIMITS:
        additions.add(toy, package)
    return folder


def likeness(house: Path, *words: str | Path, at: Path) -> str:
    """What the command of the copy prints."""
    environment = os.environ | {"PYTHONPATH": str(house), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "likeness", *map(str, words)]
    done = subprocess.run(command, cwd=at, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LikenessError(done.stderr)
    return done.stdout


def test_benchmark_backbone_encoder_and_metric_reach_the_report(house: Path, tmp_path: Path) -> None:
    (tmp_path / "painter").mkdir()
    (tmp_path / "painter" / "model_index.json").write_text('{"_class_name": "PainterPipeline"}')
    words = ("generate", "--benchmark", "squares", "--model", "painter", "--option", "shade=55", "--out", "run")
    likeness(house, *words, at=tmp_path)
    identity = json.loads((tmp_path / "run" / "run.json").read_text())
    assert identity["settings"]["shade"] == 55
    assert identity["settings"]["maker"] == "painter"
    likeness(house, "evaluate", "run", "--encoder", "mean_colour=none", at=tmp_path)
    summary = json.loads((tmp_path / "run" / "evaluation" / "summary.json").read_text())
    means = {row["row"]: row for row in summary["rows"] if row["metric"] == "brightness"}
    assert means["generated"]["n"] == 2
    assert means["generated"]["mean"] >= 55 / 255
    red, blue = 0.299, 0.114  # the floor of each square is the other
    assert means["floor"]["mean"] == pytest.approx((red + blue) / 2)
    likeness(house, "report", "run", at=tmp_path)
    assert "Brightness" in (tmp_path / "run" / "report.html").read_text()
    assert "brightness" in likeness(house, "evaluate", "--list", at=tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.write_model(tmp_path_factory.mktemp("model") / "flux")


def test_an_objective_reaches_the_log_and_the_page(house: Path, model: Path, tmp_path: Path) -> None:
    objective = {"kind": "hinge_dpo", "margin": 0.5}
    pairs = runs.write_pairs(tmp_path / "pairs", count=4)
    recipe = runs.write_recipe(tmp_path / "run.toml", model=model, pairs=pairs, objective=objective)
    likeness(house, "train", recipe, "--out", "run", "--device", "cpu", at=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] == pytest.approx(0.5)  # the policy is its reference: inside is 0
    assert rows[0]["slack"] == 1.0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Hinge DPO on 4 pairs" in page
    assert "Slack" in page


def test_a_task_trains_through_the_command_line(house: Path, model: Path, tmp_path: Path) -> None:
    lines = ['task = "denoising"', "[model]", f'base = "{model.as_posix()}"', "rank = 2", "[data]", "count = 4"]
    lines += ["[objective]", 'kind = "squared_error"', "[train]", "steps = 3", "batch_size = 2", 'precision = "fp32"']
    (tmp_path / "run.toml").write_text("\n".join(lines))
    said = likeness(house, "train", "run.toml", "--out", "run", "--device", "cpu", at=tmp_path)
    assert "3 steps on 4 latents" in said
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["num_latents_seen"] for row in rows] == [2, 4, 6]
    assert all(sum(row["loss_by_t"]["count"]) == 2 for row in rows)
    assert (tmp_path / "run" / "lora" / "pytorch_lora_weights.safetensors").is_file()
    assert "Denoising" in (tmp_path / "run" / "report.html").read_text()
