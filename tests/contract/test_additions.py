"""Toys of every kind are one new file and one table line each, and run through the command line to the report."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

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


PROGRAM = """
import contextlib, io, json, sys
from likeness.cli import app
said = []
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()) as out:
        app(words, standalone_mode=False)
    said.append(out.getvalue())
json.dump(said, sys.stdout)
"""


def likeness(house: Path, *commands: str, at: Path) -> list[str]:
    """What each command of the copy prints; one process runs them all, since loading the libraries takes longest."""
    environment = os.environ | {"PYTHONPATH": str(house), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-c", PROGRAM, json.dumps([words.split() for words in commands])]
    done = subprocess.run(program, cwd=at, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LikenessError(done.stderr)
    return json.loads(done.stdout)


SQUARED_ERROR = """task = "denoising"
[model]
base = "flux"
rank = 2
[data]
count = 4
[objective]
kind = "squared_error"
[train]
steps = 3
batch_size = 2
precision = "fp32"
"""


class Ran(NamedTuple):
    """Where the commands ran, and what the last two of them said: `evaluate --list` and the training of the task."""

    folder: Path
    listed: str
    trained: str


@pytest.fixture(scope="module")
def ran(house: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Every toy has been used from the command line."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "painter").mkdir()
    (folder / "painter" / "model_index.json").write_text('{"_class_name": "PainterPipeline"}')
    model, pairs = runs.write_model(folder / "flux"), runs.write_pairs(folder / "pairs", count=4)
    objective = {"kind": "hinge_dpo", "margin": 0.5}
    runs.write_recipe(folder / "hinge.toml", model=model, pairs=pairs, objective=objective)
    (folder / "denoising.toml").write_text(SQUARED_ERROR)
    *_, listed, trained = likeness(
        house,
        "generate --benchmark squares --model painter --option shade=55 --out run",
        "evaluate run --encoder mean_colour=none",
        "report run",
        "train hinge.toml --out hinge --device cpu",
        "evaluate --list",
        "train denoising.toml --out denoising --device cpu",
        at=folder,
    )
    return Ran(folder, listed, trained)


def test_benchmark_backbone_encoder_and_metric_reach_the_report(ran: Ran) -> None:
    run = ran.folder / "run"
    identity = json.loads((run / "run.json").read_text())
    assert identity["settings"]["shade"] == 55
    assert identity["settings"]["maker"] == "painter"
    summary = json.loads((run / "evaluation" / "summary.json").read_text())
    means = {row["row"]: row for row in summary["rows"] if row["metric"] == "brightness"}
    assert means["generated"]["n"] == 2
    assert means["generated"]["mean"] >= 55 / 255
    red, blue = 0.299, 0.114  # the floor of each square is the other
    assert means["floor"]["mean"] == pytest.approx((red + blue) / 2)
    assert "Brightness" in (run / "report.html").read_text()
    assert "brightness" in ran.listed


def test_an_objective_reaches_the_log_and_the_page(ran: Ran) -> None:
    rows = [json.loads(line) for line in (ran.folder / "hinge" / "log.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] == pytest.approx(0.5)  # the policy is its reference: inside is 0
    assert rows[0]["slack"] == 1.0
    page = (ran.folder / "hinge" / "report.html").read_text()
    assert "Hinge DPO on 4 pairs" in page
    assert "Slack" in page


def test_a_task_trains_through_the_command_line(ran: Ran) -> None:
    assert "3 steps on 4 latents" in ran.trained
    run = ran.folder / "denoising"
    rows = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert [row["num_latents_seen"] for row in rows] == [2, 4, 6]
    assert all(sum(row["loss_by_t"]["count"]) == 2 for row in rows)
    assert (run / "lora" / "pytorch_lora_weights.safetensors").is_file()
    assert "Denoising" in (run / "report.html").read_text()
