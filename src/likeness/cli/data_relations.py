"""`likeness data relations`: examples of relations drawn, read, generated or repaired."""

from __future__ import annotations

from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Any

import typer

from likeness.cli.answer import Json, answer, counted, told_left_out
from likeness.cli.choices import choice
from likeness.core.errors import ConfigError
from likeness.core.kinds import SPLITS, Split
from likeness.data.relations import SOURCES

if TYPE_CHECKING:
    from likeness.data.relations.making import RelationSummary

EXIT_FAULTS = 1

RELATIONS_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness data relations -n 200 --out relations\n\n"
    "likeness data relations -n 5 --action hug --size 256 --out hug\n\n"
    "likeness data relations --source photos --folder my-hugs --out hug\n\n"
    "likeness data relations --source published --folder data/hug --out hug\n\n"
    "likeness data relations -n 40 --source models --model black-forest-labs/FLUX.1-dev --out generated\n\n"
    "Interrupted? Run the same command again to continue."
)

COMMON = {"n", "out", "source", "workers", "as_json"}
READ: dict[str, set[str]] = {
    "world": {"action", "seed", "split", "size"},
    "models": {
        "action",
        "subject",
        "seed",
        "size",
        "steps",
        "model",
        "lora",
        "device",
        "detector",
        "segmenter",
        "pose",
    },
    "photos": {"folder", "size", "device", "detector", "segmenter", "pose"},
    "published": {"folder"},
}
"""Which options a source reads beside the common ones; any other is refused rather than ignored."""
COUNTED = ("world", "models")
"""Sources that make as many as asked for; the others make what their folder holds."""

Actions = Annotated[
    list[str] | None, typer.Option(help="Relation by its name in the world, such as hug; repeatable. Default: all.")
]
Subjects = Annotated[list[str] | None, typer.Option(help="Class word that a generator draws; repeatable.")]
Detector = Annotated[str, typer.Option(help="grounding_dino or owl, or with weights: owl:WEIGHTS.")]
Segmenter = Annotated[str, typer.Option(help="sam2, sam2:WEIGHTS, or box: the mask is the detector's box.")]
Size = Annotated[int | None, typer.Option(min=32, help="Side in px; of photos the longer. Default: 128, photos 512.")]


def register(app: typer.Typer) -> None:
    """`likeness data` knows the command of this file."""
    app.command("relations", epilog=RELATIONS_EXAMPLES)(relations)


def relations(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder to create, or to continue.")],
    n: Annotated[int | None, typer.Option("-n", min=1, help="Number of examples; of world and models.")] = None,
    source: Annotated[str, choice(SOURCES, help="Where the pictures come from.")] = "world",
    folder: Annotated[
        Path | None, typer.Option(help="Of photos: a sub-folder for each example. Of published: its data folder.")
    ] = None,
    action: Actions = None,
    subject: Subjects = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal examples.")] = 0,
    split: Annotated[Split, choice(SPLITS, help="Part of the world that subjects and scenes are of.")] = "train",
    size: Size = None,
    model: Annotated[str, typer.Option(help="Generator: embedded name, local folder or hub id.")] = "flux",
    lora: Annotated[list[str] | None, typer.Option(help="LoRA of the generator; repeatable.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of the generator. Default: its own.")] = None,
    detector: Detector = "grounding_dino",
    segmenter: Segmenter = "sam2",
    pose: Annotated[str | None, typer.Option(help="ViTPose: weights. Default: the published ones.")] = None,
    device: Annotated[str, typer.Option(help="Of the models: auto, cpu, cuda or mps.")] = "auto",
    workers: Annotated[int, typer.Option(min=1, help="Processes; the examples do not depend on it.")] = 1,
    as_json: Json = False,
) -> None:
    """Examples of relations: references, target, masks, boxes, 17 keypoints with validity, prompt and predicate."""
    from likeness.cli.progress import progress_bars, quiet_libraries

    _refuse_unread(ctx, source=source)
    _require_asked(n, folder=folder, source=source)
    quiet_libraries()
    settings: dict[str, Any] = {"out": out, "workers": workers}
    if source in ("models", "photos"):
        from likeness.data.relations.look import look_named

        settings["look"] = look_named(detector=detector, segmenter=segmenter, pose=pose, device=device)
    if source in COUNTED:
        settings |= {"seed": seed, "actions": action or ()}
    if source == "models":
        settings |= {"draw": _draw(model, lora, size=size, steps=steps, device=device), "subjects": subject or ()}
    elif source != "published":
        settings["size"] = size or (128 if source == "world" else 512)
    settings |= {"split": split} if source == "world" else {}
    with progress_bars() as bar:
        made = resolve_name(SOURCES[source])(n or folder, progress=bar("making examples"), **settings)
    _tell(made, source=source, as_json=as_json)


def _draw(model: str, loras: list[str] | None, *, size: int | None, steps: int | None, device: str) -> Any:
    from likeness.generate.pictures import LoadPictures

    options = {name: value for name, value in (("size", size), ("steps", steps)) if value is not None}
    return LoadPictures(model, tuple(loras or ()), options, device)


def _refuse_unread(ctx: typer.Context, *, source: str) -> None:
    """Raises: ConfigError for an option that was given and that the source does not read."""
    known = COMMON | READ[source]
    for name in ctx.params:
        origin = ctx.get_parameter_source(name)
        if name not in known and origin is not None and origin.name == "COMMANDLINE":
            others = ", ".join(other for other, names in READ.items() if name in names)
            raise ConfigError(f"--{name}: expected only with --source {others}, got --source {source}; leave it out.")


def _require_asked(n: int | None, *, folder: Path | None, source: str) -> None:
    """Raises: ConfigError unless a number is asked for, or a folder is given, as the source needs."""
    if source in COUNTED and n is None:
        raise ConfigError(f"-n: expected a number of examples with --source {source}, got none; give one.")
    if source not in COUNTED and n is not None:
        raise ConfigError(f"-n: expected none with --source {source}, got {n}; all of the folder is read.")
    if source not in COUNTED and folder is None:
        raise ConfigError(f"--folder: expected one with --source {source}, got none; name the folder of pictures.")


def _tell(made: RelationSummary, *, source: str, as_json: bool) -> None:
    """What was made, and what lint says. Raises: Exit with 1 for faults."""
    out, lint = made.folder, made.lint
    facts = {
        "out": out,
        "source": source,
        "num_examples": made.num_examples,
        "num_asked": made.num_asked,
        "num_repairs": made.repairs,
        "refused_for": made.reasons,
        "left_out": list(made.left_out),
        "lint": {"num_errors": lint.num_errors, "by_code": lint.by_code, "keypoints": lint.keypoints._asdict()},
    }
    short = f", {made.num_asked} were asked for" if made.num_examples < made.num_asked else ""
    repaired = f", {counted(made.repairs, 'repair')} told in their rows" if made.repairs else ""
    kept = f"{counted(made.num_examples, 'example')} in {out}{short}{repaired}. Look at {out / 'contact_sheet.png'}"
    told = told_left_out(made.left_out, where=out / "rejected.jsonl")
    answer(facts, text=f"{told}{kept}\nLint: {lint.text(limit=1)}", as_json=as_json)
    if lint.num_errors:
        raise typer.Exit(EXIT_FAULTS)
