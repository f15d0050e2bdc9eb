"""Jobs done on a Ray cluster: the engine "ray" of `run_jobs`.

Each worker is an actor that loads what it needs once and then does one job at a time. A worker that dies is replaced
and its jobs are given to others, so that nothing is lost and nothing is yielded twice. Jobs are given only to workers
that have started: where the cluster has room for fewer than were asked for, those that there are do all the work.
"""

import os
import platform
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple  # Any: jobs and results are the caller's, and Ray's types are known in part

from likeness.core.errors import ConfigError, DataError, LikenessError
from likeness.core.jobs import SECONDS_TO_FINISH, Answer, Crew, Load, PoolPlan, by_crew, failure
from likeness.core.runs import package_versions

MOST_DEATHS = 3
"""So many workers may die of a job, or one after the other as they start, before that is an error."""
SECONDS_TO_START = 600.0
"""How long no worker at all may start: a cluster that others use, or that grows on demand, needs time."""
SECONDS_TO_ANSWER = 10.0
"""How long the machine at $RAY_ADDRESS may take to accept a connection."""
STORE_BYTES = 100 * 2**20
"""Shared memory of a cluster that is started here; what does not fit is written to the disk by Ray."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # who asks for no GPU sees what the machine has
    "RAY_worker_niceness": "0",  # workers are what the user waits for
}
"""Variables by which Ray is set, where the user has not, for a cluster that is started here."""
MOST_CHARACTERS = 300
"""Of a job, or of what Ray says, in an error."""
_PACKAGES = ("torch", "transformers", "diffusers", "numpy", "scipy", "pillow", "skia-python", "onnxruntime")


def on_ray(jobs: Iterator[Any], plan: PoolPlan) -> Iterator[tuple[Any, Any]]:
    """(job, result) of every job, done by workers on the cluster of `connected`.

    Raises: as `run_jobs`; ConfigError without Ray or a cluster; LikenessError for a job of which MOST_DEATHS workers
    died, and when no worker starts.
    """
    with connected(workers=plan.workers):
        yield from by_crew(_Actors(jobs, plan))


@contextmanager
def connected(*, workers: int) -> Generator[None]:
    """Ray is connected: as it is already, else to the cluster at $RAY_ADDRESS, else to one started here and now.

    What was connected or started here ends with the context. Raises: ConfigError without Ray or such a cluster.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    ray = _ray()
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    _require_answer(address)
    own = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        ray.init(address, logging_level="ERROR", log_to_driver=False, **(own if address == "local" else {}))
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _no_cluster(address, error) from error
    try:
        yield
    finally:
        ray.shutdown()


def _require_answer(address: str) -> None:
    """Something listens at HOST:PORT; Ray itself would try for minutes. Raises: ConfigError."""
    host, _, port = address.rpartition(":")
    if "://" in address or not (host and port.isdigit()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=SECONDS_TO_ANSWER).close()
    except OSError as error:
        raise _no_cluster(address, error) from error


def _no_cluster(address: str, error: Exception) -> ConfigError:
    wanted = f"RAY_ADDRESS: expected a Ray cluster at {address}, got {_shortened(str(error).strip().rstrip('.'))}"
    return ConfigError(f"{wanted}; start it with `ray start --head`, or unset the variable.")


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        wanted = f"engine ray: expected the package ray, got {error}"
        raise ConfigError(f"{wanted}; install it with pip install 'likeness[ray]'.") from error
    return ray


def resources(*, gpus: float, cluster: dict[str, float]) -> dict[str, float]:
    """What a worker asks a cluster with these resources for: one core, and its share of a GPU where there are any."""
    return {"num_cpus": 1} | ({"num_gpus": gpus} if gpus and cluster.get("GPU", 0) > 0 else {})


# -- workers, seen from this process ---------------------------------------------------------------------------
@dataclass
class _Worker:
    number: int
    actor: Any
    started: Any  # the reference of its first sign of life
    tasks: deque[tuple[Any, int]] = field(default_factory=deque[tuple[Any, int]])
    """References of answers and numbers of the jobs it has, in the order in which it answers."""
    is_ready: bool = False

    @property
    def next_sign(self) -> Any:
        """The reference of what is heard of it next, or None when it has nothing to do."""
        return self.started if not self.is_ready else self.tasks[0][0] if self.tasks else None


