"""Stage 3: what a disrupted subject is, in words that the inpainting model draws another one by.

Source: FocusDPO (arXiv:2509.01181v1), section 4: each segmented area is described, and drawn anew by that description.
Differs: an open vision-language model sees the subject cut out on white; the recipe holds the question.
"""

from functools import partial
from typing import Any  # the model has its contract in encoders/base.py

import numpy as np
from PIL import Image

from likeness.data.staged.generate import preferred_name
from likeness.data.staged.locate import mask_name
from likeness.data.staged.models import LoadEncoder
from likeness.data.staged.recipe import CaptionTable
from likeness.data.staged.stage import Made, Record, Rejection, Stage, Work, on_worker

__all__ = ["CAPTION", "caption_stage"]

CAPTION = "caption"
SMALLEST = 64
"""Side in px to which a smaller cut-out is enlarged."""


def caption_stage(table: CaptionTable, *, load: LoadEncoder) -> Stage:
    """The stage with its vision-language model."""
    settings = {"model": load.id, "question": table.question, "max_tokens": table.max_tokens}
    return Stage(CAPTION, settings, partial(_load, table, load), table.batch_size, table.num_gpus)


def _load(table: CaptionTable, load: LoadEncoder, worker: int) -> Work:
    model = on_worker(load, worker=worker)()
    model.max_tokens = table.max_tokens
    return partial(_caption, table=table, model=model)


def _caption(record: Record, *, table: CaptionTable, model: Any) -> Made | Rejection:
    captions: dict[str, str] = {}
    for place, subject in enumerate(record.asked["subjects"]):
        if not subject["disrupted"]:
            continue
        question = table.question.replace("{class_name}", subject["class_name"])
        (told,) = model.ask([_cut_out(record, place)], [question])
        if not any(letter.isalpha() for letter in told):
            return Rejection("no_words", f"subject {place}: expected a description, got {told!r}")
        captions[str(place)] = told
    return Made({"captions": captions})


def _cut_out(record: Record, place: int) -> Image.Image:
    """The subject on white, in its box."""
    pixels, mask = record.pixels(preferred_name(record.id)), record.mask(mask_name(record.id, place))
    shown = Image.fromarray(np.where(mask[..., None], pixels, 255).astype(np.uint8))
    cut = shown.crop(Image.fromarray(mask).getbbox())
    scale = max(1.0, SMALLEST / min(cut.size))
    return cut.resize((round(cut.width * scale), round(cut.height * scale)))
