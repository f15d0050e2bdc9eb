"""`likeness data lint` on a set of relation examples: what is wrong with it, before a training run finds out.

Every example is looked at alone (row, files, masks, keypoints, who is who), then against the ones before it.
`findings.CODES` lists what can be found; each has a planted fault among the tests. Nothing is mended here.
Shapes: S subjects, H x W pixels.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, permutations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from likeness.core.errors import DataError
from likeness.core.files import numbered_lines, read_text
from likeness.core.hashing import pixels_sha256
from likeness.core.images import load_image
from likeness.core.jobs import Progress, unseen
from likeness.core.masks import read_mask
from likeness.core.rows import json_object
from likeness.data.lint.colour_evidence import alike, colours_of
from likeness.data.lint.rows import row_findings
from likeness.data.lint.run import benchmark_subjects
from likeness.data.lint.subjects import FEWEST, ORDER_MARGIN, SURE
from likeness.data.relations.findings import KeypointCounts, RelationFinding, RelationLint, relation_finding
from likeness.data.relations.keypoints import REACH, in_picture, num_limbs, on_mask, piled
from likeness.data.relations.order import voted_order
from likeness.data.relations.read import file_faults, read_relations
from likeness.data.relations.records import RELATIONS_NAME, Keypoints, RelationExample

__all__ = ["lint_relations"]

SMALLEST, LARGEST = 0.005, 0.95  # share of the picture that a mask may cover
BOX_OVERLAP = 0.9
"""Intersection over union of a box and the bounds of its mask; a px more or less on each side passes."""
SHARED = 0.5
"""Of the smaller of two masks."""
SLACK = 1.5 * REACH
"""Share of the longer side by which a valid keypoint may miss its mask."""
SURE_VOTES = 3
"""Exclusive votes by which another order must win; below, it is a doubt."""
FEWEST_KEYPOINTS = 3
MOST_INSIDE = 3
"""Keypoints marked not valid that may lie inside the mask."""


class _Loaded(NamedTuple):
    """An example with its pictures and masks in memory; masks of references None where there are none."""

    example: RelationExample
    target: UInt8[np.ndarray, "H W 3"]
    masks: tuple[Bool[np.ndarray, "H W"], ...]
    references: tuple[UInt8[np.ndarray, "_ _ 3"], ...]
    reference_masks: tuple[Bool[np.ndarray, "_ _"] | None, ...]


def lint_relations(folder: Path | str, *, benchmarks: Sequence[Path] = (), progress: Progress = unseen) -> RelationLint:
    """Everything found in the set of `folder`; `benchmarks` are case files whose subjects must not appear.

    Raises: DataError when the set or a case file holds nothing usable.
    """
    folder = Path(folder)
    found = read_relations(folder, check_files=False)
    known = benchmark_subjects(benchmarks)
    ids = [example.id for example in found.examples]
    findings = row_findings(_file(folder), found.left_out, ids=ids, make=relation_finding)
    seen: dict[str, str] = {}
    written = _rows(folder)
    for number, example in enumerate(found.examples, start=1):
        findings += _of_example(example, as_written=written[example.id], seen=seen, known=known)
        progress(number, len(found.examples))
    points = [k for example in found.examples for s in example.subjects for k in (s.keypoints, s.reference.keypoints)]
    return RelationLint(
        folder=folder,
        num_examples=len(found.examples),
        num_benchmarks=len(benchmarks),
        counts=dict(sorted(Counter(str(example.predicate) for example in found.examples).items())),
        keypoints=KeypointCounts(sum(len(k.valid) for k in points), sum(sum(k.valid) for k in points)),
        findings=tuple(findings),
    )


def _file(folder: Path) -> Path:
    return folder / RELATIONS_NAME if folder.is_dir() else folder


def _rows(folder: Path) -> dict[str, RelationExample]:
    """Id -> example with the paths as written, the first of each id."""
    rows: dict[str, RelationExample] = {}
    for _, line in numbered_lines(read_text(_file(folder))):
        try:
            row = RelationExample.of_row(json_object(line))
        except DataError:
            continue  # told as bad_row
        rows.setdefault(row.id, row)
    return rows


def _of_example(
    example: RelationExample, *, as_written: RelationExample, seen: dict[str, str], known: Mapping[str, str]
) -> Iterator[RelationFinding]:
    yield from _words(example)
    try:
        faults = list(file_faults(example, as_written=as_written))
        yield from (relation_finding(example.id, fault.kind, fault.what) for fault in faults)
        if any(fault.kind == "wrong_size" for fault in faults):
            return
        loaded = _load(example)
    except DataError as error:
        yield relation_finding(example.id, "unreadable_picture", str(error))
        return
    masks = list(_mask_findings(loaded))
    yield from masks
    if not any(finding.code == "small_mask" for finding in masks):
        yield from _who_is_who(loaded)
    yield from _repeats(loaded, seen=seen, known=known)


def _load(example: RelationExample) -> _Loaded:
    """Raises: DataError for a picture or mask that cannot be decoded or differs in size."""
    references = tuple(np.asarray(load_image(subject.reference.image)) for subject in example.subjects)
    own = (subject.reference for subject in example.subjects)
    return _Loaded(
        example,
        np.asarray(load_image(example.target)),
        tuple(read_mask(subject.mask, size=example.size) for subject in example.subjects),
        references,
        tuple(reference.mask and read_mask(reference.mask, size=reference.size) for reference in own),
    )


# -- words -----------------------------------------------------------------------------------------------------
def _words(example: RelationExample) -> Iterator[RelationFinding]:
    if example.predicate is None:
        yield relation_finding(example.id, "no_predicate", f"no predicate for {example.prompt!r}")
    elif example.predicate not in example.prompt:
        what = f"the predicate {example.predicate!r} is not in {example.prompt!r}"
        yield relation_finding(example.id, "predicate_not_in_prompt", what)
    for index, subject in enumerate(example.subjects):
        if subject.phrase.lower() not in example.prompt.lower():
            what = f"{subject.phrase!r} (subject {index}) is not in {example.prompt!r}"
            yield relation_finding(example.id, "phrase_not_in_prompt", what, subject=index)


# -- masks -----------------------------------------------------------------------------------------------------
def _mask_findings(loaded: _Loaded) -> Iterator[RelationFinding]:
    example = loaded.example
    for index, subject in enumerate(example.subjects):
        yield from _mask(loaded.masks[index], box=subject.box, where=f"in the target, subject {index}", example=example)
        mask, reference = loaded.reference_masks[index], subject.reference
        if mask is not None:
            yield from _mask(mask, box=reference.box, where=f"in reference {index}", example=example)
    for one, other in combinations(range(len(loaded.masks)), 2):
        shared = float((loaded.masks[one] & loaded.masks[other]).sum())
        share = shared / max(min(loaded.masks[one].sum(), loaded.masks[other].sum()), 1)
        if share > SHARED:
            what = f"the masks of subjects {one} and {other} share {share:.0%} of the smaller"
            yield relation_finding(example.id, "overlapping_masks", what, share=share)


def _mask(
    mask: Bool[np.ndarray, "H W"],
    *,
    box: tuple[float, float, float, float] | None,
    where: str,
    example: RelationExample,
) -> Iterator[RelationFinding]:
    share, found = float(mask.mean()), Image.fromarray(mask).getbbox()
    if found is None or share < SMALLEST:
        yield relation_finding(example.id, "small_mask", f"{where}: the mask covers {share:.2%}", share=share)
        return
    if share > LARGEST:
        yield relation_finding(example.id, "large_mask", f"{where}: the mask covers {share:.1%}", share=share)
    left, top, right, bottom = found
    if mask[top:bottom, left:right].all():
        yield relation_finding(example.id, "rectangle_mask", f"{where}: the mask is a rectangle", share=share)
    if box is not None:
        height, width = mask.shape
        overlap = _overlap((left / width, top / height, right / width, bottom / height), box)
        if overlap < BOX_OVERLAP and not _within_a_px(found, box, size=(width, height)):
            what = f"{where}: box and bounds of the mask overlap by {overlap:.2f} (IoU)"
            yield relation_finding(example.id, "box_off_mask", what, overlap=overlap)


def _within_a_px(found: tuple[int, int, int, int], box: tuple[float, ...], *, size: tuple[int, int]) -> bool:
    """Tiny masks: a px is much of them."""
    return all(abs(edge - share * side) <= 1 for edge, share, side in zip(found, box, size * 2, strict=True))


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)) - shared)


# -- who is who ------------------------------------------------------------------------------------------------
def _who_is_who(loaded: _Loaded) -> Iterator[RelationFinding]:
    """An order that is wrong, else keypoints that are: those of another subject lie off the mask by themselves."""
    told = list(_target_order(loaded))
    yield from told
    yield from _reference_order(loaded)
    if not any(finding.severity == "error" for finding in told):
        for index, subject in enumerate(loaded.example.subjects):
            where = f"in the target, subject {index}"
            yield from _keypoints(subject.keypoints, loaded.masks[index], where=where, name=loaded.example.id)
    for index, subject in enumerate(loaded.example.subjects):
        own, where = subject.reference.keypoints, f"in reference {index}"
        yield from _keypoints(own, loaded.reference_masks[index], where=where, name=loaded.example.id)
        yield from _shared_keypoints(loaded.example, index)


def _target_order(loaded: _Loaded) -> Iterator[RelationFinding]:
    """Keypoints that fit the masks better in another order."""
    rows = [subject.keypoints.array[subject.keypoints.seen] for subject in loaded.example.subjects]
    order = voted_order(rows, loaded.masks)
    if order.margin > 0:
        what = f"keypoints vote for the order {list(order.rows)} by {order.votes} to {order.votes_as_given}"
        code = "swapped_subjects" if order.margin >= SURE_VOTES else "doubtful_order"
        yield relation_finding(loaded.example.id, code, what, votes=order.votes, votes_as_given=order.votes_as_given)


def _reference_order(loaded: _Loaded) -> Iterator[RelationFinding]:
    """Subjects that look more like each other's references than like their own, by colours."""
    masks = [mask for mask in loaded.reference_masks if mask is not None]
    if len(loaded.masks) < 2 or len(masks) < len(loaded.masks):
        return
    if min(int(mask.sum()) for mask in (*masks, *loaded.masks)) < FEWEST:
        return
    shown = [colours_of(loaded.target, mask) for mask in loaded.masks]
    wanted = [colours_of(picture, mask) for picture, mask in zip(loaded.references, masks, strict=True)]
    table = np.array([[alike(one, other) for other in wanted] for one in shown])
    totals = {order: float(table[range(len(order)), order].sum()) for order in permutations(range(len(shown)))}
    best = max(totals, key=lambda order: totals[order])
    margin, likeness = totals[best] - totals[tuple(range(len(shown)))], totals[best] / len(shown)
    if margin > ORDER_MARGIN:
        what = f"subjects look like the references in the order {list(best)}"
        code = "swapped_references" if likeness >= SURE else "doubtful_references"
        yield relation_finding(loaded.example.id, code, what, margin=margin, likeness=likeness)


