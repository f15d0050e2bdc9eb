"""Checks of one pair: its files against its row, and its masks against the difference of its two pictures.

Shapes: H x W pixels; masks are (H, W) bool, pictures (H, W, 3) uint8; until sizes are checked, each has its own.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, UInt8

from likeness.core.errors import DataError
from likeness.core.images import load_image
from likeness.core.masks import covered_tokens, find_mask, inside, union
from likeness.core.pairs import PreferencePair
from likeness.data.judging.gate import Thresholds, refuse_preferred, refuse_rejected
from likeness.data.lint.findings import Finding, finding
from likeness.data.lint.mask_evidence import (
    Shift,
    best_shift,
    changed_pixels,
    changes_outside,
    distance_to,
    moved,
)
from likeness.data.lint.noise_evidence import Difference, difference_of
from likeness.data.lint.subjects import Encode, LoadedPair, MaskedPicture, subject_findings

__all__ = ["PairRules", "load_pair", "pair_findings"]

FEWEST_TOKENS, SMALLEST_SHARE, LARGEST_SHARE = 4, 0.01, 0.9
"""What the prior must cover. Source: design note, 4.7."""
REACH_SHARE = 0.03
"""Dilation of masks as a share of the longer side where the set does not record its own: 31 px at 1024."""
SHIFT_GAIN = 1.5
"""Edge strength after the move over that in place: at most 0.55 in place, at least 2.5 when moved (world pairs)."""
UNION_SHARE = 0.01
"""Disagreement of prior and union, as a share of the union, that rounding may explain."""
CHANGED_SHARE = 0.01
"""Share of a disrupted subject that must differ."""
FILLED_SHARE, SPARED = 0.3, 0.1
"""Of an inverted prior: the share of its outside that changed at least, and that of its inside over it at most."""
INVERTED = "; the mask looks inverted: white must cover what differs"


@dataclass(frozen=True)
class PairRules:
    """What counts as a fault: see `lint`."""

    tolerance: int
    token: int
    thresholds: Thresholds
    encode: Encode | None


def load_pair(pair: PreferencePair) -> LoadedPair:
    """The pair with everything it names. Raises: DataError for a file that is no whole picture."""
    grey: list[str] = []
    notes: list[str] = []

    def mask(path: Path, name: str) -> Bool[np.ndarray, "H W"]:
        found = find_mask(path)
        if not np.isin(np.asarray(found.image), (0, 255)).all():
            grey.append(name)
        if found.note is not None:
            notes.append(f"{name}: {found.note}")
        return inside(found.image)

    subjects = tuple(mask(subject.mask, f"the mask of subject {i}") for i, subject in enumerate(pair.subjects))
    prior = mask(pair.prior_mask, "the prior mask") if pair.prior_mask is not None else _united(pair, subjects)
    return LoadedPair(
        pair=pair,
        preferred=_pixels(pair.preferred),
        rejected=_pixels(pair.rejected),
        prior=prior,
        subjects=subjects,
        rejected_masks={
            i: mask(subject.rejected_mask, f"the rejected mask of subject {i}")
            for i, subject in enumerate(pair.subjects)
            if subject.rejected_mask is not None
        },
        references=tuple(
            MaskedPicture(_pixels(item.image), item.mask and mask(item.mask, f"the mask of reference {i}"))
            for i, item in enumerate(pair.references)
        ),
        grey=tuple(grey),
        notes=tuple(notes),
    )


def _united(pair: PreferencePair, masks: Sequence[Bool[np.ndarray, "_ _"]]) -> Bool[np.ndarray, "_ _"]:
    """What the masks of the disrupted subjects cover together. Raises: DataError for masks of several sizes."""
    own = [masks[index] for index in pair.disrupted]
    if len({mask.shape for mask in own}) > 1:
        raise DataError("subject masks: expected all of one size, got several; make them again.")
    return union(own)


def _pixels(path: Path) -> UInt8[np.ndarray, "H W 3"]:
    return np.asarray(load_image(path))


def pair_findings(loaded: LoadedPair, *, rules: PairRules) -> Iterator[Finding]:
    """Everything that is wrong with the pair by itself; later checks are left out where an earlier one forbids them."""
    name = loaded.pair.id
    for what in loaded.grey:
        yield finding(name, "grey_mask", f"{what} has values other than 0 and 255")
    for what in loaded.notes:
        yield finding(name, "unusual_mask", what)
    yield from _gate(loaded.pair, thresholds=rules.thresholds)
    blocking = [*_sizes(loaded), *_empty(loaded)]
    yield from blocking
    if blocking:
        return
    yield from _tokens(loaded, token=rules.token)
    difference = _difference(loaded, reach=_reach(loaded.pair), tolerance=rules.tolerance)
    yield from _shifts(loaded, difference.changed)
    yield from _union(loaded)
    if (loaded.preferred != loaded.rejected).any():  # else told as identical pictures
        yield from _leaks(loaded, difference)
        yield from _unchanged(loaded, difference.changed)
    yield from subject_findings(loaded, encode=rules.encode)


def _gate(pair: PreferencePair, *, thresholds: Thresholds) -> Iterator[Finding]:
    """Scores in the wrong order mean swapped pictures; other low scores that the pair was never kept."""
    preferred, rejected = pair.qa.preferred, pair.qa.rejected
    scores = [score.judge for score in (preferred, rejected) if score.judge]
    means = [float(np.mean([answers[index].count(True) for index in pair.disrupted])) for answers in scores]
    if len(means) == 2 and means[0] < means[1]:
        what = f"the judge gave the disrupted subjects {means[0]:.1f} of 10 as preferred, {means[1]:.1f} as rejected"
        yield finding(pair.id, "swapped_winner", what, preferred=means[0], rejected=means[1])
        return
    reasons = (
        refuse_preferred(preferred, thresholds=thresholds),
        refuse_rejected(rejected, disrupted=pair.disrupted, thresholds=thresholds),
    )
    yield from (finding(pair.id, "gate_failed", reason) for reason in reasons if reason is not None)


def _sizes(loaded: LoadedPair) -> Iterator[Finding]:
    pair = loaded.pair
    pictures = {"the preferred picture": loaded.preferred, "the rejected picture": loaded.rejected}
    instead = {f"the rejected mask of subject {i}": mask for i, mask in loaded.rejected_masks.items()}
    wanted = {what: (array, pair.size) for what, array in (pictures | loaded.masks | instead).items()}
    for i, (picture, mask) in enumerate(loaded.references):
        if mask is not None:
            wanted[f"the mask of reference {i}"] = (mask, (picture.shape[1], picture.shape[0]))
    for what, (array, size) in wanted.items():
        got = (array.shape[1], array.shape[0])
        if got != size:
            message = f"{what} is {got[0]} x {got[1]} px, expected {size[0]} x {size[1]}"
            yield finding(pair.id, "wrong_size", message, width=got[0], height=got[1])


def _empty(loaded: LoadedPair) -> Iterator[Finding]:
    if not loaded.prior.any():
        yield finding(loaded.pair.id, "empty_prior", "the prior mask covers nothing")
    for index in loaded.pair.disrupted:
        if not loaded.subjects[index].any():
            yield finding(loaded.pair.id, "empty_prior", f"the mask of disrupted subject {index} covers nothing")
    for index, (_, mask) in enumerate(loaded.references):
        if mask is not None and not mask.any():
            yield finding(loaded.pair.id, "empty_reference", f"the mask of reference {index} covers nothing")


def _tokens(loaded: LoadedPair, *, token: int) -> Iterator[Finding]:
    covered, tokens = covered_tokens(loaded.prior, token=token)
    share = float(loaded.prior.mean())
    what = f"the prior covers {share:.1%} of the picture and {covered} of {tokens} tokens"
    if share < SMALLEST_SHARE or not covered:
        yield finding(loaded.pair.id, "tiny_prior", what, tokens=covered, share=share)
    elif covered > LARGEST_SHARE * tokens:
        code = "whole_picture" if _is_voted(loaded) else "large_prior"
        yield finding(loaded.pair.id, code, what, tokens=covered, share=share)
    for index in loaded.pair.disrupted:
        covered, tokens = covered_tokens(loaded.subjects[index], token=token)
        if covered < min(FEWEST_TOKENS, tokens):
            what = f"disrupted subject {index} covers {covered} of {tokens} tokens"
            yield finding(loaded.pair.id, "few_tokens", what, subject=index, tokens=covered)


def _is_voted(loaded: LoadedPair) -> bool:
    """Whether people chose between the two whole pictures, as `likeness study export --to pairs` notes."""
    kinds = {(loaded.pair.subjects[index].disruption or {}).get("kind") for index in loaded.pair.disrupted}
    return kinds == {"vote"} and bool(loaded.prior.all())


def _shifts(loaded: LoadedPair, changed: Bool[np.ndarray, "H W"]) -> Iterator[Finding]:
    """Masks of the preferred picture whose outline lies better somewhere else, as far as the difference agrees.

    A suspicion: photographs have edges everywhere, so nothing is measured against the moved mask.
    """
    disrupted = {"the prior mask", *(f"the mask of subject {index}" for index in loaded.pair.disrupted)}
    known: dict[bytes, Shift | None] = {}
    for what, mask in loaded.masks.items():
        key = mask.tobytes()
        if key not in known:
            known[key] = best_shift(loaded.preferred, mask)
        shift = known[key]
        if shift is None or shift.gain <= SHIFT_GAIN:
            continue
        if what not in disrupted or _explains_more(moved(mask, rows=shift.rows, columns=shift.columns), mask, changed):
            yield _shift_finding(loaded, what, shift)


def _explains_more(
    one: Bool[np.ndarray, "H W"], other: Bool[np.ndarray, "H W"], changed: Bool[np.ndarray, "H W"]
) -> bool:
    """Whether `one` covers at least as much of what changed as `other`."""
    return int((changed & one).sum()) >= int((changed & other).sum())


def _shift_finding(loaded: LoadedPair, what: str, shift: Shift) -> Finding:
    message = f"{what} fits the picture {shift.gain:.1f} times better {shift.rows} px down and {shift.columns} px right"
    return finding(loaded.pair.id, "shifted_mask", message, **shift._asdict())


def _union(loaded: LoadedPair) -> Iterator[Finding]:
    own = union(loaded.subjects[index] for index in loaded.pair.disrupted)
    share = float((loaded.prior != own).sum() / own.sum())
    if share > UNION_SHARE:
        iou = float((loaded.prior & own).sum() / (loaded.prior | own).sum())
        what = f"prior and union of the disrupted subjects' masks overlap by {iou:.1%} (IoU)"
        yield finding(loaded.pair.id, "prior_not_union", what, iou=iou)


def _difference(loaded: LoadedPair, *, reach: int, tolerance: int) -> Difference:
    differs = changed_pixels(loaded.preferred, loaded.rejected, tolerance=tolerance)
    distance = distance_to(loaded.prior)
    return difference_of(loaded.preferred, loaded.rejected, distance=distance, differs=differs, reach=reach)


def _reach(pair: PreferencePair) -> int:
    """Px around the prior that may differ."""
    return max(_recorded(pair, "reach"), default=math.ceil(REACH_SHARE * max(pair.size)))


def _leaks(loaded: LoadedPair, difference: Difference) -> Iterator[Finding]:
    """Changes where there should be none, measured against the prior as it is given."""
    changed, noise, threshold = difference
    spread = difference.spread
    if noise is not None:
        what = f"the background differs by noise of {noise:.1f} grey levels (changes are told from {threshold:.1f} on)"
        yield finding(loaded.pair.id, "recompressed", what, noise=noise, threshold=threshold)
    apart, reach = max(_recorded(loaded.pair, "apart"), default=0), _reach(loaded.pair) + spread
    touched = distance_to(loaded.prior) <= spread if spread else loaded.prior
    outside = changes_outside(changed, loaded.prior, reach=reach, touched=touched)
    inverted = _looks_inverted(loaded.prior, changed)
    if outside.far or outside.apart > apart or inverted:
        pixels = int((changed & ~loaded.prior).sum()) if inverted else max(outside.far, outside.apart)
        share = pixels / int((~loaded.prior).sum())
        where = f"up to {outside.farthest} px away (allowed: {reach})"
        patches = f"{outside.apart} px in patches that do not touch it (allowed: {apart})"
        what = f"{pixels} px outside the prior differ ({share:.1%}), {where}, {patches}"
        what += INVERTED if inverted else ""
        yield finding(loaded.pair.id, "leaked_background", what, share=share, **outside._asdict(), reach=reach)


def _looks_inverted(prior: Bool[np.ndarray, "H W"], changed: Bool[np.ndarray, "H W"]) -> bool:
    """Whether the difference fills the complement of the prior and almost spares the prior."""
    if prior.all():
        return False
    around = float(changed[~prior].mean())
    return around >= FILLED_SHARE and float(changed[prior].mean()) <= SPARED * around


def _unchanged(loaded: LoadedPair, changed: Bool[np.ndarray, "H W"]) -> Iterator[Finding]:
    """Disrupted subjects in which nothing changed."""
    for index in loaded.pair.disrupted:
        mask = loaded.subjects[index]
        share = float(changed[mask].mean())
        if share < CHANGED_SHARE:
            what = f"only {share:.1%} of disrupted subject {index} differs between the pictures"
            yield finding(loaded.pair.id, "unchanged_subject", what, subject=index, share=share)


def _recorded(pair: PreferencePair, name: str) -> list[int]:
    """What the pair's maker noted of its disruptions, where it did."""
    noted = [(pair.subjects[index].disruption or {}).get(name) for index in pair.disrupted]
    return [value for value in noted if isinstance(value, int)]
