"""Pictures of the first people of the data, by the words of a step: RUN/samples, as train/samples.py describes it."""

from pathlib import Path
from typing import Any  # JSON; SDXL with whichever adapter

import torch

from likeness.backbones.sdxl.backbone import SdxlBackbone
from likeness.backbones.sdxl.picture_towers import PictureTowers, on_black
from likeness.backbones.sdxl.picture_words import PictureWords
from likeness.backbones.sdxl.placed_words import PLACE, read_placed
from likeness.core.files import atomic_write_text, canonical_json
from likeness.core.images import save_png
from likeness.core.rng import seed_for
from likeness.train.inversion.rows import Portraits, fitted
from likeness.train.samples import VERSION, picture_file

NUM_SHOWN = 2
PROMPT = f"a photo of a {PLACE} person"
"""Source: StellarNet, Fig. 11."""


@torch.no_grad()
def show_step(
    run: Path,
    portraits: Portraits,
    *,
    step: int,
    size: int,
    seed: int,
    backbone: SdxlBackbone[Any, Any, Any],
    towers: PictureTowers,
    words: PictureWords,
) -> None:
    """RUN/samples holds a picture of each of the first people after this step; what is there already is left."""
    rows: list[dict[str, Any]] = []
    for number in range(min(NUM_SHOWN, len(portraits))):
        name, drawn = f"person-{number}", seed_for(seed, "samples", number)
        reference = f"samples/references/{name}.png"
        rows.append({"id": name, "prompt": PROMPT, "seed": drawn, "subjects": ["person"], "references": [reference]})
        shown, file = fitted(portraits.read(number), size=size), picture_file(run, step=step, case=name)
        seen = on_black(shown.image, shown.mask)
        if not (run / reference).is_file():
            (run / reference).parent.mkdir(parents=True, exist_ok=True)
            save_png(seen, run / reference)
        if not file.is_file():
            text = read_placed(backbone.parts, [PROMPT], words(towers.look([seen])), legacy=words.facts.legacy)
            told = {"embeds": text.embeds[0], "pooled": text.pooled[0]}
            options = type(backbone.own_options())(size=size)
            file.parent.mkdir(parents=True, exist_ok=True)
            save_png(backbone.paint(told, seed=drawn, options=options), file)
    atomic_write_text(run / "samples" / "samples.json", canonical_json({"version": VERSION, "cases": rows}) + "\n")
