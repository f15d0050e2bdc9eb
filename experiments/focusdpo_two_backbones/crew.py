"""The jobs of the experiment, and the processes that do them: each takes what can be done now.

A job is taken by a lock on a file below the folder of working files, which the system lifts when its process dies. What
is done lies in files; so a run goes on where it was stopped, and processes started at different times share it.
"""

import fcntl
import shutil
import threading
import time
import traceback
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple  # JSON

import world_runs
from design import Design, Piece
from lab import Lab, Ledger, TimeIsOverError, do_piece
from pair_kinds import KINDS, build_kind

from likeness.core.errors import ConfigError, LikenessError
from likeness.core.files import atomic_write_bytes, read_json, write_json, write_jsonl
from likeness.core.jobs import run_jobs
from likeness.core.records import read_cases

SECONDS_BETWEEN_LOOKS = 0.5
CASES_SEEN_AT_ONCE = 96
PAIRS = "pairs"
"""The name under which a failure to make pairs is told."""


class Job(NamedTuple):
    """Something that one process does; `name` is that of its lock."""

    name: str
    do: Callable[[], object]
    is_done: Callable[[], bool]


class Crew(NamedTuple):
    """What every process knows: `phases` are "validation", "test" or both, the first backbone's jobs come first."""

    lab: Lab
    backbones: tuple[str, ...]
    phases: tuple[str, ...]


# -- what there is to do ---------------------------------------------------------------------------------------
def jobs(crew: Crew, ledger: Ledger) -> Iterator[Job]:
    """What can be done now, most urgent first. Raises: ConfigError for the test of a backbone before its choice."""
    lab, ready = crew.lab, set[str]()
    for phase in crew.phases:
        if waits := list(_preparations(lab, phase)):
            yield from waits
        else:
            ready.add(phase)
    for backbone in crew.backbones:
        yield from _of_backbone(Design(lab.plan, backbone), crew, ledger, ready=ready)


def _of_backbone(design: Design, crew: Crew, ledger: Ledger, *, ready: Collection[str]) -> Iterator[Job]:
    path = crew.lab.results / "chosen.json"
    chosen: Mapping[str, Any] = read_json(path) if path.is_file() else {}
    if "validation" in crew.phases:
        if "validation" not in ready:
            return
        if left := pending(design.validation(ledger), ledger):
            yield from _of_pieces(left, crew)
            return
        if design.backbone not in chosen:
            is_done = partial(_is_chosen, path, design.backbone)
            yield Job("chosen", partial(write_chosen, crew.lab, design, ledger), is_done)
            return
    if design.backbone not in chosen:
        what = f"{path}: expected choices for {design.backbone}, got none"
        raise ConfigError(f"{what}; finish --phase validation first.")
    if "test" in ready:
        yield from _of_pieces(pending(design.test(chosen[design.backbone]), ledger), crew)


def pending(pieces: Iterable[Piece], ledger: Ledger) -> list[Piece]:
    """Those of the pieces that are not done, one for each file: the one that wants the most strengths."""
    wanted: dict[Path, Piece] = {}
    for piece in pieces:
        known = wanted.get(piece.file)
        if known is None or len(piece.strengths) > len(known.strengths):
            wanted[piece.file] = piece
    return [piece for piece in wanted.values() if not ledger.is_done(piece)]


def write_chosen(lab: Lab, design: Design, ledger: Ledger) -> None:
    """This backbone's part of chosen.json, from scores that are all there."""
    path, found = lab.results / "chosen.json", {}
    search = lab.plan["search"]
    for pairs in (*search["pairs"], *search["borrowed"]):
        chosen = design.chosen_of(pairs, known=ledger)
        assert chosen is not None, "the phase is over"
        found[pairs] = {name: each.to_json() for name, each in chosen.items()}
    old = read_json(path) if path.is_file() else {}
    write_json(path, {**old, design.backbone: found})


def _is_chosen(path: Path, backbone: str) -> bool:
    return path.is_file() and backbone in read_json(path)


# -- before any piece ------------------------------------------------------------------------------------------
def _preparations(lab: Lab, phase: str) -> Iterator[Job]:
    """Cases drawn, then their photos looked at, once, so that no two processes do so."""
    for benchmark, limit in lab.limits(phase).items():
        cases = lab.out / "cases" / phase / benchmark / "cases.jsonl"
        if not cases.is_file():
            yield Job(f"cases-{phase}-{benchmark}", partial(lab.case_file, phase, benchmark), cases.is_file)
            continue
        for first in range(0, limit, CASES_SEEN_AT_ONCE):
            done = lab.out / "seen" / phase / benchmark / f"{first}.json"
            if not done.is_file():
                see = partial(see_photos, lab, cases, benchmark=benchmark, first=first, done=done)
                yield Job(f"seen-{phase}-{benchmark}-{first}", see, done.is_file)


def see_photos(lab: Lab, cases: Path, *, benchmark: str, first: int, done: Path) -> None:
    """Encoders look at the photos of some cases, and at their true pictures in the place of drawn ones."""
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
    evaluate_run(
        run, benchmark=benchmark, encoders=encoders, bounds=False, metrics=metrics, features=lab.out / "features"
    )
    write_json(done, {})


