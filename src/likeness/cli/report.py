"""`likeness report`: RUN/report.html from the files of a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likeness.cli.answer import Json, answer

if TYPE_CHECKING:
    from likeness.report import Tuned

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness report runs/multi\n\n"
    "likeness report runs/multi runs/multi-tuned --out compared.html\n\n"
    "likeness report runs/focus"
)


def report(
    ctx: typer.Context,
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Run folders; several share one page, two of one benchmark are compared."
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="The page to write (default: RUN/report.html).")] = None,
    cases: Annotated[Path | None, typer.Option(help="Case file (default: RUN/cases.jsonl).")] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page (default: the names of the runs).")] = None,
    as_json: Json = False,
) -> None:
    """A self-contained page to look at: pictures and scores, or the curves and focus maps of a training run."""
    from likeness.cli.record import command_line
    from likeness.core.errors import ConfigError
    from likeness.report import build_index, build_training_page, is_training_run

    training = [run for run in runs if is_training_run(run)]
    if training and (len(runs) > 1 or cases is not None):
        raise ConfigError(f"{training[0]}: expected a training run alone and without --cases; report it by itself.")
    if out is None and len(runs) > 1:
        raise ConfigError("--out: expected the page to write for several runs, got none; add --out PAGE.html.")
    page = out or runs[0] / "report.html"
    if training:
        build_training_page(runs[0], out=out, title=title)
    else:
        tuned, note = _compared(runs, page=page, cases=cases)
        build_index(runs, out=page, title=title, cases=cases, tuned=tuned, note=note, command=command_line(ctx))
    answer({"report": page, "runs": runs, "bytes": page.stat().st_size}, text=f"{page}", as_json=as_json)


def _compared(runs: list[Path], *, page: Path, cases: Path | None) -> tuple[Tuned | None, str]:
    """Two runs of one benchmark side by side, their comparison written beside the page; else a sentence why not."""
    from likeness.evaluate.compare import compare_runs, why_not_compared
    from likeness.report import Tuned, labels_of, read_run
    from likeness.report.comparison import Words

    if len(runs) == 1:
        return None, ""
    if len(runs) > 2:
        told = "`likeness compare` sets several of one benchmark side by side"
        return None, f"The runs stand one below the other; {told}."
    for run in runs:
        read_run(run, cases=cases)
    if reason := why_not_compared(*runs):
        return None, reason
    file = page.with_name(f"{page.stem}.comparison.json")
    compare_runs(runs[:1], runs[1:], out=file)
    first, second = labels_of(runs)
    words = Words(first, second, heading=f"{first} and {second} compared")
    note = f"The same cases, drawn by {first} and by {second}; differences are {second} minus {first}."
    return Tuned((runs[1],), file, note, words=words, has_sections=True), ""
