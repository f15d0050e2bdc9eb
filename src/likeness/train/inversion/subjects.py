"""Pictures of subjects of any class, with masks: what ELITE learns from. `Portrait` and `Portraits` are of rows.py."""

import random
from collections.abc import Iterator
from typing import Annotated, Any, Literal  # Any: JSON

import numpy as np
from PIL import Image
from pydantic import BeforeValidator, Field, model_validator

from likeness.core.errors import DataError
from likeness.core.hashing import json_sha256, pixels_sha256
from likeness.core.masks import inside
from likeness.core.rng import seed_for
from likeness.core.rows import LeftOut, list_of_one
from likeness.core.weights import public_name
from likeness.train.inversion.rows import DataTable, PhotoPortraits, Portrait, Portraits, portraits_of
from likeness.train.subjects.photos import PhotoTable, find_subjects
from likeness.world.identity import Identity, sample_identity
from likeness.world.render import reference_mask, render_reference


class SubjectsTable(DataTable):
    """As a `DataTable`, of which "folder" reads any NAME.jpg with its NAME_bg.png, and "world" draws any species.

    "photos" reads `photos`, folders of NAME.jpg with NAME.mask.png or `world:ID`, as subjects/photos.py has them.
    """

    source: Literal["world", "folder", "celeba", "photos"] = "world"  # pyright: ignore[reportIncompatibleVariableOverride] one more
    photos: Annotated[list[str], BeforeValidator(list_of_one)] = Field(default_factory=list[str])
    faces: str = Field(default="none", min_length=1)

    @model_validator(mode="after")
    def _names_what_it_reads(self) -> "SubjectsTable":
        if (self.source == "photos") != bool(self.photos):
            got = self.photos or "none"
            raise ValueError(f"photos: expected some for source photos only, got {got}; change either")
        if (self.source in ("folder", "celeba")) != (self.folder is not None):
            got = "none" if self.folder is None else self.folder
            raise ValueError(f"folder: expected one for source folder or celeba only, got {got}; change either")
        return self


class WorldSubjects:
    """Subjects of the training split of the drawn world, of every species, before a plain backdrop."""

    left_out: tuple[LeftOut, ...] = ()

    def __init__(self, table: DataTable) -> None:
        self._count, self._size = min(table.count, table.limit or table.count), table.size

    def __len__(self) -> int:
        return self._count

    def who(self, row: int) -> Identity:
        """The subject of a row."""
        return sample_identity(random.Random(seed_for("elite", "subject", row)), split="train")

    def read(self, row: int) -> Portrait:
        """Drawn now."""
        drawn: Any = {"seed": seed_for("elite", "photo", row), "size": self._size}
        who = self.who(row)
        return Portrait(Image.fromarray(render_reference(who, **drawn)), reference_mask(who, **drawn))

    def facts(self) -> dict[str, Any]:
        """The count and size stand for all pixels, together with the package's version."""
        return {"id": "world", "sha256": json_sha256(["world", "any", self._count, self._size])}


class PhotoSubjects:
    """Photos of some subjects; those without a mask are left out. Raises: ConfigError, DataError for none with one."""

    def __init__(self, table: SubjectsTable) -> None:
        self._places = table.photos
        names = [str(number) for number in range(len(table.photos))]
        told = PhotoTable(
            photos=table.photos, class_words=["subject"] * len(names), tokens=names, size=table.size, limit=table.limit
        )
        left_out: list[LeftOut] = []
        self._kept = list(_portraits(told, left_out))
        self.left_out = tuple(left_out)
        if not self._kept:
            raise DataError(f"data.photos: expected photos with masks, got none of {len(left_out)}; add NAME.mask.png.")

    def __len__(self) -> int:
        return len(self._kept)

    def read(self, row: int) -> Portrait:
        """Kept since the start."""
        return self._kept[row]

    def facts(self) -> dict[str, Any]:
        """Pixels of all pictures and masks."""
        rows = [[pixels_sha256(each.image), pixels_sha256(Image.fromarray(each.mask))] for each in self._kept]
        return {"id": [public_name(place) for place in self._places], "sha256": json_sha256(rows)}


def subjects_of(table: SubjectsTable) -> Portraits:
    """The rows of a table. Raises: ConfigError, DataError, WeightsError."""
    if table.source == "photos":
        return PhotoSubjects(table)
    return WorldSubjects(table) if table.source == "world" else _files(table)


def _files(table: SubjectsTable) -> PhotoPortraits:
    found = portraits_of(table)
    assert isinstance(found, PhotoPortraits), "a folder is named"
    return found


def _portraits(table: PhotoTable, left_out: list[LeftOut]) -> Iterator[Portrait]:
    for place, subject in zip(table.photos, find_subjects(table), strict=True):
        for number, photo in enumerate(subject.photos):
            mask = None if photo.mask is None else inside(photo.mask)
            if mask is None or not mask.any():
                got = "none" if mask is None else "an empty one"
                left_out.append(LeftOut(where=f"{place}#{number}", reason=f"expected a mask, got {got}."))
                continue
            yield Portrait(photo.image, np.asarray(mask))
