"""The few photos of each subject: a folder of pictures with optional masks, or a subject of the drawn world.

A folder holds NAME.jpg and, where there is one, NAME.mask.png. `world:ID` is a subject of the benchmark world-single,
whose photos are drawn: the first three are those that the benchmark shows and compares with.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple  # Any: identities are JSON

from PIL import Image, ImageOps
from pydantic import BeforeValidator, Field, model_validator

from likeness.benchmarks.world import NUM_CASES, SCENARIOS
from likeness.core.errors import ConfigError
from likeness.core.hashing import json_sha256, pixels_sha256
from likeness.core.images import load_image, pictures_in
from likeness.core.kinds import Split
from likeness.core.masks import load_mask
from likeness.core.rng import seed_for
from likeness.core.rows import list_of_one
from likeness.core.spec import Spec
from likeness.core.weights import public_name
from likeness.world.identity import Identity
from likeness.world.render import reference_mask, render_reference

WORLD, BENCHMARK = "world:", "world-single"
NUM_WORLD_PHOTOS = 3
MASK = ".mask"
Texts = Annotated[list[str], BeforeValidator(list_of_one), Field(min_length=1)]


class PhotoTable(Spec):
    """`photos`: folders of photos, or `world:ID`, a subject each, with a `class_words` and a token (`tokens`) each.

    `size`: side of the squares that are cut from the middle of photos, px. `limit`: the first so many of each subject.
    """

    photos: Texts
    class_words: Texts
    tokens: Texts
    size: int = Field(default=1024, ge=16)
    limit: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _says_all_of_each(self) -> "PhotoTable":
        counts = {"class_words": len(self.class_words), "tokens": len(self.tokens)}
        for name, count in counts.items():
            if count != len(self.photos):
                raise ValueError(f"{name}: expected one for each of photos ({len(self.photos)}), got {count}; add some")
        if len(set(self.tokens)) != len(self.tokens):
            raise ValueError(f"tokens: expected tokens that differ, got {self.tokens}; rename one")
        return self


class ClassTable(PhotoTable):
    """`class_pictures`: folders of pictures of each class; without any the untrained model draws `num_class_pictures`.

    Drawn ones lie in the user's cache.
    """

    class_pictures: Annotated[list[str], BeforeValidator(list_of_one)] = Field(default_factory=list[str])
    num_class_pictures: int = Field(default=200, ge=1)

    @model_validator(mode="after")
    def _has_folders_for_all(self) -> "ClassTable":
        if self.class_pictures and len(self.class_pictures) != len(self.photos):
            wanted = f"class_pictures: expected one for each of photos ({len(self.photos)}) or none"
            raise ValueError(f"{wanted}, got {len(self.class_pictures)}; correct it")
        return self


class Photo(NamedTuple):
    """A square picture of the subject and, where known, the mask of what belongs to it."""

    image: Image.Image
    mask: Image.Image | None


class LearntSubject(NamedTuple):
    """A subject with its photos, the word for its class and the token that stands for it."""

    token: str
    class_word: str
    photos: tuple[Photo, ...]


def find_subjects(table: PhotoTable) -> tuple[LearntSubject, ...]:
    """Every subject of the table with its photos. Raises: ConfigError for none of them, DataError for damage."""
    each = zip(table.tokens, table.class_words, table.photos, strict=True)
    return tuple(LearntSubject(token, word, tuple(_photos(place, table))) for token, word, place in each)


def facts(table: PhotoTable, subjects: Sequence[LearntSubject]) -> dict[str, Any]:
    """What decides the rows: all of the table but places, and the pixels of all pictures."""
    pixels = [[_digest(photo) for photo in subject.photos] for subject in subjects]
    own = table.model_dump(exclude={"photos", "limit", "class_pictures"})
    classes = [
        [pixels_sha256(image) for image in folder_pictures(folder)] for folder in getattr(table, "class_pictures", ())
    ]
    sha256 = json_sha256([own, pixels, classes])
    return {"id": [public_name(place) for place in table.photos], "sha256": sha256, **own}


def _digest(photo: Photo) -> list[str | None]:
    return [pixels_sha256(photo.image), None if photo.mask is None else pixels_sha256(photo.mask)]


def _photos(place: str, table: PhotoTable) -> Iterator[Photo]:
    if place.startswith(WORLD):
        yield from _drawn(place, size=table.size, limit=table.limit or NUM_WORLD_PHOTOS)
        return
    paths = _files(place, what="data.photos")
    for path in paths[: table.limit]:
        image = load_image(path)
        beside = path.with_name(f"{path.stem}{MASK}.png")
        mask = load_mask(beside, size=image.size) if beside.is_file() else None
        fitted = None if mask is None else ImageOps.fit(mask, (table.size, table.size), Image.Resampling.NEAREST)
        yield Photo(square(image, size=table.size), fitted)


def _files(place: str, *, what: str) -> list[Path]:
    folder = Path(place).expanduser()
    found = pictures_in(folder) if folder.is_dir() else []
    if kept := [path for path in found if not path.stem.endswith(MASK)]:
        return kept
    raise ConfigError(f"{what}: expected a folder of pictures, got none in {place}; correct the path.")


def folder_pictures(place: str) -> list[Image.Image]:
    """The pictures of a class in a folder. Raises: ConfigError for none, DataError for damage."""
    return [load_image(path) for path in _files(place, what="data.class_pictures")]


def square(image: Image.Image, *, size: int) -> Image.Image:
    """The middle of a picture as a square of `size` px."""
    return ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)


def _drawn(place: str, *, size: int, limit: int) -> Iterator[Photo]:
    who = world_subject(place.removeprefix(WORLD))
    for number in range(limit):
        seed = seed_for("photo", who.id, number)
        image = Image.fromarray(render_reference(who, seed=seed, size=size))
        yield Photo(image, Image.fromarray(reference_mask(who, seed=seed, size=size)).convert("L"))


def world_subject(name: str) -> Identity:
    """The subject of world-single with this id. Raises: ConfigError for none."""
    splits: tuple[Split, ...] = ("test", "validation")
    for split in splits:
        for index in range(NUM_CASES[BENCHMARK]):
            (who,) = SCENARIOS[BENCHMARK](index, split).identities
            if who.id == name:
                return who
    wanted = f"data.photos: expected the id of a subject of {BENCHMARK}, got {name!r}"
    raise ConfigError(f"{wanted}; see subjects in the cases.jsonl of that benchmark.")
