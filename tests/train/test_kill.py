"""Runs that diverge or are killed: the last good state stands, and continuing changes no byte."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from preference_runs import kill_runs, same, train
from scripts import child_environment

from likeness.core.errors import DivergenceError
from likeness.train.pairs.task import PairsTask
from likeness.train.state import load_state


def test_a_diverging_run_stops_with_its_last_good_state(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, steps = PairsTask.step, 0

    def spoilt(self: Any, batch: Any, **others: Any) -> Any:
        nonlocal steps
        found, steps = step(self, batch, **others), steps + 1
        if steps == 4:
            found.loss.data.fill_(torch.nan)
            found.logged["loss"].data.fill_(torch.nan)
        return found

    monkeypatch.setattr(PairsTask, "step", spoilt)
    with pytest.raises(DivergenceError, match=r"step 4: expected a finite number as loss.*state \(step 2\).*lower"):
        train(recipe, tmp_path / "run")
    state = load_state(tmp_path / "run" / "state")
    assert state is not None
    assert state["step"] == 2
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state["adapter"].values())


def longer(recipe: Path) -> Path:
    """Saves after every step, so that many kills fall into a save."""
    text = recipe.read_text().replace("steps = 4", "steps = 12").replace("save_every = 2", "save_every = 1")
    recipe.write_text(text)
    return recipe


def test_a_killed_run_ends_with_the_same_bytes(recipe: Path, tmp_path: Path) -> None:
    kill_runs(longer(recipe), tmp_path, count=1, seed=0)


@pytest.mark.slow
def test_a_hundred_killed_runs_end_with_the_same_bytes(recipe: Path, tmp_path: Path) -> None:
    kill_runs(longer(recipe), tmp_path, count=100, seed=1)


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # so that the write fails with EFBIG, as on a full disk with ENOSPC
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), resource.RLIM_INFINITY))
from likeness.cli import main
main()
"""


@pytest.mark.slow
def test_a_disk_that_is_full_at_a_save_is_one_error_and_costs_nothing(recipe: Path, tmp_path: Path) -> None:
    """A limit on the size of a file stands in for the full disk: the same error from the same calls."""
    train(recipe, tmp_path / "whole")
    run = tmp_path / "run"
    train(recipe, run, "train.steps=2")  # encodes the pairs and leaves a state
    size = (run / "state" / "tensors.safetensors").stat().st_size
    words = [sys.executable, "-c", FULL, str(size // 2), "train", str(recipe), "--out", str(run), "--device", "cpu"]
    environment = child_environment()
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 2, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert f"{run / 'state'}" in done.stderr
    assert "free the disk" in done.stderr
    state = load_state(run / "state")
    assert state is not None
    assert state["step"] == 2
    assert not (run / "state.next").exists()
    train(recipe, run)
    maps = {"maps/000002.json", "maps/000004.json"}  # this process draws fewer than the command
    assert same(tmp_path / "whole", run, but=frozenset(maps))


def test_a_kill_while_saving_costs_nothing(recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dies at each rename of a save in turn, in this process, as an exception that nothing handles."""
    train(recipe, tmp_path / "whole")
    rename = os.replace
    for fatal in range(1, 5):
        count = 0

        def replace(source: Any, target: Any, *, fatal: int = fatal) -> None:
            nonlocal count
            count += "state" in Path(target).name
            if count == fatal:
                raise KeyboardInterrupt
            rename(source, target)

        out = tmp_path / f"run{fatal}"
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", replace)
            with pytest.raises(KeyboardInterrupt):
                train(recipe, out, "train.save_every=1")
        train(recipe, out, "train.save_every=1")
        assert same(tmp_path / "whole", out)
