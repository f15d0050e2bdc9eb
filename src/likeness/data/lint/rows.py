"""Rows of a set that are no records, as findings of its lint."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from likeness.core.errors import DataError
from likeness.core.files import read_text
from likeness.core.rows import LeftOut, json_object

__all__ = ["row_findings"]

FindingT = TypeVar("FindingT")


def row_findings(
    path: Path, left_out: Sequence[LeftOut], *, ids: Iterable[str], make: Callable[..., FindingT]
) -> list[FindingT]:
    """`make(id or None, code, reason, line=number)` of each row of the file that was left out.

    The code is "duplicate_id" for a row whose id is one of the kept `ids`, else "bad_row".
    """
    kept, lines = {name.casefold() for name in ids}, read_text(path).split("\n")
    findings: list[FindingT] = []
    for row in left_out:
        number = int(row.where.rpartition(":")[2])
        name = _id_of(lines[number - 1])
        code = "duplicate_id" if name is not None and name.casefold() in kept else "bad_row"
        findings.append(make(name, code, row.reason, line=number))
    return findings


def _id_of(line: str) -> str | None:
    try:
        name = json_object(line).get("id")
    except DataError:
        return None
    return name if isinstance(name, str) else None
