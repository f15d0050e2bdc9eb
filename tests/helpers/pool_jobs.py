"""Jobs for the pool, found by name in worker processes, which import nothing heavy; as a program, two that sleep.

pool_jobs.py FOLDER SECONDS ENGINE: FOLDER/started-PID tells that a worker is in a job, FOLDER/finished-PID that it has
done one; Ctrl-C ends with 130.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

from likeness.core.errors import DataError
from likeness.core.jobs import always, run_jobs


def square(number: int) -> int:
    return number * number


def late(number: int) -> int:
    """The first job is the last to be finished."""
    time.sleep(1.0 if number == 0 else 0)
    return number


def first_is_last(folder: Path, number: int) -> int:
    """Job 0 of six waits for the others."""
    while number == 0 and len(list(folder.iterdir())) < 5:
        time.sleep(0.02)
    (folder / str(number)).touch()
    return number


def picky(number: int) -> int:
    if number == 3:
        raise DataError("job 3: expected another number, got 3; leave it out.")
    if number == 4:
        raise ZeroDivisionError("a bug in job 4")
    if number == 5:
        os._exit(9)
    if number == 6:
        raise SystemExit(7)
    return number


def whose(number: int) -> tuple[int, int]:
    return number, os.getpid()


def slow_whose(number: int) -> tuple[int, int]:
    time.sleep(0.01)
    return number, os.getpid()


def deadly(folder: Path, number: int) -> int:
    """The first `number` workers die of it."""
    died = len(list(folder.iterdir()))
    if died < number or number == 3:
        (folder / str(time.time_ns())).touch()
        os._exit(1)
    return number


class StillBorn:
    """A worker that dies before it has started."""

    def __init__(self, *_: Any) -> None:
        os._exit(3)

    def start(self) -> None: ...


def mean_or_reason(folder: Path, batch: range) -> tuple[int, list[tuple[float | None, str]]]:
    """Who looked; of each picture the mean of its pixels, or none and why not."""
    from likeness.core.images import load_image

    found: list[tuple[float | None, str]] = []
    for number in batch:
        try:
            data = load_image(folder / f"p{number}").tobytes()
            found.append((sum(data) / len(data), ""))
        except DataError as error:
            found.append((None, str(error)))
    return os.getpid(), found


def visible_gpu(_: int) -> str | None:
    time.sleep(0.05)
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def call(job: Callable[[], Any]) -> Any:
    return job()


def text_of(path: str) -> str:
    return Path(path).read_text()


def spread(number: int) -> set[int]:
    """Who does the jobs of a job."""
    return {who for _, (_, who) in run_jobs(range(4), load=always(whose), workers=2)} | {os.getpid()}


def large(number: int) -> bytes:
    """More than a pipe holds."""
    return bytes([number]) * 3_000_000


def unpicklable(number: int) -> Any:
    return Lock()


def load_torch(worker: int) -> Callable[[int], int]:
    import torch

    torch.set_num_threads(3)
    return lambda _: torch.get_num_threads()


def numbered(worker: int) -> Callable[[int], tuple[int, int]]:
    return partial(_told, worker)


def _told(worker: int, job: int) -> tuple[int, int]:
    time.sleep(0.05)
    return worker, job


def broken(worker: int) -> Callable[[int], int]:
    raise DataError(f"weights: expected some, got none in worker {worker}; download them.")


def sleep(folder: Path, seconds: float, _: int) -> None:
    (folder / f"started-{os.getpid()}").touch()
    time.sleep(seconds)
    (folder / f"finished-{os.getpid()}").touch()


if __name__ == "__main__":
    work = partial(sleep, Path(sys.argv[1]), float(sys.argv[2]))
    engine: Any = sys.argv[3]
    try:
        list(run_jobs(range(100), load=always(work), engine=engine, workers=2))
    except KeyboardInterrupt:
        sys.exit(130)
