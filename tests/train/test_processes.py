"""Two processes started by torchrun: they do what one does, also with shards, and end together when one is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import preference_runs as runs
import psutil
import pytest
import torch
from preference_runs import rows, same, train
from safetensors.torch import load_file
from scripts import HELPERS, child_environment

from likeness.train.pairs import maps
from likeness.train.peers import CLAIM

ADAPTER = Path("lora") / "pytorch_lora_weights.safetensors"
FSDP = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}
SHARED = [str(HELPERS / "train_shared.py")]
"""The command line that shares out the optimizer, too."""
PLAIN = ["-m", "likeness"]
SECONDS = 20
"""In which all must have ended, on a busy machine, after one was killed; torchrun would wait for 30 before it kills."""


@pytest.fixture(scope="module")
def shared_recipe(tiny_flux: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything at once: a pair a process, an averaged adapter, a moving reference policy, pictures."""
    place = tmp_path_factory.mktemp("processes")
    tables = {
        "objective": {"reference": "ema", "reference_decay": 0.9},
        "train": {"steps": 8, "batch_size": 1, "ema": 0.9, "save_every": 3},
        "samples": {"every": 4, "limit": 1},
    }
    recipe = runs.write_recipe(place / "run.toml", model=tiny_flux, pairs=runs.write_pairs(place / "pairs", count=6))
    text = (
        recipe.read_text().replace("[train]\nsteps = 4\nbatch_size = 2\n", "[train]\n").replace("save_every = 2\n", "")
    )
    for name, values in tables.items():
        lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in values.items())
        text = (
            text.replace(f"[{name}]\n", f"[{name}]\n{lines}") if f"[{name}]" in text else f"{text}\n[{name}]\n{lines}"
        )
    recipe.write_text(text)
    return recipe


def command(recipe: Path, out: Path, *, program: list[str]) -> list[str]:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return [*torchrun, *program, "train", str(recipe), "--out", str(out), "--device", "cpu"]


def launch(recipe: Path, out: Path, *, program: list[str] = PLAIN, **environment: str) -> None:
    """The command line under `torchrun` with two CPU processes."""
    words, variables = command(recipe, out, program=program), child_environment() | environment
    done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Next: likeness generate") == 1
    assert not (out / CLAIM).exists()


def kill(recipe: Path, out: Path, *, rank: int, program: list[str] = PLAIN, **environment: str) -> str:
    """What a run says of which one process is killed after some steps. The others must end soon, in failure."""
    words, variables = command(recipe, out, program=program), child_environment() | environment
    child = subprocess.Popen(words, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while rows(out) < 4 and child.poll() is None:
        time.sleep(0.002)
    ranks = {process.environ().get("RANK"): process for process in psutil.Process(child.pid).children()}
    ranks[str(rank)].kill()
    began = time.monotonic()
    _, said = child.communicate(timeout=300)
    assert time.monotonic() - began < SECONDS
    assert child.returncode not in (0, -signal.SIGKILL), said[-3000:]
    assert not [process for process in ranks.values() if process.is_running() and process.status() != "zombie"]
    return said


@pytest.fixture(autouse=True)
def few_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of this process, whose maps nothing asks for, draw one."""
    monkeypatch.setattr(maps, "TIMES", (0.5,))
    monkeypatch.setattr(maps, "NUM_PAIRS", 1)


@pytest.fixture(scope="module")
def two(shared_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes make, undisturbed and without shards."""
    out = tmp_path_factory.mktemp("two") / "run"
    launch(shared_recipe, out)
    return out


def pictures(run: Path) -> dict[str, bytes]:
    return {path.relative_to(run).as_posix(): path.read_bytes() for path in run.glob("samples/0*/*.png")}


def test_two_processes_do_what_one_does_in_two_parts(shared_recipe: Path, two: Path, tmp_path: Path) -> None:
    """Halves of a sum are exact and two terms have one order, so even the last bit is the same."""
    torch.set_num_threads(1)
    train(shared_recipe, tmp_path / "one", "train.accumulation=2")
    logs = [
        [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in (tmp_path / "one", two)
    ]
    assert len(logs[0]) == len(logs[1]) == 8
    for alone, shared in zip(*logs, strict=True):
        assert alone | {"seconds": 0} == shared | {"seconds": 0}
    expected, found = load_file(tmp_path / "one" / ADAPTER), load_file(two / ADAPTER)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name
    assert pictures(tmp_path / "one") == pictures(two)
    assert len(pictures(two)) == 3


def test_two_processes_do_what_one_does_at_once(shared_recipe: Path, two: Path, tmp_path: Path) -> None:
    """A batch of two sums in another order."""
    train(shared_recipe, tmp_path / "one", "train.batch_size=2", "samples.every=0")
    for name, tensor in load_file(tmp_path / "one" / ADAPTER).items():
        torch.testing.assert_close(load_file(two / ADAPTER)[name], tensor, atol=1e-5, rtol=1e-3)  # Adam's scale


@pytest.mark.slow
def test_a_killed_main_process_ends_a_run_with_shards_which_continues(
    shared_recipe: Path, two: Path, tmp_path: Path
) -> None:
    """FSDP and ZeRO at once; continued, they have the bytes of the run without either and without a kill."""
    run = tmp_path / "run"
    said = kill(shared_recipe, run, rank=0, program=SHARED, **FSDP)
    assert said.count("likeness stopped: lost process error") == 1, said[-3000:]
    assert "expected 2 processes to the end, got one that died" in said
    assert "run the same command to continue" in said
    assert (run / CLAIM).is_file()
    launch(shared_recipe, run, program=SHARED, **FSDP)
    assert same(two, run)
    assert pictures(run) == pictures(two)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_a_run_which_continues(rank: int, shared_recipe: Path, two: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    said = kill(shared_recipe, run, rank=rank)
    assert said.count("likeness stopped: lost process error") == 1, said[-3000:]
    launch(shared_recipe, run)
    assert same(two, run)


@pytest.mark.slow
@pytest.mark.parametrize("program", [PLAIN, SHARED], ids=["base", "base and optimizer"])
def test_shards_change_no_bit(program: list[str], shared_recipe: Path, two: Path, tmp_path: Path) -> None:
    launch(shared_recipe, tmp_path / "run", program=program, **FSDP)
    assert same(two, tmp_path / "run")
    assert pictures(tmp_path / "run") == pictures(two)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_and_is_saved(shared_recipe: Path, two: Path, tmp_path: Path) -> None:
    words = command(shared_recipe, tmp_path / "run", program=PLAIN)
    child = subprocess.Popen(words, env=child_environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while rows(tmp_path / "run") < 2 and child.poll() is None:
        time.sleep(0.002)
    ranks = {process.environ().get("RANK"): process for process in psutil.Process(child.pid).children()}
    os.kill(ranks["1"].pid, signal.SIGTERM)
    _, said = child.communicate(timeout=300)
    assert child.returncode != 0
    assert "saved at step" in said
    launch(shared_recipe, tmp_path / "run")
    assert same(two, tmp_path / "run")
