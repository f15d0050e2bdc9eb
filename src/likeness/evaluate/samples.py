"""Which picture of a folder belongs to which case."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from likeness.core.errors import DataError
from likeness.core.files import is_inside
from likeness.core.images import SUFFIXES, pictures_in, unread_pictures_in
from likeness.core.records import Case
from likeness.core.rows import LeftOut
from likeness.evaluate.layouts import LAYOUTS, STATED, read_layout
from likeness.evaluate.layouts.told import OUTSIDE, Sample, Told

__all__ = ["Found", "Sample", "find_samples", "without_samples"]


@dataclass(frozen=True)
class Found:
    """Samples in case order, then by k; `missing` names what has no picture, `extra` pictures that belong nowhere.

    `damaged` are missing ones whose file is there but cannot be read; `reasons` say of some extra ones why. `rows` of a
    manifest are left out; `layout` names who told: "names", or a reader of `evaluate/layouts`.
    """

    samples: tuple[Sample, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    damaged: tuple[LeftOut, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict[str, str])
    rows: tuple[LeftOut, ...] = ()
    layout: str = "names"

    def left_out(self) -> list[LeftOut]:
        """What no number is of: places without a picture, damaged ones, rows and pictures without a place."""
        damaged = {row.where for row in self.damaged}
        gaps = [name for name in self.missing if name not in damaged]
        return [
            *(LeftOut.at(name, "expected a picture, found none; make it and evaluate again.") for name in gaps),
            *self.damaged,
            *self.rows,
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

    A manifest (`layouts/manifests.py`) is followed where there is one; then JSON in Stellar's layout of a method; else
    names decide, in `folder`/images where that exists; where none is the name of a case, another layout of LAYOUTS may
    tell. png, jpg and webp are read; a link that leaves the folder is not.
    Raises: DataError when the folder is absent, a manifest row is malformed, or two pictures claim the same place.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder of pictures, found none; check the path.")
    pictures = pictures_in(folder)
    layout, told = _told(folder, pictures, cases=cases)
    extra = {path: "" for path in unread_pictures_in(folder)} | told.refused
    _require_apart(told.claimed)
    order = {case.id: index for index, case in enumerate(cases)}
    covered = {sample.case.id for sample in (*told.claimed, *told.absent)}
    missing = sorted(sample.id for sample in told.absent) + [case.id for case in cases if case.id not in covered]
    samples = sorted(told.claimed, key=lambda sample: (order[sample.case.id], sample.k))
    names = {path: path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name for path in extra}
    why = {names[path]: reason for path, reason in extra.items() if reason}
    found = Found(tuple(samples), tuple(missing), tuple(sorted(names.values())), reasons=why)
    return replace(found, layout=layout, rows=tuple(told.rows))


def _told(folder: Path, pictures: Sequence[Path], *, cases: Sequence[Case]) -> tuple[str, Told]:
    """The name of the folder's layout and what it tells: stated places, else names of ours, else other tools'."""
    if stated := read_layout(STATED, folder, pictures, cases=cases):
        return stated
    own = _by_name(folder, pictures, cases={case.id: case for case in cases})
    return own if own[1].claimed else read_layout(LAYOUTS, folder, pictures, cases=cases) or own


def _by_name(folder: Path, pictures: Sequence[Path], *, cases: dict[str, Case]) -> tuple[str, Told]:
    told = Told()
    for path in pictures:
        place = _place(path.stem, cases=cases)
        if place is None:
            told.refused[path] = ""
        elif is_inside(path, folder):
            told.claimed.append(Sample(*place, path))
        else:
            told.refused[path] = OUTSIDE
    return "names", told


def _place(stem: str, *, cases: dict[str, Case]) -> tuple[Case, int] | None:
    """(case, k): a whole name that is a case id is its picture 0, else -<k> is split off."""
    if stem in cases:
        return cases[stem], 0
    match = re.fullmatch(r"(.+)-(\d{1,9})", stem)
    return (cases[match[1]], int(match[2])) if match and match[1] in cases else None


def _require_apart(samples: Sequence[Sample]) -> None:
    seen: dict[str, Path] = {}
    for sample in samples:
        if sample.id in seen:
            raise DataError(f"{sample.image}: expected one picture for {sample.id}, got {seen[sample.id].name} too.")
        seen[sample.id] = sample.image
