"""Pictures of the first people of the data, by the words of a step: RUN/samples, as train/samples.py describes it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any  # JSON

from PIL import Image

from likeness.backbones.sdxl.placed_words import PLACE
from likeness.core.files import atomic_write_text, canonical_json
from likeness.core.images import save_png
from likeness.core.rng import seed_for
from likeness.train.inversion.rows import Portrait, Portraits, fitted
from likeness.train.samples import VERSION, picture_file

NUM_SHOWN = 2
PROMPT = f"a photo of a {PLACE} person"
"""Source: StellarNet, Fig. 11."""


def show_step(
    run: Path,
    portraits: Portraits,
    *,
    step: int,
    size: int,
    seed: int,
    prompt: str,
    subject: str,
    see: Callable[[Portrait], Image.Image],
    draw: Callable[..., Image.Image],
) -> None:
    """RUN/samples holds a picture of each of the first rows after this step; what is there already is left.

    `see` gives what words are made of, and `draw(portrait, seed=)` a picture; `subject` is what the rows show.
    """
    rows: list[dict[str, Any]] = []
    for number in range(min(NUM_SHOWN, len(portraits))):
        name, drawn = f"{subject}-{number}", seed_for(seed, "samples", number)
        reference = f"samples/references/{name}.png"
        rows.append({"id": name, "prompt": prompt, "seed": drawn, "subjects": [subject], "references": [reference]})
        shown, file = fitted(portraits.read(number), size=size), picture_file(run, step=step, case=name)
        if not (run / reference).is_file():
            (run / reference).parent.mkdir(parents=True, exist_ok=True)
            save_png(see(shown), run / reference)
        if not file.is_file():
            file.parent.mkdir(parents=True, exist_ok=True)
            save_png(draw(shown, seed=drawn), file)
    atomic_write_text(run / "samples" / "samples.json", canonical_json({"version": VERSION, "cases": rows}) + "\n")
