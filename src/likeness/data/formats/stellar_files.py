"""Stellar's files: people with their photos and prompts, and the pictures that a method made of them.

    ROOT/objects.txt
    ROOT/NNN/{0.jpg, 0_bg.png, 0_attributes.json, 1.jpg, ..., prompts_t.json, prompts_h.json}   NNN: 000 to 399
    METHOD/NNN-I-PP.png with NNN-I-PP.json                            person, photo, prompt (PP means nothing)

A prompt holds "{}" where the person's words go. Prompts of the first kind (T) have lists of detectable words and
categories beside them, those of the second (H) nothing. Older folders have one prompt.json in place of both files.
Source: Stellar (arXiv:2312.06116), layout of the published data and code.
Differs: `relations`, [[[subject, relation, object]]] beside the detectables, is a field of ours, which may be absent.
"""

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar  # Any: JSON until a record has checked it

import numpy as np
from jaxtyping import Bool
from PIL import Image
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from likeness.core.errors import DataError
from likeness.core.files import atomic_write_bytes, read_json, write_json
from likeness.core.images import save_png, to_rgb
from likeness.core.rows import readable_mistakes

__all__ = [
    "NO_YES",
    "PERSON",
    "SLOT",
    "MethodRow",
    "Person",
    "PictureName",
    "Prompt",
    "filled",
    "person_folders",
    "picture_name",
    "prompt_lists",
    "read_person",
    "read_record",
    "write_person",
]

SLOT, PERSON = "{}", "a person"
NO_YES: dict[int, str] = {-1: "no", 1: "yes"}
"""What an attribute's number means; subjects of cases have the words."""
QUALITY = 95

Triplet = tuple[str, str, str]


class PictureName(NamedTuple):
    """Whose picture a file of a method is: the person's folder, the number of the photo, and the prompt's number."""

    person: str
    photo: int
    prompt: str


class Prompt(NamedTuple):
    """A prompt with its slot; the lists are empty for prompts of the second kind."""

    text: str
    detectables: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    relations: tuple[Triplet, ...] = ()


class Person(NamedTuple):
    """One folder: photos in order, of each its attributes (None where no file states them), and all prompts."""

    name: str
    photos: tuple[Path, ...]
    attributes: tuple[dict[str, str] | None, ...]
    prompts: tuple[Prompt, ...]


class _Record(BaseModel):
    """Foreign JSON: types are strict, further keys are somebody else's."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


def _written(value: str) -> str:
    if not value.strip():
        raise ValueError("at least one word")
    if re.search("[\ud800-\udfff]", value):
        raise ValueError("Unicode text without half surrogate pairs")
    return value


Text = Annotated[str, AfterValidator(_written)]


class _Prompts(_Record):
    prompts: list[Text] = Field(min_length=1)
    detectables: list[list[Text]] | None = None
    categories: list[list[Text]] | None = None
    relations: list[list[Annotated[list[Text], Field(min_length=3, max_length=3)]]] | None = None


def _sign(value: int) -> int:
    if value not in NO_YES:
        raise ValueError("-1 or 1")
    return value


class _Attributes(_Record):
    attributes: dict[str, Annotated[int, AfterValidator(_sign)]]


Kind = TypeVar("Kind", bound=BaseModel)


class MethodRow(_Record):
    """The part of NNN-I-PP.json that says whose picture it is: `image_path` ends in NNN/i.jpg, wherever it begins."""

    prompt: Text
    image_path: Text

    @property
    def photo(self) -> tuple[str, str]:
        """The person's folder and the stem of the photo. Raises: DataError for a path that does not end so."""
        parts = [part for part in re.split(r"[/\\]", self.image_path) if part]
        if len(parts) < 2 or not re.fullmatch("[0-9]{3}", parts[-2]) or not re.fullmatch(r"[0-9]{1,3}\.\w+", parts[-1]):
            raise DataError(f"image_path: expected a path that ends in NNN/i.jpg, got {self.image_path[:80]!r}.")
        return parts[-2], parts[-1].partition(".")[0]


def picture_name(stem: str) -> PictureName | None:
    """What NNN-I-PP at the end of a name says; None for another name."""
    found = re.fullmatch(r"(?:.*-)?([0-9]{3})-([0-9]{1,3})-([0-9]{2,6})", stem)
    return PictureName(found[1], int(found[2]), found[3]) if found else None


def filled(prompt: str, who: str = PERSON) -> str:
    """The prompt with the person's words in the slot."""
    return prompt.replace(SLOT, who, 1)


def person_folders(root: Path) -> list[Path]:
    """The folders NNN of a root, sorted; other names are no people.

    Raises: DataError when there are none, or one is numbered 400 or above, which belongs to no split.
    """
    found = (
        sorted(p for p in root.iterdir() if re.fullmatch(r"[0-9]{3}", p.name) and p.is_dir()) if root.is_dir() else []
    )
    if not found:
        raise DataError(f"{root}: expected folders 000, 001, ... of Stellar, found none; check the path.")
    if (last := found[-1]).name >= "400":
        raise DataError(f"{last}: expected numbers 000 to 199 (test) and 200 to 399 (validation); rename the folder.")
    return found


