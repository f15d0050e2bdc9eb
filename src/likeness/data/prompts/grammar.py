"""Candidates of Stellar's template: {} [as a person in uniform] [activity] [at a place] [time or weather].

The words, activities and places stand in grammar.toml, and all of them are ours. Every candidate carries what its parts
state: words for a detector, relations and categories.
Source: Stellar (arXiv:2312.06116v1), section on Stellar-T and Table 5, whose category sizes are kept where the paper
states them (26 foods, 25 landmarks, 22 uniforms, 12 sports, 20 car brands). The published words are not used.
Differs: relations are written down; the published annotation has none. A role is a detectable word, as it is published,
but stands in no relation: metrics skip it.
"""

import random
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from itertools import combinations
from math import prod
from typing import Any, NamedTuple  # Any: TOML until it is taken apart

from likeness.core.errors import ConfigError
from likeness.core.rng import seed_for
from likeness.data.formats.stellar_files import SLOT, Prompt

__all__ = ["NUM_CANDIDATES", "PARTS", "Part", "candidates", "most_candidates", "objects", "parts_of", "word_counts"]

NUM_CANDIDATES = 177_000
PARTS = ("role", "activity", "location", "time")
"""The optional parts of a prompt, in their order."""
SPARE = 1.25
"""How many more are drawn than are needed: some name one thing twice and are dropped."""
PERSON = "person"
GRAMMAR = "grammar.toml"


class Part(NamedTuple):
    """One filled part of a prompt: its text, the word for a detector ("" for none), the relation of the person to it
    ("" for none), and its categories."""

    text: str
    label: str
    relation: str
    tags: tuple[str, ...]


class _Word(NamedTuple):
    text: str
    label: str
    relation: str  # where the text implies the thing; else the template's words say it


@cache
def _grammar() -> dict[str, Any]:
    return tomllib.loads(resources.files("likeness.data.prompts").joinpath(GRAMMAR).read_text(encoding="utf-8"))


@cache
def word_counts() -> Mapping[str, int]:
    """How many words each vocabulary has."""
    return {kind: len(words) for kind, words in _grammar()["words"].items()}


@cache
def parts_of(name: str) -> tuple[Part, ...]:
    """Every filling of a part of PARTS, each text once, in the order of grammar.toml."""
    found: dict[str, Part] = {}
    for group in _grammar()[name]:
        for template in group["texts"]:
            for part in _filled(template, tags=tuple(group["tags"])):
                found.setdefault(part.text, part)
    return tuple(found.values())


def _filled(template: str, *, tags: tuple[str, ...]) -> Iterator[Part]:
    slot = re.search(r"\{(\w+)\}", template)
    if slot is None:
        yield Part(template, "", "", tags)
        return
    kind, before = slot[1], template[: slot.start()].strip()
    own = tags if kind in tags else (*tags, kind)
    for word in map(_word, _grammar()["words"][kind]):
        text = template.replace(slot[0], word.text)
        relation = word.relation or (before if before else word.text.partition(" ")[0])
        has_relation = word.label and kind != "role"
        yield Part(text, word.label, relation if has_relation else "", own)


def _word(entry: str) -> _Word:
    """ "a slice of [pizza]", "skiing -> skis: skiing on", or plain text without anything to detect."""
    text, _, implied = entry.partition(" -> ")
    if implied:
        label, _, relation = implied.partition(": ")
        return _Word(text, label, relation)
    found = re.search(r"\[(.+)\]", text)
    return _Word(text.replace("[", "").replace("]", ""), found[1] if found else "", "")


def _shapes() -> list[tuple[str, ...]]:
    """The non-empty choices of PARTS, but for a time alone, which says nothing of a person."""
    shapes = [shape for size in range(1, len(PARTS) + 1) for shape in combinations(PARTS, size)]
    return [shape for shape in shapes if shape != ("time",)]


def _size(shape: Sequence[str]) -> int:
    return prod(len(parts_of(name)) for name in shape)


def most_candidates() -> int:
    """How many combinations the grammar has, those included that name one thing twice."""
    return sum(map(_size, _shapes()))


def candidates(count: int = NUM_CANDIDATES, *, seed: int = 0) -> list[Prompt]:
    """`count` prompts with distinct texts: small shapes whole, of the others equally many, drawn by the seed.

    Equal seeds give equal prompts in equal order. No prompt names a thing twice.
    Raises: ConfigError for more than the grammar can give.
    """
    found: dict[str, Prompt] = {}
    shapes = sorted(_shapes(), key=_size)
    for done, shape in enumerate(shapes):
        quota = -(-(count - len(found)) // (len(shapes) - done))
        for prompt in _drawn(shape, quota, seed=seed):
            found[prompt.text] = prompt
    if len(found) < count:
        raise ConfigError(f"--candidates: expected at most {len(found)}, got {count}; ask for fewer.")
    return list(found.values())[:count]


def _drawn(shape: tuple[str, ...], quota: int, *, seed: int) -> list[Prompt]:
    """At most `quota` prompts of a shape."""
    total = _size(shape)
    rng = random.Random(seed_for("stellar prompts", seed, *shape))
    drawn = rng.sample(range(total), min(total, int(quota * SPARE) + 1))
    prompts = (_prompt(_numbered(shape, index)) for index in drawn)
    return [prompt for prompt in prompts if prompt is not None][: max(quota, 0)]


def _numbered(shape: Sequence[str], index: int) -> list[Part]:
    """The combination with this number."""
    found: list[Part] = []
    for name in reversed(shape):
        parts = parts_of(name)
        index, place = divmod(index, len(parts))
        found.append(parts[place])
    return found[::-1]


def _prompt(parts: Sequence[Part]) -> Prompt | None:
    """The prompt of its parts; None where two of them name the same thing."""
    labels = [part.label for part in parts if part.label]
    if len({label.casefold() for label in labels}) < len(labels):
        return None
    tags = tuple(dict.fromkeys(tag for part in parts for tag in part.tags))
    relations = tuple((PERSON, part.relation, part.label) for part in parts if part.relation)
    return Prompt(" ".join([SLOT, *(part.text for part in parts)]), tuple(labels), tags, relations)


def objects() -> list[str]:
    """Every word that a prompt may ask a detector for, sorted."""
    return sorted({part.label for name in PARTS for part in parts_of(name) if part.label}, key=str.casefold)
