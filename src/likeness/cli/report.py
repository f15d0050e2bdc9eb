"""`likeness report`: RUN/report.html from the files of a run folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any  # Any: options of different types

import typer

from likeness.cli.answer import Json, answer
from likeness.cli.generate import MOST_WORKERS

if TYPE_CHECKING:
    from likeness.report import Compared

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness report runs/multi\n\n"
    "likeness report runs/multi --single-file --out multi.html\n\n"
    "likeness report runs/multi runs/multi-tuned --out compared.html\n\n"
    "likeness report runs/focus\n\n"
    "likeness report runs/local --picture own.png"
)


def report(
    ctx: typer.Context,
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Run folders; several share one page, those of one benchmark are compared.",
        ),
    ],
    out: Annotated[Path | None, typer.Option(help="The page to write (default: RUN/report.html).")] = None,
    cases: Annotated[Path | None, typer.Option(help="Case file (default: RUN/cases.jsonl).")] = None,
    title: Annotated[str | None, typer.Option(help="Heading of the page (default: the names of the runs).")] = None,
    single_file: Annotated[
        bool,
        typer.Option(
            "--single-file",
            help="At most 160 pictures, all inside; by default more than 3 MB of them go to PAGE_files.",
        ),
    ] = False,
    pictures: Annotated[
        list[Path] | None,
        typer.Option("--picture", help="Run of the Local Image Encoder: dense features of this picture; may repeat."),
    ] = None,
    as_json: Json = False,
) -> None:
    """A page to look at: pictures and scores, or the curves and focus maps of a training run."""
    from likeness.cli.progress import progress_bars
    from likeness.cli.record import command_line
    from likeness.core.errors import ConfigError
    from likeness.report import Drawing, build_index, build_training_page, files_of, is_training_run

    training = [run for run in runs if is_training_run(run)]
    if training and (len(runs) > 1 or cases is not None or single_file):
        what = f"{training[0]}: expected a training run alone, without --cases and --single-file"
        raise ConfigError(f"{what}; report it by itself.")
    _require_different(runs)
    _require_page(runs, out=out)
    if pictures:
        _show_own(runs, pictures=pictures)
    page = out or runs[0] / "report.html"
    if training:
        build_training_page(runs[0], out=out, title=title)
    else:
        compared, note, beside = _compared(runs, page=page, cases=cases)
        with progress_bars() as bar:
            drawing = Drawing(single_file, min(MOST_WORKERS, os.cpu_count() or 1), bar("pictures: reducing"))
            said: Any = {"compared": compared, "note": note, "beside": beside, "command": command_line(ctx)}
            build_index(runs, out=page, title=title, cases=cases, drawing=drawing, **said)
    folder = files_of(page)
    facts = {
        "report": page,
        "runs": runs,
        "bytes": page.stat().st_size,
        "pictures": folder if folder.is_dir() else None,
    }
    answer(facts, text=f"{page}", as_json=as_json)


def _require_page(runs: list[Path], *, out: Path | None) -> None:
    """Raises: ConfigError for several runs without a page of their own."""
    from likeness.core.errors import ConfigError

    if out is None and len(runs) > 1:
        raise ConfigError("--out: expected the page to write for several runs, got none; add --out PAGE.html.")


def _show_own(runs: list[Path], *, pictures: list[Path]) -> None:
    """RUN/features/own.json for the page. Raises: ConfigError for several runs; DataError as `show_own`."""
    from likeness.core.errors import ConfigError

    if len(runs) > 1:
        raise ConfigError("--picture: expected one training run, got several; report each by itself.")
    from likeness.cli.progress import quiet_libraries
    from likeness.train.local.show import show_own

    quiet_libraries()
    show_own(runs[0], pictures)


def _require_different(runs: list[Path]) -> None:
    """Raises: ConfigError for a folder that was named twice: no run has two sections."""
    from likeness.core.errors import ConfigError

    seen: set[Path] = set()
    for run in runs:
        if run.resolve() in seen:
            raise ConfigError(f"{run}: expected each run once, got it twice; name it once.")
        seen.add(run.resolve())


def _compared(runs: list[Path], *, page: Path, cases: Path | None) -> tuple[Compared | None, str, list[Path]]:
    """Runs of one benchmark as `likeness compare` has them, with the file of the numbers; else a sentence why not."""
    from likeness.core.files import write_json
    from likeness.evaluate.compare import compare_methods, why_not_compared
    from likeness.report import Compared, labels_of, read_run

    if len(runs) == 1:
        return None, "", []
    for run in runs:
        read_run(run, cases=cases)  # says what is wrong with a file, by its row
    reasons = (why_not_compared(runs[0], other) for other in runs[1:])
    if reason := next(filter(None, reasons), ""):
        return None, reason, []
    folders = dict(zip(labels_of(runs), runs, strict=True))
    found = compare_methods({name: [folder] for name, folder in folders.items()})
    file = page.with_name(f"{page.stem}.comparison.json")
    write_json(file, found)
    return Compared(found, folders), "", [file]
