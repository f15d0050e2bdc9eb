"""Stages done one after the other for all records, here or elsewhere, and what became of every record.

Only this process writes the ledger; workers write pictures. A stage is loaded where it is needed and one model at a
time, so that a card has to hold the largest of them and no more.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from likeness.core.errors import ConfigError, DataError, LikenessError, OutputError, WeightsError
from likeness.core.files import atomic_write_bytes, require_shared
from likeness.core.hashing import json_sha256
from likeness.core.jobs import Engine, Progress, run_jobs, unseen
from likeness.data.staged.ledger import Entry, FileFacts, Ledger
from likeness.data.staged.stage import Asked, Record, Rejection, Stage, Work

__all__ = ["Accounts", "Ended", "run_stages"]

HOPELESS = 20
"""So many failures in a stage that no record ever got through end the run: the stage is at fault, not the records."""
MOST_CHARACTERS = 500
"""Of an error in the ledger."""


class Ended(NamedTuple):
    """A record that did not reach the end: rejected by a stage, or failed in it for the `tries`-th time."""

    record: str
    outcome: str
    stage: str
    cause: str
    reason: str
    tries: int


class Accounts(NamedTuple):
    """Every record once, in order: `finished` with everything that was made of it, or `ended` on the way."""

    finished: tuple[Record, ...]
    ended: tuple[Ended, ...]


class _Open(NamedTuple):
    """Records that go on at a stage, each with the key of its next entry, and those that have ended."""

    alive: list[tuple[str, Record]]
    ended: list[Ended]


class _Job(NamedTuple):
    """A record that a stage has to deal with, and the key of the entry."""

    key: str
    record: Record


def run_stages(
    asked: Sequence[Asked],
    *,
    stages: Sequence[Stage],
    folder: Path,
    ledger: Ledger,
    workers: int = 1,
    engine: Engine | None = None,
    retry_failed: bool = False,
    progress: Callable[[str], Progress] = lambda _: unseen,
) -> Accounts:
    """Every record has gone through all stages, or ended in one of them; what the ledger knows is not done again.

    Failed records stay failed unless `retry_failed`.
    Raises: ConfigError, WeightsError, OutputError of a stage; LikenessError when no record ever gets through a stage,
    or a worker dies.
    """
    alive, ended = _begun(asked, stages[0], folder=folder), list[Ended]()
    for stage in stages:
        jobs = _missing(alive, stage=stage, ledger=ledger, retry_failed=retry_failed)
        done, total, bar = len(alive) - len(jobs), len(alive), progress(stage.name)
        bar(done, total)
        hope = _Hope(ledger, stage=stage)
        for entry in _entries(jobs, stage=stage, folder=folder, workers=workers, engine=engine):
            tries = _tries(ledger.entries.get((entry.record, entry.stage)), entry) if entry.outcome == "failed" else 1
            ledger.append(entry.model_copy(update={"tries": tries}))
            hope.after(entry)
            done += 1
            bar(done, total)
        alive, out = _advanced(alive, stage=stage, following=_following(stages, stage), entries=ledger.entries)
        ended += out
    return _accounts(asked, alive, ended)


def _following(stages: Sequence[Stage], stage: Stage) -> Stage | None:
    place = [each.name for each in stages].index(stage.name)
    return stages[place + 1] if place + 1 < len(stages) else None


# -- keys ------------------------------------------------------------------------------------------------------
def _begun(asked: Sequence[Asked], first: Stage, *, folder: Path) -> list[tuple[str, Record]]:
    return [
        (json_sha256([first.name, first.settings, each.id, each.facts]), Record(each.id, each.facts, folder))
        for each in asked
    ]


def _next_key(stage: Stage, *, entry: Entry) -> str:
    """Of the entry that follows: it holds as long as everything that led to it is the same."""
    files = {name: file.sha256 for name, file in entry.files.items()}
    return json_sha256([stage.name, stage.settings, entry.key, entry.facts, files])


def _valid(entries: dict[tuple[str, str], Entry], stage: Stage, *, key: str, record: Record) -> Entry | None:
    entry = entries.get((record.id, stage.name))
    return entry if entry is not None and entry.key == key and entry.is_whole(record.folder) else None


def _missing(alive: Sequence[tuple[str, Record]], *, stage: Stage, ledger: Ledger, retry_failed: bool) -> list[_Job]:
    jobs: list[_Job] = []
    for key, record in alive:
        entry = _valid(ledger.entries, stage, key=key, record=record)
        if entry is None or (retry_failed and entry.outcome == "failed"):
            jobs.append(_Job(key, record))
    return jobs


def _advanced(
    alive: Sequence[tuple[str, Record]],
    *,
    stage: Stage,
    following: Stage | None,
    entries: dict[tuple[str, str], Entry],
) -> _Open:
    """The records with what the stage made of them, and those that ended in it."""
    on: list[tuple[str, Record]] = []
    out: list[Ended] = []
    for _, record in alive:
        entry = entries[record.id, stage.name]
        if entry.outcome != "made":
            out.append(Ended(record.id, entry.outcome, stage.name, entry.cause, entry.reason, entry.tries))
            continue
        files = record.files | {name: file.sha256 for name, file in entry.files.items()}
        grown = replace(record, facts=record.facts | {stage.name: entry.facts}, files=files)
        on.append(("" if following is None else _next_key(following, entry=entry), grown))
    return _Open(on, out)


def _accounts(asked: Sequence[Asked], alive: Sequence[tuple[str, Record]], ended: Sequence[Ended]) -> Accounts:
    order = {each.id: place for place, each in enumerate(asked)}
    finished = tuple(record for _, record in alive)
    assert len(finished) + len(ended) == len(order), "every record is accounted for, once"
    return Accounts(finished, tuple(sorted(ended, key=lambda end: order[end.record])))


# -- work ------------------------------------------------------------------------------------------------------
def _entries(
    jobs: Sequence[_Job], *, stage: Stage, folder: Path, workers: int, engine: Engine | None
) -> Iterator[Entry]:
    size = stage.batch_size
    batches = [jobs[first : first + size] for first in range(0, len(jobs), size)]
    load = partial(_load, stage, folder)
    running = run_jobs(batches, load=load, engine=engine, workers=workers, single_thread=True, gpus=stage.gpus)
    for _, entries in running:
        yield from entries


def _load(stage: Stage, folder: Path, worker: int) -> Callable[[Sequence[_Job]], list[Entry]]:
    require_shared(folder)
    return partial(_do_all, stage=stage.name, work=stage.load(worker))


def _do_all(jobs: Sequence[_Job], *, stage: str, work: Work) -> list[Entry]:
    return [_do(job, stage=stage, work=work) for job in jobs]


def _do(job: _Job, *, stage: str, work: Work) -> Entry:
    """The stage's files, then what is to be written of it. Raises: what says that the stage itself cannot work."""
    begin = time.perf_counter()
    record = job.record

    def entry(outcome: str, **more: object) -> Entry:
        seconds = round(time.perf_counter() - begin, 4)
        facts = {"record": record.id, "stage": stage, "key": job.key, "outcome": outcome, "seconds": seconds}
        return Entry.model_validate(facts | more)

    try:
        made = work(record)
    except (ConfigError, WeightsError, OutputError):
        raise
    except Exception as error:  # told in the ledger, counted, and tried again on demand: one record must not end 10,000
        return entry("failed", cause=type(error).__name__, reason=_told(error))
    if isinstance(made, Rejection):
        return entry("rejected", cause=made.cause, reason=made.reason)
    for name, data in made.files.items():
        # not forced to the disk one by one; the sizes and hashes in the ledger tell short files
        atomic_write_bytes(record.folder / name, data, sync=False)
    files = {name: FileFacts(sha256=sha256(data).hexdigest(), bytes=len(data)) for name, data in made.files.items()}
    return entry("made", facts=made.facts, files=files)


def _told(error: Exception) -> str:
    """The error in one line; of one that nobody raised on purpose also where it came from."""
    text = " ".join(str(error).split())
    if not isinstance(error, DataError):
        frame = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {text} ({Path(frame.filename).name}:{frame.lineno})"
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]} ..."


def _tries(before: Entry | None, entry: Entry) -> int:
    return before.tries + 1 if before and before.outcome == "failed" and before.key == entry.key else 1


class _Hope:
    """Whether a stage has ever dealt with a record."""

    def __init__(self, ledger: Ledger, *, stage: Stage) -> None:
        own = [entry.outcome for (_, name), entry in ledger.entries.items() if name == stage.name]
        self._stage, self._failures, self._has_worked = stage.name, 0, bool({*own} - {"failed"})

    def after(self, entry: Entry) -> None:
        """Raises: LikenessError when HOPELESS records have failed and none has come through."""
        self._has_worked |= entry.outcome != "failed"
        self._failures += 1
        if not self._has_worked and self._failures >= HOPELESS:
            wanted = f"stage {self._stage}: expected a record to get through, got {self._failures} failures"
            raise LikenessError(f"{wanted} and nothing else; last: {entry.record}: {entry.reason}")
