"""A pair as one JSON row and the bytes of its files: what Parquet and WebDataset shards carry.

Every file of a pair has a *slot*, a name that depends on its role only: preferred, rejected, prior_mask, reference_0,
reference_mask_0, subject_mask_0 and so on. Paths inside a row are relative to the folder of the set.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple  # Any: rows are JSON until the record has checked them

from pydantic import ValidationError

from likeness.core.errors import DataError, OutputError
from likeness.core.files import atomic_write_bytes, remove_stale_temporaries, write_jsonl
from likeness.core.hashing import file_sha256, short
from likeness.core.pairs import PAIRS_NAME, PreferencePair, pair_row, read_pairs
from likeness.core.records import LeftOut

__all__ = [
    "MAX_SHARD_BYTES",
    "ExportSummary",
    "ImportSummary",
    "Numbered",
    "PackedPair",
    "numbered_pairs",
    "packed_pairs",
    "require_own_folder",
    "shards_of",
    "slots",
    "write_unpacked",
]


MAX_SHARD_BYTES = 256_000_000
"""A shard is put together in memory, and the Hub advises against files of several GB."""

Numbered = tuple[int, PreferencePair]
"""A pair with its place in the set."""


class PackedPair(NamedTuple):
    """One pair: its row as in pairs.jsonl, the bytes of every file by slot, and where it was found."""

    row: dict[str, Any]
    files: dict[str, bytes]
    where: str = ""


class ExportSummary(NamedTuple):
    """What an export wrote, and the rows of the set that were left out."""

    out: Path
    num_pairs: int
    shards: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]


class ImportSummary(NamedTuple):
    """What an import wrote: `out`/pairs.jsonl with its files, and every row that was left out."""

    out: Path
    num_pairs: int
    left_out: tuple[LeftOut, ...]


def slots(row: dict[str, Any]) -> dict[str, str]:
    """Slot -> path of every file that a row names; a reference without mask has no such slot."""
    found = {name: row[name] for name in ("preferred", "rejected", "prior_mask")}
    for index, reference in enumerate(row["references"]):
        found[f"reference_{index}"] = reference["image"]
        if reference["mask"] is not None:
            found[f"reference_mask_{index}"] = reference["mask"]
    return found | {f"subject_mask_{index}": subject["mask"] for index, subject in enumerate(row["subjects"])}


def _with_paths(row: dict[str, Any], paths: dict[str, str]) -> dict[str, Any]:
    """The row with the paths of `slots` exchanged."""
    references = [
        {**reference, "image": paths[f"reference_{index}"], "mask": paths.get(f"reference_mask_{index}")}
        for index, reference in enumerate(row["references"])
    ]
    subjects = [{**subject, "mask": paths[f"subject_mask_{index}"]} for index, subject in enumerate(row["subjects"])]
    top = {name: paths[name] for name in ("preferred", "rejected", "prior_mask")}
    return {**row, **top, "references": references, "subjects": subjects}


def packed_pairs(pairs: Iterable[PreferencePair], *, folder: Path) -> Iterator[PackedPair]:
    """Every pair of the set in `folder`, packed. Files that lie elsewhere get the name outside/<hash>-<name>.

    Raises: DataError when a file vanished since the set was read.
    """
    for pair in pairs:
        row = pair_row(pair, folder=folder)
        full = {slot: folder / path for slot, path in slots(row).items()}
        yield PackedPair(
            _with_paths(row, {slot: _inside(path, folder=folder) for slot, path in full.items()}),
            {slot: _bytes(path) for slot, path in full.items()},
        )


def _inside(path: Path, *, folder: Path) -> str:
    relative = path.relative_to(folder) if path.is_relative_to(folder) else None
    if relative is None or ".." in relative.parts:
        return f"outside/{short(file_sha256(path))}-{path.name}"
    return relative.as_posix()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: expected a readable file, got {error.strerror or error}; check the set.") from error


def numbered_pairs(folder: Path | str) -> tuple[list[Numbered], tuple[LeftOut, ...]]:
    """The pairs of the set in `folder` with their places, and the rows that were left out.

    Raises: DataError when the set cannot be read.
    """
    found = read_pairs(folder)
    return list(enumerate(found.pairs)), found.left_out


def shards_of(pairs: list[Numbered], *, max_bytes: int) -> list[list[Numbered]]:
    """The pairs in runs whose files together have at most `max_bytes`; a larger pair stands alone.

    Raises: DataError when `max_bytes` is below 1.
    """
    if max_bytes < 1:
        raise DataError(f"shard size: expected at least 1 byte, got {max_bytes}; give a larger size.")
    runs: list[list[Numbered]] = []
    filled = max_bytes
    for number, pair in pairs:
        size = sum(path.stat().st_size for path in _files(pair))
        if filled + size > max_bytes:
            runs.append([])
            filled = 0
        runs[-1].append((number, pair))
        filled += size
    return runs


def _files(pair: PreferencePair) -> list[Path]:
    references = [path for reference in pair.references for path in (reference.image, reference.mask) if path]
    return [pair.preferred, pair.rejected, pair.prior_mask, *references, *(subject.mask for subject in pair.subjects)]


def require_own_folder(out: Path, *, planned: Iterable[str], pattern: str) -> None:
    """`out` holds no shard of another export, which a reader would mix with this one.

    Raises: OutputError naming the first such shard.
    """
    existing = {path.relative_to(out).as_posix() for path in out.rglob(pattern)} if out.is_dir() else set[str]()
    if others := sorted(existing - set(planned)):
        raise OutputError(f"{out}: expected no shards of another export, got {others[0]}; choose another folder.")


def write_unpacked(packed: Iterable[PackedPair | LeftOut], *, out: Path, source: Path) -> ImportSummary:
    """`out` holds pairs.jsonl and the files of all usable pairs; a pair that is not one is left out with the reason.

    Raises: DataError when no pair is usable; OutputError when `out` holds another set or cannot be written.
    """
    rows: list[dict[str, Any]] = []
    rejected: list[LeftOut] = []
    _require_new_set(out)
    for number, pair in enumerate(packed, start=1):
        if isinstance(pair, LeftOut):
            rejected.append(pair)
            continue
        try:
            row = _checked(pair)
            _write_files(row, pair.files, out=out)
        except DataError as error:
            where = pair.where or f"{source}:{number}"
            rejected.append(LeftOut(where=where, reason=f"{where}: {error}"))
        else:
            rows.append(row)
    if not rows:
        first = rejected[0].reason if rejected else f"{source} holds no pairs"
        raise DataError(f"{source}: expected at least one usable pair, got {len(rejected)} bad ones; first: {first}")
    write_jsonl(out / PAIRS_NAME, rows)
    return ImportSummary(out, len(rows), tuple(rejected))


def _require_new_set(out: Path) -> None:
    if (out / PAIRS_NAME).exists():
        raise OutputError(f"{out}: expected a folder without a pair set, got one with {PAIRS_NAME}; choose another.")
    remove_stale_temporaries(out)


def _checked(pair: PackedPair) -> dict[str, Any]:
    """The row as pairs.jsonl has it. Raises: DataError when it is no pair or lacks a file."""
    try:
        row = pair_row(PreferencePair.model_validate(pair.row), folder=Path())
    except ValidationError as error:
        mistakes = (f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors())
        raise DataError("; ".join(mistakes) + ".") from None
    missing = sorted(slots(row).keys() - pair.files.keys())
    if missing:
        raise DataError(f"pair {row['id']}: expected the bytes of {missing[0]}, got none; export the set again.")
    return row


def _write_files(row: dict[str, Any], files: dict[str, bytes], *, out: Path) -> None:
    """Pictures that several pairs share are written once; a path that leads out of the folder is refused."""
    for slot, name in slots(row).items():
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
            raise DataError(f"{slot}: expected a path inside the set, got {name!r}; do not trust these shards.")
        target = out / path
        if not target.is_file():
            atomic_write_bytes(target, files[slot])
        elif target.read_bytes() != files[slot]:
            raise DataError(f"{slot}: expected one content for {name}, got two; two pairs use one name.")
