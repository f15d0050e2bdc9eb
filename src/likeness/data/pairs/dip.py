"""The DIP recipe: a folder of preference pairs drawn on the world, however often the run was interrupted.

The folder holds run.json, pairs.jsonl, images/, masks/, rejected.jsonl (every attempt that was not kept, with the
reason), summary.json, contact_sheet.png, and chunks/: what is finished, CHUNK pairs to a file. A chunk's row file is
written after its pictures and in one piece, so that a kill at any moment loses at most the chunks in the making.
Source: FocusDPO (arXiv:2509.01181v1), section 4.
Differs: the drawn world replaces text-to-image, detection, segmentation and inpainting models (docs/paper_index.md).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple  # Any: rows are JSON

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_json, write_json, write_jsonl
from likeness.core.hashing import json_sha256
from likeness.core.jobs import Progress, run_jobs, unseen
from likeness.core.kinds import Split
from likeness.core.pairs import PAIRS_NAME, pair_row
from likeness.core.runs import hold_run, open_run
from likeness.data.judging.gate import Thresholds, require_sound
from likeness.data.judging.judges import Judge, LoadJudge, LoadProbeJudge
from likeness.data.pairs import LOSERS, SUBSETS_IN_TURN
from likeness.data.pairs.contact_sheet import write_contact_sheet
from likeness.data.pairs.parts import is_finished, write_part
from likeness.data.pairs.regeneration import LoadRegenerate, Regenerate
from likeness.data.pairs.world_pairs import MAX_ATTEMPTS, WorldRecipe, asked_for, make_chunk, pair_id

__all__ = ["CHUNK", "DipSummary", "make_pairs"]

VERSION = 1
"""Of the recipe: raised whenever equal settings would give other pairs."""
CHUNK = 48
REJECTED_NAME, SUMMARY_NAME, SHEET_NAME, CHUNKS = "rejected.jsonl", "summary.json", "contact_sheet.png", "chunks"


class DipSummary(NamedTuple):
    """What a folder holds now; `num_attempts` counts kept and refused attempts together."""

    folder: Path
    num_pairs: int
    num_attempts: int
    reasons: dict[str, int]

    @property
    def acceptance(self) -> float:
        """Kept attempts as a share of all."""
        return self.num_pairs / self.num_attempts


class _Plan(NamedTuple):
    """All a worker process has to know."""

    folder: Path
    recipe: WorldRecipe
    judge: LoadJudge
    regenerate: LoadRegenerate | None


def make_pairs(
    n: int,
    *,
    out: Path | str,
    seed: int = 0,
    split: Split = "train",
    subset: str = "both",
    losers: str = "drawn",
    hard: bool = False,
    size: int = 128,
    reference_size: int | None = None,
    workers: int = 1,
    thresholds: Thresholds | None = None,
    judge: LoadJudge | None = None,
    regenerate: LoadRegenerate | None = None,
    progress: Progress = unseen,
) -> DipSummary:
    """The folder `out` holds `n` pairs that passed the gate, balanced over subsets and categories.

    Pair i depends on `seed` and i, not on `n`, `workers` or interruptions; a run killed at any moment and started again
    ends with the same bytes. `subset` is single, multi or both (in turn); `losers` drawn (the same scene with somebody
    else), regenerated (the masked subject drawn anew by `regenerate`, which it needs) or mixed (in turn); `hard` asks
    for look-alikes, small and overlapping subjects. `size` and `reference_size` (default: `size`) are sides in px.
    The judge is by default the embedded probe. Identities, scenes and impostors all belong to `split`.
    Raises: ConfigError for wrong settings; WeightsError; OutputError; DataError when a pair passed the gate in none of
    its attempts.
    """
    thresholds = thresholds or Thresholds()
    _require_sound(n, size=size, reference_size=reference_size, workers=workers, subset=subset, losers=losers)
    require_sound(thresholds)
    if losers != "drawn" and regenerate is None:
        raise ConfigError(f"losers: expected a model to regenerate with, got none for {losers!r}; pass one.")
    recipe = WorldRecipe(
        seed=seed,
        split=split,
        subsets=SUBSETS_IN_TURN[subset],
        losers=LOSERS[losers],
        hard=hard,
        size=size,
        reference_size=reference_size or size,
        thresholds=thresholds,
        inpainter=regenerate.id if regenerate and losers != "drawn" else None,
    )
    plan = _Plan(Path(out), recipe, judge or LoadProbeJudge(), regenerate if losers != "drawn" else None)
    identity = _identity(plan, n=n)
    open_run(plan.folder, identity=identity)
    with hold_run(plan.folder):
        _make_missing(n, plan=plan, workers=workers, progress=progress)
        return _finish(n, plan=plan, identity=identity)


def _require_sound(n: int, *, size: int, reference_size: int | None, workers: int, subset: str, losers: str) -> None:
    for name, value, least in (("n", n, 1), ("workers", workers, 1), ("size", size, 16)):
        if value < least:
            raise ConfigError(f"{name}: expected at least {least}, got {value}; raise it.")
    if reference_size is not None and reference_size < 16:
        raise ConfigError(f"reference_size: expected at least 16 px, got {reference_size}; raise it.")
    for name, value, known in (("subset", subset, SUBSETS_IN_TURN), ("losers", losers, LOSERS)):
        if value not in known:
            raise ConfigError(f"{name}: expected one of {', '.join(known)}, got {value!r}; correct it.")


def _identity(plan: _Plan, *, n: int) -> dict[str, Any]:
    recipe = vars(plan.recipe) | {"thresholds": plan.recipe.thresholds._asdict()}
    last = {"judge": plan.judge.id, "inpainter": recipe.pop("inpainter")}
    return {"kind": "dip", "version": VERSION, "source": "world", "n": n, **recipe, **last}


# -- chunks ----------------------------------------------------------------------------------------------------
def _chunk_file(folder: Path, number: int) -> Path:
    return folder / CHUNKS / f"{number:06d}.json"


def _make_missing(n: int, *, plan: _Plan, workers: int, progress: Progress) -> None:
    chunks = [range(first, min(first + CHUNK, n)) for first in range(0, n, CHUNK)]
    files = [_chunk_file(plan.folder, number) for number in range(len(chunks))]
    missing = [number for number, file in enumerate(files) if not is_finished(file, folder=plan.folder)]
    done = n - sum(len(chunks[number]) for number in missing)
    progress(done, n)
    for number, _ in run_jobs(missing, load=partial(_load, plan, chunks), workers=workers, single_thread=True):
        done += len(chunks[number])
        progress(done, n)


def _load(plan: _Plan, chunks: Sequence[range], _: int) -> Callable[[int], None]:
    regenerate = plan.regenerate() if plan.regenerate else None
    return partial(_make_and_write, chunks=chunks, plan=plan, judge=plan.judge(), regenerate=regenerate)


def _make_and_write(
    number: int, *, chunks: Sequence[range], plan: _Plan, judge: Judge, regenerate: Regenerate | None
) -> None:
    """The chunk's files, then its rows. Raises: DataError when a pair cannot be made."""
    indices = chunks[number]
    made, refusals = make_chunk(indices, recipe=plan.recipe, judge=judge, regenerate=regenerate)
    if len(made) < len(indices):
        lost = next(index for index in indices if index not in {pair.place for pair in made})
        last = next(refusal.reason for refusal in reversed(refusals) if refusal.place == lost)
        asked = asked_for(plan.recipe, lost)
        where = f"pair {pair_id(plan.recipe, lost)} ({asked.subset}, {asked.category}, {asked.kind})"
        what = f"expected one of {MAX_ATTEMPTS} attempts to pass the gate, got none; last: {last}"
        raise DataError(f"{where}: {what}; loosen the thresholds or use a better judge.")
    rows = [pair_row(pair.pair, folder=Path()) for pair in made]
    facts = {"pairs": rows, "refusals": [refusal._asdict() for refusal in refusals]}
    files = {name: data for pair in made for name, data in pair.files.items()}
    write_part(_chunk_file(plan.folder, number), folder=plan.folder, facts=facts, files=files)


