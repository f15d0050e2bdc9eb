"""Making the missing pictures, in this process or in several.

Each process loads the maker once and makes one picture at a time on one CPU thread, so a picture never depends on batch
size, order or the number of workers. Workers end by themselves when their parent is gone, even after kill -9.
"""

import multiprocessing
import signal
import traceback
from collections.abc import Iterator, Sequence
from functools import lru_cache
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple  # Any: a maker without a model of its options takes what was given

from PIL import Image

from likeness.backbones.options import Options
from likeness.core.devices import one_thread
from likeness.core.errors import DataError, LikenessError
from likeness.core.images import load_image
from likeness.generate.makers import ImageMaker, MakerSpec, load_maker, notes_on
from likeness.generate.samples import Sample, write_sample

__all__ = ["Outcome", "Plan", "make_here", "make_in_workers"]


class Plan(NamedTuple):
    """What every worker knows: the run folder, how to load the maker, and the options of all pictures."""

    folder: Path
    maker: MakerSpec
    options: Options | dict[str, Any]


class Outcome(NamedTuple):
    """A sample that was dealt with; `refusal` is why its input cannot be used, empty when its picture was written."""

    sample: Sample
    refusal: str


def make_here(samples: Sequence[Sample], *, plan: Plan) -> Iterator[Outcome]:
    """Outcomes one by one, made in this process. Raises: LikenessError as the maker or the disk do."""
    if not samples:
        return
    maker = load_maker(plan.maker)
    with one_thread():
        for sample in samples:
            yield _make(sample, maker=maker, plan=plan)


def _make(sample: Sample, *, maker: ImageMaker, plan: Plan) -> Outcome:
    prompt = sample.case.prompt
    try:
        shown = [_reference(plan.folder / subject.reference_image) for subject in sample.case.subjects]
        notes = notes_on(prompt, maker=maker)
        image = maker.generate(prompt, shown, seed=sample.seed, options=plan.options)
    except DataError as error:
        return Outcome(sample, str(error))
    parent = multiprocessing.parent_process()
    if parent is None or parent.is_alive():
        write_sample(image, sample, folder=plan.folder, notes=notes)
    return Outcome(sample, "")


@lru_cache(maxsize=64)
def _reference(path: Path) -> Image.Image:
    return load_image(path)


def make_in_workers(samples: Sequence[Sample], *, plan: Plan, workers: int) -> Iterator[Outcome]:
    """Outcomes in the order they are ready, made by `workers` processes.

    Raises: LikenessError from a worker or when one died, RuntimeError with a worker's traceback for anything else.
    """
    waiting = list(reversed(samples))
    processes: dict[Connection, BaseProcess] = {}
    try:
        for index in range(min(workers, len(samples))):
            connection, process = _start(plan, index=index)
            processes[connection] = process
            connection.send(waiting.pop())
        busy = set(processes)
        while busy:
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                outcome = _receive(connection, process=processes[connection])
                if waiting:
                    connection.send(waiting.pop())
                else:
                    busy.remove(connection)
                yield outcome
    finally:
        _end(processes)


def _start(plan: Plan, *, index: int) -> tuple[Connection, BaseProcess]:
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_work, args=(there, _on_own_device(plan, index=index)), daemon=True)
    process.start()
    there.close()
    return here, process


def _on_own_device(plan: Plan, *, index: int) -> Plan:
    """The plan with worker `index` on its own CUDA device where there are several."""
    if plan.maker.device != "cuda":
        return plan
    import torch

    device = f"cuda:{index % torch.cuda.device_count()}"
    return plan._replace(maker=plan.maker._replace(device=device))


def _receive(connection: Connection, *, process: BaseProcess) -> Outcome:
    try:
        answer = connection.recv()
    except (EOFError, ConnectionError):
        process.join()
        got = f"one that ended with exit code {process.exitcode}"
        raise LikenessError(f"worker: expected a picture, got {got}; try fewer workers (memory?).") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _end(processes: dict[Connection, BaseProcess]) -> None:
    """All workers are gone; those still at work after an error are ended, which never leaves half a picture."""
    for connection in processes:
        connection.close()  # an idle worker reads the end of its jobs and leaves
    for process in processes.values():
        process.join(timeout=5)
        if process.is_alive():
            process.terminate()
            process.join()


def _work(connection: Connection, plan: Plan) -> None:
    """The life of a worker: load, then make what comes through the pipe until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and closes the pipe
    try:
        _serve(connection, plan=plan)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # no more jobs, or the parent is gone
    except LikenessError as error:
        _report(connection, error)
    except Exception:  # anything at all must reach the parent rather than vanish with this process
        _report(connection, RuntimeError("worker failed:\n" + traceback.format_exc()))


def _serve(connection: Connection, *, plan: Plan) -> None:
    maker = load_maker(plan.maker)
    with one_thread():
        while True:
            connection.send(_make(connection.recv(), maker=maker, plan=plan))


def _report(connection: Connection, error: Exception) -> None:
    try:
        connection.send(error)
    except OSError:
        return  # the parent is gone and with it everybody who could read this
