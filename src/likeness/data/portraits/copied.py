"""`likeness data stellar-images`: CelebAMask-HQ in, Stellar's layout out, by copies alone.

    OUT/NNN/{0.jpg, 0_bg.png, 0_attributes.json, 1.jpg, ..., prompts_t.json, prompts_h.json}    000 on, 200 on
    OUT/objects.txt                         with prompts
    OUT/selected.jsonl, OUT/refused.jsonl   who was chosen from which files; who and what was not, and why
    OUT/summary.json                        counts and settings

Photos are copied byte for byte. No file of the source is moved, changed or deleted.
"""

import io
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable  # Any: JSON

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from likeness.core.errors import DataError, OutputError
from likeness.core.files import atomic_write_bytes, is_inside, replaced_folder, write_json, write_jsonl
from likeness.core.images import load_image
from likeness.core.jobs import Progress, unseen
from likeness.data.portraits.celeba import PARTS, SPLITS, Photo, read_celeba, read_mask
from likeness.data.portraits.selection import LEAST_AREA, LEAST_SCORE, Chosen, SeenFace, Selection, face_fault, select
from likeness.data.prompts.files import FREE, TEMPLATES, read_lists
from likeness.data.prompts.make import NUM_TEST

__all__ = ["Copied", "copy_portraits"]

FIRST: dict[str, int] = dict(zip(SPLITS, (0, NUM_TEST), strict=True))
PROMPT_FILES = {TEMPLATES: "prompts_t.json", FREE: "prompts_h.json"}


@runtime_checkable
class _Faces(Protocol):
    @property
    def id(self) -> str: ...
    def look(self, images: Sequence[Image.Image]) -> Sequence[Any]: ...


class Copied(NamedTuple):
    """The folder, the selection of each split, and what the detector was."""

    out: Path
    selections: dict[str, Selection]
    summary: dict[str, Any]


def copy_portraits(
    root: Path,
    out: Path,
    *,
    faces: _Faces,
    people: int = NUM_TEST,
    splits: Sequence[str] = SPLITS,
    prompts: Path | None = None,
    least_area: float = LEAST_AREA,
    least_score: float = LEAST_SCORE,
    seed: int = 0,
    progress: Progress = unseen,
) -> Copied:
    """OUT as shown above, with `people` of each split and, where a folder `prompts` is given, their prompts.

    A photo without masks, or that cannot be read, is refused like one without a large face.
    Raises: DataError for damaged lists and too few people; OutputError for a folder that holds something already.
    """
    if out.exists() and any(out.iterdir()):
        raise OutputError(f"{out}: expected a new or empty folder, got one with files; choose another.")
    if is_inside(out, root):
        raise OutputError(f"{out}: expected a folder outside {root}, got one inside; choose another.")
    lists = _prompts(prompts)
    photos = [photo for photo in read_celeba(root) if photo.split in splits]
    faults: dict[int, str] = {}
    for done, photo in enumerate(photos, start=1):
        if fault := _fault(photo, faces=faces, least_area=least_area, least_score=least_score):
            faults[photo.number] = fault
        progress(done, len(photos))
    found = {split: select(photos, faults=faults, people=people, split=split, seed=seed) for split in splits}
    numbered = {f"{FIRST[split] + k:03d}": who for split in splits for k, who in enumerate(found[split].people)}
    _require_prompts(lists, numbered, folder=prompts)
    settings = {"least_area": least_area, "least_score": least_score, "seed": seed, "faces": faces.id}
    counts = {split: {"people": len(s.people), "passed": s.num_passed, "cells": s.cells} for split, s in found.items()}
    refused = [row for split in splits for row in found[split].refused]
    summary = {"splits": counts, "photos": len(photos), "refused": len(refused), **settings}
    with replaced_folder(out) as fresh:
        for name, who in numbered.items():
            _write_person(fresh / name, who, lists={file: lists[file].get(name) for file in lists})
        if prompts and (prompts / "objects.txt").is_file():
            shutil.copyfile(prompts / "objects.txt", fresh / "objects.txt")
        write_jsonl(fresh / "selected.jsonl", (_selected(name, who) for name, who in numbered.items()))
        write_jsonl(fresh / "refused.jsonl", (row.model_dump() for row in refused))
        write_json(fresh / "summary.json", summary)
    return Copied(out, found, summary)


def _fault(photo: Photo, *, faces: _Faces, least_area: float, least_score: float) -> str:
    """Why the photo is refused; empty for one that passes."""
    try:
        read_mask(photo)
        image = load_image(photo.file)
    except DataError as error:
        return str(error).removeprefix(f"{photo.file}: ").removesuffix(".")
    (seen,) = faces.look([image])
    largest = seen.largest
    face = None if largest is None else SeenFace(largest.area / (image.width * image.height), largest.score)
    return face_fault(face, least_area=least_area, least_score=least_score)


def _prompts(folder: Path | None) -> dict[str, dict[str, Any]]:
    """File of PROMPT_FILES -> number of the person -> lists. Raises: DataError for a folder without templates."""
    if folder is None:
        return {}
    if not (folder / TEMPLATES).is_file():
        raise DataError(f"{folder}: expected {TEMPLATES}, got none; make it with likeness data stellar-prompts.")
    return {name: read_lists(folder / name) for name in PROMPT_FILES if (folder / name).is_file()}


def _require_prompts(
    lists: Mapping[str, Mapping[str, Any]], people: Mapping[str, Chosen], *, folder: Path | None
) -> None:
    """Raises: DataError for a person without templates."""
    for name in people:
        if lists and name not in lists[TEMPLATES]:
            raise DataError(f"{folder}: expected prompts for {name}, got none in {TEMPLATES}; make more of them.")


def _write_person(folder: Path, who: Chosen, *, lists: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True)
    for k, photo in enumerate(who.photos):
        shutil.copyfile(photo.file, folder / f"{k}.jpg")
        atomic_write_bytes(folder / f"{k}_bg.png", _palette_png(read_mask(photo)))
        facts: dict[str, Any] = {"attributes": photo.attributes}
        if photo.grades is not None:
            facts["finegrained_attributes"] = photo.grades
        facts |= {"identity": who.identity, "original_filename": photo.file.name}
        write_json(folder / f"{k}_attributes.json", facts)
    for source, name in PROMPT_FILES.items():
        if lists.get(source):
            write_json(folder / name, lists[source])


def _palette_png(classes: UInt8[np.ndarray, "H W"]) -> bytes:
    """Classes as a palette picture: 0, the background, is black, and every part has a colour of its own."""
    picture = Image.frombytes("P", classes.shape[::-1], np.ascontiguousarray(classes).tobytes())
    steps = (40, 120, 200)
    colours = [(steps[k % 3], steps[k // 3 % 3], steps[k // 9 % 3]) for k in range(len(PARTS))]
    picture.putpalette([channel for colour in [(0, 0, 0), *colours] for channel in colour])
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def _selected(name: str, who: Chosen) -> dict[str, Any]:
    male, young = ([photo.attributes[key] for photo in who.photos] for key in ("Male", "Young"))
    return {
        "person": name,
        "identity": who.identity,
        "photos": [photo.number for photo in who.photos],
        "Male": male,
        "Young": young,
    }