class _Actors(Crew):
    """Workers on a Ray cluster. Jobs wait here until a worker has room for them."""

    def __init__(self, jobs: Iterator[Any], plan: PoolPlan) -> None:
        super().__init__(jobs, plan)
        from ray import cloudpickle

        self._ray, self._bytes = _ray(), cloudpickle
        self._orders: Any = None
        self._workers: list[_Worker] = []
        self._waiting: deque[int] = deque()
        self._suspects: set[int] = set()
        """Jobs that a dead worker had in hand, perhaps done but not answered: each is given to a worker alone, so that
        the next death tells whose it was."""
        self._deaths: dict[int, int] = {}
        self._failed_starts = 0

    def give(self, number: int) -> None:
        """The job waits for its turn, or a worker has it."""
        self._waiting.append(number)
        self._hand_out()

    def listen(self) -> None:
        """One worker has answered, started or died."""
        signs = {worker.next_sign: worker for worker in self._workers if worker.next_sign is not None}
        patience = None if any(worker.is_ready for worker in self._workers) else SECONDS_TO_START
        heard, _ = self._ray.wait(list(signs), num_returns=1, timeout=patience)
        if not heard:
            room = {name: count for name, count in self._ray.cluster_resources().items() if name in ("CPU", "GPU")}
            wanted = f"workers: expected room for one on the Ray cluster within {SECONDS_TO_START:g} s"
            raise LikenessError(f"{wanted}, got none of its {room}; end what else runs there, or add machines.")
        for sign in heard:
            self._hear(signs[sign], sign)
        self._hand_out()

    def end(self) -> None:
        """Idle workers are ended; others get SECONDS_TO_FINISH."""
        at_work = [worker.tasks[-1][0] for worker in self._workers if worker.is_ready and worker.tasks]
        if at_work:
            self._ray.wait(at_work, num_returns=len(at_work), timeout=SECONDS_TO_FINISH)
        for worker in self._workers:
            self._ray.kill(worker.actor)

    def _hear(self, worker: _Worker, sign: Any) -> None:
        try:
            told = self._ray.get(sign)
        except self._ray.exceptions.RayError as error:
            return self._lost(worker, error)
        if worker.is_ready:
            _, number = worker.tasks.popleft()
            self._suspects.discard(number)
            self.answers[number] = self._bytes.loads(told)
        else:
            worker.is_ready, self._failed_starts = True, 0

    def _lost(self, worker: _Worker, error: Exception) -> None:
        """The worker is gone for sure, and its jobs are the next to be handed out."""
        self._ray.kill(worker.actor)
        self._workers.remove(worker)
        numbers = [number for _, number in worker.tasks]
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= MOST_DEATHS:
                wanted = f"worker: expected one to start, got {self._failed_starts} that did not ({_told(error)})"
                raise LikenessError(f"{wanted}; is likeness installed on every machine of the cluster?") from error
        elif numbers:
            first = numbers[0]
            self._deaths[first] = self._deaths.get(first, 0) + 1
            if self._deaths[first] >= MOST_DEATHS:
                self.answers[first] = self._given_up(first, error), None
                del numbers[0]
        self._suspects |= {*numbers}
        self._waiting.extendleft(reversed(numbers))

    def _given_up(self, number: int, error: Exception) -> LikenessError:
        job = f"job {number}, {_shortened(repr(self.jobs[number]))}"
        got = f"{MOST_DEATHS} workers that died of it ({_told(error)})"
        return LikenessError(f"{job}: expected a result, got {got}; try fewer workers on a machine (memory?).")

    def _hand_out(self) -> None:
        """There are as many workers as can have work, and each that has started has what it may have."""
        taken = {worker.number for worker in self._workers}
        free = [number for number in range(self.plan.workers) if number not in taken]
        for number in free[: max(0, len(self.jobs) - len(self.answers) - len(taken))]:
            self._workers.append(self._start(number))
        while self._waiting:
            is_alone = self._waiting[0] in self._suspects
            idle = [worker for worker in self._workers if self._has_room(worker, is_alone=is_alone)]
            if not idle:
                return
            worker = min(idle, key=lambda worker: len(worker.tasks))
            number = self._waiting.popleft()
            worker.tasks.append((worker.actor.do.remote(self._bytes.dumps(self.jobs[number])), number))

    def _has_room(self, worker: _Worker, *, is_alone: bool) -> bool:
        if not worker.is_ready or any(number in self._suspects for _, number in worker.tasks):
            return False
        return not worker.tasks if is_alone else len(worker.tasks) < self.plan.ahead

    def _start(self, number: int) -> _Worker:
        if self._orders is None:
            orders = _Orders(self.plan.load, os.getcwd(), _versions(), _processor())
            self._orders = self._ray.put(self._bytes.dumps(orders))
        asked = resources(gpus=self.plan.gpus, cluster=self._ray.cluster_resources())
        actor = self._ray.remote(RayWorker).options(**asked, max_restarts=0).remote(sys.path, self._orders, number)
        return _Worker(number, actor, actor.start.remote())


