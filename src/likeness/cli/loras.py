"""`likeness loras`: LoRAs of several subjects put together, and a LoRA at another strength."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from likeness.cli.answer import Json, answer
from likeness.cli.group import command_group

app = command_group("LoRAs: several put together, or one at another strength.")

FUSE_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness loras fuse runs/rex/lora runs/tom/lora --out both\n\n"
    "likeness loras fuse runs/rex/lora runs/tom/lora --model SDXL-FOLDER --steps 20 --device cuda --out both"
)

SCALE_EXAMPLES = (
    "[bold]Examples[/]\n\n"
    "likeness loras scale runs/tuned/lora 0.75 --out runs/tuned/lora-0.75\n\n"
    "for s in 0.25 0.5 1.5; do likeness loras scale style.safetensors $s --out style-$s; done"
)


@app.command(epilog=SCALE_EXAMPLES)
def scale(
    lora: Annotated[str, typer.Argument(metavar="LORA", help="File, folder or hub id.")],
    strength: Annotated[
        float, typer.Argument(metavar="STRENGTH", help="How many times as much it changes; 1 is as is.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the scaled LoRA and what lies beside it.")],
    as_json: Json = False,
) -> None:
    """A LoRA that changes every layer more or less, with a hash of its own; no training, no model is read."""
    from likeness.backbones.lora_scale import scale_lora

    made = scale_lora(lora, strength=strength, out=out)
    facts = {"out": out, "file": made.file, "matrices": made.matrices, "strength": made.strength}
    against = "" if made.strength == strength else f" ({made.strength:g} of what was trained)"
    text = f"{out}: {made.matrices} matrices times {strength:g}{against}. "
    answer(facts, text=f"{text}Next: likeness generate --lora {out} --prompt ...", as_json=as_json)


@app.command(epilog=FUSE_EXAMPLES)
def fuse(
    loras: Annotated[list[str], typer.Argument(metavar="LORA...", help="Folders `lora` of ED-LoRA runs, two or more.")],
    out: Annotated[Path, typer.Option(help="Folder for the fused LoRA and the words of all.")],
    model: Annotated[
        str, typer.Option(help="The SDXL that they were trained on: embedded name, folder or id.")
    ] = "sdxl",
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="What is drawn, {} for the word; repeat for several (default: a photo of a {}, and {})."),
    ] = None,
    num_images: Annotated[int, typer.Option("--num-images", "-n", min=1, help="Pictures of each prompt.")] = 1,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps (default: the model's).")] = None,
    size: Annotated[int | None, typer.Option(min=1, help="Side of the pictures in px (default: the model's).")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal LoRAs.")] = 0,
    ridge: Annotated[
        float, typer.Option(help="How much the mean of all counts against the inputs, as a share of those.")
    ] = 0.1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")] = "auto",
    as_json: Json = False,
) -> None:
    """One LoRA for several subjects: on each one's own inputs it answers as that one's LoRA (Mix-of-Show)."""
    from likeness.backbones.sdxl.fusion import PROMPTS, Drawing, fuse_loras
    from likeness.cli.progress import progress_bars, quiet_libraries

    quiet_libraries()
    drawing = Drawing(tuple(prompt or PROMPTS), num_images, steps, size, seed)
    with progress_bars() as bar:
        made = fuse_loras(
            model, loras, out=out, drawing=drawing, ridge=ridge, device=device, dtype=dtype, progress=bar("fusing")
        )
    lost = "; ".join(f"{stage}: {each['fused']:.1%} ({each['mean']:.1%})" for stage, each in made.lost.items())
    text = f"{out}: {len(loras)} LoRAs on {len(made.changes)} layers. Lost of their change (by their mean): {lost}. "
    facts = {"out": out, "words": made.words, "layers": len(made.changes), "lost": made.lost}
    next_step = (
        f"likeness generate --model {model} --lora {out} --prompt '{' and '.join(f'a {w}' for w in made.words)}'"
    )
    answer(facts, text=f"{text}Next: {next_step}", as_json=as_json)