# -- tables ----------------------------------------------------------------------------------------------------
def _finish(n: int, *, plan: _Plan, identity: dict[str, Any]) -> DipSummary:
    chunks = [read_json(_chunk_file(plan.folder, number)) for number in range(-(-n // CHUNK))]
    rows = [row for chunk in chunks for row in chunk["pairs"]]
    refusals = [refusal for chunk in chunks for refusal in chunk["refusals"]]
    write_jsonl(plan.folder / PAIRS_NAME, rows)
    rejected = [_rejected_row(plan.recipe, refusal) for refusal in refusals]
    write_jsonl(plan.folder / REJECTED_NAME, rejected)
    causes = Counter(row["cause"] for row in rejected)
    summary = DipSummary(plan.folder, len(rows), len(rows) + len(rejected), dict(causes))
    write_json(plan.folder / SUMMARY_NAME, _summary_facts(summary, rows, rejected, identity=identity))
    write_contact_sheet(rows, folder=plan.folder, path=plan.folder / SHEET_NAME)
    return summary


def _rejected_row(recipe: WorldRecipe, refusal: dict[str, Any]) -> dict[str, Any]:
    asked = asked_for(recipe, refusal["place"])
    return {
        "where": f"{pair_id(recipe, asked.place)} attempt {refusal['attempt']}",
        "reason": refusal["reason"],
        "cause": refusal["cause"],
        "subset": asked.subset,
        "category": asked.category,
        "kind": asked.kind,
    }


def _summary_facts(
    summary: DipSummary, rows: list[dict[str, Any]], rejected: list[dict[str, Any]], *, identity: dict[str, Any]
) -> dict[str, Any]:
    disruptions = [[s["disruption"] for s in row["subjects"] if s["disrupted"]] for row in rows]
    kept, tried = (_count(f"{row['subset']} {row['category']}" for row in table) for table in (rows, rejected))
    return {
        "run_sha256": json_sha256(identity),
        "num_pairs": summary.num_pairs,
        "num_attempts": summary.num_attempts,
        "acceptance": round(summary.acceptance, 4),
        "refused_for": dict(sorted(summary.reasons.items())),
        "subsets": _count(row["subset"] for row in rows),
        "categories": _count(row["category"] for row in rows),
        "cells": kept,
        "acceptance_by_cell": {cell: round(count / (count + tried.get(cell, 0)), 4) for cell, count in kept.items()},
        "kinds": _count(items[0]["kind"] for items in disruptions),
        "difficulties": _count(str(items[0]["difficulty"]) for items in disruptions),
        "losers": _count(items[0]["source"] for items in disruptions),
        "disrupted_subjects": _count(str(len(items)) for items in disruptions),
        "max_reach": max(item["reach"] for items in disruptions for item in items),
        "judge": identity["judge"],
        "thresholds": identity["thresholds"],
    }


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
