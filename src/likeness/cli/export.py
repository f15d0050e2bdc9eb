"""`likeness export`: an evaluated run in the forms that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness.cli.answer import Json, answer
from likeness.cli.choices import choice
from likeness.evaluate.exports import EXPORTS

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness export runs/multi --to parquet --out multi.parquet\n\n"
    "likeness export runs/multi --to lm-eval --out results.json --option date=2026-11-26\n\n"
    "likeness export runs/uno --to hub --out model/.eval_results/dreambench.yaml --option dataset=owner/dreambench "
    "--option card=dreambench/uno-single@1"
)
_OPTIONS = "; ".join(f"{name}: {', '.join(line.options)}" for name, line in EXPORTS.items() if line.options)


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="An evaluated run.")],
    to: Annotated[str, choice(EXPORTS, help="Format to write.")],
    out: Annotated[Path, typer.Option(help="File to write; it ends in .json, .parquet, .csv or .yaml.")],
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help=f"What the run does not know, repeatable. {_OPTIONS}."),
    ] = None,
    as_json: Json = False,
) -> None:
    """The numbers of a run as lm-eval results, Parquet, CSV, or entries for a model page of the Hugging Face hub."""
    from likeness.evaluate.exports import export_run

    left_out = export_run(run, to=to, out=out, options=dict(map(_named, option or [])))
    lines = [f"{out}: {EXPORTS[to].what}", *(f"left out, {row.where}: {row.reason}" for row in left_out)]
    facts = {"out": out, "format": to, "bytes": out.stat().st_size, "left_out": [row.model_dump() for row in left_out]}
    answer(facts, text="\n".join(lines), as_json=as_json)


def _named(text: str) -> tuple[str, str]:
    """(name, value) of --option. Raises: ConfigError."""
    from likeness.core.errors import ConfigError

    name, equals, value = text.partition("=")
    if not (equals and name and value):
        raise ConfigError(f"--option: expected NAME=VALUE, got {text!r}; for example --option date=2026-11-26.")
    return name, value