def _told(error: BaseException) -> str:
    """What Ray says of a death, without its general advice."""
    text = " ".join(str(error).split()) or type(error).__name__
    detail = text.partition("Worker exit detail: ")[2] or text
    return _shortened(detail.partition(" Some common causes")[0].rstrip("."))


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} ..."


# -- the life of a worker --------------------------------------------------------------------------------------
class _Orders(NamedTuple):
    """What every worker is told: how to load, and where and with what the driver runs."""

    load: Load[Any, Any]
    folder: str
    versions: dict[str, str]
    processor: str | None


class RayWorker:
    """The actor: it keeps its errors until the first job, so that they are answers.

    Jobs and answers travel as bytes: Ray's own objects would be read-only where they hold arrays.
    """

    def __init__(self, paths: list[str], orders: bytes, number: int) -> None:
        import multiprocessing

        sys.path += [path for path in paths if path not in sys.path]  # as multiprocessing does

        multiprocessing.current_process().daemon = True  # a worker does the jobs of its job itself
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver handles Ctrl-C
        self._sent, self._number = orders, number
        self._orders: _Orders | None = None
        self._work: Callable[[Any], Any] | None = None
        self._is_equal = False

    def start(self) -> int:
        """The worker has started; its process."""
        return os.getpid()

    def do(self, job: bytes) -> bytes:
        """The answer to a job."""
        from ray import cloudpickle

        try:
            self._work = self._work or self._loaded()
            answer: Answer = (None, self._work(cloudpickle.loads(job)))
            self._require_equal_processor()
        except LikenessError as error:
            answer = (error, None)
        except Exception:  # anything at all must reach the driver rather than end this worker
            answer = (failure(), None)
        try:
            return cloudpickle.dumps(answer)
        except Exception:  # a result that cannot be sent
            return cloudpickle.dumps((failure(), None))

    def _loaded(self) -> Callable[[Any], Any]:
        from ray import cloudpickle

        orders: _Orders = cloudpickle.loads(self._sent)
        self._orders = orders
        _require_equal("packages", ours=_versions(), driver=orders.versions)
        try:
            os.chdir(orders.folder)  # where relative paths begin
        except OSError as error:
            wanted = f"{orders.folder}: expected the folder of the command on {socket.gethostname()} as well"
            got = f"got {error.strerror or error}"
            raise DataError(f"{wanted}, {got}; run it in a folder that every machine of the cluster sees.") from error
        return orders.load(self._number)

    def _require_equal_processor(self) -> None:
        """Sums round by the instructions that torch chooses. Where one of the two has no torch, none are compared."""
        if not self._is_equal and self._orders is not None and (ours := _processor()):
            driver = self._orders.processor or ours
            _require_equal("a processor", ours={"torch computes with": ours}, driver={"torch computes with": driver})
            self._is_equal = True


def _versions() -> dict[str, str]:
    return package_versions(*_PACKAGES) | {"machine": platform.machine()}


def _processor() -> str | None:
    if "torch" not in sys.modules:
        return None
    import torch

    return torch.backends.cpu.get_cpu_capability()


def _require_equal(what: str, *, ours: dict[str, str], driver: dict[str, str]) -> None:
    """Raises: ConfigError, naming this machine, where a result could differ from the driver's own."""
    for name, value in driver.items():
        if ours.get(name) != value:
            wanted = f"worker on {socket.gethostname()}: expected {what} as of the driver ({name} {value})"
            raise ConfigError(f"{wanted}, got {ours.get(name)}; results would differ: use machines of one kind.")
