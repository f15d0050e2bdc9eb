"""DreamRelation's data folders, read and repaired: key poses whose order and validity nobody wrote down.

    hug/prompts.json                       id -> {"prompt", "entities": [a, b] or "entity": a, "predicate"?: [phrase]}
    hug/videos/0/motion.png                the target
    hug/videos/0/concept0.png, concept1.png             (one subject: concept.png)
    hug/videos/0/motion_keyposes.pth       (2, 17, 2) shares, AP-10K
    hug/videos/0/concept_keyposes_one.pth, concept_keyposes_two.pth     (one subject: concept_keyposes.pth)
    hug/masks/0/motion0.png, motion1.png                (one subject: motion.png)

Source: DreamRelation (arXiv:2410.23280), public data and its loader (design note, 2.8 to 2.11 and 3.1).
Differs: rows of the target are put in the order of the masks by a vote, rows of others are left out,
joints that were guessed are marked not valid, a predicate that is missing is taken from the prompt; all of it is told.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple  # Any: rows are JSON

import numpy as np
from jaxtyping import Bool, Float

from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.files import read_json
from likeness.core.hashing import file_sha256, json_sha256
from likeness.core.images import load_image
from likeness.core.jobs import Progress, unseen
from likeness.core.masks import read_mask
from likeness.data.formats.rows import pictures_by_stem
from likeness.data.pairs.photo_folder import safe
from likeness.data.relations.keypoints import at_edge
from likeness.data.relations.making import (
    Drawn,
    Outcome,
    Refused,
    RelationSummary,
    Shown,
    make_set,
    shown_keypoints,
    written,
)
from likeness.data.relations.order import Order, voted_order
from likeness.data.relations.photos import repair_text
from likeness.data.relations.predicate import BETWEEN, predicate_between

__all__ = ["PublishedExample", "published_examples", "read_published"]

VERSION = 1
"""Of the reading and its repairs: raised whenever an equal folder would give other examples."""
CHUNK = 4
NUMBERS = ("one", "two", "three", "four")
"""How the files of key poses count references."""
WEAK = 3
"""Votes by which the order must win to count as sure."""


class PublishedExample(NamedTuple):
    """The files of one example; paths by subject."""

    name: str
    prompt: str
    entities: tuple[str, ...]
    predicate: str | None
    target: Path
    target_poses: Path
    references: tuple[Path, ...]
    reference_poses: tuple[Path, ...]
    masks: tuple[Path, ...]


def read_published(
    folder: Path | str, *, out: Path | str, workers: int = 1, progress: Progress = unseen
) -> RelationSummary:
    """The folder `out` holds the examples of a relation's folder, or of a folder of such, repaired.

    Raises: DataError when the folder has no usable example; OutputError.
    """
    if workers < 1:
        raise ConfigError(f"workers: expected at least 1, got {workers}; raise it.")
    examples, left_out = published_examples(Path(folder))
    identity = {
        "kind": "relations",
        "version": VERSION,
        "source": "published",
        "num_examples": len(examples),
        "published_sha256": json_sha256([_contents(example) for example in examples]),
    }
    return make_set(
        len(examples),
        out=Path(out),
        load=partial(_load, examples),
        identity=identity,
        left_out=left_out,
        chunk=CHUNK,
        workers=workers,
        progress=progress,
    )


def _contents(example: PublishedExample) -> list[Any]:
    files = (example.target, example.target_poses, *example.references, *example.reference_poses, *example.masks)
    return [example.name, example.prompt, example.entities, example.predicate, [file_sha256(file) for file in files]]


# -- folders ---------------------------------------------------------------------------------------------------
def published_examples(folder: Path) -> tuple[tuple[PublishedExample, ...], tuple[Refused, ...]]:
    """All examples by relation and id, and rows of prompts.json whose files are not all there, with the reason.

    Raises: DataError where there is none.
    """
    relations = [folder] if (folder / "prompts.json").is_file() else sorted(folder.glob("*/"))
    examples: list[PublishedExample] = []
    refused: list[Refused] = []
    for relation in (place for place in relations if (place / "prompts.json").is_file()):
        rows = read_json(relation / "prompts.json")
        if not isinstance(rows, dict):
            got = f"{relation / 'prompts.json'}: expected an object of ids, got {type(rows).__name__}"
            raise DataError(f"{got}; restore the file.")
        for key in sorted(rows, key=lambda key: (len(key), key)):
            try:
                examples.append(_example(relation, key, rows[key]))
            except DataError as error:
                refused.append(Refused(f"{relation.name}/{key}", "row", str(error)))
    if not examples:
        first = f"; first: {refused[0].reason}" if refused else "; check the path."
        raise DataError(f"{folder}: expected DreamRelation's layout with prompts.json, got no usable example{first}")
    return tuple(examples), tuple(refused)


def _example(relation: Path, key: str, row: Any) -> PublishedExample:
    """Raises: DataError naming the key or the file that is missing."""
    where = f"{relation / 'prompts.json'}: {key}"
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str):
        raise DataError(f"{where}: expected an object with a prompt, got {row!r:.60}; correct the row.")
    entities = _entities(row.get("entities", row.get("entity")), where=where)
    told = row.get("predicate")
    predicate = told[0] if isinstance(told, list) and told else told
    if predicate is not None and not isinstance(predicate, str):
        raise DataError(f"{where}: expected a predicate of words, got {told!r:.60}; correct the row.")
    one, place = len(entities) == 1, relation / "videos" / key
    numbers = [""] if one else [str(index) for index in range(len(entities))]
    poses = [""] if one else [f"_{name}" for name in NUMBERS[: len(entities)]]
    return PublishedExample(
        name=f"{relation.name}-{key}",
        prompt=row["prompt"],
        entities=entities,
        predicate=predicate or None,
        target=_picture(place, "motion"),
        target_poses=_file(place / "motion_keyposes.pth"),
        references=tuple(_picture(place, f"concept{number}") for number in numbers),
        reference_poses=tuple(_file(place / f"concept_keyposes{name}.pth") for name in poses),
        masks=tuple(_picture(relation / "masks" / key, f"motion{number}") for number in numbers),
    )


def _entities(given: Any, *, where: str) -> tuple[str, ...]:
    listed: list[Any] = given if isinstance(given, list) else [given]
    words = tuple(name for name in listed if isinstance(name, str) and name)
    if len(words) < len(listed) or not 1 <= len(words) <= len(NUMBERS):
        raise DataError(f"{where}: expected 1 to {len(NUMBERS)} entities, got {given!r:.60}; correct the row.")
    return words


def _file(path: Path) -> Path:
    if not path.is_file():
        raise DataError(f"{path}: expected a file, got none; restore it.")
    return path


def _picture(folder: Path, stem: str) -> Path:
    found = pictures_by_stem(folder).get(stem) if folder.is_dir() else None
    return _file(folder / f"{stem}.png") if found is None else found


# -- examples --------------------------------------------------------------------------------------------------
class _Poses(NamedTuple):
    """Key poses of a file, and rows that its storage holds beyond them."""

    points: Float[np.ndarray, "N 17 2"]
    num_hidden: int


def _load(examples: tuple[PublishedExample, ...], _: int) -> Callable[[int], Outcome]:
    return partial(_make, examples=examples)


def _make(index: int, *, examples: tuple[PublishedExample, ...]) -> Outcome:
    example = examples[index]
    try:
        return _read(example)
    except DataError as error:
        return Outcome(None, {}, (Refused(example.name, "example", str(error)),))


def _read(example: PublishedExample) -> Outcome:
    target = load_image(example.target)
    masks = [read_mask(path, size=target.size) for path in example.masks]
    if empty := [path for path, mask in zip(example.masks, masks, strict=True) if not mask.any()]:
        raise DataError(f"{empty[0]}: expected a mask that covers something, got an empty one; draw it.")
    poses = _poses(example.target_poses, least=len(masks))
    order = voted_order(list(poses.points), masks)
    predicate = example.predicate or predicate_between(example.prompt, example.entities)
    subjects = [
        _subject(example, index, mask=mask, points=poses.points[order.rows[index]]) for index, mask in enumerate(masks)
    ]
    sure = "" if order.is_as_given or order.margin >= WEAK else " (weak)"
    vote = f"vote of the masks, {order.votes} for it, {order.votes_as_given} for the rows as they were{sure}"
    facts = {
        "prompt": example.prompt,
        "predicate": predicate,
        "repairs": _repairs(example, order, poses=poses, predicate=predicate),
        "sources": {
            **dict.fromkeys(("target", "references", "masks", "keypoints", "prompt"), "published"),
            "boxes": "the mask's",
            "order": vote if len(masks) > 1 else "one subject",
            "predicate": "published" if example.predicate else BETWEEN if predicate else "nobody",
            "validity": "on the mask; of references, in the picture, off its edge and not piled up",
        },
    }
    return written(safe(example.name), target=np.asarray(target), subjects=subjects, facts=facts)


def _subject(example: PublishedExample, index: int, *, mask: Bool[np.ndarray, "H W"], points: np.ndarray) -> Drawn:
    picture = np.asarray(load_image(example.references[index]))
    (own,) = _poses(example.reference_poses[index], least=1).points[:1]
    alone = shown_keypoints(own, seen=~at_edge(own), mask=None, skeleton="ap10k")
    together = shown_keypoints(points, seen=np.ones(len(points), dtype=bool), mask=mask, skeleton="ap10k")
    return Drawn(example.entities[index], "", picture, Shown(None, alone), Shown(mask, together))


def _repairs(example: PublishedExample, order: Order, *, poses: _Poses, predicate: str | None) -> tuple[str, ...]:
    """What was wrong with the files, for people."""
    told: list[str] = []
    if not order.is_as_given:
        told.append(repair_text(order.votes, order.votes_as_given, rows=order.rows))
    if extra := len(poses.points) - len(example.masks):
        told.append(f"{extra} further rows of key poses in the target left out")
    if poses.num_hidden:
        name = example.target_poses.name
        told.append(f"{name} is a view; its storage holds {poses.num_hidden} further rows, left out")
    if example.predicate is None and predicate:
        told.append(f"no predicate; {predicate!r} taken from the prompt")
    return tuple(told)


def _poses(path: Path, *, least: int) -> _Poses:
    """At least `least` rows of 17 points. Raises: DataError for what is no tensor of that shape, or not finite."""
    from likeness.encoders.checkpoint import loaded_file

    try:
        tensor: Any = loaded_file(path)
    except WeightsError as error:
        raise DataError(str(error)) from None
    shape = tuple(getattr(tensor, "shape", ()))
    if len(shape) != 3 or shape[0] < least or shape[1:] != (17, 2):
        got = f"{path}: expected a tensor of at least ({least}, 17, 2), got {shape or type(tensor).__name__}"
        raise DataError(f"{got}; restore the file.")
    points = tensor.double().numpy()
    if not np.isfinite(points).all():
        raise DataError(f"{path}: expected finite shares, got NaN or infinity; restore the file.")
    rows = tensor.untyped_storage().nbytes() // (tensor.element_size() * 34)
    return _Poses(points, int(rows) - shape[0])
