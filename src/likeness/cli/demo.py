"""`likeness demo`: the whole loop on the embedded world, ending with one page to look at."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likeness.cli.answer import Json, answer
from likeness.cli.generate import DEFAULT_MODEL
from likeness.cli.record import record_command
from likeness.core.runs import told_path

if TYPE_CHECKING:
    from likeness.core.jobs import Progress
    from likeness.report import Tuned

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness demo --out demo\n\n"
    "likeness demo --out quick --cases 4 --tuning-steps 0\n\n"
    "Stopped half-way? The same command again continues."
)
SHARES = {"world-single": 1.0, "world-multi": 1.0, "world-hard": 2 / 3}  # of --cases
SHEET_COLUMNS = 8
# The short tuning. On 2 idle cores the whole demo must stay within 8 minutes.
TUNING_PAIRS = 400
TUNING_STEPS = 100
TUNING_BATCH = 8
TUNING_WARMUP = 10
LEARNING_RATE = 3e-4  # with beta and anchor the settings that experiments/focusdpo_world chose
BETA = 500.0
ANCHOR = 10.0
RANK = 32
LOSERS = "drawn"


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything; repeatable, resumable.")] = Path("demo"),
    cases: Annotated[
        int, typer.Option(min=1, help="Cases of world-single and world-multi; world-hard gets two thirds.")
    ] = 12,
    tuning_steps: Annotated[
        int, typer.Option(min=0, help="Steps of FocusDPO between before and after; 0 leaves tuning out.")
    ] = TUNING_STEPS,
    workers: Annotated[int, typer.Option(min=1, help="Processes that draw; the pictures do not depend on it.")] = 1,
    as_json: Json = False,
) -> None:
    """Builds cases with known truth, draws and measures them before and after a short tuning, all on one page."""
    from likeness.cli.progress import progress_bars, quiet_libraries
    from likeness.report import build_index

    quiet_libraries()
    limits = {name: max(1, round(cases * share)) for name, share in SHARES.items()}
    with progress_bars() as bar:
        runs = [_run_benchmark(name, out=out, limit=n, workers=workers, bar=bar) for name, n in limits.items()]
        tuned = _tune(out, steps=tuning_steps, limits=limits, workers=workers, bar=bar) if tuning_steps else None
    page = build_index(runs, out=out / "report.html", title="likeness, the embedded world", tuned=tuned)
    sheet = _write_sheet(runs, out=out / "contact_sheet.png")
    facts = {"report": page, "contact_sheet": sheet, "runs": runs, "tuned_runs": list(tuned.folders) if tuned else []}
    answer(facts, text=f"Open {page}\n     {sheet}", as_json=as_json)


def _run_benchmark(
    name: str,
    *,
    out: Path,
    limit: int,
    workers: int,
    bar: Callable[[str], Progress],
    lora: Path | None = None,
    within: str = "",
) -> Path:
    """The run folder of one benchmark: cases built, pictures made and scored, its own report written.

    With `lora` the pictures are those of the tuned model; `within` is the folder below `out` for the run.
    """
    from likeness.benchmarks import benchmark_cases, copy_truth
    from likeness.encoders import WORLD_ENCODERS
    from likeness.evaluate.run import evaluate_run, load_encoders
    from likeness.generate.run import generate_run
    from likeness.report import build_report

    run, built = out / within / name, out / "cases" / name
    shown, label = _shown(run), f"{name}, tuned" if lora else name
    found = benchmark_cases(name, folder=built, limit=limit)
    generate_run(
        found.cases,
        out=run,
        model=DEFAULT_MODEL,
        loras=[lora] if lora else [],
        benchmark=name,
        workers=workers,
        progress=bar(f"{label}: drawing"),
    )
    copy_truth(built, run=run)
    adapter = f" --lora {_shown(lora)}" if lora else ""
    line = f"likeness generate --benchmark {name} --limit {limit}{adapter} --out {shown}"
    record_command(run, step="generate", line=line)
    evaluate_run(run, benchmark=name, encoders=load_encoders(WORLD_ENCODERS), progress=bar(f"{label}: measuring"))
    record_command(run, step="evaluate", line=f"likeness evaluate {shown}")
    build_report(run)
    return run


def _shown(path: Path) -> str:
    """The path as a word of a command, told as in every record."""
    return shlex.quote(told_path(str(path)))


def _tune(out: Path, *, steps: int, limits: dict[str, int], workers: int, bar: Callable[[str], Progress]) -> Tuned:
    """Pairs made, the embedded model tuned on them, and every benchmark drawn again with the adapter."""
    from likeness.core.files import atomic_write_text
    from likeness.data.pairs.dip import make_pairs
    from likeness.evaluate.compare import compare_runs
    from likeness.report import Tuned, build_training_page
    from likeness.train.run import tune

    pairs, within = out / "pairs", f"tuned-{steps}"
    recipe, training = out / within / "recipe.toml", out / within / "training"
    make_pairs(TUNING_PAIRS, out=pairs, losers=LOSERS, hard=True, workers=workers, progress=bar("pairs: drawing"))
    atomic_write_text(recipe, _recipe(DEFAULT_MODEL, pairs=pairs, steps=steps))
    made = tune(recipe, out=training, progress=lambda label: bar(f"tuning: {label}"))
    record_command(training, step="train", line=f"likeness train {_shown(recipe)} --out {_shown(training)}")
    build_training_page(training)
    runs = [
        _run_benchmark(name, out=out, limit=n, workers=workers, bar=bar, lora=made.lora, within=within)
        for name, n in limits.items()
    ]
    comparison = out / within / "comparison.json"
    compare_runs([out / name for name in limits], runs, out=comparison)
    note = f"The same cases and seeds, drawn by the untuned model and after {made.steps} steps of FocusDPO on "
    note += f"{made.num_rows} pairs of other subjects."
    return Tuned(tuple(runs), comparison, note, training=f"{within}/training/report.html")


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


def _write_sheet(runs: list[Path], *, out: Path) -> Path:
    from likeness.core.files import read_jsonl
    from likeness.core.images import load_image, save_png
    from likeness.report import contact_sheet

    paths = [run / row["image"] for run in runs for row in read_jsonl(run / "manifest.jsonl")]
    save_png(contact_sheet([load_image(path) for path in paths], columns=SHEET_COLUMNS), out)
    return out
