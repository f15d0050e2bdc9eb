"""Both phases on both backbones at once, by processes that each take what can be done: for machines of many cores.

    python experiments/focusdpo_two_backbones/crew.py --workers 18 --until-minutes 9.3

What a job is and in which order jobs become possible is as in run.py; here nobody waits for the slowest of a round.
A job is taken by a lock on a file below --out, which the system lifts when the process dies.
"""

import argparse
import fcntl
import shutil
import sys
import threading
import time
import tomllib
import traceback
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple  # JSON

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import world_runs
from design import Design, Piece
from lab import Lab, Ledger, TimeIsOverError, do_piece
from pair_kinds import KINDS, build_kind
from run import HERE, pending, write_chosen

from likeness.core.files import atomic_write_bytes, read_json, write_json
from likeness.core.jobs import run_jobs
from likeness.core.records import read_cases

SECONDS_BETWEEN_LOOKS = 0.5
CASES_SEEN_AT_ONCE = 96


class Job(NamedTuple):
    """Something that one process does; `name` is that of its lock."""

    name: str
    do: Callable[[], object]
    is_done: Callable[[], bool]


class Crew(NamedTuple):
    """What every process knows; `test` is whether the test phase follows."""

    lab: Lab
    backbones: tuple[str, ...]
    test: bool

    @property
    def phases(self) -> tuple[str, ...]:
        """In their order."""
        return ("validation", "test") if self.test else ("validation",)


def jobs(crew: Crew, ledger: Ledger) -> Iterator[Job]:
    """What can be done now, most urgent first; nothing where all is done."""
    lab, ready = crew.lab, set[str]()
    for phase in crew.phases:
        if waits := list(_preparations(lab, phase)):
            yield from waits
        else:
            ready.add(phase)
    each = [list(_of_backbone(Design(lab.plan, name), crew, ledger, ready=ready)) for name in crew.backbones]
    for turn in zip_longest(*each):
        yield from (job for job in turn if job is not None)


def _of_backbone(design: Design, crew: Crew, ledger: Ledger, *, ready: Collection[str]) -> Iterator[Job]:
    if "validation" in ready:
        if left := pending(design.validation(ledger), ledger):
            yield from _pieces(left, crew)
        else:
            yield from _of_test(design, crew, ledger, is_ready="test" in ready)


def _of_test(design: Design, crew: Crew, ledger: Ledger, *, is_ready: bool) -> Iterator[Job]:
    path = crew.lab.results / "chosen.json"
    chosen: Mapping[str, Any] = read_json(path) if path.is_file() else {}
    if design.backbone not in chosen:
        is_done = lambda: path.is_file() and design.backbone in read_json(path)  # noqa: E731
        yield Job("chosen", partial(write_chosen, crew.lab, design, ledger), is_done)
    elif crew.test and is_ready:
        yield from _pieces(pending(design.test(chosen[design.backbone]), ledger), crew)


def _preparations(lab: Lab, phase: str) -> Iterator[Job]:
    """Cases drawn, then their photos looked at once, so that no two processes do so."""
    for benchmark in lab.limits(phase):
        cases = lab.out / "cases" / phase / benchmark / "cases.jsonl"
        if not cases.is_file():
            yield Job(f"cases-{phase}-{benchmark}", partial(lab.case_file, phase, benchmark), cases.is_file)
            continue
        for first in range(0, lab.limits(phase)[benchmark], CASES_SEEN_AT_ONCE):
            done = lab.out / "seen" / phase / benchmark / f"{first}.json"
            if not done.is_file():
                see = partial(_see_photos, lab, cases, benchmark, first, done)
                yield Job(f"seen-{phase}-{benchmark}-{first}", see, done.is_file)


def _see_photos(lab: Lab, cases: Path, benchmark: str, first: int, done: Path) -> None:
    """Encoders look at the photos of some cases, and at their true pictures in the place of drawn ones."""
    from likeness.core.files import write_jsonl
    from likeness.evaluate import evaluate_run

    some = read_cases(cases).cases[first : first + CASES_SEEN_AT_ONCE]
    run = done.with_suffix("")
    (run / "images").mkdir(parents=True, exist_ok=True)
    for case in some:
        shutil.copyfile(cases.parent / "truth" / f"{case.id}.png", run / "images" / f"{case.id}.png")
    write_jsonl(run / "cases.jsonl", [case.model_dump(mode="json") for case in some])
    more = lab.plan["test"]["by_place"]
    encoders = world_runs.world_encoders(*more["encoders"])
    metrics = [*lab.plan["metrics"], *more["metrics"]]
    how = {"bounds": False, "metrics": metrics, "features": lab.out / "features"}
    evaluate_run(run, benchmark=benchmark, encoders=encoders, **how)
    write_json(done, {})


