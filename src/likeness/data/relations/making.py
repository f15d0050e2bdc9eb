"""A set of relation examples in the making: what is finished is kept, and the bytes are the same however it ran.

The folder holds run.json, relations.jsonl, images/, masks/, rejected.jsonl (what was not kept, with the reason),
summary.json, contact_sheet.png, and parts/: what is finished. A part's row file is written after its pictures and in
one piece, so that a kill at any moment loses at most the parts in the making.
Shapes: H x W pixels; pictures (H, W, 3) uint8, masks (H, W) bool.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple  # Any: rows are JSON

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from likeness.core.errors import DataError
from likeness.core.files import read_json, write_json, write_jsonl
from likeness.core.hashing import json_sha256
from likeness.core.jobs import Load, Progress, run_jobs
from likeness.core.runs import hold_run, open_run
from likeness.core.skeletons import Skeleton
from likeness.data.pairs.parts import is_finished, write_part
from likeness.data.pairs.photo_pairs import png
from likeness.data.relations.contact_sheet import write_relation_sheet
from likeness.data.relations.keypoints import on_mask, piled
from likeness.data.relations.lint import RelationLint, lint_relations
from likeness.data.relations.records import (
    RELATIONS_NAME,
    Keypoints,
    RelationExample,
    RelationReference,
    RelationSubject,
    example_row,
)

__all__ = [
    "Drawn",
    "Outcome",
    "Refused",
    "RelationSummary",
    "Shown",
    "bounds",
    "make_set",
    "shown_keypoints",
    "written",
]

REJECTED_NAME, SUMMARY_NAME, SHEET_NAME, PARTS = "rejected.jsonl", "summary.json", "contact_sheet.png", "parts"


class Refused(NamedTuple):
    """Something that was not kept: where, `cause` for counting, `reason` for people."""

    where: str
    cause: str
    reason: str


class Outcome(NamedTuple):
    """What became of one job: an example with the bytes of its files, or none; and what was refused on the way."""

    example: RelationExample | None
    files: dict[str, bytes]
    refused: tuple[Refused, ...] = ()


class RelationSummary(NamedTuple):
    """What a folder holds now. `reasons`: why jobs and attempts were refused -> how many."""

    folder: Path
    num_examples: int
    num_asked: int
    reasons: dict[str, int]
    repairs: int
    left_out: tuple[dict[str, str], ...]
    lint: RelationLint


class Shown(NamedTuple):
    """One subject in one picture; `mask` None where nobody knows it."""

    mask: Bool[np.ndarray, "H W"] | None
    keypoints: Keypoints
    score: float | None = None


class Drawn(NamedTuple):
    """One subject of an example on its way to the disk: phrase, id, its picture alone, and both views of it."""

    phrase: str
    id: str
    picture: UInt8[np.ndarray, "h w 3"]
    alone: Shown
    together: Shown


def bounds(mask: Bool[np.ndarray, "H W"]) -> tuple[float, float, float, float]:
    """The smallest box (left, top, right, bottom in shares) that holds the mask.

    Differs: the published loader leaves out the last row and column (design note, 3.3-d).
    Raises: DataError for an empty mask.
    """
    box = Image.fromarray(mask).getbbox()
    if box is None:
        raise DataError("mask: expected a mask that covers something, got an empty one; draw it.")
    height, width = mask.shape
    return (box[0] / width, box[1] / height, box[2] / width, box[3] / height)


def shown_keypoints(points: np.ndarray, *, seen: np.ndarray, mask: np.ndarray | None, skeleton: Skeleton) -> Keypoints:
    """Keypoints (17, 2) of which those count as valid that were `seen`, lie on the mask and are not piled up.

    Source: the repair of design note 3.1-e; without a mask, a point must lie in the picture.
    """
    valid = seen & ((points >= 0) & (points <= 1)).all(axis=1) & ~piled(points)
    if mask is not None:
        valid &= on_mask(points, mask)
    return Keypoints.of(points, valid, skeleton=skeleton)


def written(
    name: str, *, target: UInt8[np.ndarray, "H W 3"], subjects: Sequence[Drawn], facts: dict[str, Any]
) -> Outcome:
    """The example called `name` with the bytes of its files; `facts` are its other fields.

    Raises: DataError for what is no example, and for an empty mask.
    """
    files = {f"images/{name}-target.png": png(target)}
    rows: list[RelationSubject] = []
    for index, subject in enumerate(subjects):
        rows.append(_subject(name, index, subject, files=files))
    hashes = {path: hashlib.sha256(data).hexdigest() for path, data in files.items()}
    row = {"id": name, "target": f"images/{name}-target.png", "size": target.shape[1::-1], "sha256": hashes}
    return Outcome(RelationExample.of_row(row | {"subjects": tuple(rows)} | facts), files)


def _subject(name: str, index: int, subject: Drawn, *, files: dict[str, bytes]) -> RelationSubject:
    image, mask = f"images/{name}-reference-{index}.png", f"masks/{name}-target-{index}.png"
    alone, together = subject.alone, subject.together
    assert together.mask is not None
    files |= {image: png(subject.picture), mask: png(together.mask)}
    own = None
    if alone.mask is not None:
        own = f"masks/{name}-reference-{index}.png"
        files[own] = png(alone.mask)
    reference = RelationReference(
        image=Path(image),
        size=(subject.picture.shape[1], subject.picture.shape[0]),
        mask=None if own is None else Path(own),
        box=None if alone.mask is None else bounds(alone.mask),
        keypoints=alone.keypoints,
    )
    return RelationSubject(
        phrase=subject.phrase,
        id=subject.id,
        reference=reference,
        mask=Path(mask),
        box=bounds(together.mask),
        keypoints=together.keypoints,
        detection_score=together.score,
    )


# -- the set ---------------------------------------------------------------------------------------------------
class _Plan(NamedTuple):
    """All a worker process has to know."""

    folder: Path
    load: Load[int, Outcome]
    parts: tuple[range, ...]


def make_set(
    n: int,
    *,
    out: Path,
    load: Load[int, Outcome],
    identity: dict[str, Any],
    left_out: Iterable[Refused] = (),
    chunk: int,
    workers: int,
    progress: Progress,
) -> RelationSummary:
    """The folder `out` holds what became of jobs 0 to n - 1, each done by what `load` gives, `chunk` jobs a part.

    A run killed at any moment and started again ends with the same bytes. `left_out`: what was refused before.
    Raises: OutputError for a folder of another identity; DataError when no example was kept; what a job raises.
    """
    plan = _Plan(out, load, tuple(range(first, min(first + chunk, n)) for first in range(0, n, chunk)))
    open_run(out, identity=identity)
    with hold_run(out):
        _make_missing(n, plan=plan, workers=workers, progress=progress)
        return _finish(n, plan=plan, identity=identity, left_out=tuple(left_out))


def _part_file(folder: Path, number: int) -> Path:
    return folder / PARTS / f"{number:06d}.json"


def _make_missing(n: int, *, plan: _Plan, workers: int, progress: Progress) -> None:
    files = [_part_file(plan.folder, number) for number in range(len(plan.parts))]
    missing = [number for number, file in enumerate(files) if not is_finished(file, folder=plan.folder)]
    done = n - sum(len(plan.parts[number]) for number in missing)
    progress(done, n)
    for number, _ in run_jobs(missing, load=partial(_load, plan), workers=workers, single_thread=True):
        done += len(plan.parts[number])
        progress(done, n)


def _load(plan: _Plan, worker: int) -> Callable[[int], None]:
    return partial(_make_part, plan=plan, make=plan.load(worker))


def _make_part(number: int, *, plan: _Plan, make: Callable[[int], Outcome]) -> None:
    made = [make(index) for index in plan.parts[number]]
    rows = [example_row(outcome.example) for outcome in made if outcome.example is not None]
    refused = [row._asdict() for outcome in made for row in outcome.refused]
    files = {name: data for outcome in made for name, data in outcome.files.items()}
    facts = {"examples": rows, "refused": refused}
    write_part(_part_file(plan.folder, number), folder=plan.folder, facts=facts, files=files)


def _finish(n: int, *, plan: _Plan, identity: dict[str, Any], left_out: tuple[Refused, ...]) -> RelationSummary:
    parts = [read_json(_part_file(plan.folder, number)) for number in range(len(plan.parts))]
    rows = [row for part in parts for row in part["examples"]]
    refused = [row._asdict() for row in left_out] + [row for part in parts for row in part["refused"]]
    write_jsonl(plan.folder / REJECTED_NAME, refused)
    if not rows:
        first = f"; first: {refused[0]['where']}: {refused[0]['reason']}" if refused else "."
        raise DataError(f"{plan.folder}: expected at least one example, got none{first}")
    write_jsonl(plan.folder / RELATIONS_NAME, rows)
    write_relation_sheet(rows, folder=plan.folder, path=plan.folder / SHEET_NAME)
    lint = lint_relations(plan.folder)
    reasons = dict(sorted(Counter(row["cause"] for row in refused).items()))
    repairs = sum(len(row["repairs"]) for row in rows)
    summary = RelationSummary(plan.folder, len(rows), n, reasons, repairs, tuple(refused), lint)
    write_json(plan.folder / SUMMARY_NAME, _facts(summary, rows, identity=identity))
    return summary


def _facts(summary: RelationSummary, rows: list[dict[str, Any]], *, identity: dict[str, Any]) -> dict[str, Any]:
    keypoints = [subject["keypoints"] for row in rows for subject in row["subjects"]]
    return {
        "run_sha256": json_sha256(identity),
        "num_examples": summary.num_examples,
        "num_asked": summary.num_asked,
        "refused_for": summary.reasons,
        "predicates": _count(str(row["predicate"]) for row in rows),
        "num_subjects": _count(str(len(row["subjects"])) for row in rows),
        "valid_keypoints": sum(sum(each["valid"]) for each in keypoints),
        "num_keypoints": sum(len(each["valid"]) for each in keypoints),
        "repairs": summary.repairs,
        "sources": {key: _count(str(row["sources"].get(key)) for row in rows) for key in _fields(rows)},
        "lint": {"num_errors": summary.lint.num_errors, "by_code": summary.lint.by_code},
    }


def _fields(rows: list[dict[str, Any]]) -> list[str]:
    return sorted({key for row in rows for key in row["sources"]})


def _count(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
