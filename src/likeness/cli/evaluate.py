"""`likeness evaluate`: scores with intervals for a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any  # Any: run.json

import typer

from likeness.benchmarks import BENCHMARKS, benchmark_cases
from likeness.cli.answer import Json, answer
from likeness.cli.generate import BENCHMARK_HELP
from likeness.core.errors import ConfigError

if TYPE_CHECKING:
    from likeness.cli.progress import Progress

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness evaluate runs/multi\n\n"
    "likeness evaluate made_elsewhere --cases my_cases.jsonl\n\n"
    "likeness evaluate runs/mine --clip openai/clip-vit-base-patch32@refs/pr/15 --dino my/dino\n\n"
    "likeness evaluate made_elsewhere --benchmark dreambench-multi --data ~/dreambench"
)
ENCODER_HELP = (
    "checkpoint: embedded name, folder or hub id. Default: the embedded one where an embedded model drew RUN and for "
    "cases of the drawn world, else"
)


def evaluate(
    ctx: typer.Context,
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of `likeness generate`, or with images made elsewhere.")
    ],
    benchmark: Annotated[
        str | None,
        typer.Option(help=f"For pictures made elsewhere; a run of `likeness generate` knows its own. {BENCHMARK_HELP}"),
    ] = None,
    cases: Annotated[Path | None, typer.Option(help="Cases the pictures answer (default: RUN/cases.jsonl).")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the DreamBench pictures.")] = None,
    clip: Annotated[
        str | None, typer.Option(help=f"CLIP {ENCODER_HELP} openai/clip-vit-base-patch32@refs/pr/15.")
    ] = None,
    dino: Annotated[str | None, typer.Option(help=f"DINO {ENCODER_HELP} facebook/dino-vits16@refs/pr/1.")] = None,
    probe: Annotated[
        str | None,
        typer.Option(help="Attribute probe: embedded name or folder. Default: the embedded one for labelled cases."),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Cases per saved part; no value depends on it.")] = 32,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Score what is there; count the rest as missing.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "cpu",
    as_json: Json = False,
) -> None:
    """RUN/evaluation: one row of values per picture, and means with 95% intervals by subject."""
    from likeness.cli.progress import progress_bars, quiet_libraries
    from likeness.cli.record import command_line, record_command, recorded_benchmark, recorded_run
    from likeness.core.devices import pick_device
    from likeness.evaluate.run import evaluate_run, load_encoders

    quiet_libraries()
    record = recorded_run(run)
    _require_own_benchmark(benchmark, record=record, run=run)
    named = benchmark or (None if cases else recorded_benchmark(run))
    with progress_bars() as bar:
        if cases is None and benchmark is not None and "benchmark" not in record and run.is_dir():
            file = _benchmark_file(run, benchmark=benchmark, data=data, progress=bar("drawing cases"))
        else:
            file = cases or run / "cases.jsonl"
        chosen = {"clip": clip, "dino": dino, "probe": probe}
        specs = encoder_specs(named, chosen=chosen, cases=file, is_embedded=_is_embedded(record.get("model")))
        summary = evaluate_run(
            run,
            benchmark=named or file.stem,
            cases=file,
            encoders=load_encoders(specs, device=pick_device(device)),
            batch_size=batch_size,
            allow_missing=allow_missing,
            progress=bar("measuring"),
        )
    _keep_cases(file, run=run)
    record_command(run, step="evaluate", line=command_line(ctx))
    path = run / "evaluation" / "summary.json"
    answer({"summary": path, **summary}, text=f"{path}. Next: likeness report {run}", as_json=as_json)


def _require_own_benchmark(benchmark: str | None, *, record: dict[str, Any], run: Path) -> None:
    """Raises: ConfigError when RUN's run.json says that it was made for another benchmark, or for none."""
    if benchmark is None or "benchmark" not in record or record["benchmark"] == benchmark:
        return
    wanted = f"the benchmark {run} was made for ({record['benchmark'] or 'none'})"
    raise ConfigError(f"--benchmark: expected {wanted}, got {benchmark}; leave the flag out.")


def _is_embedded(model: Any) -> bool:
    """Whether the `model` of a run.json is a checkpoint of this package, by its name and its bytes."""
    from likeness.core.weights import embedded, embedded_names, weights_facts

    name, sha256 = (model.get("id"), model.get("sha256")) if isinstance(model, dict) else (None, None)
    return name in embedded_names() and weights_facts(name, embedded(name))["sha256"] == sha256


def encoder_specs(
    benchmark: str | None, *, chosen: dict[str, str | None], cases: Path, is_embedded: bool
) -> dict[str, str]:
    """Encoder -> weights: those chosen, else the world's for labelled cases and the published ones for photographs.

    What an embedded model drew is looked at by the world's encoders, with the probe only where there are labels.
    """
    from likeness.core.records import read_cases
    from likeness.encoders import PHOTO_ENCODERS, WORLD_ENCODERS

    labelled = any(subject.attributes for case in read_cases(cases).cases for subject in case.subjects)
    is_world = BENCHMARKS[benchmark].domain == "world" if benchmark in BENCHMARKS else labelled
    unlabelled = {name: WORLD_ENCODERS[name] for name in PHOTO_ENCODERS} if is_embedded else PHOTO_ENCODERS
    defaults = WORLD_ENCODERS if is_world else unlabelled
    return {**defaults, **{name: spec for name, spec in chosen.items() if spec is not None}}


def _benchmark_file(run: Path, *, benchmark: str, data: Path | None, progress: Progress) -> Path:
    """RUN-cases/BENCHMARK/cases.jsonl, the cases of a benchmark for pictures made elsewhere; RUN itself stays as is."""
    from likeness.core.records import write_cases
    from likeness.core.runs import open_run

    place = run.resolve()
    folder = place.parent / f"{place.name}-cases" / benchmark
    found = benchmark_cases(benchmark, folder=folder, data=data, progress=progress)
    if BENCHMARKS[benchmark].needs_data:  # the others have written their own
        open_run(folder, identity={"kind": "benchmark_cases", "name": benchmark})
        write_cases(folder / "cases.jsonl", found.cases)
    return folder / "cases.jsonl"


def _keep_cases(file: Path, *, run: Path) -> None:
    """RUN/evaluation/cases.jsonl, with RUN/truth, lets `likeness report RUN` show cases that came from elsewhere."""
    from likeness.cli.cases import copy_truth
    from likeness.core.records import read_cases, write_cases

    kept = run / "evaluation" / "cases.jsonl"
    if file.resolve() == (run / "cases.jsonl").resolve():
        kept.unlink(missing_ok=True)
        return
    copy_truth(file.parent, run=run)
    write_cases(kept, read_cases(file).cases)
