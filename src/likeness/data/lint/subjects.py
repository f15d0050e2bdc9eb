"""Checks of who is who: which picture keeps the references, and which subject belongs to which of them.

Evidence is what the row says about itself (ids, phrases, boxes), then how alike masked subjects are, by colours or by
an encoder. Pictures alone decide only where they speak clearly; what they leave open is not reported.
Shapes: H x W pixels, S subjects, R references.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy.typing import NDArray
from PIL import Image

from likeness.core.pairs import PreferencePair
from likeness.data.lint.colour_evidence import alike, colours_of
from likeness.data.lint.findings import Finding, finding

__all__ = ["Encode", "LoadedPair", "MaskedPicture", "subject_findings"]

Encode = Callable[[list[Image.Image]], Float[np.ndarray, "N D"]]
"""Features of unit length per picture."""

SWAP_MARGIN = -0.01
"""Likeness won by the preferred picture below which the two are swapped; world pairs win at least 0.02."""
ORDER_MARGIN = 0.05
"""By how much another order must be more alike in sum; right orders of world pairs win by at least 0.15."""
SURE = 0.95
"""Likeness from which colours decide: true winners of world pairs have 0.96 to 0.99 in 19 of 20, photos at most 0.94.

Light and pose change the colours of a photographed subject, so below this they only raise a doubt.
"""
BOX_OVERLAP = 0.3
BACKDROP = 127
FEWEST = 12  # px that a subject needs to be compared


class MaskedPicture(NamedTuple):
    """A picture and what of it is the subject (None for all)."""

    pixels: UInt8[np.ndarray, "H W 3"]
    mask: Bool[np.ndarray, "H W"] | None


@dataclass(frozen=True)
class LoadedPair:
    """A pair with its pictures and masks in memory; references are (picture, mask or None).

    `grey` names masks with other values than 0 and 255; `notes` tell how unusual masks were read.
    """

    pair: PreferencePair
    preferred: UInt8[np.ndarray, "_ _ 3"]
    rejected: UInt8[np.ndarray, "_ _ 3"]
    prior: Bool[np.ndarray, "_ _"]
    rejected_masks: dict[int, Bool[np.ndarray, "_ _"]]
    subjects: tuple[Bool[np.ndarray, "_ _"], ...]
    references: tuple[MaskedPicture, ...]
    grey: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def masks(self) -> dict[str, Bool[np.ndarray, "_ _"]]:
        """The masks of the preferred picture by their names for people."""
        return {"the prior mask": self.prior} | {f"the mask of subject {i}": m for i, m in enumerate(self.subjects)}


def subject_findings(loaded: LoadedPair, *, encode: Encode | None) -> Iterator[Finding]:
    """A wrong order of subjects, else a swapped winner: with the wrong reference, the comparison means nothing.

    Where the subjects lend each other their looks, swapped pictures look like a wrong order and the reverse. If the
    rejected picture shows the order of the row, both are reported.
    """
    told = list(_named_order(loaded.pair)) or list(_boxed_order(loaded))
    yield from told
    if told:
        return
    margin, likeness = _order_margin(loaded, loaded.preferred, encode)
    if margin > ORDER_MARGIN:
        what = "the subjects look more like each other's references than like their own"
        code = "wrong_subject_order" if encode is not None or likeness >= SURE else "doubtful_order"
        yield finding(loaded.pair.id, code, what, margin=margin, likeness=likeness)
    if margin <= ORDER_MARGIN or _order_margin(loaded, loaded.rejected, encode).margin == 0:
        yield from _swapped(loaded, encode)


# -- order -----------------------------------------------------------------------------------------------------
def _named_order(pair: PreferencePair) -> Iterator[Finding]:
    """Ids that differ; phrases or class words that belong to another reference of the pair."""
    used = [subject.reference_index for subject in pair.subjects]
    if len(set(used)) < len(used):
        yield finding(pair.id, "wrong_subject_order", f"two subjects name one reference: {used}")
    for index, subject in enumerate(pair.subjects):
        own = pair.references[subject.reference_index]
        others = [reference for reference in pair.references if reference is not own]
        said = f"subject {index} is {subject.id or subject.phrase}, its reference {subject.reference_index} is "
        if subject.id and own.id and subject.id != own.id:
            yield finding(pair.id, "wrong_subject_order", said + own.id, subject=index)
        elif subject.phrase != own.phrase and any(subject.phrase == other.phrase for other in others):
            yield finding(pair.id, "wrong_subject_order", said + own.phrase, subject=index)


def _boxed_order(loaded: LoadedPair) -> Iterator[Finding]:
    """Masks that lie in the box of another subject and not in their own."""
    for index, mask in enumerate(loaded.subjects):
        box = Image.fromarray(mask).getbbox()
        if box is None:
            continue
        shares = np.divide(box, (*mask.shape[::-1], *mask.shape[::-1]))
        overlaps = [_overlap(shares, subject.box) for subject in loaded.pair.subjects]
        best = int(np.argmax(overlaps))
        if best != index and overlaps[index] < BOX_OVERLAP and overlaps[best] > 2 * BOX_OVERLAP:
            what = f"the mask of subject {index} lies in the box of subject {best}"
            yield finding(loaded.pair.id, "wrong_subject_order", what, own=overlaps[index], other=overlaps[best])


def _overlap(one: Sequence[float] | NDArray[np.float64], other: Sequence[float]) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


class _Order(NamedTuple):
    """By how much the best order is in sum more alike than the row's, and how alike its subjects are on average."""

    margin: float
    likeness: float


