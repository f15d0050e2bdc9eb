"""A run that is told to end saves the step in progress, says so, and continues to the same bytes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from preference_runs import rows, same, train
from scripts import child_environment

from likeness.train.state import load_state

STEPS = 30


@pytest.fixture
def long_recipe(recipe: Path) -> Path:
    """Saves only at its end, so that what an interrupt leaves is what the interrupt saved."""
    text = recipe.read_text().replace("steps = 4", f"steps = {STEPS}").replace("save_every = 2", "save_every = 1000")
    recipe.write_text(text)
    return recipe


def command(recipe: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "likeness", "train", str(recipe), "--out", str(out), "--device", "cpu"]


def start(words: list[str]) -> subprocess.Popen[str]:
    environment = child_environment()
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def stopped(words: list[str], run: Path, *, number: int, after: int = 3) -> tuple[int, str]:
    """Exit code and stderr of a run that gets the signal after some steps."""
    child = start(words)
    deadline = time.monotonic() + 120
    while rows(run) < after and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(child.pid, number)
    _, said = child.communicate(timeout=120)
    return child.returncode, said


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_a_signal_saves_the_step_in_progress(long_recipe: Path, tmp_path: Path, number: int, code: int) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    train(long_recipe, whole)
    ended, said = stopped(command(long_recipe, run), run, number=number)
    assert ended == code, said[-2000:]
    state = load_state(run / "state")
    assert state is not None
    step = state["step"]
    assert 3 <= step < STEPS
    assert rows(run) == step
    assert f"Stopped: saved at step {step} of {STEPS}; run the same command to continue." in said
    assert (run / "lora" / "pytorch_lora_weights.safetensors").is_file()
    assert "Traceback" not in said
    train(long_recipe, run)
    maps = {"maps/000000.json", f"maps/{STEPS:06d}.json"}  # this process draws fewer than the command
    assert same(whole, run, but=frozenset(maps))