def _wanted_kinds(lab: Lab) -> list[str]:
    """The kinds of pairs that the plan needs."""
    search = lab.plan["search"]
    return [kind for kind in KINDS if kind in (*search["pairs"], *search["borrowed"])]


def build_pairs(lab: Lab) -> None:
    """Every kind of pairs the plan needs, one after the other, as long as there is time."""
    base = next(iter(lab.plan["backbones"].values()))["base"]
    for kind in _wanted_kinds(lab):
        try:
            build_kind(kind, plan=lab.plan, base=base, place=lab.out / "pairs", workers=lab.workers, progress=lab.watch)
        except TimeIsOverError:
            return
        except Exception:  # as of any job, told by `do_all`
            atomic_write_bytes(_failure(lab, PAIRS), traceback.format_exc().encode())
            return


# -- pieces ----------------------------------------------------------------------------------------------------
def _of_pieces(pieces: Sequence[Piece], crew: Crew) -> Iterator[Job]:
    """A job for each piece whose pairs are there; before them, that of encoding the pairs, once."""
    lab = crew.lab
    for piece in pieces:
        if piece.changes is not None and not lab.pairs(piece.pairs).is_dir():
            continue
        encoded = lab.out / "encoded" / f"{piece.backbone}-{piece.pairs}.json"
        if piece.changes is not None and not encoded.is_file():
            yield Job(encoded.stem, partial(_encode, lab, piece, encoded), encoded.is_file)
            continue
        name = piece.file.with_suffix("").with_suffix("").as_posix().replace("/", "-")
        yield Job(name, partial(do_piece, piece, lab=lab), partial(_is_done, piece, lab))


def _is_done(piece: Piece, lab: Lab) -> bool:
    return Ledger(lab).is_done(piece)


def _encode(lab: Lab, piece: Piece, done: Path) -> None:
    """The pairs of a piece are encoded: a training of a single step, whose adapter nobody needs."""
    base, pairs = lab.plan["backbones"][piece.backbone]["base"], lab.pairs(piece.pairs)
    place = {"model.base": base, "data.pairs": pairs.as_posix(), "train.seed": piece.seed}
    short = {"objective.kind": "sft", "train.steps": 1, "train.warmup": 0, "train.save_every": 1}
    run = done.with_suffix("")
    shutil.rmtree(run, ignore_errors=True)
    world_runs.train({**place, **lab.plan["train"], **short}, recipe=lab.plan["recipe"], out=run)
    write_json(done, {})


# -- who does it -----------------------------------------------------------------------------------------------
@contextmanager
def claimed(name: str, *, folder: Path) -> Generator[bool, None, None]:
    """Whether nobody else has the claim; it is held within."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def do_all(crew: Crew) -> bool:
    """Whether everything is done; False where time ran out first.

    Raises: ConfigError as `jobs`; LikenessError with what went wrong in jobs that failed, after all the others.
    """
    lab = crew.lab
    failures = lab.out / "failed"
    shutil.rmtree(failures, ignore_errors=True)
    pairs = threading.Thread(target=build_pairs, args=(lab,))
    pairs.start()
    members = run_jobs(range(lab.workers), load=partial(_member, crew), workers=lab.workers, single_thread=True)
    is_over = all([finished for _, finished in members])  # a list: every process is waited for
    pairs.join()
    if failed := sorted(failures.glob("*.txt")):
        told = "\n".join(f"{path.stem}:\n{path.read_text(encoding='utf-8')}" for path in failed)
        raise LikenessError(f"{len(failed)} jobs failed; mend the fault, the same command draws them again.\n{told}")
    return is_over


def _member(crew: Crew, _: int) -> Callable[[int], bool]:
    return lambda _: work(crew)


def work(crew: Crew) -> bool:
    """Jobs are done by this process until none is left; False where time ran out first."""
    lab, ledger = crew.lab, Ledger(crew.lab)
    while not lab.is_late:
        found = [job for job in jobs(crew, ledger) if not _failure(lab, job.name).is_file()]
        if not found and (_failure(lab, PAIRS).is_file() or not _missing_kinds(lab)):
            return True
        if not any(_does(job, lab) for job in found):
            time.sleep(SECONDS_BETWEEN_LOOKS)
    return False


def _missing_kinds(lab: Lab) -> list[str]:
    return [kind for kind in _wanted_kinds(lab) if not lab.pairs(kind).is_dir()]


def _does(job: Job, lab: Lab) -> bool:
    """Whether the job was free and still to do, and is done now or has failed, which a file tells."""
    with claimed(job.name, folder=lab.out / "claims") as is_mine:
        if not is_mine or job.is_done() or lab.is_late:
            return False
        begun = time.monotonic()
        try:
            job.do()
        except Exception:  # told by `do_all` at the end; the others go on
            atomic_write_bytes(_failure(lab, job.name), traceback.format_exc().encode())
        print(f"{job.name}: {time.monotonic() - begun:.0f} s", flush=True)
        return True


def _failure(lab: Lab, name: str) -> Path:
    return lab.out / "failed" / f"{name}.txt"
