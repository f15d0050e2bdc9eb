"""`likeness demo`: the whole loop on the embedded world, ending with one page to look at."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any  # Any: options of a backbone are its own

import typer

from likeness.cli.answer import Json, answer
from likeness.cli.generate import DEFAULT_MODEL, MOST_WORKERS
from likeness.cli.record import record_command
from likeness.core.runs import told_path

if TYPE_CHECKING:
    from likeness.core.jobs import Progress
    from likeness.report import Compared

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness demo --out demo\n\n"
    "likeness demo --out quick --cases 8 --tuning-steps 0\n\n"
    "Stopped half-way? The same command again continues."
)
BENCHMARK = "world-multi"
"""Two subjects in a picture: where characters get mixed up, and tuning has something to mend."""
SHEET_COLUMNS = 8
# The short tuning, chosen on validation cases (docs/log.md). On 2 idle cores the whole demo takes 200 seconds.
TUNING_PAIRS = 360
TUNING_STEPS = 60
TUNING_BATCH = 8
TUNING_WARMUP = 10
LEARNING_RATE = 1e-3
BETA = 70.0
ANCHOR = 20.0
RANK = 32
OPTIONS: dict[str, Any] = {"steps": 8, "cfg_scale": 1.0, "reference_cfg_scale": 1.0}
"""One pass per step, without guidance: the model as it was trained, which mixes up characters more often."""


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything; repeatable, resumable.")] = Path("demo"),
    cases: Annotated[int, typer.Option(min=1, help="Pictures before and after: cases of world-multi.")] = 128,
    tuning_steps: Annotated[
        int, typer.Option(min=0, help="Steps of FocusDPO between before and after; 0 leaves tuning out.")
    ] = TUNING_STEPS,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that draw; no picture depends on it. Default: one per core.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Builds cases with known truth, draws and measures them before and after a short tuning, all on one page."""
    from likeness.cli.progress import progress_bars, quiet_libraries
    from likeness.report import build_index

    quiet_libraries()
    workers = workers or min(MOST_WORKERS, os.cpu_count() or 1)
    with progress_bars() as bar:
        run = _run_benchmark(out=out, limit=cases, workers=workers, bar=bar)
        tuned = _tune(out, steps=tuning_steps, limit=cases, workers=workers, bar=bar) if tuning_steps else None
    line = f"likeness demo --out {_shown(out)} --cases {cases} --tuning-steps {tuning_steps}"
    title = "likeness, the embedded world"
    page = build_index([run], out=out / "report.html", title=title, compared=tuned, command=line)
    sheet = _write_sheet(run, out=out / "contact_sheet.png")
    tuned_runs = [tuned.folders["after"]] if tuned else []
    facts = {"report": page, "contact_sheet": sheet, "runs": [run], "tuned_runs": tuned_runs}
    answer(facts, text=f"Open {page}\n     {sheet}", as_json=as_json)


def _run_benchmark(
    *,
    out: Path,
    limit: int,
    workers: int,
    bar: Callable[[str], Progress],
    lora: Path | None = None,
    within: str = "",
) -> Path:
    """The run folder: cases built, pictures made and scored, its own report written.

    With `lora` the pictures are those of the tuned model; `within` is the folder below `out` for the run.
    """
    from likeness.benchmarks import benchmark_cases, copy_truth
    from likeness.encoders import WORLD_ENCODERS
    from likeness.evaluate.run import evaluate_run, load_encoders
    from likeness.generate.run import generate_run
    from likeness.report import build_report

    run, built = out / within / BENCHMARK, out / "cases" / BENCHMARK
    shown, label = _shown(run), "tuned" if lora else "untuned"
    found = benchmark_cases(BENCHMARK, folder=built, limit=limit)
    generate_run(
        found.cases,
        out=run,
        model=DEFAULT_MODEL,
        loras=[lora] if lora else [],
        benchmark=BENCHMARK,
        options=OPTIONS,
        workers=workers,
        progress=bar(f"{label}: drawing"),
    )
    copy_truth(built, run=run)
    adapter = f" --lora {_shown(lora)}" if lora else ""
    flags = " ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in OPTIONS.items())
    line = f"likeness generate --benchmark {BENCHMARK} --limit {limit}{adapter} {flags} --out {shown}"
    record_command(run, step="generate", line=line)
    evaluate_run(run, benchmark=BENCHMARK, encoders=load_encoders(WORLD_ENCODERS), progress=bar(f"{label}: measuring"))
    record_command(run, step="evaluate", line=f"likeness evaluate {shown}")
    build_report(run)
    return run


def _shown(path: Path) -> str:
    """The path as a word of a command, told as in every record."""
    return shlex.quote(told_path(str(path)))


def _tune(out: Path, *, steps: int, limit: int, workers: int, bar: Callable[[str], Progress]) -> Compared:
    """Pairs made, the embedded model tuned on them, and the benchmark drawn again with the adapter."""
    from likeness.core.files import atomic_write_text, write_json
    from likeness.data.pairs.dip import make_pairs
    from likeness.evaluate.compare import compare_methods
    from likeness.generate.inpaint import LoadInpainter
    from likeness.report import Compared, build_training_page
    from likeness.train.run import tune

    pairs, within = out / "pairs", f"tuned-{steps}"
    recipe, training = out / within / "recipe.toml", out / within / "training"
    make_pairs(
        TUNING_PAIRS,
        out=pairs,
        subset="multi",
        losers="regenerated",
        hard=True,
        workers=workers,
        regenerate=LoadInpainter(DEFAULT_MODEL, **OPTIONS),
        progress=bar("pairs: drawing"),
    )
    atomic_write_text(recipe, _recipe(DEFAULT_MODEL, pairs=pairs, steps=steps))
    made = tune(recipe, out=training, progress=lambda label: bar(f"tuning: {label}"))
    record_command(training, step="train", line=f"likeness train {_shown(recipe)} --out {_shown(training)}")
    build_training_page(training)
    run = _run_benchmark(out=out, limit=limit, workers=workers, bar=bar, lora=made.trained, within=within)
    found = compare_methods({"before": [out / BENCHMARK], "after": [run]})
    write_json(out / within / "comparison.json", found)
    note = (
        f"The same {limit} cases and seeds, drawn in one pass per step, without guidance, by the model as it comes and "
    )
    note += f"after {made.steps} steps of FocusDPO. It was tuned on {made.num_rows} pairs of other characters: a true "
    note += "picture, and the same picture with one character drawn anew by the model itself."
    folders = {"before": out / BENCHMARK, "after": run}
    return Compared(found, folders, "Before and after tuning", note, training=f"{within}/training/report.html")


def _recipe(model: str, *, pairs: Path, steps: int) -> str:
    return f"""# Written by `likeness demo`; the recipes folder explains every key.
[model]
base = {json.dumps(model)}
rank = {RANK}
alpha = {RANK}.0

[data]
pairs = {json.dumps(str(pairs), ensure_ascii=False)}

[objective]
kind = "focus_dpo"
beta = {BETA}
sft_anchor = {ANCHOR}

[train]
steps = {steps}
batch_size = {TUNING_BATCH}
learning_rate = {LEARNING_RATE}
warmup = {TUNING_WARMUP}
save_every = 25
log_maps_every = {steps}
"""


def _write_sheet(run: Path, *, out: Path) -> Path:
    from likeness.core.files import read_jsonl
    from likeness.core.images import load_image, save_png
    from likeness.report import contact_sheet

    paths = [run / row["image"] for row in read_jsonl(run / "manifest.jsonl")]
    save_png(contact_sheet([load_image(path) for path in paths], columns=SHEET_COLUMNS), out)
    return out