def _pieces(pieces: Sequence[Piece], crew: Crew) -> Iterator[Job]:
    """A job for each piece whose pairs are there; before them, that of encoding the pairs once."""
    lab = crew.lab
    for piece in pieces:
        if piece.changes is not None and not lab.pairs(piece.pairs).is_dir():
            continue
        encoded = lab.out / "encoded" / f"{piece.backbone}-{piece.pairs}.json"
        if piece.changes is not None and not encoded.is_file():
            yield Job(encoded.stem, partial(_encode, lab, piece, encoded), encoded.is_file)
            continue
        name = piece.file.with_suffix("").with_suffix("").as_posix().replace("/", "-")
        yield Job(name, partial(do_piece, piece, lab=lab), lambda piece=piece: Ledger(lab).is_done(piece))


def _encode(lab: Lab, piece: Piece, done: Path) -> None:
    """The pairs of a piece are encoded: a training of a single step, whose adapter nobody needs."""
    base, pairs = lab.plan["backbones"][piece.backbone]["base"], lab.pairs(piece.pairs)
    place = {"model.base": base, "data.pairs": pairs.as_posix(), "train.seed": piece.seed}
    short = {"train.steps": 1, "train.warmup": 0, "train.save_every": 1}
    changes = {**place, **lab.plan["train"], "objective.kind": "sft", **short}
    world_runs.train(changes, recipe=lab.plan["recipe"], out=done.with_suffix(""))
    write_json(done, {})


@contextmanager
def claimed(name: str, *, folder: Path) -> Iterator[bool]:
    """Whether nobody else had the claim; it is held within."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def member(crew: Crew, _: int) -> Callable[[int], int]:
    """What a process of the crew does: jobs, until there are none or time is over; returns how many."""
    return lambda _: work(crew)


def work(crew: Crew) -> int:
    """The number of jobs done by this process."""
    ledger, count = Ledger(crew.lab), 0
    while not crew.lab.is_late:
        found = [job for job in jobs(crew, ledger) if not _failure(crew.lab, job).is_file()]
        if not found:  # nothing is left, or only pairs that are still being made
            if all(crew.lab.pairs(kind).is_dir() for kind in wanted_kinds(crew.lab)):
                return count
            time.sleep(SECONDS_BETWEEN_LOOKS)
            continue
        if not any(_try(job, crew.lab) for job in found):
            time.sleep(SECONDS_BETWEEN_LOOKS)
        else:
            count += 1
    return count


def _try(job: Job, lab: Lab) -> bool:
    """Whether it was free, still to do, and is done now."""
    with claimed(job.name, folder=lab.out / "claims") as is_mine:
        if not is_mine or job.is_done():
            return False
        begun = time.monotonic()
        try:
            job.do()
        except Exception:  # the others go on; main tells of it and fails
            atomic_write_bytes(_failure(lab, job), traceback.format_exc().encode())
        print(f"job {job.name}: {time.monotonic() - begun:.1f} s", flush=True)
        return True


def _failure(lab: Lab, job: Job) -> Path:
    return lab.out / "failed" / f"{job.name}.txt"


def wanted_kinds(lab: Lab) -> list[str]:
    """The kinds of pairs that the plan needs."""
    search = lab.plan["search"]
    return [kind for kind in KINDS if kind in (*search["pairs"], *search["borrowed"])]


def build_pairs(lab: Lab, base: str) -> None:
    """Every kind of pairs the plan needs, one after the other."""
    for kind in wanted_kinds(lab):
        try:
            build_kind(kind, plan=lab.plan, base=base, place=lab.out / "pairs", workers=lab.workers, progress=lab.watch)
        except TimeIsOverError:
            return


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs both phases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan", type=Path, default=HERE / "plan.toml")
    parser.add_argument("--out", type=Path, default=world_runs.ROOT / "runs" / "focusdpo_two_backbones")
    parser.add_argument("--results", type=Path, default=HERE)
    parser.add_argument("--backbone", action="append", choices=("flux_uno", "sdxl"), default=[])
    parser.add_argument("--validation-only", action="store_true")
    parser.add_argument("--until-minutes", type=float, default=480.0)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args(arguments)
    plan = tomllib.loads(given.plan.read_text(encoding="utf-8"))
    lab = Lab(plan, given.out.resolve(), given.results.resolve(), given.workers)
    lab = replace(lab, deadline=time.time() + 60 * given.until_minutes)
    crew = Crew(lab, tuple(given.backbone or plan["backbones"]), not given.validation_only)
    base = next(iter(plan["backbones"].values()))["base"]
    pairs = threading.Thread(target=build_pairs, args=(lab, base))
    pairs.start()
    members = range(given.workers)
    done = run_jobs(members, load=partial(member, crew), engine="processes", workers=given.workers, single_thread=True)
    print(f"jobs by process: {sorted(count for _, count in done)}", flush=True)
    pairs.join()
    if failed := sorted((lab.out / "failed").glob("*.txt")):
        sys.exit("\n".join(f"{path.stem} failed:\n{path.read_text(encoding='utf-8')}" for path in failed))


if __name__ == "__main__":
    main()
