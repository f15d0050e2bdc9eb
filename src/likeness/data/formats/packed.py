"""A pair as one JSON row and the bytes of its files: what Parquet and WebDataset shards carry.

Files go by their slots (`core/pairs.py:with_files`); paths inside a row are relative to the folder of the set.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar  # Any: rows are JSON until the record has checked them

from pydantic import ValidationError

from likeness.core.errors import DataError, OutputError
from likeness.core.files import atomic_write_bytes, remove_stale_temporaries, write_jsonl
from likeness.core.hashing import file_sha256, short
from likeness.core.pairs import PAIRS_NAME, PreferencePair, pair_files, pair_row, with_files
from likeness.core.rows import LeftOut, readable_mistakes
from likeness.data.formats.rows import LayoutRow

__all__ = [
    "MAX_SHARD_BYTES",
    "ExportSummary",
    "ImportSummary",
    "Numbered",
    "PackedPair",
    "packed",
    "require_own_folder",
    "shards_of",
    "write_set",
    "write_unpacked",
]

MAX_SHARD_BYTES = 256_000_000
"""A shard is put together in memory, and the Hub advises against files of several GB."""

LONGEST_NAME = 200  # bytes, what file systems allow less the ending of a temporary file

Numbered = tuple[int, PreferencePair]
"""A pair with its place in the set."""


class PackedPair(NamedTuple):
    """One pair: its row as in pairs.jsonl, the bytes of every file by slot, and where it was found."""

    row: dict[str, Any]
    files: dict[str, bytes]
    where: str


class ExportSummary(NamedTuple):
    """What an export wrote, and the rows of the set that were left out."""

    out: Path
    num_pairs: int
    shards: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]


class ImportSummary(NamedTuple):
    """What an import wrote: `out`/pairs.jsonl with its files, and every row that was left out.

    `filled`: what the source did not say and how it was filled in -> in how many pairs.
    """

    out: Path
    num_pairs: int
    left_out: tuple[LeftOut, ...]
    filled: Mapping[str, int] = MappingProxyType({})


def packed(pair: PreferencePair, *, folder: Path) -> tuple[PreferencePair, dict[str, bytes]]:
    """A pair of the set in `folder` with paths relative to it, and the bytes of every file by slot.

    Files that lie elsewhere get the name outside/<hash>-<name>. Raises: DataError when a file vanished since.
    """
    inside = with_files(pair, lambda _, path: _inside(path, folder=folder))
    return inside, {slot: _bytes(path) for slot, path in pair_files(pair).items()}


def _inside(path: Path, *, folder: Path) -> Path:
    relative = path.relative_to(folder) if path.is_relative_to(folder) else None
    if relative is None or ".." in relative.parts:
        return Path("outside") / f"{short(file_sha256(path))}-{path.name}"
    return relative


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: expected a readable file, got {error.strerror or error}; check the set.") from error


def shards_of(pairs: list[Numbered], *, max_bytes: int) -> list[list[Numbered]]:
    """The pairs in runs whose files together have at most `max_bytes`; a larger pair stands alone.

    Raises: DataError when `max_bytes` is below 1.
    """
    if max_bytes < 1:
        raise DataError(f"shard size: expected at least 1 byte, got {max_bytes}; give a larger size.")
    runs: list[list[Numbered]] = []
    filled = max_bytes
    for number, pair in pairs:
        size = sum(path.stat().st_size for path in pair_files(pair).values())
        if filled + size > max_bytes:
            runs.append([])
            filled = 0
        runs[-1].append((number, pair))
        filled += size
    return runs


def require_own_folder(out: Path, *, planned: Iterable[str], pattern: str) -> None:
    """`out` holds no shard of another export, which a reader would mix with this one.

    Raises: OutputError naming the first such shard.
    """
    existing = {path.relative_to(out).as_posix() for path in out.rglob(pattern)} if out.is_dir() else set[str]()
    if others := sorted(existing - set(planned)):
        raise OutputError(f"{out}: expected no shards of another export, got {others[0]}; choose another folder.")


Item = TypeVar("Item", LayoutRow, PackedPair)


def write_set(
    items: Iterable[Item | LeftOut], make: Callable[[int, Item], dict[str, Any]], *, out: Path, source: Path
) -> ImportSummary:
    """`out`/pairs.jsonl holds `make(number, item)` of every item that it does not refuse; it writes the files, too.

    Raises: DataError when no item is usable; OutputError when `out` holds another set or cannot be written.
    """
    rows: list[dict[str, Any]] = []
    left_out: list[LeftOut] = []
    if (out / PAIRS_NAME).exists():
        raise OutputError(f"{out}: expected a folder without a pair set, got one with {PAIRS_NAME}; choose another.")
    remove_stale_temporaries(out)
    for number, item in enumerate(items, start=1):
        if isinstance(item, LeftOut):
            left_out.append(item)
            continue
        try:
            rows.append(make(number, item))
        except DataError as error:
            left_out.append(LeftOut.at(item.where, error))
    if not rows:
        first = left_out[0].reason if left_out else f"{source} holds no pairs"
        raise DataError(f"{source}: expected at least one usable pair, got {len(left_out)} bad rows; first: {first}")
    write_jsonl(out / PAIRS_NAME, rows)
    return ImportSummary(out, len(rows), tuple(left_out))


def write_unpacked(packed: Iterable[PackedPair | LeftOut], *, out: Path, source: Path) -> ImportSummary:
    """`out` holds pairs.jsonl and the files of all usable pairs. Raises: as `write_set`."""
    return write_set(packed, lambda _, pair: _unpacked(pair, out=out), out=out, source=source)


def _unpacked(packed: PackedPair, *, out: Path) -> dict[str, Any]:
    """The row as pairs.jsonl has it, its files written; pictures that several pairs share are written once.

    Raises: DataError when it is no pair, lacks a file, or has a path that leads out of the folder.
    """
    try:
        pair = PreferencePair.model_validate(packed.row)
    except ValidationError as error:
        raise DataError(readable_mistakes(error)) from None
    paths = pair_files(pair)
    if missing := sorted(paths.keys() - packed.files.keys()):
        raise DataError(f"pair {pair.id}: expected the bytes of {missing[0]}, got none; export the set again.")
    for slot, path in paths.items():
        name = path.as_posix()
        if not path.name or any(len(part.encode()) > LONGEST_NAME for part in path.parts):
            raise DataError(f"{slot}: expected the name of a file, got {name[:80]!r}; export the set again.")
        if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name:
            raise DataError(f"{slot}: expected a path inside the set, got {name!r}; do not trust these shards.")
        target = out / path
        if not target.is_file():
            atomic_write_bytes(target, packed.files[slot])
        elif target.read_bytes() != packed.files[slot]:
            raise DataError(f"{slot}: expected one content for {name}, got two; two pairs use one name.")
    return pair_row(pair, folder=Path())
