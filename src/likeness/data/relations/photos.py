"""Relation examples of one's own pictures: a folder an example, the target and each subject alone.

    PHOTOS/hug-1/target.jpg      who does what
    PHOTOS/hug-1/target.txt      "a cat is hugging a polar bear on a sofa"
    PHOTOS/hug-1/cat.jpg         each subject alone; the file's name is its phrase in the prompt
    PHOTOS/hug-1/polar_bear.jpg
    PHOTOS/hug-1/predicate.txt   optional: "hugging"
    PHOTOS/hug-1/cat.mask.png, target.cat.mask.png    optional: masks that are taken as they are

Subjects are in the order in which the prompt names them.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple  # Any: rows are JSON

import numpy as np
from PIL import Image

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_text
from likeness.core.hashing import file_sha256, json_sha256
from likeness.core.images import fit_reference, load_image
from likeness.core.jobs import Progress, unseen
from likeness.core.masks import inside, load_mask
from likeness.core.records import MAX_SUBJECTS
from likeness.data.formats.rows import pictures_by_stem, text_beside
from likeness.data.pairs.photo_folder import MASK, safe, words_of
from likeness.data.relations.look import Look, LooksAt
from likeness.data.relations.making import Drawn, Outcome, Refused, RelationSummary, make_set, written
from likeness.data.relations.predicate import BETWEEN, in_order_of, predicate_between

__all__ = ["PhotoExample", "make_photo_relations", "read_photo_examples", "seen_example"]

VERSION = 1
"""Of the recipe: raised whenever equal settings would give other examples."""
TARGET, MULTIPLE = "target", 16


class PhotoExample(NamedTuple):
    """One folder of pictures: `references` by phrase in the prompt's order; masks by phrase."""

    name: str
    prompt: str
    predicate: str | None
    predicate_source: str
    target: Path
    references: dict[str, Path]
    masks: dict[str, Path]
    target_masks: dict[str, Path]


class _Plan(NamedTuple):
    """All a worker process has to know."""

    examples: tuple[PhotoExample, ...]
    size: int
    look: LooksAt


def make_photo_relations(
    photos: Path | str,
    *,
    out: Path | str,
    look: LooksAt,
    size: int = 512,
    workers: int = 1,
    progress: Progress = unseen,
) -> RelationSummary:
    """The folder `out` holds an example for every folder of `photos` in which all subjects are found.

    `size` is the longer side in px, of which both sides become multiples of 16; smaller pictures keep theirs.
    Raises: DataError when no folder is usable; ConfigError; WeightsError; OutputError.
    """
    for name, value, least in (("workers", workers, 1), ("size", size, 64)):
        if value < least:
            raise ConfigError(f"{name}: expected at least {least}, got {value}; raise it.")
    examples, left_out = read_photo_examples(Path(photos))
    plan = _Plan(examples, size, look)
    contents = [_contents(example) for example in examples]
    identity = {
        "kind": "relations",
        "version": VERSION,
        "source": "photos",
        "size": size,
        "look": look.id,
        "num_examples": len(examples),
        "photos_sha256": json_sha256(contents),
    }
    return make_set(
        len(examples),
        out=Path(out),
        load=partial(_load, plan),
        identity=identity,
        left_out=left_out,
        chunk=1,
        workers=workers,
        progress=progress,
    )


def _contents(example: PhotoExample) -> list[Any]:
    """What decides the bytes of an example; pictures count by content."""

    def hashed(files: Mapping[str, Path]) -> dict[str, str]:
        return {phrase: file_sha256(file) for phrase, file in files.items()}

    pictures = [hashed(files) for files in (example.references, example.masks, example.target_masks)]
    return [example.name, example.prompt, example.predicate, file_sha256(example.target), *pictures]


# -- folders ---------------------------------------------------------------------------------------------------
def read_photo_examples(folder: Path) -> tuple[tuple[PhotoExample, ...], tuple[Refused, ...]]:
    """The examples in the sub-folders of `folder` by name, and the folders that are none, with the reason.

    Raises: DataError where there is no example.
    """
    examples: list[PhotoExample] = []
    refused: list[Refused] = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []:
        try:
            examples.append(_example(place))
        except DataError as error:
            refused.append(Refused(place.name, "folder", str(error)))
    if not examples:
        first = f"; first: {refused[0].where}: {refused[0].reason}" if refused else "; check the path."
        wanted = "a sub-folder for each example with target.jpg, target.txt and a picture for each subject"
        raise DataError(f"{folder}: expected {wanted}, got none{first}")
    return tuple(examples), tuple(refused)


