"""Jobs done in this process, in several, or on a Ray cluster (`ray_jobs.py`): the only pool of the package.

A worker loads what it needs once and then does one job at a time, so that no result depends on how many workers there
are or on what they did before. Workers end when their parent ends, even after kill -9; Ctrl-C is the parent's to
handle. Jobs, results and `load` must be what multiprocessing can send.
"""

import multiprocessing
import os
import signal
import threading
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain, count, islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple, TypeVar  # Any: what is done is the caller's

from likeness.core.devices import one_thread
from likeness.core.errors import ConfigError, LikenessError

Job = TypeVar("Job")
Result = TypeVar("Result")

Progress = Callable[[int, int], None]
"""Called with (done, wanted) at the start of long work and after each part of it."""


def unseen(done: int, total: int) -> None:
    """The progress that nobody looks at."""


Load = Callable[[int], Callable[[Job], Result]]
"""How worker number i (0, 1, ...; 0 in this process) gets the function that does a job."""

Engine = Literal["here", "processes", "ray"]

SECONDS_TO_FINISH = 5
"""How long a worker may take to finish its job when no more results are wanted."""


class PoolPlan(NamedTuple):
    """How jobs are to be done: what `run_jobs` was asked for."""

    load: Load[Any, Any]
    workers: int
    ahead: int
    in_order: bool
    gpus: float


def run_jobs(
    jobs: Iterable[Job],
    *,
    load: Load[Job, Result],
    engine: Engine | None = None,
    workers: int = 1,
    ahead: int = 1,
    in_order: bool = False,
    single_thread: bool = False,
    gpus: float = 0.0,
) -> Iterator[tuple[Job, Result]]:
    """(job, result) of every job as it is finished, or `in_order`. Nothing is loaded when there are no jobs.

    At most `workers` * `ahead` jobs are under way or wait for the caller. Without `engine`, processes are used where
    several workers have several jobs, but none by a worker of another pool. With `single_thread`, torch computes each
    job on one CPU thread. `gpus` is the share of a GPU that a worker gets on a Ray cluster that has any; 1 is its own.
    Raises: ConfigError for less than one worker; what loading or a job raises. From another process that is a
    LikenessError as it was, RuntimeError with the worker's traceback for anything else. When the process died:
    LikenessError; on Ray only after the job has been given to MOST_DEATHS workers that all died.
    """
    if workers < 1:
        raise ConfigError(f"workers: expected at least 1, got {workers}; raise it.")
    rest = iter(jobs)
    first = list(islice(rest, 2))
    may_spread = workers > 1 and len(first) > 1 and not multiprocessing.current_process().daemon
    engine = engine or ("processes" if may_spread else "here")
    load = partial(_single_threaded, load) if single_thread else load
    yield from ENGINES[engine](chain(first, rest), PoolPlan(load, workers, ahead, in_order, gpus))


def always(work: Callable[[Job], Result]) -> Load[Job, Result]:
    """The `load` of work that needs nothing loaded; `work` must be found by name where there are other processes."""
    return partial(_given, work)


def _given(work: Callable[[Job], Result], _: int) -> Callable[[Job], Result]:
    return work


def _single_threaded(load: Load[Job, Result], worker: int) -> Callable[[Job], Result]:
    return one_thread()(load(worker))


def _here(jobs: Iterator[Any], plan: PoolPlan) -> Iterator[tuple[Any, Any]]:
    work: Callable[[Any], Any] | None = None
    for job in jobs:
        work = work or plan.load(0)
        yield job, work(job)


# -- other processes, seen from this one -----------------------------------------------------------------------
def _in_processes(jobs: Iterator[Any], plan: PoolPlan) -> Iterator[tuple[Any, Any]]:
    return by_crew(_Processes(jobs, plan))


def _on_ray(jobs: Iterator[Any], plan: PoolPlan) -> Iterator[tuple[Any, Any]]:
    from likeness.core.ray_jobs import on_ray

    return on_ray(jobs, plan)


Answer = tuple[Exception | None, Any]
"""What became of a job: an error, or none and the result."""