def _order_margin(loaded: LoadedPair, pixels: UInt8[np.ndarray, "H W 3"], encode: Encode | None) -> _Order:
    """How much better than the row's order the subjects, as `pixels` shows them, fit the references in another.

    A margin of 0 where the row's order is the best, or cannot be compared with another.
    """
    indices = [subject.reference_index for subject in loaded.pair.subjects]
    if len(indices) < 2 or not _comparable(loaded, indices):
        return _Order(0.0, 0.0)
    table = _likeness_table([MaskedPicture(pixels, mask) for mask in loaded.subjects], loaded.references, encode)
    totals = {order: sum(table[s, r] for s, r in enumerate(order)) for order in permutations(indices)}
    best = max(totals.values())
    return _Order(float(best - totals[tuple(indices)]), float(best / len(indices)))


def _comparable(loaded: LoadedPair, indices: Sequence[int]) -> bool:
    """Whether every subject and its reference have a mask with something in it."""
    masks = [loaded.references[index].mask for index in indices]
    return all(mask is not None and int(mask.sum()) >= FEWEST for mask in (*masks, *loaded.subjects))


def _likeness_table(
    subjects: Sequence[MaskedPicture], references: Sequence[MaskedPicture], encode: Encode | None
) -> Float[np.ndarray, "S R"]:
    """How alike each subject is to each reference."""
    if encode is not None:
        return _features(subjects, encode) @ _features(references, encode).T
    shown = [colours_of(*_full(picture)) for picture in subjects]
    wanted = [colours_of(*_full(picture)) for picture in references]
    return np.array([[alike(one, other) for other in wanted] for one in shown])


def _full(picture: MaskedPicture) -> tuple[UInt8[np.ndarray, "H W 3"], Bool[np.ndarray, "H W"]]:
    mask = picture.mask
    return picture.pixels, np.ones(picture.pixels.shape[:2], bool) if mask is None else mask


def _features(pictures: Sequence[MaskedPicture], encode: Encode) -> Float[np.ndarray, "N D"]:
    return np.asarray(encode([_cut_out(picture) for picture in pictures]), dtype=np.float64)


def _cut_out(picture: MaskedPicture) -> Image.Image:
    """The square around the subject, on grey."""
    pixels, mask = _full(picture)
    cut_out = Image.fromarray(np.where(mask[..., None], pixels, BACKDROP).astype(np.uint8))
    shown = cut_out.crop(Image.fromarray(mask).getbbox())
    side = max(shown.size)
    square = Image.new("RGB", (side, side), (BACKDROP,) * 3)
    square.paste(shown, ((side - shown.width) // 2, (side - shown.height) // 2))
    return square


# -- winner ----------------------------------------------------------------------------------------------------
def _swapped(loaded: LoadedPair, encode: Encode | None) -> Iterator[Finding]:
    """The disrupted subjects look more like their references in the rejected picture."""
    pair = loaded.pair
    disrupted = [index for index in pair.disrupted if int(loaded.subjects[index].sum()) >= FEWEST]
    indices = [pair.subjects[index].reference_index for index in disrupted]
    if not disrupted or any(loaded.references[index].mask is None for index in indices):
        return
    references = [loaded.references[index] for index in indices]
    kept, lost = (
        _likeness_table([MaskedPicture(pixels, loaded.subjects[index]) for index in disrupted], references, encode)
        for pixels in (loaded.preferred, loaded.rejected)
    )
    won = float((kept - lost).diagonal().mean())
    if won < SWAP_MARGIN:
        what = "the disrupted subjects look more like their references in the rejected picture"
        likeness = float(lost.diagonal().mean())
        code = "swapped_winner" if encode is not None or likeness >= SURE else "doubtful_winner"
        yield finding(pair.id, code, what, likeness_won=won, likeness=likeness)
