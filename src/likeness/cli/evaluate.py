"""`likeness evaluate`: scores with intervals for a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness.cli.answer import Json, answer

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness evaluate runs/multi --benchmark world-multi\n\n"
    "likeness evaluate runs/mine --clip openai/clip-vit-base-patch32 --dino facebook/dino-vits16\n\n"
    "likeness evaluate runs/mine --benchmark dreambench-multi --data ~/dreambench"
)


def evaluate(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="Folder of `likeness generate`, or with images made elsewhere.")
    ],
    benchmark: Annotated[str | None, typer.Option(help="world-single, world-multi, world-hard, dreambench-...")] = None,
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
    from likeness.core.devices import pick_device
    from likeness.evaluate.run import evaluate_run, load_encoders

    quiet_libraries()
    file = cases or _own_cases(run, benchmark=benchmark, data=data)
    specs = encoder_specs(benchmark, chosen={"clip": clip, "dino": dino, "probe": probe}, cases=file)
    with progress_bars() as bar:
        summary = evaluate_run(
            run,
            benchmark=benchmark or file.stem,
            cases=file,
            encoders=load_encoders(specs, device=pick_device(device)),
            batch_size=batch_size,
            allow_missing=allow_missing,
            progress=bar("measuring"),
        )
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
