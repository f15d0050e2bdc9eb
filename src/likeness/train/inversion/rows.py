"""Portraits with masks that StellarNet learns from: drawn ones, a folder of them, or CelebAMask-HQ.

    FOLDER/.../NAME.jpg (or .png ...)   a portrait
    FOLDER/.../NAME_bg.png              where the person is: any value but 0, of the picture's shape but of any size

So Stellar's folders and those of `data stellar-images` are read, too. What cannot be used is left out with a reason.
"""

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable  # Any: identities are JSON

import numpy as np
from jaxtyping import Bool
from PIL import Image
from pydantic import Field, model_validator

from likeness.core.errors import ConfigError, DataError
from likeness.core.hashing import file_sha256, json_sha256
from likeness.core.images import load_image, pictures_in
from likeness.core.rng import seed_for
from likeness.core.rows import LeftOut
from likeness.core.spec import Spec
from likeness.core.weights import public_name
from likeness.data.portraits.celeba import Photo, read_celeba, read_mask
from likeness.encoders.faces import FaceEncoder
from likeness.encoders.faces_seen import FacesSeen
from likeness.world.identity import Identity, sample_identity
from likeness.world.render import reference_mask, render_reference

MASK_END = "_bg"
SPECIES = "person"
LEAST_SHARE, MOST_SHARE = 0.01, 0.99
"""Of a picture that a mask may cover."""
Mask = Bool[np.ndarray, "H W"]


class DataTable(Spec):
    """`source`: "world" draws `count` people of the training split; "folder" and "celeba" read `folder`.

    `size`: px of the side to which pictures are cut and scaled. `faces`: who looks for faces in a folder's pictures, as
    `evaluate --encoder faces=` names it ("none": nobody, so that no picture is left out for its faces).
    """

    source: Literal["world", "folder", "celeba"] = "world"
    folder: str | None = Field(default=None, min_length=1)
    count: int = Field(default=2000, ge=1)
    size: int = Field(default=1024, ge=16)
    faces: str = Field(default="dlib", min_length=1)
    limit: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _names_what_it_reads(self) -> "DataTable":
        if (self.source == "world") == (self.folder is not None):
            got = "none" if self.folder is None else f"{self.folder} with source world"
            raise ValueError(f"folder: expected one for source folder or celeba only, got {got}; change either")
        return self


class Portrait(NamedTuple):
    """An RGB picture and where the person is, (H, W) of it."""

    image: Image.Image
    mask: Mask


@runtime_checkable
class Portraits(Protocol):
    """Rows by number; `left_out` are those that cannot be used."""

    left_out: tuple[LeftOut, ...]

    def __len__(self) -> int: ...

    def read(self, row: int) -> Portrait:
        """The portrait of a row."""
        ...

    def facts(self) -> dict[str, Any]:
        """What decides the rows: {"id", "sha256"}."""
        ...


class WorldPortraits:
    """People of the drawn world, before a plain backdrop."""

    left_out: tuple[LeftOut, ...] = ()

    def __init__(self, table: DataTable) -> None:
        self._count, self._size = min(table.count, table.limit or table.count), table.size

    def __len__(self) -> int:
        return self._count

    def who(self, row: int) -> Identity:
        """The person of a row."""
        rng = random.Random(seed_for("stellarnet", "person", row))
        return sample_identity(rng, split="train", species=SPECIES)

    def read(self, row: int) -> Portrait:
        """Drawn now."""
        drawn: Any = {"seed": seed_for("stellarnet", "photo", row), "size": self._size}
        who = self.who(row)
        return Portrait(Image.fromarray(render_reference(who, **drawn)), reference_mask(who, **drawn))

    def facts(self) -> dict[str, Any]:
        """The count and size stand for all pixels, together with the package's version."""
        return {"id": "world", "sha256": json_sha256(["world", SPECIES, self._count, self._size])}


class _Source(NamedTuple):
    """A picture's file, how its mask is read, and the files that decide both."""

    image: Path
    mask: Callable[[], Mask]
    files: tuple[Path, ...]


class PhotoPortraits:
    """Portraits of files. Raises: DataError where none can be used; ConfigError, WeightsError as the faces' encoder."""

    def __init__(self, table: DataTable) -> None:
        assert table.folder is not None, "the table was checked"
        self._folder = Path(table.folder).expanduser()
        if not self._folder.is_dir():
            raise ConfigError(f"data.folder: expected a folder of portraits, got none at {self._folder}; correct it.")
        sources, left_out = _in_folder(self._folder) if table.source == "folder" else _in_celeba(self._folder)
        faces = None if table.faces == "none" else FaceEncoder.load(table.faces)
        kept: list[_Source] = []
        for source in sources[: table.limit]:
            try:
                _check(_read(source), faces=faces)
                kept.append(source)
            except DataError as error:
                left_out.append(LeftOut.at(source.image, str(error).removeprefix(f"{source.image}: ")))
        self.left_out, self._kept = tuple(left_out), kept
        if not kept:
            got = f"{len(left_out)} that cannot be used" if left_out else "no picture"
            first = (
                f"; first: {left_out[0].reason}" if left_out else f"; pictures need a NAME{MASK_END}.png beside them."
            )
            raise DataError(f"{self._folder}: expected portraits with masks, got {got}{first}")

    def __len__(self) -> int:
        return len(self._kept)

    def read(self, row: int) -> Portrait:
        """Read now. Raises: DataError for a damaged file."""
        return _read(self._kept[row])

    def facts(self) -> dict[str, Any]:
        """Names and contents of all files."""
        files = [file for source in self._kept for file in source.files]
        rows = [[file.relative_to(self._folder).as_posix(), file_sha256(file)] for file in files]
        return {"id": public_name(str(self._folder)), "sha256": json_sha256(rows)}


