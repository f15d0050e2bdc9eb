"""`likeness demo`: the whole loop on the embedded world, ending with one page to look at."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likeness.cli.answer import Json, answer

if TYPE_CHECKING:
    from likeness.cli.progress import Progress

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness demo --out demo\n\n"
    "likeness demo --out quick --cases 4\n\n"
    "Stopped half-way? The same command again continues."
)
SHARES = {"world-single": 1.0, "world-multi": 1.0, "world-hard": 2 / 3}  # of --cases
SHEET_COLUMNS = 8


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything; repeatable, resumable.")] = Path("demo"),
    cases: Annotated[
        int, typer.Option(min=1, help="Cases of world-single and world-multi; world-hard gets two thirds.")
    ] = 12,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw; the pictures do not depend on it.")] = 1,
    as_json: Json = False,
) -> None:
    """Builds cases with known truth, draws them, measures them, and puts it all on one page."""
    from likeness.cli.progress import progress_bars, quiet_libraries
    from likeness.report import build_index

    quiet_libraries()
    with progress_bars() as bar:
        runs = [
            _run_benchmark(name, out=out, limit=max(1, round(cases * share)), workers=workers, bar=bar)
            for name, share in SHARES.items()
        ]
    page = build_index(runs, out=out / "report.html", title="likeness, the embedded world")
    sheet = _write_sheet(runs, out=out / "contact_sheet.png")
    answer({"report": page, "contact_sheet": sheet, "runs": runs}, text=f"Open {page}\n     {sheet}", as_json=as_json)


def _run_benchmark(name: str, *, out: Path, limit: int, workers: int, bar: Callable[[str], Progress]) -> Path:
    """The run folder of one benchmark: cases built, pictures made and scored, its own report written."""
    from likeness.cli.cases import Source, benchmark_cases, copy_truth
    from likeness.cli.generate import DEFAULT_MODEL
    from likeness.cli.record import record_command
    from likeness.encoders import WORLD_ENCODERS
    from likeness.evaluate.run import evaluate_run, load_encoders
    from likeness.generate.run import generate_run
    from likeness.report import build_report

    run, built = out / name, out / "cases" / name
    shown = shlex.quote(name if run.is_absolute() else str(run))
    source = Source(prompt=None, references=(), cases=None, benchmark=name, data=None)
    found = benchmark_cases(source, limit=limit, folder=built)
    drawing = bar(f"{name}: drawing")
    generate_run(found.cases, out=run, model=DEFAULT_MODEL, benchmark=name, workers=workers, progress=drawing)
    copy_truth(built, run=run)
    record_command(run, step="generate", line=f"likeness generate --benchmark {name} --limit {limit} --out {shown}")
    evaluate_run(run, benchmark=name, encoders=load_encoders(WORLD_ENCODERS), progress=bar(f"{name}: measuring"))
    record_command(run, step="evaluate", line=f"likeness evaluate {shown}")
    build_report(run)
    return run


def _write_sheet(runs: list[Path], *, out: Path) -> Path:
    from likeness.core.files import read_jsonl
    from likeness.core.images import load_image, save_png
    from likeness.report import contact_sheet

    paths = [run / row["image"] for run in runs for row in read_jsonl(run / "manifest.jsonl")]
    save_png(contact_sheet([load_image(path) for path in paths], columns=SHEET_COLUMNS), out)
    return out
