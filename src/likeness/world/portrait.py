"""A character from a phrase such as "a red cat with a blue hat"; what the phrase leaves open follows from the seed."""

import random
import re

from likeness.core.errors import ConfigError
from likeness.core.rng import seed_for
from likeness.world.identity import (
    ATTRIBUTES,
    HAIR,
    HUMAN_ATTRIBUTES,
    HUMANS,
    NOT_APPLICABLE,
    PALETTE,
    SKIN,
    Identity,
    draw_identity,
)

SYNONYMS = {
    "grey": "gray", "blonde": "blond", "man": "person", "woman": "person", "boy": "child", "girl": "child",
    "striped": "stripes", "stripe": "stripes", "dotted": "dots", "dot": "dots", "spotted": "dots", "stars": "star",
    "checked": "checks", "checkered": "checks", "beard": "bearded", "bowtie": "tie",
}  # fmt: skip
FILLERS = frozenset(
    ("a", "an", "and", "the", "with", "wearing", "wears", "who", "has", "of", "on", "its", "his", "her", "top", "bow")
)
COLORED = {
    **dict.fromkeys(ATTRIBUTES["species"], ("species", "body_color")),
    **{
        name.split()[-1]: ("accessory", "accessory_color") for name in ATTRIBUTES["accessory"] if name != NOT_APPLICABLE
    },
    **dict.fromkeys(ATTRIBUTES["pattern"], ("pattern", "second_color")),
}
"""Word -> the attribute that it is a value of, and the attribute that a colour before it is a value of."""
PARTS = {"hair": "hair_color", "skin": "skin"}
PLAIN = {value: name for name in ("hair_style", "beard", "age") for value in ATTRIBUTES[name]}


def read_identity(phrase: str, *, seed: int = 0) -> Identity:
    """The character that `phrase` describes.

    A colour belongs to the next thing named: the class (its body), an accessory, a pattern, "hair" or "skin". What is
    not said is drawn from `seed`, except that nothing is worn that was not named. Raises: ConfigError for a word that
    the world does not know, a phrase without a class, or one that contradicts itself.
    """
    said: dict[str, str] = {}
    color: str | None = None
    found: list[str] = re.findall(r"[a-z]+", phrase.lower())
    for word in (SYNONYMS.get(word, word) for word in found):
        if word in PALETTE or word in SKIN or word in HAIR:
            if color is not None:
                raise _mistake(phrase, f"a thing after the colour {color!r}", repr(word))
            color = word
        elif word not in FILLERS:
            for name, value in _meaning(word, color=color, phrase=phrase).items():
                if said.setdefault(name, value) != value:
                    raise _mistake(phrase, f"one {_words(name)}", f"{said[name]!r} and {value!r}")
            color = color if word in PLAIN else None
    if color is not None:
        raise _mistake(phrase, f"a thing after the colour {color!r}", "the end")
    if "species" not in said:
        raise _mistake(phrase, f"one of {', '.join(ATTRIBUTES['species'])}", "none of them")
    return _complete(said, phrase=phrase, seed=seed)


def _meaning(word: str, *, color: str | None, phrase: str) -> dict[str, str]:
    """What a word says of attributes, with the colour before it."""
    if word in COLORED:
        name, colored = COLORED[word]
        value = next(value for value in ATTRIBUTES[name] if value.split()[-1] == word)
        return {name: value} | ({colored: color} if color else {})
    if word in PARTS:
        return {PARTS[word]: color} if color else {}
    if word == "child":
        return {"species": "person", "age": "child"} | ({"body_color": color} if color else {})
    if word in PLAIN:
        return {PLAIN[word]: word}
    known = ", ".join(sorted({*COLORED, *PARTS, *PLAIN, *PALETTE}))
    raise _mistake(phrase, f"words among {known}", repr(word))


def _complete(said: dict[str, str], *, phrase: str, seed: int) -> Identity:
    """What was said, and the rest drawn by the rules of the world."""
    rng = random.Random(seed_for("portrait", phrase, seed))
    drawn = draw_identity(rng, species=said["species"]).attributes() | {"accessory": NOT_APPLICABLE}
    if said["species"] not in HUMANS:
        personal = [name for name in HUMAN_ATTRIBUTES if name in said]
        if personal:
            raise _mistake(phrase, f"what a {said['species']} can have", f"{_words(personal[0])} {said[personal[0]]!r}")
    wanted = drawn | said
    others = [color for color in PALETTE if color != wanted["body_color"]]
    wanted = wanted | {name: rng.choice(others) for name in ("second_color", "accessory_color") if name not in said}
    if wanted["accessory"] == NOT_APPLICABLE:
        wanted["accessory_color"] = NOT_APPLICABLE
    for name, value in said.items():
        if value not in ATTRIBUTES[name]:
            raise _mistake(phrase, f"a {_words(name)} among {', '.join(ATTRIBUTES[name])}", repr(value))
    return Identity(**wanted)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _mistake(phrase: str, wanted: str, got: str) -> ConfigError:
    return ConfigError(f"{phrase!r}: expected {wanted}, got {got}; change the phrase.")
