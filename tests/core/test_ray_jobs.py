"""What only a cluster can do wrong: workers that die or never start, other machines, no machine at all."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pool_jobs
import pytest
from PIL import Image
from scripts import child_environment

from likeness.core import ray_jobs
from likeness.core.errors import ConfigError, DataError, LikenessError
from likeness.core.files import require_shared
from likeness.core.jobs import always, run_jobs

pytestmark = pytest.mark.usefixtures("ray_cluster")


# -- workers that die ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("in_order", [False, True])
def test_a_killed_worker_loses_and_repeats_nothing(in_order: bool) -> None:
    """Two of them, each in the middle of a job and with others that wait for it."""
    found: list[int] = []
    workers: set[int] = set()
    running = run_jobs(
        range(120), load=always(pool_jobs.slow_whose), engine="ray", workers=2, ahead=3, in_order=in_order
    )
    for job, (number, pid) in running:
        assert job == number
        if number in (20, 60):
            os.kill(pid, signal.SIGKILL)
        workers.add(pid)
        found.append(number)
    assert sorted(found) == list(range(120))
    assert len(workers) >= 3
    assert found == sorted(found) or not in_order


def test_a_job_whose_first_two_workers_die_is_done_by_a_third(tmp_path: Path) -> None:
    deadly = partial(pool_jobs.deadly, tmp_path)
    assert list(run_jobs([2], load=always(deadly), engine="ray")) == [(2, 2)]
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(LikenessError, match=r"job 0, 3: expected a result, got 3 workers that died of it"):
        list(run_jobs([3], load=always(deadly), engine="ray"))


@pytest.mark.parametrize(("number", "size"), [(2_000, 100), pytest.param(20_000, 200, marks=pytest.mark.slow)])
def test_every_picture_is_accounted_for(number: int, size: int, tmp_path: Path) -> None:
    """Tiny pictures, one in a hundred cut in half; a worker is killed on the way."""
    rng = np.random.default_rng(number)
    pixels = rng.integers(0, 256, (64, 4, 4, 3), dtype=np.uint8)
    for kind, each in enumerate(pixels):
        Image.fromarray(each).save(tmp_path / f"{kind}.png")
    whole = [(tmp_path / f"{kind}.png").read_bytes() for kind in range(64)]
    damaged = set(rng.choice(number, number // 100, replace=False).tolist())
    for index in range(number):
        data = whole[index % 64]
        (tmp_path / f"p{index}").write_bytes(data[: len(data) // 2] if index in damaged else data)
    batches = [range(first, first + size) for first in range(0, number, size)]
    means: dict[int, float] = {}
    reasons: dict[int, str] = {}
    load = always(partial(pool_jobs.mean_or_reason, tmp_path))
    for turn, (batch, (pid, found)) in enumerate(run_jobs(batches, load=load, engine="ray", workers=2)):
        assert len(found) == len(batch)
        for index, (mean, reason) in zip(batch, found, strict=True):
            assert index not in means
            assert index not in reasons
            if mean is None:
                reasons[index] = reason
            else:
                means[index] = mean
        if turn == 3:
            os.kill(pid, signal.SIGKILL)
    assert set(reasons) == damaged
    assert all(f"p{index}: expected a whole picture" in reason for index, reason in reasons.items())
    assert set(means) == set(range(number)) - damaged
    assert means == {index: pixels[index % 64].mean() for index in means}


# -- workers that never start --------------------------------------------------------------------------------------
def test_where_there_is_room_for_some_these_do_all(tmp_path: Path) -> None:
    """Nine workers on four cores; then none, since all four are taken."""
    found = run_jobs(range(40), load=pool_jobs.numbered, engine="ray", workers=9)
    assert sorted(number for _, (_, number) in found) == list(range(40))


def test_no_room_for_any_worker_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_jobs, "SECONDS_TO_START", 0.5)
    monkeypatch.setattr(ray_jobs, "resources", lambda **_: {"num_cpus": 99})
    with pytest.raises(
        LikenessError, match=r"workers: expected room for one .* within 0.5 s, got none of its .*'CPU': 4"
    ):
        list(run_jobs([1], load=always(pool_jobs.square), engine="ray"))


def test_workers_that_die_as_they_start_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_jobs, "RayWorker", pool_jobs.StillBorn)
    with pytest.raises(
        LikenessError, match=r"worker: expected one to start, got 3 that did not \(.*\); is likeness inst"
    ):
        list(run_jobs([1], load=always(pool_jobs.square), engine="ray"))


# -- graphics cards ------------------------------------------------------------------------------------------------
def test_a_worker_asks_for_a_gpu_where_there_are_some() -> None:
    assert ray_jobs.resources(gpus=1.0, cluster={"CPU": 4, "GPU": 2}) == {"num_cpus": 1, "num_gpus": 1}
    assert ray_jobs.resources(gpus=0.25, cluster={"CPU": 4, "GPU": 2}) == {"num_cpus": 1, "num_gpus": 0.25}
    assert ray_jobs.resources(gpus=1.0, cluster={"CPU": 4}) == {"num_cpus": 1}
    assert ray_jobs.resources(gpus=0.0, cluster={"CPU": 4, "GPU": 2}) == {"num_cpus": 1}


def test_each_worker_has_a_gpu_of_its_own() -> None:
    found = run_jobs(range(8), load=always(pool_jobs.visible_gpu), engine="ray", workers=2, gpus=1.0)
    assert {gpu for _, gpu in found} <= {"0", "1"}


# -- other machines ------------------------------------------------------------------------------------------------
def answer_of(job: Callable[[], Any], *, folder: Path, **facts: Any) -> Any:
    """What an actor answers to a driver of which this is true; the actor is this process."""
    from ray import cloudpickle

    orders: dict[str, Any] = {"load": always(pool_jobs.call), "folder": str(folder), "processor": None}
    orders |= {"versions": ray_jobs._versions(), **facts}
    worker = object.__new__(ray_jobs.RayWorker)
    worker._sent, worker._number = cloudpickle.dumps(ray_jobs._Orders(**orders)), 0
    worker._orders = worker._work = None
    worker._is_equal = False
    return cloudpickle.loads(worker.do(cloudpickle.dumps(job)))


def test_other_packages_or_another_processor_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert answer_of(os.getcwd, folder=tmp_path) == (None, str(tmp_path))
    error, _ = answer_of(os.getcwd, folder=tmp_path, versions=ray_jobs._versions() | {"torch": "1.0"})
    assert isinstance(error, ConfigError)
    assert f"on {os.uname().nodename}: expected packages as of the driver (torch 1.0), got" in str(error)
    import torch

    ours = torch.backends.cpu.get_cpu_capability()
    assert answer_of(os.getcwd, folder=tmp_path, processor=ours)[0] is None
    error, _ = answer_of(os.getcwd, folder=tmp_path, processor="ALTIVEC")
    assert isinstance(error, ConfigError)
    assert f"(torch computes with ALTIVEC), got {ours}; results would differ" in str(error)


def test_a_folder_or_file_that_a_worker_does_not_see_is_told_with_its_machine(tmp_path: Path) -> None:
    error, _ = answer_of(os.getcwd, folder=tmp_path / "elsewhere")
    assert isinstance(error, DataError)
    assert f"{tmp_path / 'elsewhere'}: expected the folder of the command on {os.uname().nodename}" in str(error)
    require_shared(tmp_path)
    with pytest.raises(DataError, match=f"no.png: expected to find it on {os.uname().nodename} as well, got nothing"):
        require_shared(tmp_path / "no.png")


def test_relative_paths_begin_where_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").write_text("seen")
    assert list(run_jobs(["here"], load=always(pool_jobs.text_of), engine="ray")) == [("here", "seen")]


def test_arrays_can_be_written_to_as_from_any_worker() -> None:
    for _, array in run_jobs([100_000], load=always(np.zeros), engine="ray"):
        array += 1
        assert array.sum() == 100_000


# -- clusters ------------------------------------------------------------------------------------------------------
def child(program: str, **more: str) -> str:
    """What a process prints that is connected to nothing."""
    environment = {key: value for key, value in child_environment().items() if key != "RAY_ADDRESS"} | more
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


JOBS = """
import ray, pool_jobs
from likeness.core.errors import LikenessError
from likeness.core.jobs import run_jobs, always
try:
    print(sorted(run_jobs([2, 3], load=always(pool_jobs.square), engine="ray")), ray.is_initialized())
except LikenessError as error:
    print(type(error).__name__, error)
"""


def test_the_named_cluster_is_used_and_left_as_it_was(ray_cluster: str) -> None:
    assert child(JOBS, RAY_ADDRESS=ray_cluster) == "[(2, 4), (3, 9)] False\n"
    assert list(run_jobs([2], load=always(pool_jobs.square), engine="ray")) == [(2, 4)]


@pytest.mark.slow
def test_without_a_cluster_one_is_started_and_ended() -> None:
    program = JOBS + "import psutil; print(psutil.Process().children(recursive=True))"
    assert child(program).splitlines() == ["[(2, 4), (3, 9)] False", "[]"]


def test_an_address_without_a_cluster_is_a_config_error() -> None:
    told = child(JOBS, RAY_ADDRESS="127.0.0.1:1")
    assert told.startswith("ConfigError RAY_ADDRESS: expected a Ray cluster at 127.0.0.1:1, got ")


def test_without_the_package_one_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"engine ray: expected the package ray, .*pip install 'likeness\[ray\]'"):
        list(run_jobs([1], load=always(pool_jobs.square), engine="ray"))
