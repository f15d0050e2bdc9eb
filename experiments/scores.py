"""Scores small enough to commit: one gzip file per adapter, a row per picture, the same bytes for the same scores.

The first line is "# " and JSON: how the pictures were made. A cell is a number of four decimals, or the status of a
value that was not measured. Rows are in the order of case ids, then of strengths.
"""

import csv
import gzip
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # JSON

from likeness.core.errors import DataError
from likeness.core.files import atomic_write_bytes, canonical_json, read_jsonl

DECIMALS = 4
Key = tuple[str, float]
"""Case id and adapter strength."""


class Scores(NamedTuple):
    """The cells of every picture by metric, and what is known of how they were made."""

    meta: Mapping[str, Any]
    rows: Mapping[Key, Mapping[str, str]]

    def values(self, metric: str, *, strength: float) -> dict[str, float]:
        """Case id -> the value at a strength, NaN where it was not measured."""
        return {case: number(cells[metric]) for (case, each), cells in self.rows.items() if each == strength}

    def has(self, cases: Sequence[str], *, strength: float) -> bool:
        """Whether every one of the cases has a row at that strength."""
        return all((case, strength) in self.rows for case in cases)


def cell(value: Mapping[str, Any]) -> str:
    """A value of scores.jsonl as text: the number where it was measured, else the status."""
    if value["status"] != "measured":
        return str(value["status"])
    text = f"{value['value']:.{DECIMALS}f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def number(text: str) -> float:
    """The number of a cell, NaN for a status."""
    return math.nan if text[:1].isalpha() else float(text)


def read_run(
    run: Path, *, metrics: Sequence[str], strength: float, absent: Sequence[str] = ()
) -> dict[Key, dict[str, str]]:
    """The rows of an evaluated run folder; `absent` metrics are missing there, since nobody asked for them.

    Raises: DataError for a metric that was to be measured and was not.
    """
    rows: dict[Key, dict[str, str]] = {}
    for row in read_jsonl(run / "evaluation" / "scores.jsonl"):
        if unknown := [metric for metric in metrics if metric not in row["values"]]:
            raise DataError(f"{run}: expected the metric {unknown[0]}, got none; evaluate with the encoder it needs.")
        found = {metric: cell(row["values"][metric]) for metric in metrics}
        rows[row["case_id"], strength] = found | dict.fromkeys(absent, "missing")
    return rows


def write_scores(path: Path, scores: Scores) -> None:
    """The file holds the scores."""
    text = io.StringIO()
    text.write(f"# {canonical_json(dict(scores.meta))}\n")
    metrics = list(next(iter(scores.rows.values()), {}))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", "strength", *metrics])
    for (case, strength), cells in sorted(scores.rows.items()):
        writer.writerow([case, f"{strength:.{DECIMALS}f}", *(cells[metric] for metric in metrics)])
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as file:
        file.write(text.getvalue().encode())
    atomic_write_bytes(path, packed.getvalue())


def read_scores(path: Path) -> Scores:
    """Raises: DataError for a file that is damaged."""
    try:
        first, *lines = gzip.decompress(path.read_bytes()).decode().splitlines()
        names, *rows = csv.reader(lines)
        meta = json.loads(first.removeprefix("# "))
        return Scores(meta, {(row[0], float(row[1])): dict(zip(names[2:], row[2:], strict=True)) for row in rows})
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise DataError(f"{path}: expected scores, got {error}; delete the file and draw them again.") from error
