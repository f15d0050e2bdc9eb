"""Stage 4: the rejected picture, in which each disrupted subject is drawn anew by its description, and nothing else.

Source: FocusDPO (arXiv:2509.01181v1), section 4. The mask grows before it is drawn over, and the preferred picture is
pasted back outside, so that what an autoencoder does to the rest tells nobody which picture is which (note 7.2).
Shapes: H x W pixels; masks are (H, W) bool.
"""

from functools import partial

import numpy as np
from jaxtyping import Bool, UInt8

from likeness.data.lint.mask_evidence import changes_outside
from likeness.data.pairs.paste import dilate, paste
from likeness.data.pairs.photo_pairs import png
from likeness.data.pairs.regeneration import LoadRegenerate, Regenerate, RegenerationJob
from likeness.data.staged.caption import CAPTION
from likeness.data.staged.generate import preferred_name, reference_name
from likeness.data.staged.locate import mask_name
from likeness.data.staged.recipe import InpaintTable
from likeness.data.staged.stage import Made, Record, Stage, Work, on_worker

__all__ = ["INPAINT", "inpaint_stage", "prior_name", "rejected_name"]

INPAINT = "inpaint"


def rejected_name(record: str) -> str:
    """The file of the rejected picture."""
    return f"images/{record}-rejected.png"


def prior_name(record: str) -> str:
    """The file of the prior: all disrupted subjects together."""
    return f"masks/{record}-prior.png"


def inpaint_stage(table: InpaintTable, *, load: LoadRegenerate) -> Stage:
    """The stage with its model; the prompt of a region is the caption of the subject in it."""
    settings = {"model": load.id, "dilation": table.dilation, "feather": table.feather}
    return Stage(INPAINT, settings, partial(_load, table, load), table.batch_size, table.num_gpus)


def _load(table: InpaintTable, load: LoadRegenerate, worker: int) -> Work:
    return partial(_inpaint, table=table, regenerate=on_worker(load, worker=worker)())


def _inpaint(record: Record, *, table: InpaintTable, regenerate: Regenerate) -> Made:
    """Subjects one after the other, so that each has its own caption; the masks of the others stay as they are."""
    preferred = record.pixels(preferred_name(record.id))
    subjects = record.asked["subjects"]
    masks = [record.mask(mask_name(record.id, place)) for place in range(len(subjects))]
    rejected, seeds, files = preferred, dict[str, int](), dict[str, bytes]()
    for place, caption in record.facts[CAPTION]["captions"].items():
        here, seed = int(place), record.seed("inpaint", place)
        kept = [mask for other, mask in enumerate(masks) if other != here]
        region = _region(masks[here], kept=kept, dilation=table.dilation)
        others = [other for other in range(len(subjects)) if other != here]
        shown = tuple(record.image(reference_name(record.id, other)) for other in others)
        drawn = regenerate(RegenerationJob(rejected, region, caption, shown, seed))
        rejected = paste(drawn, rejected, region=region, feather=table.feather)
        seeds[place] = seed
    prior = np.logical_or.reduce([masks[int(place)] for place in seeds])
    files = {rejected_name(record.id): png(rejected), prior_name(record.id): png(prior)}
    return Made({"seeds": seeds, **_reached(preferred, rejected, prior, dilation=table.dilation)}, files)


def _region(
    mask: Bool[np.ndarray, "H W"], *, kept: list[Bool[np.ndarray, "H W"]], dilation: int
) -> Bool[np.ndarray, "H W"]:
    """The mask grown by `dilation` px, but not over what is kept."""
    grown = dilate(mask, radius=dilation) if dilation else mask
    return grown & ~np.logical_or.reduce(kept) if kept else grown


def _reached(
    preferred: UInt8[np.ndarray, "H W 3"],
    rejected: UInt8[np.ndarray, "H W 3"],
    prior: Bool[np.ndarray, "H W"],
    *,
    dilation: int,
) -> dict[str, float | int]:
    """How far the change reaches beyond the prior in px, px of it that do not touch the prior, and how much it is."""
    changed = (preferred != rejected).any(-1)
    outside = changes_outside(changed, prior, reach=dilation)
    return {"reach": dilation, "apart": outside.apart, "changed_share": round(float(changed[prior].mean()), 4)}
