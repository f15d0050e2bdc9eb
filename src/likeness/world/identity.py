"""Who a character is: a frozen record of visible attributes, and the split it belongs to."""

import hashlib
import random
from dataclasses import dataclass
from typing import cast

from likeness.core.kinds import Category, Split
from likeness.world.pen import Color

PALETTE: dict[str, Color] = {
    "red": (222, 48, 48),
    "orange": (247, 138, 30),
    "yellow": (252, 216, 56),
    "green": (70, 172, 78),
    "blue": (54, 104, 220),
    "purple": (146, 76, 196),
    "pink": (250, 142, 188),
    "brown": (136, 86, 50),
    "white": (248, 248, 244),
    "black": (46, 46, 54),
}
SKIN: dict[str, Color] = {
    "light": (252, 220, 190),
    "tan": (226, 172, 124),
    "brown": (164, 106, 66),
    "dark": (96, 60, 42),
}
HAIR: dict[str, Color] = {
    "black": (40, 34, 36),
    "brown": (112, 66, 36),
    "blond": (244, 206, 96),
    "red": (198, 76, 30),
    "gray": (176, 178, 184),
}
ANIMALS = ("cat", "dog", "rabbit", "bear", "duck", "fox", "frog", "pig")
HUMANS = ("person",)
OBJECTS = ("robot", "teapot")
CATEGORY: dict[str, Category] = {
    **dict.fromkeys(ANIMALS, "animal"),
    **dict.fromkeys(HUMANS, "human"),
    **dict.fromkeys(OBJECTS, "object"),
}
NOT_APPLICABLE = "none"
PATTERNS = ("plain", "patch", "stripes", "dots", "star", "checks")
ACCESSORIES = ("none", "top hat", "cap", "crown", "scarf", "bow tie", "glasses")

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "species": (*ANIMALS, *HUMANS, *OBJECTS),
    "body_color": tuple(PALETTE),
    "second_color": tuple(PALETTE),
    "pattern": PATTERNS,
    "accessory": ACCESSORIES,
    "accessory_color": tuple(PALETTE),
    "skin": tuple(SKIN),
    "hair_style": ("short", "long", "curly", "bun"),
    "hair_color": tuple(HAIR),
    "beard": ("shaved", "bearded"),
    "age": ("child", "adult"),
}
"""Every attribute with its values. An attribute that does not apply to a subject reads "none"."""

HUMAN_ATTRIBUTES = ("skin", "hair_style", "hair_color", "beard", "age")


@dataclass(frozen=True)
class Identity:
    """The visible attributes of one character; equal attributes are the same character."""

    species: str
    body_color: str
    second_color: str
    pattern: str
    accessory: str
    accessory_color: str = NOT_APPLICABLE
    skin: str = NOT_APPLICABLE
    hair_style: str = NOT_APPLICABLE
    hair_color: str = NOT_APPLICABLE
    beard: str = NOT_APPLICABLE
    age: str = NOT_APPLICABLE

    def attributes(self) -> dict[str, str]:
        """Attribute name -> value, with "none" where the attribute does not apply."""
        return {name: cast(str, getattr(self, name)) for name in ATTRIBUTES}

    @property
    def class_name(self) -> str:
        """The word a prompt uses for this subject."""
        return self.species

    @property
    def category(self) -> Category:
        """One of "animal", "human" and "object"."""
        return CATEGORY[self.species]

    @property
    def id(self) -> str:
        """Class and content hash, such as "cat-1f3a9c2b"."""
        return f"{self.species}-{_digest('identity', *self.attributes().values())[:8]}"


def _digest(*names: str) -> str:
    return hashlib.sha256("\0".join(names).encode()).hexdigest()


def _split(*names: str, test: float, validation: float) -> Split:
    place = int(_digest(*names)[:12], 16) / 16**12
    return "test" if place < test else "validation" if place < test + validation else "train"


def split_of_identity(identity: Identity) -> Split:
    """The split of an identity, by hash: 10% test, 5% validation. Part of the world's format; never change it."""
    return _split("identity-split", *identity.attributes().values(), test=0.10, validation=0.05)


def split_of_pair(action: str, scene: str) -> Split:
    """The split of an (action, scene) pair, by hash: 15% test, 5% validation. Part of the world's format."""
    return _split("pair-split", action, scene, test=0.15, validation=0.05)


def draw_identity(rng: random.Random, *, species: str | None = None, like: Identity | None = None) -> Identity:
    """One identity, uniform over the attributes of its species.

    With `like`, the identity shares species and body colour with that one and differs in something else.
    """
    species = like.species if like else species or rng.choice(ATTRIBUTES["species"])
    body = like.body_color if like else rng.choice(tuple(PALETTE))
    second = rng.choice([c for c in PALETTE if c != body])
    accessory = rng.choice(ACCESSORIES)
    worn = rng.choice([c for c in PALETTE if c != body]) if accessory != "none" else NOT_APPLICABLE
    human: dict[str, str] = {}
    if species in HUMANS:
        human = {name: rng.choice(ATTRIBUTES[name]) for name in HUMAN_ATTRIBUTES}
        if human["age"] == "child":
            human["beard"] = "shaved"
    return Identity(species, body, second, rng.choice(PATTERNS), accessory, worn, **human)


def sample_identity(
    rng: random.Random, *, split: Split, species: str | None = None, like: Identity | None = None
) -> Identity:
    """One identity that belongs to `split`."""
    while True:
        identity = draw_identity(rng, species=species, like=like)
        if split_of_identity(identity) == split and identity != like:
            return identity
