"""The pool: the same results however they are made, bounded, in order where asked, and nobody is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pool_jobs
import pytest
import torch
from scripts import HELPERS, child_environment

from likeness.core.errors import ConfigError, DataError, LikenessError
from likeness.core.jobs import ENGINES, Engine, always, run_jobs

ON_RAY = pytest.mark.ray


def elsewhere(names: str = "", *combinations: Any) -> pytest.MarkDecorator:
    """The test runs with every combination of arguments, by every engine whose workers are other processes.

    Starting Ray's takes long: all combinations but the first are slow there.
    """
    rows = [row if isinstance(row, tuple) else (row,) for row in combinations] or [()]
    params = [pytest.param(*row, "processes") for row in rows]
    params += [
        pytest.param(*row, "ray", marks=[ON_RAY, *([pytest.mark.slow] if k else [])]) for k, row in enumerate(rows)
    ]
    return pytest.mark.parametrize((*filter(None, names.split(",")), "engine"), params)


@pytest.fixture(autouse=True)
def cluster_where_needed(request: pytest.FixtureRequest) -> None:
    """Tests by the engine "ray" find their cluster, and others start none."""
    if request.node.get_closest_marker("ray"):
        request.getfixturevalue("ray_cluster")


@pytest.fixture
def two(engine: Engine) -> dict[str, Any]:
    return {"engine": engine, "workers": 2}


# -- results -----------------------------------------------------------------------------------------------------
@elsewhere("workers,ahead", (3, 4), (3, 1), (1, 4), (1, 1))
def test_results_do_not_depend_on_workers(workers: int, ahead: int, engine: Engine) -> None:
    found = list(run_jobs(range(20), load=always(pool_jobs.square), engine=engine, workers=workers, ahead=ahead))
    assert sorted(found) == list(run_jobs(range(20), load=always(pool_jobs.square)))
    assert dict(found) == {number: number**2 for number in range(20)}


@elsewhere()
def test_results_come_as_they_are_finished_or_in_order(two: dict[str, Any], tmp_path: Path) -> None:
    first_is_last = partial(pool_jobs.first_is_last, tmp_path)
    as_finished = [result for _, result in run_jobs(range(6), load=always(first_is_last), **two)]
    assert as_finished[-1] == 0
    assert sorted(as_finished) == list(range(6))
    in_order = list(run_jobs(range(6), load=always(pool_jobs.late), in_order=True, ahead=2, **two))
    assert in_order == [(number, number) for number in range(6)]


@elsewhere("in_order,ahead", (True, 3), (True, 1), (False, 3), (False, 1))
def test_no_more_jobs_are_taken_than_may_be_under_way(in_order: bool, ahead: int, two: dict[str, Any]) -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(30):
            taken.append(number)
            yield number

    running = run_jobs(jobs(), load=always(pool_jobs.late), ahead=ahead, in_order=in_order, **two)
    for given, _ in enumerate(running, start=1):
        assert len(taken) <= given + 2 * ahead
    assert len(taken) == 30


def test_without_processes_the_next_job_waits_for_the_caller() -> None:
    done: list[int] = []
    running = run_jobs(range(5), load=always(done.append), engine="here")
    next(running)
    assert done == [0]


@elsewhere("ahead", 4, 1)
def test_large_jobs_and_results_do_not_block(ahead: int, two: dict[str, Any]) -> None:
    found = [
        (job, result[:1], len(result))
        for job, result in run_jobs(range(8), load=always(pool_jobs.large), in_order=True, ahead=ahead, **two)
    ]
    assert found == [(number, bytes([number]), 3_000_000) for number in range(8)]
    jobs = [bytes([number]) * 1_000_000 for number in range(8)]
    assert [result for _, result in run_jobs(jobs, load=always(len), ahead=ahead, **two)] == [1_000_000] * 8


# -- who works -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("engine", "workers", "num_jobs"), [("here", 3, 4), (None, 1, 4), (None, 3, 1)])
def test_here_no_process_is_started(engine: Engine | None, workers: int, num_jobs: int) -> None:
    psutil = pytest.importorskip("psutil")
    before = psutil.Process().children()  # Ray's own children come and go where it runs
    for _, (_, who) in run_jobs(range(num_jobs), load=always(pool_jobs.whose), engine=engine, workers=workers):
        assert who == os.getpid()
        assert psutil.Process().children() == before


@elsewhere()
def test_several_workers_share_several_jobs(two: dict[str, Any]) -> None:
    found = [job for _, job in run_jobs(range(40), load=pool_jobs.numbered, **two)]
    assert {(0, 0), (1, 0)} == {(worker, 0) for worker, _ in found}
    assert sorted(number for _, number in found) == list(range(40))


def test_by_default_several_processes_have_several_jobs() -> None:
    pids = {who for _, (_, who) in run_jobs(range(8), load=always(pool_jobs.whose), workers=2, ahead=4)}
    assert os.getpid() not in pids
    assert {worker for _, (worker, _) in run_jobs(range(3), load=pool_jobs.numbered, engine="here")} == {0}


@elsewhere()
def test_a_worker_does_the_jobs_of_its_job_itself(two: dict[str, Any]) -> None:
    assert [len(who) for _, who in run_jobs(range(2), load=always(pool_jobs.spread), **two)] == [1, 1]
    assert len(pool_jobs.spread(0)) > 1


@pytest.mark.parametrize("engine", ["here", "processes", pytest.param("ray", marks=ON_RAY)])
def test_nothing_is_loaded_without_jobs(engine: Engine) -> None:
    assert list(run_jobs([], load=pool_jobs.broken, engine=engine)) == []


@pytest.mark.parametrize("engine", ["here", "processes", pytest.param("ray", marks=[ON_RAY, pytest.mark.slow])])
def test_on_one_thread_where_asked(engine: Engine) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = [result for _, result in run_jobs([0, 1], load=pool_jobs.load_torch, engine=engine, single_thread=True)]
        assert found == [1, 1]
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


# -- what goes wrong -----------------------------------------------------------------------------------------------
@elsewhere("in_order", False, True)
def test_errors_travel(in_order: bool, two: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="job 3: expected another number"):
        list(run_jobs([0, 1, 3, 2], load=always(pool_jobs.picky), in_order=in_order, **two))
    with pytest.raises(RuntimeError, match=r"(?s)worker failed:.*in picky.*ZeroDivisionError: a bug in job 4"):
        list(run_jobs([0, 1, 4, 2], load=always(pool_jobs.picky), in_order=in_order, **two))


@elsewhere("in_order", True, False)
def test_errors_of_loading_and_sending_travel(in_order: bool, two: dict[str, Any]) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)worker failed:.*pickle"):
        list(run_jobs([0, 1], load=always(pool_jobs.unpicklable), in_order=in_order, **two))
    with pytest.raises(DataError, match="weights: expected some, got none in worker"):
        list(run_jobs([0, 1], load=pool_jobs.broken, in_order=in_order, **two))


@elsewhere()
def test_in_order_an_error_waits_for_its_turn(two: dict[str, Any]) -> None:
    found: list[tuple[int, int]] = []
    with pytest.raises(DataError, match="job 3"):
        found.extend(run_jobs([0, 1, 3, 2], load=always(pool_jobs.picky), in_order=True, ahead=4, **two))
    running = run_jobs([0, 1, 3, 2], load=always(pool_jobs.picky), in_order=True, ahead=4, **two)
    assert [next(running), next(running)] == [(0, 0), (1, 1)]
    with pytest.raises(DataError, match="job 3"):
        next(running)


@elsewhere("job,code,ahead", (5, 9, 4), (5, 9, 1), (6, 7, 4), (6, 7, 1))
def test_a_worker_that_dies_is_one_error(job: int, code: int, ahead: int, two: dict[str, Any]) -> None:
    told = rf"worker: expected a result, got one that ended with exit code {code};"
    if two["engine"] == "ray":  # three workers were given it
        told = rf"job 2, {job}: expected a result, got 3 workers that died of it \(.*\); try fewer"
    with pytest.raises(LikenessError, match=told):
        list(run_jobs([0, 1, job, 2, *([1] * 20)], load=always(pool_jobs.picky), ahead=ahead, **two))


def test_here_errors_are_as_they_were() -> None:
    with pytest.raises(ZeroDivisionError, match="a bug in job 4"):
        list(run_jobs([4], load=always(pool_jobs.picky)))


def test_less_than_one_worker_is_a_config_error() -> None:
    for engine in ENGINES:
        with pytest.raises(ConfigError, match="workers: expected at least 1, got 0"):
            list(run_jobs([1, 2], load=always(pool_jobs.square), engine=engine, workers=0))


# -- who is left -----------------------------------------------------------------------------------------------------
@elsewhere()
def test_workers_are_gone_when_the_caller_stops_half_way(two: dict[str, Any]) -> None:
    psutil = pytest.importorskip("psutil")
    running: Any = run_jobs(range(1000), load=always(pool_jobs.whose), ahead=4, **two)
    workers = {next(running)[1][1] for _ in range(20)}
    alive = [psutil.Process(pid) for pid in workers]
    running.close()
    assert psutil.wait_procs(alive, timeout=10 if two["engine"] == "ray" else 0)[1] == []


def ray_address() -> str:
    import ray

    return ray.get_runtime_context().gcs_address


def start(tmp_path: Path, *, seconds: float, engine: Engine) -> tuple[subprocess.Popen[bytes], list[Any]]:
    """A process whose two workers are in the middle of jobs of that length, and its children."""
    psutil = pytest.importorskip("psutil")
    command = [sys.executable, str(HELPERS / "pool_jobs.py"), str(tmp_path), str(seconds), engine]
    more = {"RAY_ADDRESS": ray_address()} if engine == "ray" else {}
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
    process = subprocess.Popen(command, env=child_environment() | more)
    signal.signal(signal.SIGINT, heard)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("started-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = [psutil.Process(int(path.name.partition("-")[2])) for path in tmp_path.glob("started-*")]
    assert len(workers) == 2
    return process, workers


@elsewhere()
def test_no_worker_outlives_a_killed_parent(tmp_path: Path, engine: Engine) -> None:
    """Jobs of an hour: a worker that only looked at its pipe between jobs would still be there."""
    import psutil

    process, workers = start(tmp_path, seconds=3600, engine=engine)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(workers, timeout=10)
    for worker in alive:
        worker.kill()
    assert alive == []


@elsewhere()
def test_ctrl_c_is_the_parents_to_handle(tmp_path: Path, engine: Engine) -> None:
    """The terminal sends it to all of them; workers finish their jobs and only the parent says so."""
    import psutil

    process, workers = start(tmp_path, seconds=1, engine=engine)
    for worker in workers:
        worker.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert alive == []
    assert len(list(tmp_path.glob("finished-*"))) == 2