def portraits_of(table: DataTable) -> WorldPortraits | PhotoPortraits:
    """The rows of a table. Raises: ConfigError, DataError, WeightsError."""
    return WorldPortraits(table) if table.source == "world" else PhotoPortraits(table)


def _in_folder(folder: Path) -> tuple[list[_Source], list[LeftOut]]:
    """Pictures with a mask beside them, in the order of their paths; those without one are left out."""
    found: list[_Source] = []
    left_out: list[LeftOut] = []
    places = sorted({folder, *(path for path in folder.rglob("*") if path.is_dir())})
    for path in (path for place in places for path in pictures_in(place)):
        if path.stem.endswith(MASK_END):
            continue
        mask = path.with_name(f"{path.stem}{MASK_END}.png")
        if mask.is_file():
            found.append(_Source(path, partial(any_value, mask), (path, mask)))
        else:
            left_out.append(LeftOut.at(path, f"expected a mask {mask.name} beside it, got none."))
    return found, left_out


def _in_celeba(root: Path) -> tuple[list[_Source], list[LeftOut]]:
    """The photos of CelebAMask-HQ's training split, by number."""

    def covered(photo: Photo) -> Mask:
        return read_mask(photo) > 0

    photos = read_celeba(root, splits=("train",))
    files = [(photo.file, *(photo.parts[name] for name in sorted(photo.parts))) for photo in photos]
    return [_Source(p.file, partial(covered, p), each) for p, each in zip(photos, files, strict=True)], []


def any_value(path: Path) -> Mask:
    """Where a mask's file has another value, or a palette's place, than 0. Raises: DataError."""
    image = load_image(path)
    with Image.open(path) as raw:
        levels = np.asarray(raw if raw.mode in ("P", "L", "1") else image)
    return np.asarray(levels > 0 if levels.ndim == 2 else (levels > 0).any(axis=-1), dtype=bool)


def _read(source: _Source) -> Portrait:
    """Raises: DataError for damage, and for a mask of another shape, empty, or of everything."""
    image, mask = load_image(source.image), source.mask()
    height, width = mask.shape
    if abs(width * image.height - height * image.width) > max(image.size):
        got = f"{width} x {height} px"
        raise DataError(f"expected a mask of the shape of the picture, {image.width} x {image.height} px, got {got}.")
    scaled = Image.fromarray(mask).resize(image.size, Image.Resampling.NEAREST)
    portrait = Portrait(image, np.asarray(scaled))
    share = float(portrait.mask.mean())
    if not LEAST_SHARE <= share <= MOST_SHARE:
        raise DataError(f"expected a mask of {LEAST_SHARE:.0%} to {MOST_SHARE:.0%} of the picture, got {share:.1%}.")
    return portrait


def _check(portrait: Portrait, *, faces: FaceEncoder | None) -> None:
    """Raises: DataError for a picture without exactly one face, or a mask that does not lie on it."""
    if faces is None:
        return
    (seen,) = faces.look([portrait.image])
    if fault := face_fault(seen, mask=portrait.mask):
        raise DataError(fault)


def face_fault(seen: FacesSeen, *, mask: Mask) -> str:
    """What is wrong with the faces of a picture; empty where it shows one, whose middle the mask covers."""
    if len(seen.faces) != 1:
        return "expected a face, found none." if not seen.faces else f"expected one face, found {len(seen.faces)}."
    left, top, right, bottom = seen.faces[0].box
    height, width = mask.shape
    row, column = (
        int(np.clip(each, 0, side - 1)) for each, side in (((top + bottom) / 2, height), ((left + right) / 2, width))
    )
    return "" if mask[row, column] else "expected a mask that covers the face, got one beside it."


def fitted(portrait: Portrait, *, size: int) -> Portrait:
    """The middle square of picture and mask, `size` px wide."""
    side = min(portrait.image.size)
    left, top = ((length - side) // 2 for length in portrait.image.size)
    box = (left, top, left + side, top + side)
    image = portrait.image.crop(box).resize((size, size), Image.Resampling.LANCZOS)
    mask = Image.fromarray(portrait.mask).crop(box).resize((size, size), Image.Resampling.NEAREST)
    return Portrait(image, np.array(mask))


def left_out_rows(rows: Sequence[LeftOut]) -> list[dict[str, str]]:
    """As left_out.jsonl has them."""
    return [row.model_dump() for row in rows]
