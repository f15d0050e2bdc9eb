"""`likeness evaluate`: scores with intervals for a run folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likeness.cli.answer import Json, answer
from likeness.cli.generate import BENCHMARK_HELP

if TYPE_CHECKING:
    from likeness.core.records import Case

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness evaluate runs/multi\n\n"
    "likeness evaluate made_elsewhere --cases my_cases.jsonl\n\n"
    "likeness evaluate runs/mine --clip openai/clip-vit-base-patch32 --dino facebook/dino-vits16\n\n"
    "likeness evaluate runs/mine --benchmark dreambench-multi --data ~/dreambench"
)


def evaluate(
    ctx: typer.Context,
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of `likeness generate`, or with images made elsewhere.")
    ],
    benchmark: Annotated[str | None, typer.Option(help=f"Default: the one RUN was made for. {BENCHMARK_HELP}")] = None,
    cases: Annotated[Path | None, typer.Option(help="Cases the pictures answer (default: RUN/cases.jsonl).")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the DreamBench pictures.")] = None,
    clip: Annotated[str | None, typer.Option(help="CLIP checkpoint: embedded name, folder or hub id.")] = None,
    dino: Annotated[str | None, typer.Option(help="DINO checkpoint: embedded name, folder or hub id.")] = None,
    probe: Annotated[str | None, typer.Option(help="Attribute probe: embedded name or folder.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Cases per saved part; no value depends on it.")] = 32,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Score what is there; count the rest as missing.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "cpu",
    as_json: Json = False,
) -> None:
    """RUN/evaluation: one row of values per picture, and means with 95% intervals by subject."""
    from likeness.cli.progress import progress_bars, quiet_libraries
    from likeness.cli.record import command_line, record_command, recorded_benchmark
    from likeness.core.devices import pick_device
    from likeness.evaluate.run import evaluate_run, load_encoders

    quiet_libraries()
    named = benchmark or (None if cases else recorded_benchmark(run))
    file = cases or _own_cases(run, benchmark=named, data=data)
    specs = encoder_specs(named, chosen={"clip": clip, "dino": dino, "probe": probe}, cases=file)
    with progress_bars() as bar:
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


def encoder_specs(benchmark: str | None, *, chosen: dict[str, str | None], cases: Path) -> dict[str, str]:
    """Encoder -> weights: those chosen, else the world's for labelled cases and the published ones for photographs."""
    from likeness.core.records import read_cases
    from likeness.encoders import PHOTO_ENCODERS, WORLD_ENCODERS

    labelled = any(subject.attributes for case in read_cases(cases).cases for subject in case.subjects)
    is_world = benchmark.startswith("world-") if benchmark else labelled
    defaults = WORLD_ENCODERS if is_world else PHOTO_ENCODERS
    return {**defaults, **{name: spec for name, spec in chosen.items() if spec is not None}}


def _own_cases(run: Path, *, benchmark: str | None, data: Path | None) -> Path:
    """RUN/cases.jsonl, written from the named benchmark where pictures were made elsewhere and have none."""
    from likeness.cli.cases import Source, benchmark_cases, copy_truth
    from likeness.core.files import write_jsonl

    path = run / "cases.jsonl"
    if path.is_file() or benchmark is None or not run.is_dir():
        return path
    built = run.parent / f"{run.name}-cases"
    source = Source(prompt=None, references=(), cases=None, benchmark=benchmark, data=data)
    found = benchmark_cases(source, limit=None, folder=built.resolve())
    write_jsonl(path, [case.model_dump(mode="json") for case in found.cases])
    copy_truth(built, run=run)
    return path


def _keep_cases(file: Path, *, run: Path) -> None:
    """RUN/evaluation/cases.jsonl, with RUN/truth, lets `likeness report RUN` show cases that came from elsewhere."""
    from likeness.cli.cases import copy_truth
    from likeness.core.files import write_jsonl
    from likeness.core.records import read_cases

    kept = run / "evaluation" / "cases.jsonl"
    if file.resolve() == (run / "cases.jsonl").resolve():
        kept.unlink(missing_ok=True)
        return
    copy_truth(file.parent, run=run)
    cases = [_seen_from(kept.parent, case=case) for case in read_cases(file).cases]
    write_jsonl(kept, [case.model_dump(mode="json") for case in cases])


def _seen_from(folder: Path, *, case: Case) -> Case:
    """The case with its paths relative to `folder`, so that both can move together."""

    def relative(path: Path) -> Path:
        return Path(os.path.relpath(path.resolve(), folder.resolve()))

    subjects = tuple(
        subject.model_copy(
            update={
                "reference_image": relative(subject.reference_image),
                "photos": tuple(relative(photo) for photo in subject.photos),
            }
        )
        for subject in case.subjects
    )
    return case.model_copy(update={"subjects": subjects})
