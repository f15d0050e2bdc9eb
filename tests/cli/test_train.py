"""`likeness train` from the command line: what it says, what it refuses, and that its adapter draws pictures."""

import json
import subprocess
import sys
from pathlib import Path

import preference_runs as runs
import pytest
from safetensors.torch import load_file
from scripts import child_environment
from typer.testing import CliRunner

from likeness.cli import app
from likeness.core.files import read_json, read_jsonl
from likeness.core.hashing import folder_sha256
from likeness.train.config import read_train_config

runner = CliRunner()


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.write_model(tmp_path_factory.mktemp("model") / "flux")


@pytest.fixture
def recipe(tmp_path: Path, model: Path) -> Path:
    return runs.write_recipe(tmp_path / "run.toml", model=model, pairs=runs.write_pairs(tmp_path / "pairs", count=4))


def test_train_then_generate(recipe: Path, model: Path, tmp_path: Path) -> None:
    arguments = ["train", str(recipe), "--out", str(tmp_path / "run"), "--set", "train.steps=2", "--device", "cpu"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    lora = tmp_path / "run" / "lora"
    assert f"likeness generate --model {model} --lora {lora}" in result.stdout
    assert "2 steps on 4 pairs" in result.stdout
    words = read_json(tmp_path / "run" / "commands.json")["train"]
    assert words == "likeness train run.toml --out run --set train.steps=2 --device cpu"
    again = runner.invoke(app, [*arguments, "--json"])
    facts = json.loads(again.stdout)
    assert (facts["steps"], facts["num_pairs"], facts["last"]["step"]) == (2, 4, 2)
    pictures = ["--prompt", "a cat hugs a dog", "--model", str(model), "--lora", str(lora), "--steps", "2"]
    drawn = runner.invoke(app, ["generate", *pictures, "--out", str(tmp_path / "pictures"), "--device", "cpu"])
    assert drawn.exit_code == 0, drawn.output
    layers = len(load_file(lora / "pytorch_lora_weights.safetensors")) // 2
    expected = [{"id": "lora", "sha256": folder_sha256(lora), "layers": layers}]
    assert layers > 0
    assert f"LoRA lora: changes {layers} layers." in drawn.stdout
    assert read_json(tmp_path / "pictures" / "run.json")["model"]["loras"] == expected
    assert [row["model"]["loras"] for row in read_jsonl(tmp_path / "pictures" / "manifest.jsonl")] == [expected]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("objective.focus.gama=0.3", "did you mean gamma"),
        ("objective.focus.tau=2", "--set objective.focus.tau=2 what expected less than or equal to 1"),
        ("model.rank=0", "--set model.rank=0 what expected greater than or equal to 1"),
        ("model.rank=1000000000", "expected at most 4096, got 1000000000, which takes 98,304 GB"),
        ("data.size=100000", "expected at most 4096 px, got 100000, which takes 5,120 GB"),
        ("train.stepz=3", "--set train.stepz=3 what expected a known key, got 'stepz' to do did you mean steps"),
        ("data.pairs=nowhere", "make one with `likeness data dip`"),
        ("model.base=nowhere", "nowhere"),
        ("objective", "expected table.key=value"),
    ],
)
def test_a_wrong_setting_ends_with_2_and_leaves_nothing(recipe: Path, tmp_path: Path, change: str, said: str) -> None:
    result = runner.invoke(app, ["train", str(recipe), "--out", str(tmp_path / "run"), "--set", change])
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())
    assert not (tmp_path / "run").exists()


def test_a_missing_recipe_ends_with_2(tmp_path: Path) -> None:
    result = runner.invoke(app, ["train", str(tmp_path / "no.toml"), "--out", str(tmp_path / "run")])
    assert result.exit_code == 2
    assert "expected a TOML file" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sft", "dpo", "patch_dpo", "focus_dpo"])
def test_the_recipes_run_on_the_embedded_model(name: str, tmp_path: Path) -> None:
    made = runner.invoke(app, ["data", "dip", "--source", "world", "-n", "4", "--out", str(tmp_path / "pairs")])
    assert made.exit_code == 0, made.output
    recipe = Path(__file__).parents[2] / "recipes" / f"{name}_world.toml"
    changes = [f"data.pairs={tmp_path / 'pairs'}", "train.steps=2"]
    flags = [word for change in changes for word in ("--set", change)]
    result = runner.invoke(app, ["train", str(recipe), "--out", str(tmp_path / "run"), *flags])
    assert result.exit_code == 0, result.output
    assert len(read_jsonl(tmp_path / "run" / "log.jsonl")) == 2


@pytest.mark.parametrize("change", ["train.stepz=3", "model.rank=x", "train.steps=0", "modell.rank=4", "objective"])
def test_a_slip_on_the_command_line_is_told_before_torch_is_imported(recipe: Path, change: str) -> None:
    """In a process of its own, where an import of torch would be an error."""
    program = "import sys; sys.modules['torch'] = None; from likeness.cli import main; main()"
    words = [sys.executable, "-c", program, "train", str(recipe), "--out", "nowhere", "--set", change]
    done = subprocess.run(words, env=child_environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "--set" in done.stderr
    assert "torch" not in done.stderr


def test_a_recipe_with_a_byte_order_mark_is_read(recipe: Path) -> None:
    recipe.write_bytes(b"\xef\xbb\xbf" + recipe.read_bytes())
    assert read_train_config(recipe).train.steps == 4