def _keypoints(
    keypoints: Keypoints, mask: Bool[np.ndarray, "H W"] | None, *, where: str, name: str
) -> Iterator[RelationFinding]:
    points, valid = keypoints.array, keypoints.seen
    outside = valid & ~in_picture(points)
    if outside.any():
        what = f"{where}: {int(outside.sum())} valid keypoints lie outside the picture, the first is {_first(outside)}"
        yield relation_finding(name, "keypoint_outside", what, num=int(outside.sum()))
    if piled(points[valid]).any():
        what = f"{where}: {int(piled(points[valid]).sum())} valid keypoints lie at one place"
        yield relation_finding(name, "piled_keypoints", what, num=int(piled(points[valid]).sum()))
    if mask is None:
        return
    off = valid & ~outside & ~on_mask(points, mask, reach=SLACK)
    if off.any():
        what = f"{where}: {int(off.sum())} valid keypoints lie beside the mask, the first is {_first(off)}"
        yield relation_finding(name, "keypoint_off_mask", what, num=int(off.sum()))
    inside = ~valid & on_mask(points, mask, reach=0)
    if inside.sum() > MOST_INSIDE:
        what = f"{where}: {int(inside.sum())} keypoints on the mask are marked not valid, the first is {_first(inside)}"
        yield relation_finding(name, "invalid_on_mask", what, num=int(inside.sum()))


