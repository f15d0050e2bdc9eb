"""The few pictures that show a relation, each with texts in which {} stands for it.

A folder of pictures with a text.json, {"0.jpg": ["a cat {} a dog", ...], ...}; or one of `likeness data relations`,
whose prompts have {} in the place of their predicate.
Source: ReVersion (arXiv:2303.13495): 4 to 10 exemplars of a relation, the layout of its data.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: JSON

from PIL import Image
from pydantic import Field

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_json
from likeness.core.hashing import json_sha256, pixels_sha256
from likeness.core.images import load_image, pictures_in
from likeness.core.kinds import Split
from likeness.core.spec import Spec
from likeness.core.weights import public_name
from likeness.data.relations.records import RELATIONS_NAME
from likeness.train.relations.task import find_examples
from likeness.train.subjects.photos import square

TEXTS, SLOT = "text.json", "{}"
_ADVICE = f"put {TEXTS} beside the pictures, or make a set with `likeness data relations`"


class ExemplarTable(Spec):
    """`exemplars`: the folder. `token` stands for the relation in prompts.

    `size`: side of the squares that are cut from the middle of pictures, px. Of a set of relations `split` names the
    rows used. `limit`: the first so many.
    """

    exemplars: str = Field(min_length=1)
    token: str = Field(default="<R>", min_length=1)
    split: Split = "train"
    size: int = Field(default=1024, ge=16)
    limit: int | None = Field(default=None, ge=1)


class Exemplar(NamedTuple):
    """A square picture of the relation, and texts for it, each with one SLOT."""

    id: str
    image: Image.Image
    texts: tuple[str, ...]


def find_exemplars(table: ExemplarTable) -> tuple[Exemplar, ...]:
    """The exemplars of the table. Raises: ConfigError where there are none, DataError for damage."""
    folder = Path(table.exemplars).expanduser()
    held = [name for name in (TEXTS, RELATIONS_NAME) if (folder / name).is_file()]
    if len(held) != 1:
        got = " and ".join(held) or f"neither in {folder}"
        raise ConfigError(f"data.exemplars: expected a folder with {TEXTS} or {RELATIONS_NAME}, got {got}; {_ADVICE}.")
    read = _from_texts if held == [TEXTS] else _from_relations
    return tuple(read(folder, table))


def facts(table: ExemplarTable, exemplars: Sequence[Exemplar]) -> dict[str, Any]:
    """What decides the rows: the table but for places, pixels and texts."""
    own = table.model_dump(exclude={"exemplars", "limit"})
    rows = [[pixels_sha256(each.image), *each.texts] for each in exemplars]
    return {"id": public_name(table.exemplars), "sha256": json_sha256([own, rows]), **own}


def _from_texts(folder: Path, table: ExemplarTable) -> Iterator[Exemplar]:
    path = folder / TEXTS
    texts = read_json(path)
    names = {picture.name for picture in pictures_in(folder)}
    if not isinstance(texts, dict) or set(texts) != names:
        got = ", ".join(sorted(names ^ set(texts))) if isinstance(texts, dict) else type(texts).__name__
        raise DataError(f"{path}: expected an entry for every picture and no other, got a difference in {got}; add it.")
    for name in sorted(texts)[: table.limit]:
        told: Any = texts[name]
        if not isinstance(told, list) or not told or not all(_is_text(text) for text in told):
            raise DataError(f"{path}, {name}: expected a list of texts with one {SLOT} each, got {told!r}; correct it.")
        yield Exemplar(name, square(load_image(folder / name), size=table.size), tuple(told))


def _is_text(text: object) -> bool:
    return isinstance(text, str) and text.count(SLOT) == 1


def _from_relations(folder: Path, table: ExemplarTable) -> Iterator[Exemplar]:
    for example in find_examples(str(folder), split=table.split, limit=table.limit, key="exemplars"):
        if example.predicate is None:
            wanted = f"{folder / RELATIONS_NAME}, {example.id}: expected a predicate, got none"
            raise DataError(f"{wanted}; copy the relation's words from the prompt.")
        text = re.sub(rf"\b{re.escape(example.predicate)}\b", SLOT, example.prompt, count=1)
        if not _is_text(text):
            wanted = f"{folder / RELATIONS_NAME}, {example.id}: expected a predicate of whole words of the prompt"
            raise DataError(f"{wanted} {example.prompt!r}, got {example.predicate!r}; correct it.")
        yield Exemplar(example.id, square(load_image(example.target), size=table.size), (text,))