def _example(place: Path) -> PhotoExample:
    """Raises: DataError saying what the folder lacks."""
    found = pictures_by_stem(place)
    masks = {stem.removesuffix(MASK): path for stem, path in found.items() if stem.endswith(MASK)}
    pictures = {stem: path for stem, path in found.items() if not stem.endswith(MASK)}
    target = pictures.pop(TARGET, None)
    prompt = text_beside(target) if target else None
    if target is None or not prompt:
        missing = f"{TARGET}.jpg" if target is None else f"{TARGET}.txt with the prompt"
        raise DataError(f"{place}: expected {missing}, got none; add it.")
    if not 1 <= len(pictures) <= MAX_SUBJECTS:
        wanted = f"{place}: expected 1 to {MAX_SUBJECTS} pictures of subjects beside {target.name}"
        raise DataError(f"{wanted}, got {len(pictures)}; add or remove some.")
    by_phrase = {words_of(stem): path for stem, path in pictures.items()}
    if len(by_phrase) < len(pictures):
        raise DataError(f"{place}: expected names that give different phrases, got {', '.join(pictures)}; rename one.")
    phrases = in_order_of(prompt, list(by_phrase))
    told = place / "predicate.txt"
    predicate = read_text(told).strip() if told.is_file() else predicate_between(prompt, phrases)
    source = "predicate.txt" if told.is_file() else BETWEEN if predicate else "nobody"
    own = {words_of(stem): path for stem, path in masks.items() if not stem.startswith(f"{TARGET}.")}
    of_target = {stem: path for stem, path in masks.items() if stem.startswith(f"{TARGET}.")}
    together = {words_of(stem.removeprefix(f"{TARGET}.")): path for stem, path in of_target.items()}
    if unknown := sorted({*own, *together} - set(phrases)):
        raise DataError(f"{place}: expected masks of {', '.join(phrases)}, got one of {unknown[0]!r}; rename it.")
    references = {phrase: by_phrase[phrase] for phrase in phrases}
    return PhotoExample(place.name, prompt, predicate or None, source, target, references, own, together)


# -- examples --------------------------------------------------------------------------------------------------
def _load(plan: _Plan, _: int) -> Callable[[int], Outcome]:
    return partial(_make, plan=plan, look=plan.look())


def _make(index: int, *, plan: _Plan, look: Look) -> Outcome:
    example = plan.examples[index]
    try:
        return _made(example, size=plan.size, look=look, sources=plan.look.sources)
    except DataError as error:
        return Outcome(None, {}, (Refused(example.name, "example", str(error)),))


def _made(example: PhotoExample, *, size: int, look: Look, sources: Mapping[str, str]) -> Outcome:
    target = _fitted(load_image(example.target), size=size)
    references = {phrase: _fitted(load_image(path), size=size) for phrase, path in example.references.items()}
    own = {phrase: _mask(path, example.references[phrase], size=size) for phrase, path in example.masks.items()}
    together = {phrase: _mask(path, example.target, size=size) for phrase, path in example.target_masks.items()}
    how = dict(sources) | {"target": "photograph", "references": "photograph", "prompt": "target.txt"}
    if own or together:
        how["masks"] = f"supplied for {', '.join(sorted({*own, *together}))}; else {how['masks']}"
    facts = {"prompt": example.prompt, "predicate": example.predicate, "sources": how}
    how |= {"predicate": example.predicate_source, "order": "the prompt's"}
    name = safe(example.name)
    return seen_example(name, target, references, look=look, own=own, together=together, facts=facts)


def seen_example(
    name: str,
    target: Image.Image,
    references: Mapping[str, Image.Image],
    *,
    look: Look,
    own: Mapping[str, np.ndarray] | None = None,
    together: Mapping[str, np.ndarray] | None = None,
    facts: dict[str, Any],
) -> Outcome:
    """The example of a target and of references by phrase, whose subjects `look` finds in all of them.

    `own` and `together`: masks (H, W) that are known, of references and of the target. Keypoints of the target that
    went to another subject are told among the repairs. Raises: DataError for what cannot be found.
    """
    phrases = list(references)
    seen = look.subjects(target, phrases, masks=[(together or {}).get(phrase) for phrase in phrases])
    subjects: list[Drawn] = []
    for phrase, shown in zip(phrases, seen.subjects, strict=True):
        picture = references[phrase]
        try:
            (alone,) = look.subjects(picture, [phrase], masks=[(own or {}).get(phrase)]).subjects
        except DataError as error:
            raise DataError(f"reference of {error}") from None
        subjects.append(Drawn(phrase, "", np.asarray(picture), alone, shown))
    order = seen.order
    repairs = () if order.is_as_given else (repair_text(order.votes, order.votes_as_given, rows=order.rows),)
    return written(name, target=np.asarray(target), subjects=subjects, facts=facts | {"repairs": repairs})


def repair_text(votes: int, votes_as_given: int, *, rows: tuple[int, ...]) -> str:
    """How the order of keypoints in the target was mended, for people."""
    return f"keypoints of the target put in the order {list(rows)}: {votes} votes to {votes_as_given}"


def _fitted(image: Image.Image, *, size: int) -> Image.Image:
    return fit_reference(image, long_side=min(size, max(image.size)), multiple=MULTIPLE)


def _mask(path: Path, picture: Path, *, size: int) -> np.ndarray:
    """A supplied mask, fitted as its picture is. Raises: DataError where it has another size, or is empty."""
    mask = inside(_fitted(load_mask(path, size=load_image(picture).size), size=size))
    if not mask.any():
        raise DataError(f"{path}: expected a mask that covers something, got an empty one; draw it.")
    return mask
