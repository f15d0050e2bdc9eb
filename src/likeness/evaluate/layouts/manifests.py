"""A list of pictures beside them: manifest.jsonl, manifest.csv or manifest.parquet.

A row has `image`, a path inside the folder, and `case_id` or `prompt` (with `subject`, the id of the case's subject,
where cases share a prompt), and maybe `k`, the number of the picture from 0. Further columns mean nothing here.
"""

import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any  # rows are JSON

from likeness.core.errors import DataError
from likeness.core.files import is_inside, numbered_lines, read_jsonl, read_text
from likeness.core.images import SUFFIXES
from likeness.core.records import Case
from likeness.core.rows import LeftOut
from likeness.evaluate.layouts.told import OUTSIDE, Sample, Told, Wanted, called

NAMES = ("manifest.jsonl", "manifest.csv", "manifest.parquet")
COLUMNS = ("case_id", "image", "k", "prompt", "subject")
MOST_ROWS, MOST_BYTES = 2_000_000, 2**30
"""What a Parquet file may unpack to: a few bytes can claim any number of rows."""
WANTED = '{"case_id" or "prompt": text, "image": text, "k"?: whole number from 0}'


def told_by_manifest(folder: Path, pictures: Sequence[Path], *, cases: Sequence[Case]) -> Told | None:
    """Places as the list says; rows that cannot be used are told with their number.

    Raises: DataError for two lists, for one that cannot be read, and for a row of wrong types.
    """
    lists = [folder / name for name in NAMES if (folder / name).is_file()]
    if not lists:
        return None
    if len(lists) > 1:
        raise DataError(f"{folder}: expected one list, got {' and '.join(p.name for p in lists)}; remove one.")
    told, by_id, wanted = Told(), {case.id: case for case in cases}, Wanted(cases)
    for number, row in _rows(lists[0]):
        where = f"{lists[0]}:{number}"
        if not _is_placed(row):
            raise DataError(f"{where}: expected {WANTED}, got {str(row)[:80]}; correct the row.")
        _take(row, told, where=where, folder=folder, by_id=by_id, wanted=wanted)
    listed = {path.resolve() for path in (*(sample.image for sample in told.claimed), *told.refused)}
    told.refused.update({path: "" for path in pictures if path.resolve() not in listed})
    return told


def _take(row: dict[str, Any], told: Told, *, where: str, folder: Path, by_id: dict[str, Case], wanted: Wanted) -> None:
    image = folder / row["image"]
    if fault := _unsafe(row["image"], folder):
        told.rows.append(LeftOut.at(where, fault))
        return
    try:
        case = by_id.get(row["case_id"]) if row.get("case_id") is not None else _by_prompt(row, wanted)
    except DataError as error:
        told.refused[image] = f"{where}: {error}"
        return
    if case is None:
        told.refused[image] = f"{where}: expected the id of a case, got {row['case_id'][:80]!r}; check the cases."
    else:
        (told.claimed if image.is_file() else told.absent).append(Sample(case, row.get("k", 0), image))


def _unsafe(name: str, folder: Path) -> str:
    """Why a path may not be followed; "" for one that may."""
    parts = {*PurePosixPath(name).parts, *PureWindowsPath(name).parts}
    if not name.strip() or "\0" in name or len(name) > 1000:
        return f"expected the path of a picture, got {name[:60]!a}; correct the row."
    if PurePosixPath(name).is_absolute() or PureWindowsPath(name).drive or PureWindowsPath(name).root:
        return f"expected a path relative to the folder, got {name[:80]!r}; copy the picture into it."
    if ".." in parts:
        return f"expected a path inside the folder, got {name[:80]!r}; copy the picture into it."
    if Path(name).suffix.lower() not in SUFFIXES:
        return f"expected a {', '.join(SUFFIXES)} file, got {name[-80:]!r}; convert it to PNG."
    return "" if is_inside(folder / name, folder) else OUTSIDE


def _by_prompt(row: dict[str, Any], wanted: Wanted) -> Case:
    subject = row.get("subject")
    if subject is None:
        return wanted.find(row["prompt"])
    return wanted.find(row["prompt"], fits=lambda case: subject in called(case), whose=subject)


def _is_placed(row: Any) -> bool:
    """Whether a row says in the right types which picture of which case it is."""
    if not isinstance(row, dict) or None in row or not isinstance(row.get("image"), str):
        return False  # None: a line of CSV with more cells than the first
    named = [row[key] for key in ("case_id", "prompt", "subject") if row.get(key) is not None]
    if not all(isinstance(text, str) for text in named) or (row.get("case_id") is None and row.get("prompt") is None):
        return False
    k = row.get("k", 0)
    return isinstance(k, int) and not isinstance(k, bool) and 0 <= k < 10**9


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    if path.suffix == ".jsonl":
        numbers = [number for number, _ in numbered_lines(read_text(path))]
        yield from zip(numbers, read_jsonl(path), strict=True)
    else:
        yield from _csv_rows(path) if path.suffix == ".csv" else _parquet_rows(path)


def _csv_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Rows by the number of their line; empty cells are absent, and k is a number where it is written as one."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        names = reader.fieldnames or ()
        if "image" not in names or not {"case_id", "prompt"} & set(names) or len(set(names)) != len(names):
            wanted = "a first line with image and case_id or prompt, each once"
            raise DataError(f"{path}: expected {wanted}, got {', '.join(map(str, names))[:80]!r}; correct it.")
        for row in reader:
            yield reader.line_num, row if None in row else _typed(row)
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: expected CSV, got {error}; save the file again.") from None


def _typed(row: dict[str, str | None]) -> dict[str, Any]:
    found: dict[str, Any] = {key: row[key] for key in COLUMNS if row.get(key)}
    if re.fullmatch(r"[0-9]{1,9}", found.get("k", "")):
        found["k"] = int(found["k"])
    return found


def _parquet_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Rows by number from 1, of the columns that matter; absent values are absent keys."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = [name for name in COLUMNS if name in file.schema_arrow.names]
            _require_few(path, file.metadata, columns)
            table = file.read(columns=columns)
            rows = table.to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError, OverflowError) as error:
        told = str(error).partition("\n")[0][:120]
        raise DataError(f"{path}: expected a whole Parquet file, got {told}; save it again.") from None
    for number, row in enumerate(rows, start=1):
        yield number, {key: value for key, value in row.items() if value is not None}


def _require_few(path: Path, metadata: Any, columns: Sequence[str]) -> None:
    """Raises: DataError for more rows, or more bytes in the columns, than a list of pictures can have."""
    size = 0
    for group in range(metadata.num_row_groups):
        chunks = [metadata.row_group(group).column(i) for i in range(metadata.num_columns)]
        size += sum(c.total_uncompressed_size for c in chunks if c.path_in_schema.split(".")[0] in columns)
    if metadata.num_rows > MOST_ROWS or size > MOST_BYTES:
        got = f"{metadata.num_rows} rows, {size} bytes"
        raise DataError(f"{path}: expected at most {MOST_ROWS} rows and {MOST_BYTES} bytes, got {got}; split the run.")
