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
    "likeness compare base=runs/base focus=runs/focus-1,runs/focus-2,runs/focus-3 --out compared.html\n\n"
    "likeness compare runs/a runs/b --base b --metric dino --metric clip_t --votes votes.jsonl --out compared.html"
)


def compare(
    ctx: typer.Context,
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help="Evaluated runs of one benchmark; NAME=RUN names one, NAME=RUN,RUN,... trainings of one method.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="The page to write; .md, .tex, .csv, .correlations.csv and .json go beside it.")
    ],
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
    from likeness.report import Compared, build_index
    from likeness.report.methods_text import csv_correlations, csv_table, latex, markdown

    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"--out: expected a page that ends in .html, got {out}; name one.")
    trainings = _methods(runs)
    folders = {name: some[0] for name, some in trainings.items()}
    wanted = Wanted(base or "", tuple(metric or ()), _margins(margin or []), votes)
    found = compare_methods(trainings, wanted=wanted)
    beside = {kind: out.with_suffix(f".{kind}") for kind in ("md", "tex", "csv", "json")}
    beside["correlations"] = out.with_suffix(".correlations.csv")
    page = Compared(found, folders)
    build_index([], out=out, title=title, compared=page, command=command_line(ctx), beside=[*beside.values()])
    texts = {"md": markdown, "tex": latex, "csv": csv_table, "correlations": csv_correlations}
    for kind, write in texts.items():
        atomic_write_text(beside[kind], write(found))
    write_json(beside["json"], found)
    told = {"page": out, "runs": folders, "base": found["base"], "files": beside, "bytes": out.stat().st_size}
    told |= {"trainings": trainings, "notes": found["notes"], "metrics": found["metrics"]}
    answer(told, text="\n".join([f"{out}", *found["notes"]]), as_json=as_json)


def _methods(texts: list[str]) -> dict[str, list[Path]]:
    """Name -> its runs, of RUN, NAME=RUN and NAME=RUN,RUN. Raises: ConfigError for no run or a name given twice."""
    from likeness.core.errors import ConfigError
    from likeness.report import labels_of

    labels = iter(labels_of([Path(text) for text in texts if _is_run(text)]))
    found: dict[str, list[Path]] = {}
    for text in texts:
        name, _, listed = text.partition("=")
        name, runs = (next(labels), [text]) if _is_run(text) else (name.strip(), listed.split(","))
        if not name or not all(run.strip() for run in runs):
            raise ConfigError(f"RUN: expected NAME=RUN or NAME=RUN,RUN, got {text}; as in focus=runs/a,runs/b.")
        if name in found:
            raise ConfigError(
                f"RUN: expected each name once, got {name} again; name the trainings of one method together."
            )
        if len({Path(run).resolve() for run in runs}) < len(runs):
            raise ConfigError(f"RUN: expected different trainings of {name}, got a run twice; name each once.")
        found[name] = [Path(run.strip()) for run in runs]
    return found


def _is_run(text: str) -> bool:
    """Whether the text is the path of a run and no NAME=RUN."""
    return "=" not in text or Path(text).is_dir()


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
