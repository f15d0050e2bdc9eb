"""`likeness world`: pictures of the embedded world, and the training of the embedded checkpoints on it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness.cli.answer import Json, answer
from likeness.cli.choices import choice
from likeness.cli.group import command_group
from likeness.core.kinds import SPLITS, Split

app = command_group("The embedded world: sample labelled pictures, retrain its checkpoints.")


SAMPLE_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness world sample 100 --out pictures\n\n"
    "likeness world sample 20 --split test --size 256 --seed 7 --out large\n\n"
    "Stopped half-way? The same command again continues."
)
PORTRAIT_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    'likeness world portrait "a red cat with a blue hat" --out cat.png\n\n'
    'likeness world portrait "a bearded person with blond hair" --seed 3 --out person.png\n\n'
    "Colours stand before what they colour. What you leave out is drawn from the seed."
)
PRETRAIN_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness world pretrain configs/world_cpu.toml\n\n"
    "likeness world pretrain configs/world_cpu.toml --stage autoencoder\n\n"
    "likeness world pretrain configs/world_cpu.toml --stage guidance --from embedded"
)


@app.command(epilog=SAMPLE_EXAMPLES)
def sample(
    n: Annotated[int, typer.Argument(metavar="N", min=1, help="Number of pictures.")],
    out: Annotated[Path, typer.Option(help="Folder to create, or to continue.")],
    split: Annotated[Split, choice(SPLITS, help="Part of the world to draw from.")] = "train",
    size: Annotated[int, typer.Option(min=16, max=2048, help="Side of the pictures in px.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal pictures.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes; the pictures do not depend on it.")] = 1,
    as_json: Json = False,
) -> None:
    """N labelled pictures: caption, boxes, masks, 17 keypoints, attributes, relations."""
    from likeness.cli.progress import progress_bars
    from likeness.world.sample import write_samples

    with progress_bars() as bar:
        write_samples(n, out=out, split=split, size=size, seed=seed, workers=workers, progress=bar("drawing pictures"))
    answer({"out": out, "num_images": n, "split": split}, text=f"{n} pictures in {out}", as_json=as_json)


@app.command(epilog=PORTRAIT_EXAMPLES)
def portrait(
    phrase: Annotated[str, typer.Argument(metavar="PHRASE", help="Who to draw, in a few words.")],
    out: Annotated[Path, typer.Option(help="The PNG to write.")],
    size: Annotated[int, typer.Option(min=16, max=2048, help="Side of the picture in px.")] = 128,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal pictures.")] = 0,
    as_json: Json = False,
) -> None:
    """A reference picture of one character of the world, such as "a red cat with a blue hat"."""
    from PIL import Image

    from likeness.core.images import save_png
    from likeness.world.portrait import read_identity
    from likeness.world.render import render_reference

    who = read_identity(phrase, seed=seed)
    save_png(Image.fromarray(render_reference(who, seed=seed, size=size)), out)
    seen = {name: value for name, value in who.attributes().items() if value != "none"}
    shown = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in seen.items())
    answer({"out": out, "attributes": seen}, text=f"{out}: {shown}", as_json=as_json)


@app.command(epilog=PRETRAIN_EXAMPLES)
def pretrain(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.toml", help="A complete recipe; see the configs folder.")],
    stage: Annotated[str | None, typer.Option(help="Run one stage of the recipe only.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", help="Go on from a folder of exported checkpoints, or from embedded ones.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The embedded checkpoints, trained anew on the world; continues where it was stopped."""
    from likeness.core.weights import embedded_folder
    from likeness.pretrain import run as pretraining

    folder = embedded_folder() if start == "embedded" else None if start is None else Path(start)
    pretraining.run(config, stage=stage, start=folder)
    answer({"config": config, "stage": stage}, text=f"{config}: done", as_json=as_json)
