"""What each action says in words: its relation, whom or what it relates the first subject to, and what must be drawn.

`predicate` is taken from the action's sentence. A relation's object is named as the thing is drawn ("bicycle" where
RelationBench writes "bike"), because a detector is asked for that word.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from likeness.core.records import Labels

Triplet = tuple[str, str, str]


@dataclass(frozen=True)
class Relation:
    """One action in words.

    predicate: the sentence without its subjects and scene ("riding a bike"). relation: what stands between subject and
    object ("riding"). object: the thing that the subject relates to, None where that is the second subject or nothing.
    things: props of the picture, by their names in `props.PROPS`, that the sentence asks for; decoration is not among
    them. symmetric: whether the sentence stays true when both subjects change places.
    """

    predicate: str
    relation: str
    object: str | None = None
    things: tuple[str, ...] = ()
    symmetric: bool = False


def _with(relation: str, thing: str, predicate: str) -> Relation:
    return Relation(predicate, relation, words_of(thing), (thing,))


def _both(words: str, *things: str, symmetric: bool = True) -> Relation:
    return Relation(words, words, None, things, symmetric)


def words_of(thing: str) -> str:
    """A prop's name as words: "soccer_ball" is a "soccer ball", and both halves of the hammock are a "hammock"."""
    return "hammock" if thing.startswith("hammock") else thing.replace("_", " ")


RELATIONS: dict[str, Relation] = {
    "guitar": _with("playing", "guitar", "playing guitar"),
    "piano": _with("playing", "piano", "playing piano"),
    "eat": _with("eating dinner at", "dinner_table", "eating dinner"),
    "dance": Relation("dancing", "dancing"),
    "lift": _with("lifting", "barbell", "lifting weights"),
    "read": _with("reading", "book", "reading a book"),
    "ski": _with("skiing on", "ski", "skiing"),
    "sleep": _with("sleeping in", "hammock_front", "sleeping peacefully in a hammock"),
    "cook": _with("cooking lunch on", "stove", "cooking lunch"),
    "sing": _with("singing into", "microphone", "singing"),
    "bike": _with("riding", "bicycle", "riding a bike"),
    "horse": _with("riding", "horse", "riding a horse"),
    "motorbike": _with("riding", "motorbike", "riding a motorbike"),
    "soccer": _with("playing soccer with", "soccer_ball", "playing soccer"),
    "wave": Relation("waving", "waving"),
    "jump": Relation("jumping", "jumping"),
    "run": Relation("running", "running"),
    "sit": _with("sitting on", "stool", "sitting on a stool"),
    "umbrella": _with("holding", "umbrella", "holding an umbrella"),
    "balloon": _with("holding", "balloon", "holding a balloon"),
    "paint": _with("painting at", "easel", "painting a picture"),
    "drums": _with("playing", "drums", "playing drums"),
    "kite": _with("flying", "kite", "flying a kite"),
    "skateboard": _with("riding", "skateboard", "riding a skateboard"),
    "trumpet": _with("playing", "trumpet", "playing trumpet"),
    "tea": _with("drinking tea from", "cup", "drinking tea"),
    "chess": _both("playing chess with", "chess_table"),
    "partner_dance": _both("partner dancing with"),
    "carry": _both("carrying", symmetric=False),
    "fence": _both("fencing with", "foil"),
    "shake_hands": _both("shakes hands with"),
    "kiss": _both("kissing"),
    "basketball": _both("playing basketball with", "basketball"),
    "wrestle": _both("wrestling with"),
    "hug": _both("hugging"),
    "fight": _both("fighting with", "boxing_glove"),
    "back_to_back": _both("sitting back to back with"),
    "hold_hands": _both("holding hands with"),
    "high_five": _both("giving a high five to"),
    "give_gift": _both("giving a gift to", "gift", symmetric=False),
    "give_flower": _both("giving a flower to", "flower", symmetric=False),
    "chase": _both("chasing", symmetric=False),
    "group_dance": Relation("dancing", "dancing", symmetric=True),
    "group_wave": Relation("waving", "waving", symmetric=True),
}

NO_RELATION: dict[str, str] = dict.fromkeys(
    ("stand", "together", "group"), "the sentence names who is there and has no verb"
)
"""Why the other actions have no entry."""


def relation_of(action: str) -> Relation | None:
    """The action in words; None for those of NO_RELATION."""
    return RELATIONS.get(action)


def triplets_of(action: str, names: Sequence[str]) -> tuple[Triplet, ...]:
    """(subject, relation, object) of an action whose subjects are `names`, in the order of its sentence.

    Empty where nothing is related: nobody has a verb, or somebody only jumps.
    """
    found = relation_of(action)
    if found is None:
        return ()
    if found.object is not None:
        return ((names[0], found.relation, found.object),)
    return ((names[0], found.relation, names[1]),) if len(names) == 2 else ()


def labels_of(action: str, *, ids: Sequence[str], class_names: Sequence[str]) -> Labels:
    """What a sentence of the action asks for, besides its scene; subjects are named by id in triplets.

    Detectables are what a detector of the world finds: each class word once, then the things. Every label but these
    is empty for an action of NO_RELATION. Differs: RelationBench gives no labels; these are what the world draws.
    """
    found = relation_of(action)
    things = tuple(map(words_of, found.things)) if found else ()
    return Labels(
        action=action,
        triplets=triplets_of(action, ids),
        objects=things,
        predicate=found.predicate if found else None,
        detectables=tuple(dict.fromkeys((*class_names, *things))),
    )