def _first(which: Bool[np.ndarray, " 17"]) -> int:
    return int(np.flatnonzero(which)[0])


def _shared_keypoints(example: RelationExample, index: int) -> Iterator[RelationFinding]:
    """What target and reference have in common, which is all that the loss compares."""
    subject = example.subjects[index]
    both = subject.keypoints.seen & subject.reference.keypoints.seen
    skeleton = subject.keypoints.skeleton
    if both.sum() < FEWEST_KEYPOINTS:
        what = f"subject {index}: {int(both.sum())} keypoints are valid in both pictures"
        yield relation_finding(example.id, "few_keypoints", what, num=int(both.sum()))
    elif not num_limbs(both, skeleton=skeleton):
        yield relation_finding(example.id, "no_limb", f"subject {index}: no limb is valid in both pictures", num=0)


# -- repeats ---------------------------------------------------------------------------------------------------
def _repeats(loaded: _Loaded, *, seen: dict[str, str], known: Mapping[str, str]) -> Iterator[RelationFinding]:
    name = loaded.example.id
    target = pixels_sha256(Image.fromarray(loaded.target))
    references = [pixels_sha256(Image.fromarray(picture)) for picture in loaded.references]
    if (earlier := seen.setdefault(target, name)) != name:
        yield relation_finding(name, "duplicate_target", f"has the target of {earlier}", earlier=earlier)
    for index, digest in enumerate(references):
        if digest == target:
            yield relation_finding(name, "self_reference", f"reference {index} is the target", subject=index)
        if digest in references[:index]:
            what = f"subjects {references.index(digest)} and {index} have the same reference"
            yield relation_finding(name, "repeated_reference", what, subject=index)
    traces = [("the target", "", target)]
    traces += [
        (f"reference {index}", subject.id, digest)
        for index, (subject, digest) in enumerate(zip(loaded.example.subjects, references, strict=True))
    ]
    for what, subject, digest in traces:
        place = (known.get(f"id {subject}") if subject else None) or known.get(digest)
        if place is not None:
            yield relation_finding(name, "benchmark_overlap", f"{what} also belongs to {place}", case=place)
