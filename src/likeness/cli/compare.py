"""`likeness compare`: several runs of one benchmark on one page, and as Markdown, LaTeX, CSV and JSON beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from likeness.cli.answer import Json, answer

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness compare runs/plain runs/dpo runs/focus --out compared.html\n\n"
    "likeness compare runs/plain runs/focus --margin dino=0.01 --out compared.html\n\n"
    "likeness compare runs/a runs/b --base b --metric dino --metric clip_t --votes votes.jsonl --out compared.html"
)


def compare(
    ctx: typer.Context,
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Evaluated runs of one benchmark.")],
    out: Annotated[Path, typer.Option(help="The page to write; .md, .tex, .csv and .json go beside it.")],
    base: Annotated[
        str | None, typer.Option(metavar="NAME", help="The run that others are compared with (default: the first).")
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A metric to show, repeatable (default: all, each in its first reading)."),
    ] = None,
    margin: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Up to which difference of a metric two methods tie, repeatable."),
    ] = None,
    votes: Annotated[
        Path | None, typer.Option(help="JSONL of people's choices: query (a case id), rater, options, choice.")
    ] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page (default: the names of the runs).")] = None,
    as_json: Json = False,
) -> None:
    """Methods by metrics with intervals, paired differences from one of them, and the pictures that differ most."""
    from likeness.cli.record import command_line
    from likeness.core.errors import ConfigError
    from likeness.core.files import atomic_write_text, write_json
    from likeness.evaluate.compare import Wanted, compare_methods
    from likeness.report import build_methods_page, labels_of
    from likeness.report.methods_text import csv_table, latex, markdown

    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out: expected a page that ends in .html, got {out}; name one.")
    folders = dict(zip(labels_of(runs), runs, strict=True))
    wanted = Wanted(base or "", tuple(metric or ()), _margins(margin or []), votes)
    found = compare_methods({name: [folder] for name, folder in folders.items()}, wanted=wanted)
    beside = {kind: out.with_suffix(f".{kind}") for kind in ("md", "tex", "csv", "json")}
    build_methods_page(found, folders, out=out, title=title, command=command_line(ctx))
    for kind, write in (("md", markdown), ("tex", latex), ("csv", csv_table)):
        atomic_write_text(beside[kind], write(found))
    write_json(beside["json"], found)
    told = {"page": out, "runs": folders, "base": found["base"], "files": beside, "bytes": out.stat().st_size}
    answer({**told, "metrics": found["metrics"]}, text=f"{out}", as_json=as_json)


def _margins(texts: list[str]) -> dict[str, float]:
    """By metric. Raises: ConfigError for what is no NAME=VALUE with a number above 0."""
    from likeness.core.errors import ConfigError

    found: dict[str, float] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            found[name] = math.nan
        if not 0 < found[name] < math.inf:
            raise ConfigError(f"--margin: expected NAME=VALUE with a number above 0, got {text}; as in dino=0.01.")
    return found
