"""Whom the rejected picture shows instead: identities that are wrong enough to fail the ten questions, and no more.

Kinds, by how much they change (difficulty 1 is the easiest to tell from the truth, 3 the hardest):
    replace  another character of another species                                             1
    redraw   the same species, everything else drawn anew                                     2
    parts    as few attributes as the gate asks for                                           3
    leak     every attribute the neighbour can lend: colours, pattern, accessory, looks       2
    trace    as few attributes of the neighbour as the gate asks for                          3
Leakage is what preference tuning is to cure, so leak and trace make up half of the disruptions with several subjects.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from likeness.core.kinds import Split
from likeness.data.judging.questions import expected_score
from likeness.world.identity import (
    ATTRIBUTES,
    HUMAN_ATTRIBUTES,
    HUMANS,
    NOT_APPLICABLE,
    Identity,
    draw_identity,
    split_of_identity,
)

__all__ = ["DIFFICULTY", "KINDS", "Kind", "Target", "disrupt", "is_drawable", "is_still_there"]

Kind = Literal["replace", "redraw", "parts", "leak", "trace"]
DIFFICULTY: dict[Kind, int] = {"replace": 1, "redraw": 2, "leak": 2, "parts": 3, "trace": 3}
KINDS: dict[str, tuple[Kind, ...]] = {
    "single": ("replace", "parts", "redraw", "parts"),
    "multi": ("trace", "replace", "leak", "parts", "trace", "redraw"),
}
"""The kinds that pairs of each subset take in turn."""

MAX_TRIES = 24
GROUPS: tuple[tuple[str, ...], ...] = (
    ("body_color",),
    ("second_color",),
    ("pattern",),
    ("accessory", "accessory_color"),
    ("skin",),
    ("hair_style",),
    ("hair_color",),
    ("beard", "age"),
)
"""Attributes that change together."""


class Target(NamedTuple):
    """A subject to be disrupted: who it is, and which of its attributes the picture shows ("none" where hidden)."""

    identity: Identity
    visible: Mapping[str, str]


def disrupt(
    target: Target, *, kind: Kind, neighbour: Identity | None, rng: random.Random, split: Split, max_score: int
) -> Identity | None:
    """Somebody of `split` who would get at most `max_score` of ten where `target` is expected; None if none was found.

    `neighbour` lends its attributes to the kinds leak and trace, which need one.
    """
    for candidate in _candidates(target.identity, kind=kind, neighbour=neighbour, rng=rng):
        fits = is_drawable(candidate) and split_of_identity(candidate) == split
        if fits and not is_still_there(target, (candidate,), max_score=max_score):
            return candidate
    return None


def is_still_there(target: Target, shown: Sequence[Identity], *, max_score: int) -> bool:
    """Whether somebody among `shown` would get more than `max_score` as `target`, as when two look-alikes swap."""
    return any(
        expected_score(target.identity.category, wanted=target.visible, shown=who.attributes()) > max_score
        for who in shown
    )


def is_drawable(identity: Identity) -> bool:
    """Whether the world could have drawn this identity: colours that stand out, no bearded child, no hatless hat."""
    clashes = identity.body_color in (identity.second_color, identity.accessory_color)
    half_worn = (identity.accessory == NOT_APPLICABLE) != (identity.accessory_color == NOT_APPLICABLE)
    return not (clashes or half_worn or (identity.age == "child" and identity.beard != "shaved"))


def _candidates(who: Identity, *, kind: Kind, neighbour: Identity | None, rng: random.Random) -> Iterator[Identity]:
    """Ever new identities; those that grow attribute by attribute come with the smallest change first."""
    for _ in range(MAX_TRIES):
        match kind:
            case "replace":
                yield draw_identity(rng, species=rng.choice([s for s in ATTRIBUTES["species"] if s != who.species]))
            case "redraw":
                yield draw_identity(rng, species=who.species)
            case "parts":
                yield from _growing(who, draw_identity(rng, species=who.species), rng=rng)
            case "leak":
                assert neighbour is not None
                yield _with_looks(who, neighbour, groups=GROUPS)
                # what cannot be lent in full (colours that would clash) is lent in part, the most first
                yield from reversed(list(_growing(who, neighbour, rng=rng)))
            case "trace":
                assert neighbour is not None
                yield from _growing(who, neighbour, rng=rng)


def _growing(who: Identity, other: Identity, *, rng: random.Random) -> Iterator[Identity]:
    """`who` with one, two, three ... attribute groups of `other`, in random order."""
    groups = list(GROUPS)
    rng.shuffle(groups)
    changed = who
    for group in groups:
        before, changed = changed, _with_looks(changed, other, groups=(group,))
        if changed != before:
            yield changed


def _with_looks(who: Identity, other: Identity, *, groups: Sequence[tuple[str, ...]]) -> Identity:
    """`who` with those attributes of `other`, except the ones that only people have if one of the two is none."""
    both_human = who.species in HUMANS and other.species in HUMANS
    names = [name for group in groups for name in group if both_human or name not in HUMAN_ATTRIBUTES]
    return replace(who, **{name: getattr(other, name) for name in names})