class Crew(ABC):
    """Workers elsewhere; `jobs` by number that were taken on and not given back, and the `answers` there are."""

    def __init__(self, jobs: Iterator[Any], plan: PoolPlan) -> None:
        self._rest, self.plan = enumerate(jobs), plan
        self.answers: dict[int, Answer] = {}
        self.jobs: dict[int, Any] = {}

    def fill(self) -> None:
        """As many jobs are under way as the plan allows."""
        for number, job in islice(self._rest, self.plan.workers * self.plan.ahead - len(self.jobs)):
            self.jobs[number] = job
            self.give(number)

    def take(self, number: int | None) -> tuple[Any, Answer]:
        """The job of that number, or the first to be answered, with its answer."""
        while not self.answers if number is None else number not in self.answers:
            self.listen()
        number = next(iter(self.answers)) if number is None else number
        return self.jobs.pop(number), self.answers.pop(number)

    @abstractmethod
    def give(self, number: int) -> None:
        """A worker has that job, or will have it."""

    @abstractmethod
    def listen(self) -> None:
        """Something has been heard of the workers."""

    @abstractmethod
    def end(self) -> None:
        """All workers are gone; those still at work after an error are ended."""


def by_crew(crew: Crew) -> Iterator[tuple[Any, Any]]:
    """(job, result) of every job of the crew, which ends with the iteration. Raises: the error of a job."""
    try:
        crew.fill()
        for turn in count():
            if not crew.jobs:
                return
            job, (error, result) = crew.take(turn if crew.plan.in_order else None)
            crew.fill()  # before the caller goes on, so that no worker waits for it
            if error is not None:
                raise error
            yield job, result
    finally:
        crew.end()


class _Worker(NamedTuple):
    connection: Connection
    process: BaseProcess
    numbers: deque[int]  # of the jobs it has; it answers in this order

    def death(self) -> LikenessError:
        self.process.join()
        got = f"one that ended with exit code {self.process.exitcode}"
        return LikenessError(f"worker: expected a result, got {got}; try fewer workers (memory?).")


class _Processes(Crew):
    """Workers on this machine, each at the other end of a pipe."""

    def __init__(self, jobs: Iterator[Any], plan: PoolPlan) -> None:
        super().__init__(jobs, plan)
        self._workers: list[_Worker] = []

    def give(self, number: int) -> None:
        """The worker that has fewest jobs gets it."""
        if len(self._workers) < self.plan.workers:
            self._workers.append(_start(self.plan.load, number=len(self._workers)))
        worker = min(self._workers, key=lambda worker: len(worker.numbers))
        try:
            worker.connection.send(self.jobs[number])
        except OSError:
            raise worker.death() from None
        worker.numbers.append(number)

    def listen(self) -> None:
        """Some answers have arrived."""
        busy = {worker.connection: worker for worker in self._workers if worker.numbers}
        for connection in wait(list(busy)):
            assert isinstance(connection, Connection)
            worker = busy[connection]
            try:
                self.answers[worker.numbers[0]] = connection.recv()
            except (EOFError, OSError):
                raise worker.death() from None
            worker.numbers.popleft()

    def end(self) -> None:
        """Idle workers read the end of their jobs and leave; others get SECONDS_TO_FINISH."""
        for worker in self._workers:
            worker.connection.close()
        for worker in self._workers:
            worker.process.join(timeout=SECONDS_TO_FINISH)
            if worker.process.is_alive():
                worker.process.terminate()
                worker.process.join()


def _start(load: Load[Any, Any], *, number: int) -> _Worker:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, load, number), daemon=True)
    process.start()
    there.close()
    return _Worker(here, process, deque())


# -- the life of a worker --------------------------------------------------------------------------------------
def _work(connection: Connection, load: Load[Any, Any], number: int) -> None:
    """Answers what comes through the pipe until it closes; a thread sends, so that no job waits for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and closes the pipe
    answers: SimpleQueue[Answer] = SimpleQueue()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    threading.Thread(target=_send, args=(connection, answers), daemon=True).start()
    work: Callable[[Any], Any] | None = None
    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return  # no more jobs, or the parent is gone
        try:
            work = work or load(number)  # here and not at the start, so that its errors are answers
            answers.put((None, work(job)))
        except LikenessError as error:
            answers.put((error, None))
        except Exception:  # anything at all must reach the parent rather than vanish with this process
            answers.put((failure(), None))


def failure() -> RuntimeError:
    """What a worker tells of the error that it is handling."""
    return RuntimeError("worker failed:\n" + traceback.format_exc())


def _send(connection: Connection, answers: SimpleQueue[Answer]) -> None:
    while True:
        answer = answers.get()
        try:
            connection.send(answer)
        except OSError:
            os._exit(1)  # nobody is left to tell
        except Exception:  # a result that cannot be sent
            connection.send((failure(), None))


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
    os._exit(1)


ENGINES: dict[Engine, Callable[[Iterator[Any], PoolPlan], Iterator[tuple[Any, Any]]]] = {
    "here": _here,
    "processes": _in_processes,
    "ray": _on_ray,
}
"""How jobs are done: name -> (jobs, plan) to (job, result) as they are finished."""