def read_person(folder: Path) -> Person:
    """The person of a folder NNN; masks and grades of attributes are not read.

    Raises: DataError that names the file for one that is absent, damaged or contradicts itself.
    """
    photos = _photos(folder)
    return Person(folder.name, photos, tuple(_attributes(photo) for photo in photos), tuple(_prompts(folder)))


def _photos(folder: Path) -> tuple[Path, ...]:
    """0.jpg, 1.jpg ... without a gap."""
    count = sum(1 for path in folder.iterdir() if re.fullmatch(r"[0-9]+\.jpg", path.name))
    photos = tuple(folder / f"{number}.jpg" for number in range(max(count, 1)))
    for photo in photos:
        if not photo.is_file():
            raise DataError(f"{photo}: expected the person's photos 0.jpg, 1.jpg, ..., found none of this name.")
    return photos


def _attributes(photo: Path) -> dict[str, str] | None:
    path = photo.with_name(f"{photo.stem}_attributes.json")
    if not path.is_file():
        return None
    return {name: NO_YES[value] for name, value in read_record(path, _Attributes).attributes.items()}


def _prompts(folder: Path) -> list[Prompt]:
    """T before H, or all of the older file."""
    new = [folder / name for name in ("prompts_t.json", "prompts_h.json") if (folder / name).is_file()]
    if not new and not (folder / "prompt.json").is_file():
        raise DataError(f"{folder}: expected prompts_t.json (or prompt.json), found neither; copy the data again.")
    return [prompt for path in new or [folder / "prompt.json"] for prompt in _prompts_of(path)]


def _prompts_of(path: Path) -> list[Prompt]:
    found = read_record(path, _Prompts)
    count = len(found.prompts)
    lists = {name: getattr(found, name) for name in ("detectables", "categories", "relations")}
    for name, rows in lists.items():
        if rows is not None and len(rows) != count:
            raise DataError(f"{path}: expected {count} lists in {name}, one per prompt, got {len(rows)}; correct it.")
    if odd := next(
        (text for text in found.prompts if text.count(SLOT) != 1 or not text.replace(SLOT, "").strip()), None
    ):
        raise DataError(f"{path}: expected prompts with {SLOT} once and further words, got {odd[:80]!r}; correct it.")
    words, kinds, related = (lists[name] or [[]] * count for name in lists)
    rows = zip(found.prompts, words, kinds, related, strict=True)
    return [Prompt(text, tuple(w), tuple(k), tuple((s, r, o) for s, r, o in rel)) for text, w, k, rel in rows]


def read_record(path: Path, kind: type[Kind]) -> Kind:
    """The record in a JSON file. Raises: DataError with the file and every mistake of it."""
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        raise DataError(f"{path}: {readable_mistakes(error)}") from None


# -- writing -------------------------------------------------------------------------------------------------------
def write_person(
    folder: Path,
    *,
    photos: Sequence[Image.Image],
    masks: Sequence[Bool[np.ndarray, "H W"]],
    attributes: Mapping[str, str],
    origin: str,
    templates: Sequence[Prompt],
    free: Sequence[str],
) -> None:
    """The folder NNN of a person, whose attributes ("no" or "yes") hold in every photo; `origin` names the person.

    Masks are 0 and 255 in every channel, 255 where the person is. Raises: OutputError.
    """
    numbers = {answer: number for number, answer in NO_YES.items()}
    values = {name: numbers[answer] for name, answer in attributes.items()}
    for k, (photo, mask) in enumerate(zip(photos, masks, strict=True)):
        _save_jpeg(photo, folder / f"{k}.jpg")
        save_png(Image.fromarray(mask.astype(np.uint8) * 255).convert("RGB"), folder / f"{k}_bg.png")
        facts = {"attributes": values, "identity": int(folder.name), "original_filename": f"{origin}-{k}"}
        write_json(folder / f"{k}_attributes.json", facts)
    write_json(folder / "prompts_t.json", prompt_lists(templates))
    write_json(folder / "prompts_h.json", {"prompts": list(free)})


def prompt_lists(prompts: Sequence[Prompt]) -> dict[str, Any]:
    """The JSON of prompts_t.json."""
    return {
        "prompts": [prompt.text for prompt in prompts],
        "detectables": [list(prompt.detectables) for prompt in prompts],
        "categories": [list(prompt.categories) for prompt in prompts],
        "relations": [[list(triplet) for triplet in prompt.relations] for prompt in prompts],
    }


def _save_jpeg(image: Image.Image, path: Path) -> None:
    buffer = io.BytesIO()
    to_rgb(image).save(buffer, format="JPEG", quality=QUALITY, subsampling=0)
    atomic_write_bytes(path, buffer.getvalue())
