"""What a finished command says: a line for people, or one JSON object for machines. stdout carries nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

SHOWN_ROWS = 5

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout instead of a line for people.")]


def answer(facts: dict[str, Any], *, text: str, as_json: bool) -> None:  # JSON values
    """`facts` as one JSON object when `as_json`, else `text`; letters that stdout cannot write are escaped."""
    encoding = sys.stdout.encoding or "ascii"
    is_unicode = encoding.replace("-", "").lower().startswith("utf")
    if as_json:
        typer.echo(json.dumps(facts, ensure_ascii=not is_unicode, default=str))
    else:
        typer.echo(text if is_unicode else text.encode(encoding, "backslashreplace").decode(encoding))


def counted(count: int, noun: str) -> str:
    """The number with its noun, whose plural ends with s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def told_left_out(rows: Sequence[Mapping[str, str]], *, where: object) -> str:
    """For people: how many inputs were left out, the first few reasons, and `where` all of them are listed."""
    if not rows:
        return ""
    lines = [f"{len(rows)} left out:", *(f"  {row['where']}: {_reason(row)}" for row in rows[:SHOWN_ROWS])]
    if len(rows) > SHOWN_ROWS:
        lines.append(f"  ... and {len(rows) - SHOWN_ROWS} more")
    return "\n".join([*lines, f"  all of them in {where}\n"])


def _reason(row: Mapping[str, str]) -> str:
    return row["reason"].removeprefix(f"{row['where']}: ")


def aligned(table: Table) -> str:
    """A table as text in ASCII with its columns aligned, as wide as it needs, the same on a terminal and in a file."""
    from rich.console import Console

    width = Console(width=10_000).measure(table).maximum
    console = Console(width=width, color_system=None, force_terminal=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
