"""Examples of a relation, as the relation task trains on them: two or more subjects alone, and together in a target.

Source: the data of DreamRelation (arXiv:2410.23280): references ("concepts"), target ("motion"), instance masks,
keypoints and predicate.
Differs: every subject holds its own reference, mask, box and keypoints, so that no order of rows has to be guessed;
keypoints carry validity, which the published files lack; each field tells where it comes from.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Self  # Any: rows are JSON

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field, model_validator

from likeness.core.errors import DataError
from likeness.core.kinds import Split
from likeness.core.pairs import File
from likeness.core.records import MAX_SUBJECTS, Box, Case
from likeness.core.rows import Frozen
from likeness.core.skeletons import NUM_KEYPOINTS, Skeleton

__all__ = ["RELATIONS_NAME", "Keypoints", "RelationExample", "RelationReference", "RelationSubject", "example_files",
           "example_row", "with_files"]  # fmt: skip

RELATIONS_NAME = "relations.jsonl"

_Share = Annotated[float, Field(allow_inf_nan=False)]


class Keypoints(Frozen):
    """17 points (x, y) in shares of the picture's width and height, and which of them are truly seen.

    A point that is not valid is where it would be, or was guessed to be; it may lie outside the picture.
    """

    skeleton: Skeleton
    points: tuple[tuple[_Share, _Share], ...] = Field(min_length=NUM_KEYPOINTS, max_length=NUM_KEYPOINTS)
    valid: tuple[bool, ...] = Field(min_length=NUM_KEYPOINTS, max_length=NUM_KEYPOINTS)

    @classmethod
    def of(cls, points: Float[np.ndarray, "17 2"], valid: Bool[np.ndarray, " 17"], *, skeleton: Skeleton) -> Self:
        """The record of two arrays; shares are rounded to a millionth of the side."""
        rounded = [(round(float(x), 6), round(float(y), 6)) for x, y in points]
        return cls(skeleton=skeleton, points=tuple(rounded), valid=tuple(bool(seen) for seen in valid))

    @property
    def array(self) -> Float[np.ndarray, "17 2"]:
        """The points in shares."""
        return np.asarray(self.points, dtype=np.float64)

    @property
    def seen(self) -> Bool[np.ndarray, " 17"]:
        """Which points are valid."""
        return np.asarray(self.valid, dtype=bool)


class RelationReference(Frozen):
    """A subject alone: picture, its (width, height) in px, keypoints, and mask and box where they are known."""

    image: File
    size: tuple[int, int]
    mask: File | None = None
    box: Box | None = None
    keypoints: Keypoints


class RelationSubject(Frozen):
    """A subject of an example: `mask` (PNG, 0 or 255), `box` and `keypoints` are those in the target.

    `phrase` names it in the prompt; `detection_score` is null where no detector was asked.
    """

    phrase: str = Field(min_length=1)
    id: str = ""
    reference: RelationReference
    mask: File
    box: Box
    keypoints: Keypoints
    detection_score: float | None = None


class RelationExample(Frozen):
    """A target picture in which the subjects stand in a relation, each with a reference.

    `predicate` is copied from the prompt, None where nobody knows it; `action` is a name of the world. `sources`: field
    -> where it comes from. `repairs`: what was wrong with the source and was mended. `sha256`: path as written -> hash
    of the file.
    Raises: DataError for an unsafe id, a blank prompt, no or too many subjects, a size below 1 px, or keypoints of two
    skeletons for one subject.
    """

    id: str
    prompt: str
    predicate: str | None = Field(default=None, min_length=1)
    action: str | None = None
    target: File
    size: tuple[int, int]
    subjects: tuple[RelationSubject, ...]
    sources: dict[str, str] = Field(default_factory=dict[str, str])
    repairs: tuple[str, ...] = ()
    seeds: dict[str, int] = Field(default_factory=dict[str, int])
    split: Split = "train"
    sha256: dict[str, str] = Field(default_factory=dict[str, str])

    @model_validator(mode="after")
    def _is_an_example(self) -> Self:
        Case(id=self.id, prompt=self.prompt)  # the same rules for ids and prompts
        if not 1 <= len(self.subjects) <= MAX_SUBJECTS:
            raise DataError(f"subjects: expected 1 to {MAX_SUBJECTS}, got {len(self.subjects)}; split the example.")
        for size in (self.size, *(subject.reference.size for subject in self.subjects)):
            if min(size) < 1:
                raise DataError(f"size: expected width and height of at least 1 px, got {list(size)}; correct it.")
        for index, subject in enumerate(self.subjects):
            pair = subject.keypoints.skeleton, subject.reference.keypoints.skeleton
            if pair[0] != pair[1]:
                what = f"subjects.{index}: expected keypoints of one skeleton, got {' and '.join(pair)}"
                raise DataError(f"{what}; point i of the target must be point i of the reference.")
        return self


def with_files(example: RelationExample, change: Callable[[str, Path], Path]) -> RelationExample:
    """The example with `change(slot, path)` in place of every path.

    Slots: target, target_mask_0 ..., reference_0 ..., reference_mask_0 ... (none without a mask).
    """

    def subject(index: int, old: RelationSubject) -> RelationSubject:
        reference = old.reference
        mask = reference.mask and change(f"reference_mask_{index}", reference.mask)
        image = change(f"reference_{index}", reference.image)
        moved = reference.model_copy(update={"image": image, "mask": mask})
        return old.model_copy(update={"reference": moved, "mask": change(f"target_mask_{index}", old.mask)})

    subjects = tuple(subject(*each) for each in enumerate(example.subjects))
    return example.model_copy(update={"target": change("target", example.target), "subjects": subjects})


def example_files(example: RelationExample) -> dict[str, Path]:
    """Slot -> path of every picture and mask."""
    files: dict[str, Path] = {}
    with_files(example, files.setdefault)
    return files


def example_row(example: RelationExample) -> dict[str, Any]:
    """The JSON row of an example whose paths are relative to its set."""
    return example.model_dump(mode="json")
