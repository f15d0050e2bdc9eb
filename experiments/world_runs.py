"""What the experiments on the embedded world share: pairs, cases, trainings, and pictures with their scores.

Scripts in the folders beside this file put it on their path. Everything here continues what it finds half done.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any  # TOML

from batched import draw_batched

ROOT = Path(__file__).resolve().parents[1]
"""Of the repository."""

Changes = Mapping[str, Any]
"""Settings of a recipe by their dotted names."""


def told(what: str) -> Callable[[int, int], None]:
    """A progress that prints."""
    return lambda done, wanted: print(f"{what}: {done}/{wanted}", flush=True)


def toml_value(value: Any) -> str:
    """A setting as `likeness train --set` takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def build_pairs(
    table: Mapping[str, Any], *, base: str, out: Path, workers: int, progress: Callable[[int, int], None] | None = None
) -> None:
    """The pair set of a plan's table [pairs]: `n`, `seed`, `losers`, `hard`, and the `steps` of regenerating losers."""
    from likeness.data.pairs.dip import make_pairs
    from likeness.generate.inpaint import LoadInpainter

    make_pairs(
        table["n"],
        out=out,
        seed=table["seed"],
        losers=table["losers"],
        hard=table["hard"],
        workers=workers,
        regenerate=None if table["losers"] == "drawn" else LoadInpainter(base, steps=table["steps"]),
        progress=progress or told(out.name),
    )


def build_cases(benchmark: str, *, folder: Path, limit: int, split: str) -> Path:
    """The case file of a benchmark of the drawn world, drawn once."""
    from likeness.benchmarks import benchmark_cases

    if not (folder / "cases.jsonl").is_file():
        benchmark_cases(benchmark, folder=folder, limit=limit, split=split)  # pyright: ignore[reportArgumentType] a Split
    return folder / "cases.jsonl"


def train(changes: Changes, *, recipe: str, out: Path) -> Path:
    """The folder of the adapter that the recipe with these changes gives."""
    from likeness.train.run import tune

    tune(ROOT / recipe, out=out, changes=[f"{key}={toml_value(value)}" for key, value in changes.items()])
    return out / "lora"


def draw_and_measure(
    run: Path,
    *,
    cases: Path,
    benchmark: str,
    base: str,
    options: Mapping[str, Any],
    loras: Sequence[Path] = (),
    more_encoders: tuple[str, ...] = (),
    features: Path | None = None,
    metrics: Sequence[str] | None = None,
    batched: bool = False,
) -> None:
    """The run folder `run` holds a picture of every case in the file `cases`, and their scores.

    `metrics` are those to measure, None for all. `batched`: as batched.py draws, which is faster.
    """
    from likeness.core.records import read_cases
    from likeness.evaluate import evaluate_run
    from likeness.generate.run import generate_run

    if batched:
        draw_batched(run, cases=cases, base=base, options=options, loras=loras)
    else:
        generate_run(read_cases(cases).cases, out=run, model=base, loras=loras, benchmark=benchmark, options=options)
    evaluate_run(
        run,
        benchmark=benchmark,
        encoders=world_encoders(*more_encoders),
        cases=cases,
        bounds=False,
        metrics=metrics,
        features=features,
    )


@cache
def world_encoders(*more: str) -> Any:  # likeness.encoders.EncoderSet
    """The embedded encoders that every evaluation of the world has, and `more`; loaded once in a process."""
    from likeness.core.devices import pick_device
    from likeness.encoders import ENCODERS, WORLD_ENCODERS
    from likeness.evaluate import load_encoders

    named = {name: ENCODERS[name].embedded or name for name in more}
    return load_encoders({**WORLD_ENCODERS, **named}, device=pick_device())
