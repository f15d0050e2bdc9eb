"""Two processes started by torchrun share every batch and end with what one process makes of the whole batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from preference_runs import results, train
from safetensors.torch import load_file

SRC = Path(__file__).parents[2] / "src"
ADAPTER = Path("lora") / "pytorch_lora_weights.safetensors"


def launch(recipe: Path, out: Path, *changes: str) -> None:
    """The command line under `torchrun` with two CPU processes."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "likeness", "train", str(recipe), "--out", str(out)]
    command += ["--device", "cpu", *(word for change in changes for word in ("--set", change))]
    environment = os.environ | {"PYTHONPATH": str(SRC), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Next: likeness generate") == 1


def test_two_processes_do_what_one_does(recipe: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    torch.set_num_threads(1)
    train(recipe, one, "train.batch_size=2")
    launch(recipe, two, "train.batch_size=1")
    logs = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (one, two)]
    assert len(logs[0]) == len(logs[1]) == 4
    for alone, shared in zip(*logs, strict=True):
        assert alone["num_pairs_seen"] == shared["num_pairs_seen"]
        assert alone["t"] == shared["t"]
        for name in ("loss", "gradient_norm", "focus_share"):
            assert shared[name] == pytest.approx(alone[name], rel=1e-4)
    expected, found = load_file(one / ADAPTER), load_file(two / ADAPTER)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=1e-5, rtol=1e-3)  # sums in another order, Adam's scale


@pytest.mark.slow
def test_two_processes_that_were_stopped_end_as_two_that_were_not(recipe: Path, tmp_path: Path) -> None:
    two = tmp_path / "two"
    launch(recipe, two, "train.batch_size=1")
    launch(recipe, tmp_path / "half", "train.batch_size=1", "train.steps=2")
    launch(recipe, tmp_path / "half", "train.batch_size=1")
    continued, whole = results(tmp_path / "half"), results(two)
    assert all(continued[name] == whole[name] for name in ("log", ADAPTER.as_posix()))
