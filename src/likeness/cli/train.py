"""`likeness train`: preference tuning of a generator on pairs, by a recipe."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from likeness.cli.answer import Json, answer
from likeness.cli.group import EXIT_WRONG_INPUT
from likeness.core.errors import LikenessError
from likeness.core.tracking import tracking

if TYPE_CHECKING:
    from likeness.train.run import TuneSummary

EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness train recipes/focus_dpo_world.toml --out runs/focus\n\n"
    "likeness train recipes/dpo_world.toml --out runs/dpo --set objective.beta=500 --set train.steps=200\n\n"
    "torchrun --nproc-per-node 8 -m likeness train recipes/focus_dpo_world.toml --out runs/focus\n\n"
    "accelerate launch --config_file configs/accelerate/fsdp.yaml -m likeness train RUN.toml --out runs/large\n\n"
    "likeness train recipes/focus_dpo_world.toml --plan\n\n"
    "Stopped half-way? The same command again continues."
)


def train(
    ctx: typer.Context,
    config: Annotated[Path, typer.Argument(metavar="RUN.toml", help="A complete recipe; see the recipes folder.")],
    out: Annotated[
        Path | None, typer.Option(help="Run folder to create, or to continue; needed unless --plan is given.")
    ] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replaces a setting; repeat for several.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    track: Annotated[
        str | None,
        typer.Option(
            metavar="TRACKER[:PROJECT]", help="Also log rows and pictures, to trackio; the project is likeness."
        ),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what the run will take: memory, time, disk, and which cards fit.")
    ] = False,
    as_json: Json = False,
) -> None:
    """A run folder: the adapter for --lora, a log row per step, focus maps, a report of them, the state to resume."""
    from likeness.cli.progress import progress_bars, quiet_libraries
    from likeness.cli.record import command_line, record_command
    from likeness.train.config import read_train_config

    read_train_config(config, changes=changes or ())  # before libraries that take seconds, so that a slip costs none
    tracker = None if track is None else tracking(track)
    quiet_libraries()
    if plan:
        _plan(config, changes=changes or (), device=device, as_json=as_json)
        return
    if out is None:
        raise typer.BadParameter("expected a run folder, or --plan", param_hint="--out")
    from accelerate import PartialState

    from likeness.report import build_training_page
    from likeness.train.run import tune

    try:
        with progress_bars() as bar:
            made = tune(config, out=out, changes=changes or (), device=device, progress=bar, track=tracker)
    except LikenessError as error:
        if error.tells:
            raise
        raise typer.Exit(EXIT_WRONG_INPUT) from None
    if not PartialState().is_main_process:
        return  # one of several that torchrun started; the first writes and tells
    record_command(out, step="train", line=command_line(ctx))
    _tell(made, page=build_training_page(out), as_json=as_json)


def _plan(config: Path, *, changes: Sequence[str], device: str, as_json: bool) -> None:
    from likeness.cli.train_plan import plan_text
    from likeness.train.plan.run import plan

    made = plan(config, changes=changes, device=device)
    answer(made, text=plan_text(made), as_json=as_json)


def _tell(made: TuneSummary, *, page: Path, as_json: bool) -> None:
    last = made.last
    facts = {"out": made.folder, "report": page, made.trained.name: made.trained, "steps": made.steps}
    facts |= {f"num_{made.noun}": made.num_rows, "last": last}
    accuracy = last.get("accuracy")
    shown = f", implicit accuracy {accuracy:.2f}" if accuracy is not None else ""
    text = f"{made.steps} steps on {made.num_rows} {made.noun} in {made.folder}: loss {last['loss']:.4f}{shown}. "
    answer(facts, text=f"{text}Look at {page}. Next: {_next(made)}", as_json=as_json)


def _next(made: TuneSummary) -> str:
    """The command that uses what was trained, with the model that it was trained on."""
    from likeness.cli.generate import DEFAULT_MODEL
    from likeness.train.config import read_train_config

    config = read_train_config(made.folder / "config.toml")
    base = config.model.base
    if made.trained.name == "unet":
        weights = made.trained / "diffusion_pytorch_model.safetensors"
        return f"likeness generate --model {shlex.quote(f'{weights}+{base}')}"
    if made.trained.name == "inversion":
        prompt = shlex.quote("a photo of a S*" if config.task == "elite" else "a photo of a S* person")
        return f"likeness generate --model {shlex.quote(base)} --lora {made.trained} --prompt {prompt} --ref FILE"
    if made.lora is None:
        return f"likeness report {made.folder} --picture FILE"
    model = "" if base == DEFAULT_MODEL else f"--model {shlex.quote(base)} "
    return f"likeness generate {model}--lora {made.lora}"
