"""Which picture of a folder belongs to which case."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any  # rows are JSON

from likeness.core.errors import DataError
from likeness.core.files import read_jsonl
from likeness.core.images import SUFFIXES, pictures_in, unread_pictures_in
from likeness.core.records import Case
from likeness.core.rows import LeftOut
from likeness.evaluate.stellar_folder import told_by_json


@dataclass(frozen=True)
class Sample:
    """The k-th generated picture of a case."""

    case: Case
    k: int
    image: Path

    @property
    def id(self) -> str:
        """Its name in rows of scores."""
        return f"{self.case.id}-{self.k}"


@dataclass(frozen=True)
class Found:
    """Samples in case order, then by k; `missing` names what has no picture, `extra` pictures that belong nowhere.

    `damaged` are missing ones whose file is there but cannot be read; `reasons` say of some extra ones why.
    """

    samples: tuple[Sample, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    damaged: tuple[LeftOut, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict[str, str])

    def left_out(self) -> list[LeftOut]:
        """What no number is of: places without a picture, damaged pictures, pictures without a place."""
        damaged = {row.where for row in self.damaged}
        gaps = [name for name in self.missing if name not in damaged]
        return [
            *(LeftOut.at(name, "expected a picture, found none; make it and evaluate again.") for name in gaps),
            *self.damaged,
            *(LeftOut.at(name, self.reasons.get(name) or _stray(name)) for name in self.extra),
        ]


def _stray(name: str) -> str:
    if Path(name).suffix.lower() not in SUFFIXES:
        return f"expected a {', '.join(SUFFIXES)} file, got another kind of picture; convert it to PNG."
    return "expected the name of a case, <case_id>.png or <case_id>-<k>.png, got another; rename or remove it."


def without_samples(found: Found, reasons: Mapping[str, str]) -> Found:
    """The samples that have no entry in `reasons`; those that have one by their id are missing and damaged."""
    damaged = [LeftOut(where=each.id, reason=reasons[each.id]) for each in found.samples if each.id in reasons]
    kept = tuple(each for each in found.samples if each.id not in reasons)
    missing = (*found.missing, *(row.where for row in damaged))
    return replace(found, samples=kept, missing=missing, damaged=tuple(damaged))


def find_samples(folder: Path, *, cases: Sequence[Case]) -> Found:
    """The samples of a run folder, or of a folder of pictures named <case_id>.png or <case_id>-<k>.png.

    A manifest.jsonl with case_id, image and optionally k is followed where there is one; then JSON in Stellar's layout
    of a method; else names decide, in `folder`/images where that exists. png, jpg and webp are read.
    Raises: DataError when the folder is absent, a manifest row is malformed, or two pictures claim the same place.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of pictures, found none; check the path.")
    manifest = folder / "manifest.jsonl"
    by_id = {case.id: case for case in cases}
    pictures, reasons = pictures_in(folder), dict[Path, str]()
    if manifest.is_file():
        claimed, absent, extra = _from_manifest(manifest, cases=by_id)
        listed = {path.resolve() for path in (*(sample.image for sample in claimed), *extra)}
        extra += [path for path in pictures if path.resolve() not in listed]
    elif told := told_by_json(pictures, cases=cases):
        claimed = [Sample(case, 0, path) for path, case in told.cases.items()]
        absent, extra, reasons = [], list(told.refused), told.refused
    else:
        placed = {path: _place(path.stem, cases=by_id) for path in pictures}
        claimed = [Sample(*place, path) for path, place in placed.items() if place]
        absent, extra = [], [path for path, place in placed.items() if not place]
    extra += unread_pictures_in(folder)
    _require_apart(claimed)
    order = {case.id: index for index, case in enumerate(cases)}
    covered = {sample.case.id for sample in (*claimed, *absent)}
    missing = sorted(sample.id for sample in absent) + [case.id for case in cases if case.id not in covered]
    samples = sorted(claimed, key=lambda sample: (order[sample.case.id], sample.k))
    names = {path: path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name for path in extra}
    why = {names[path]: reason for path, reason in reasons.items()}
    return Found(tuple(samples), tuple(missing), tuple(sorted(names.values())), reasons=why)


def _place(stem: str, *, cases: dict[str, Case]) -> tuple[Case, int] | None:
    """(case, k): a whole name that is a case id is its picture 0, else -<k> is split off."""
    if stem in cases:
        return cases[stem], 0
    match = re.fullmatch(r"(.+)-(\d{1,9})", stem)
    return (cases[match[1]], int(match[2])) if match and match[1] in cases else None


def _from_manifest(path: Path, *, cases: dict[str, Case]) -> tuple[list[Sample], list[Sample], list[Path]]:
    """Samples with a picture, samples whose picture is absent, pictures of unknown cases."""
    claimed, absent, foreign = list[Sample](), list[Sample](), list[Path]()
    for number, row in enumerate(read_jsonl(path), start=1):
        if not _is_placed(row):
            wanted = '{"case_id": text, "image": text, "k"?: whole number from 0}'
            raise DataError(f"{path}:{number}: expected {wanted}, got {str(row)[:80]}; correct the row.")
        case, image = cases.get(row["case_id"]), path.parent / row["image"]
        if case is None:
            foreign.append(image)
        else:
            (claimed if image.is_file() else absent).append(Sample(case, row.get("k", 0), image))
    return claimed, absent, foreign


def _is_placed(row: Any) -> bool:
    """Whether a manifest row says in the right types which picture of which case it is."""
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("case_id", "image")):
        return False
    k = row.get("k", 0)
    return isinstance(k, int) and not isinstance(k, bool) and k >= 0


def _require_apart(samples: Sequence[Sample]) -> None:
    seen: dict[str, Path] = {}
    for sample in samples:
        if sample.id in seen:
            raise DataError(f"{sample.image}: expected one picture for {sample.id}, got {seen[sample.id].name} too.")
        seen[sample.id] = sample.image
