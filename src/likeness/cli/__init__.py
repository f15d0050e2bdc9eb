"""cli: the `likeness` command, one file per verb, each a thin layer over one function of another room.

Exit codes: 0 done; 1 `doctor` found the installation unusable, `data lint` a pair set faulty, or `verify` a run that is
not what it recorded; 2 what was given is wrong (flags, files, weights, folders), told in one block on stderr; 130
interrupted by Ctrl-C and 143 by SIGTERM, told with what was kept. Any other failure is a bug and shows its traceback.
Heavy libraries are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from likeness import __version__
from likeness.cli import (
    cards,
    compare,
    data,
    demo,
    doctor,
    evaluate,
    export,
    fetch,
    generate,
    loras,
    report,
    study,
    train,
    verify,
    world,
)
from likeness.cli.group import LikenessGroup

__all__ = ["app", "main"]

COMMANDS = {
    "demo": (demo.demo, demo.EXAMPLES),
    "train": (train.train, train.EXAMPLES),
    "generate": (generate.generate, generate.EXAMPLES),
    "evaluate": (evaluate.evaluate, evaluate.EXAMPLES),
    "report": (report.report, report.EXAMPLES),
    "cards": (cards.cards, cards.EXAMPLES),
    "compare": (compare.compare, compare.EXAMPLES),
    "verify": (verify.verify, verify.EXAMPLES),
    "export": (export.export, export.EXAMPLES),
    "fetch": (fetch.fetch, fetch.EXAMPLES),
    "doctor": (doctor.doctor, doctor.EXAMPLES),
}

app = typer.Typer(
    name="likeness",
    cls=LikenessGroup,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    epilog="Start here: [bold]likeness demo --out demo[/] runs the whole loop and ends with a page to look at.",
)
for _name, (_command, _examples) in COMMANDS.items():
    app.command(_name, epilog=_examples)(_command)
app.add_typer(data.app, name="data")
app.add_typer(loras.app, name="loras")
app.add_typer(study.app, name="study")
app.add_typer(world.app, name="world")


def _show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit
    return wanted


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Pictures in which your subjects stay themselves, and the numbers that prove it."""


def main() -> None:
    """Entry point of the `likeness` command."""
    app()
