"""Options that take one name of a table, which stays the only place where the names are written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from likeness.core.jobs import ENGINES, Engine


def choice(names: Iterable[str], *, help: str) -> Any:  # whatever typer makes of an option
    """An option that takes one of `names`; any other ends with exit code 2 and lists them."""
    known = tuple(names)

    def parse(text: str) -> str:
        if text not in known:
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(map(repr, known))}.")
        return text

    return typer.Option(parser=parse, metavar=f"<{'|'.join(known)}>", help=help)


EngineChoice = Annotated[
    Engine | None,
    choice(
        ENGINES,
        help="Where the workers run: in this process, in processes of this machine, or on a Ray cluster "
        "(docs/cluster.md). No result depends on it. Default: in processes where there are several.",
    ),
]
"""The option --engine of commands with --workers."""
