"""A folder of photographs, one sub-folder per subject, and what is said of them.

    PHOTOS/red_backpack/00.jpg   00.mask.png   00.txt
    PHOTOS/red_backpack/01.jpg
    PHOTOS/cat2/a.png  b.png

The folder's name gives the words ("red backpack", "cat"), NAME.txt or the captions file the prompt, NAME.mask.png the
mask. Nothing is decoded here.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import Field

from likeness.core.errors import DataError
from likeness.core.files import read_json
from likeness.core.images import OTHER_SUFFIXES
from likeness.core.kinds import Category
from likeness.core.rows import Frozen, LeftOut
from likeness.data.formats.rows import PICTURE_SUFFIXES, pictures_by_stem, repeated_stems, text_beside

__all__ = ["Photo", "PhotoSet", "Said", "read_captions", "read_photos", "said_of"]

MASK = ".mask"
"""Between the name of a photograph and the suffix of its mask."""
ANIMALS = frozenset(("bird", "cat", "cow", "dog", "duck", "hamster", "horse", "kitten", "parrot", "pig", "puppy",
                     "rabbit", "sheep", "turtle"))  # fmt: skip
HUMANS = frozenset(("baby", "boy", "child", "girl", "man", "person", "woman"))


class Photo(NamedTuple):
    """A photograph: `subject` is its folder's name, `name` SUBJECT/NAME without suffix; `mask` lies beside it."""

    subject: str
    name: str
    path: Path
    mask: Path | None

    @property
    def id(self) -> str:
        """The name in letters that files and ids may have."""
        return safe(self.name)


class PhotoSet(NamedTuple):
    """All photographs in order of their names, and files that are none of use."""

    photos: tuple[Photo, ...]
    left_out: tuple[LeftOut, ...]


class Caption(Frozen):
    """What a captions file says of a subject or a photograph."""

    prompt: str | None = Field(default=None, min_length=1)
    class_name: str | None = Field(default=None, min_length=1)
    category: Category | None = None


class Said(NamedTuple):
    """Prompt, class word and category of a photograph, and where each comes from."""

    prompt: str
    class_name: str
    category: Category
    sources: dict[str, str]


def read_photos(folder: Path) -> PhotoSet:
    """The photographs in the sub-folders of `folder`. Raises: DataError where there is none, or two share an id."""
    photos: list[Photo] = []
    left_out: list[LeftOut] = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []:
        found = pictures_by_stem(place)
        masks = {stem.removesuffix(MASK): path for stem, path in found.items() if stem.endswith(MASK)}
        photos += [
            Photo(place.name, f"{place.name}/{stem}", path, masks.get(stem))
            for stem, path in found.items()
            if not stem.endswith(MASK)
        ]
        left_out += [*repeated_stems(place), *_unread(place)]
    if not photos:
        wanted = "a sub-folder of photographs per subject, such as backpack/00.jpg"
        raise DataError(f"{folder}: expected {wanted}, got none; check the path.")
    taken: dict[str, Photo] = {}
    for photo in photos:
        other = taken.setdefault(photo.id.casefold(), photo)
        if other is not photo:
            raise DataError(f"{photo.path}: expected a name of its own, got one like {other.path}; rename one of them.")
    return PhotoSet(tuple(photos), tuple(left_out))


def _unread(place: Path) -> Iterator[LeftOut]:
    """Pictures of kinds that are not looked for."""
    for path in sorted(place.rglob("*")):
        if path.suffix.lower() in set(OTHER_SUFFIXES) - set(PICTURE_SUFFIXES):
            yield LeftOut.at(path, f"expected one of {', '.join(PICTURE_SUFFIXES)}, got {path.suffix}; convert it.")


def read_captions(path: Path | None) -> dict[str, Caption]:
    """SUBJECT or SUBJECT/NAME -> what a JSON file says: a prompt, or {"prompt", "class_name", "category"}.

    Raises: DataError for another shape.
    """
    if path is None:
        return {}
    rows = read_json(path)
    if not isinstance(rows, dict):
        raise DataError(f"{path}: expected an object of subjects and prompts, got {type(rows).__name__}; correct it.")
    captions: dict[str, Caption] = {}
    for name, value in rows.items():
        try:
            captions[str(name)] = Caption.of_row({"prompt": value} if isinstance(value, str) else value)
        except DataError as error:
            raise DataError(f"{path}: {name}: {error}") from None
    return captions


def said_of(photo: Photo, captions: Mapping[str, Caption]) -> Said:
    """What is known of a photograph: by itself, of its subject, else by the folder's name."""
    own, general = captions.get(photo.name, Caption()), captions.get(photo.subject, Caption())
    given = own.class_name or general.class_name
    class_name = given or words_of(photo.subject)
    text = text_beside(photo.path)
    prompt = own.prompt or text or general.prompt
    category = own.category or general.category
    sources = {
        "class_name": "captions" if given else "the folder's name",
        "prompt": "captions" if own.prompt else "text beside" if text else "captions" if prompt else "class word",
        "category": "captions" if category else "class word",
    }
    return Said(prompt or f"a photo of {with_article(class_name)}", class_name, category or _kind(class_name), sources)


def words_of(folder: str) -> str:
    """A folder's name as words: "red_backpack" is a red backpack, "cat2" a cat."""
    words = re.sub(r"[\W_]+", " ", folder).strip()
    return re.sub(r"(?<=[^\W\d])\s*\d+$", "", words) or folder


def with_article(words: str) -> str:
    """The words after a or an."""
    return f"{'an' if words[0].lower() in 'aeiou' else 'a'} {words}"


def _kind(class_name: str) -> Category:
    """By the whole class word: a "dog" is an animal, a "dog backpack" is not."""
    word = class_name.lower()
    return "animal" if word in ANIMALS else "human" if word in HUMANS else "object"


def safe(name: str) -> str:
    """`name` with "-" for every character that ids may not have."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:90] or "photo"
