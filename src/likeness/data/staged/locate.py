"""Stage 2: where each subject is, in its reference and in the target: GroundingDINO's best box, and SAM 2's mask in it.

Source: FocusDPO (arXiv:2509.01181v1), section 4; thresholds of GroundingDINO's own demo. Rejections: design note 7.2.
Where two masks overlap, the smaller one keeps the pixels (4.5 of the note).
Shapes: H x W pixels; masks are (H, W) bool.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple  # Any: encoders, which have their contract in encoders/base.py

import numpy as np
from jaxtyping import Bool
from PIL import Image

from likeness.core.masks import covered_tokens
from likeness.data.lint.pair import FEWEST_TOKENS, SMALLEST_SHARE
from likeness.data.pairs.photo_pairs import png
from likeness.data.staged.generate import preferred_name, reference_name
from likeness.data.staged.models import LoadEncoder
from likeness.data.staged.recipe import LocateTable
from likeness.data.staged.stage import Made, Record, Rejection, Stage, Work, on_worker

__all__ = ["LOCATE", "TOKEN", "locate_stage", "mask_name", "reference_mask_name"]

LOCATE, TOKEN = "locate", 16
SAME = 0.5
"""Boxes that overlap by more (IoU) are one."""


def mask_name(record: str, place: int) -> str:
    """The file of the mask of the subject at `place` in the preferred picture."""
    return f"masks/{record}-{place}.png"


def reference_mask_name(record: str, place: int) -> str:
    """The file of its mask in its reference."""
    return f"masks/{record}-reference-{place}.png"


class _Found(NamedTuple):
    """A subject in a picture; `score` of the detector, `quality` as SAM 2 predicts its IoU."""

    mask: Bool[np.ndarray, "H W"]
    score: float
    quality: float

    def facts(self) -> dict[str, Any]:
        """As JSON; the box is that of the mask, in shares of the sides."""
        height, width = self.mask.shape
        box = Image.fromarray(self.mask).getbbox()
        assert box is not None, "masks that cover nothing were rejected"
        shares = [side / whole for side, whole in zip(box, (width, height) * 2, strict=True)]
        score, quality, area = (round(value, 5) for value in (self.score, self.quality, float(self.mask.mean())))
        return {"box": shares, "score": score, "quality": quality, "area": area}


@dataclass(frozen=True)
class _Locator:
    table: LocateTable
    detector: Any
    segmenter: Any


def locate_stage(table: LocateTable, *, detector: LoadEncoder, segmenter: LoadEncoder) -> Stage:
    """The stage with both models."""
    rules = table.model_dump(exclude={"num_gpus", "batch_size", "detector", "segmenter"})
    settings = {"detector": detector.id, "segmenter": segmenter.id, **rules}
    return Stage(LOCATE, settings, partial(_load, table, detector, segmenter), table.batch_size, table.num_gpus)


def _load(table: LocateTable, detector: LoadEncoder, segmenter: LoadEncoder, worker: int) -> Work:
    loaded = [on_worker(load, worker=worker)() for load in (detector, segmenter)]
    return partial(_locate, at=_Locator(table, *loaded))


def _locate(record: Record, *, at: _Locator) -> Made | Rejection:
    subjects = record.asked["subjects"]
    words = [subject[at.table.words] for subject in subjects]
    found = _find(record.image(preferred_name(record.id)), words, at=at, what="preferred picture", trained=True)
    if isinstance(found, Rejection):
        return found
    shown: list[_Found] = []
    for place, word in enumerate(words):
        alone = _find(record.image(reference_name(record.id, place)), [word], at=at, what=f"reference {place}")
        if isinstance(alone, Rejection):
            return alone
        shown += alone
    own, others = [each.facts() for each in found], [each.facts() for each in shown]
    files = {mask_name(record.id, place): png(each.mask) for place, each in enumerate(found)}
    files |= {reference_mask_name(record.id, place): png(each.mask) for place, each in enumerate(shown)}
    return Made({"subjects": own, "references": others}, files)


def _find(
    picture: Image.Image, words: Sequence[str], *, at: _Locator, what: str, trained: bool = False
) -> list[_Found] | Rejection:
    """One mask for each of the words, without common pixels; one that is trained on has to cover enough tokens."""
    from likeness.encoders.detections import competing
    from likeness.encoders.pose import box_text

    (seen,) = at.detector.ask([picture], [competing(list(words))])
    found: list[_Found] = []
    for word in words:
        best = _best_box(seen, word, table=at.table, what=what)
        if isinstance(best, Rejection):
            return best
        box, score = best
        (segment,) = at.segmenter.ask([picture], [box_text(box)])
        found.append(_Found(segment.mask, score, segment.quality))
    return _apart(found, words, table=at.table, what=what, trained=trained)


def _best_box(
    seen: Any, word: str, *, table: LocateTable, what: str
) -> tuple[tuple[float, float, float, float], float] | Rejection:
    """The best box for the word, and its score, unless there is none or a second one."""
    from likeness.encoders.detections import apart

    own = np.array([label == word for label in seen.labels], bool)
    boxes, scores = seen.boxes[own], seen.scores[own]
    sides = boxes[:, 2:] - boxes[:, :2]
    kept = np.flatnonzero((scores >= table.threshold) & (sides >= 1).all(1))
    boxes, scores = boxes[kept], scores[kept]
    if not len(boxes):
        best = f"{seen.best(word):.2f}"
        return Rejection("not_found", f"{what}: expected {word!r} with a score of {table.threshold:g}, got {best}")
    several = [scores[place] for place in apart(boxes, most=SAME) if scores[place] >= table.second]
    if len(several) > 1:
        told = ", ".join(f"{score:.2f}" for score in several)
        return Rejection("several", f"{what}: expected one {word!r}, got {len(several)} with scores {told}")
    left, top, right, bottom = map(float, boxes[0])
    return (left, top, right, bottom), float(scores[0])


def _apart(
    found: Sequence[_Found], words: Sequence[str], *, table: LocateTable, what: str, trained: bool
) -> list[_Found] | Rejection:
    """The subjects without common pixels, which the smaller one keeps, each of a size that can be trained on."""
    for first, one in enumerate(found):
        for other in found[first + 1 :]:
            iou = float((one.mask & other.mask).sum() / max((one.mask | other.mask).sum(), 1))
            if iou > table.most_overlap:
                wanted = f"subjects that overlap by at most {table.most_overlap:g} (IoU)"
                return Rejection("overlap", f"{what}: expected {wanted}, got {iou:.2f}")
    clear: list[_Found] = []
    for place, one in enumerate(found):
        smaller = [o.mask for i, o in enumerate(found) if (o.mask.sum(), i) < (one.mask.sum(), place)]
        mask = one.mask & ~np.logical_or.reduce(smaller) if smaller else one.mask
        if refused := _size_refused(mask, table=table, fewest=FEWEST_TOKENS if trained else 0):
            return Rejection("size", f"{what}: {words[place]!r}: {refused}")
        clear.append(one._replace(mask=mask))
    return clear


def _size_refused(mask: Bool[np.ndarray, "H W"], *, table: LocateTable, fewest: int) -> str | None:
    share, (covered, _) = float(mask.mean()), covered_tokens(mask, token=TOKEN)
    least = max(table.least_area, SMALLEST_SHARE)
    if not least <= share <= table.most_area or covered < fewest:
        wanted = f"a mask of {least:.0%} to {table.most_area:.0%} of the picture and {fewest} tokens or more"
        return f"expected {wanted}, got {share:.1%} and {covered}"
    return None
