"""`likeness report`: RUN/report.html from the files of a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness.cli.answer import Json, answer

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness report runs/multi\n\n"
    "likeness report runs/single runs/multi --out both.html --title 'Before and after'\n\n"
    "likeness report runs/focus"
)


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; several are shown on one page.")],
    out: Annotated[Path | None, typer.Option(help="The page to write (default: RUN/report.html).")] = None,
    cases: Annotated[Path | None, typer.Option(help="Case file (default: RUN/cases.jsonl).")] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page (default: the benchmark's name).")] = None,
    as_json: Json = False,
) -> None:
    """A self-contained page to look at: pictures and scores, or the curves and focus maps of a training run."""
    from likeness.core.errors import ConfigError
    from likeness.report import build_index, build_training_page, is_training_run

    training = [run for run in runs if is_training_run(run)]
    if training and (len(runs) > 1 or cases is not None):
        raise ConfigError(f"{training[0]}: expected a training run alone and without --cases; report it by itself.")
    if out is None and len(runs) > 1:
        raise ConfigError("--out: expected the page to write for several runs, got none; add --out PAGE.html.")
    page = (
        build_training_page(runs[0], out=out, title=title)
        if training
        else build_index(runs, out=out or runs[0] / "report.html", title=title, cases=cases)
    )
    answer({"report": page, "runs": runs, "bytes": page.stat().st_size}, text=f"{page}", as_json=as_json)
