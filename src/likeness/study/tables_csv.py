"""CSV written and read so that no cell is taken for a formula by the program that opens it."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from likeness.core.errors import DataError
from likeness.core.files import read_text

__all__ = ["csv_text", "read_csv"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_text(rows: Sequence[Mapping[str, object]]) -> str:
    """The rows with a line of names; texts that would be formulas begin with an apostrophe.

    Source: OWASP, CSV Injection.
    """
    written = io.StringIO()
    writer = csv.DictWriter(written, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _plain(value) for name, value in row.items()})
    return written.getvalue()


def _plain(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def read_csv(path: Path, *, needed: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV by name. Raises: DataError without the columns that are needed."""
    try:
        reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
        rows = [{str(k): v or "" for k, v in row.items() if k is not None} for row in reader]
    except csv.Error as error:
        raise DataError(f"{path}: expected a CSV, got {error}; export it again.") from None
    if lacking := [name for name in needed if name not in (reader.fieldnames or ())]:
        raise DataError(f"{path}: expected a column {lacking[0]}, got none; export the table with all columns.")
    return rows
