"""Relations that a case asks for, as triplets: those of its labels, or those that its prompt of Stellar's form states.

Source: Stellar (arXiv:2312.06116), section on Stellar-T; published are prompts with detectable words, but no relations
and no parser, so the rules below are our reading of the template
"{} [as a person in uniform] [activity] [at location] [time or weather]".
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from likeness.core.records import Case, Labels
from likeness.world.face_attributes import FACE_ATTRIBUTES
from likeness.world.relations import NO_RELATION, RELATIONS, labels_of


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


ROLE_NOUNS = (
    *_words("clown, businessman, doctor, nurse, cop, policeman, firefighter, fireman, soldier, captain, admiral"),
    *_words("scientist, knight, DJ, egyptian pharaoh, king, emperor, astronaut, cowboy, wizard, pilot, Pope"),
    *_words("President, sumo fighter"),
)
"""What a person dresses up as: no object that a detector is asked for."""

_PERSON = "person"
_DETERMINERS = _words(
    "a, an, the, some, his, her, their, its, this, that, these, those, one, two, three, several, many"
)
_LOCATIVES = _words("in front of, next to, in, at, on, near, inside, outside, under")
_NO_VERBS = _words("king, ring, spring, string, wing, thing, something, evening, morning, building, ceiling, clothing")
_RIDDEN = _words("skis, ski, snowboard, surfboard, skateboard, skates, scooter, bicycle, bike, sled, sledge, board")


class Triplet(NamedTuple):
    """Who stands in which relation to what."""

    subject: str
    relation: str
    object: str


class Parsed(NamedTuple):
    """What a prompt of Stellar's form states. `role` is whom the person dresses up as; `unplaced` are detectable words
    that the prompt neither names nor has a verb for."""

    role: str | None
    triplets: tuple[Triplet, ...]
    unplaced: tuple[str, ...]


class _Span(NamedTuple):
    start: int
    end: int


def is_role(word: str) -> bool:
    """Whether a detectable word is one of ROLE_NOUNS, whatever its case."""
    return word.casefold() in {noun.casefold() for noun in ROLE_NOUNS}


def parse_prompt(prompt: str, detectables: Sequence[str]) -> Parsed | None:
    """The role and the relations of a prompt that begins with "{}" or "a person"; None for any other prompt.

    The relation to a word is what stands between it and the word before, without determiners and measures ("a cup
    of"); of a gap with more than one verb in front of a locative only the locative. A word that the prompt implies
    ("skiing": skis) takes the first verb.
    """
    start = re.match(r"\s*(\{\}|an?\s+person\b)", prompt, flags=re.IGNORECASE)
    if start is None:
        return None
    words = re.findall(r"[\w'’-]+", prompt[start.end() :])
    role, words = _take_role(words)
    wanted = [word for word in detectables if not is_role(word) and word.casefold() != (role or "").casefold()]
    spans = {word: span for word in wanted if (span := _find(word, words)) is not None}
    triplets: dict[str, Triplet] = {}
    anchor = 0
    for word, span in sorted(spans.items(), key=lambda item: item[1]):
        if relation := _relation(words[anchor : span.start]):
            triplets[word] = Triplet(_PERSON, relation, word)
        anchor = max(anchor, span.end)
    verb = next((word for word in words if _is_verb(word)), None)
    for word in wanted if verb else ():
        triplets.setdefault(word, Triplet(_PERSON, f"{verb} {'on' if word.casefold() in _RIDDEN else 'with'}", word))
    placed = tuple(triplets[word] for word in wanted if word in triplets)
    return Parsed(role, placed, tuple(word for word in wanted if word not in triplets))


def stated_labels(case: Case) -> Labels:
    """The case's labels; those that it lacks follow from its action where that is one of the world's.

    Not so where a prompt of Stellar's layout lists nothing to detect (H prompts, and templates without a thing): there
    a person is who every prompt is about and is never listed, so nothing is asked of it in metrics of objects and
    relations.
    """
    action = case.labels.action
    if action is None or not _is_drawn(case) or not case.subjects:
        return case.labels
    if _is_of_stellar(case) and not case.labels.detectables:
        return case.labels
    ids, names = [each.id for each in case.subjects], [each.class_name for each in case.subjects]
    own = {name: value for name, value in case.labels if value}
    return labels_of(action, ids=ids, class_names=names).model_copy(update=own)


def _is_drawn(case: Case) -> bool:
    """Whether the case's action is one of the world's."""
    return case.labels.action in RELATIONS.keys() | NO_RELATION.keys()


def _is_of_stellar(case: Case) -> bool:
    """Whether its subjects are people as Stellar's layout describes them, by attributes of a face."""
    return all(FACE_ATTRIBUTES.keys() <= (subject.attributes or {}).keys() for subject in case.subjects)


def case_triplets(case: Case) -> tuple[Triplet, ...]:
    """The triplets of the case's labels or action, a subject's id replaced by its class; else those that its prompt
    states."""
    labels = stated_labels(case)
    if not labels.triplets and _is_drawn(case):
        return ()  # by Stellar's rules "A person is waving" with the word "person" says "a person waving with person"
    if not labels.triplets:
        parsed = parse_prompt(case.prompt, labels.detectables)
        return parsed.triplets if parsed else ()
    names = {subject.id: subject.class_name for subject in case.subjects}
    return tuple(Triplet(names.get(s, s), relation, names.get(o, o)) for s, relation, o in labels.triplets)


def with_article(noun: str) -> str:
    """The noun with "a" or "an", unless it has a determiner already."""
    first = noun.split(" ", 1)[0]
    if first.casefold() in _DETERMINERS:
        return noun
    return f"{'an' if first[:1].casefold() in 'aeiou' else 'a'} {noun}"


def phrase(triplet: Triplet) -> str:
    """The triplet in words: "a person holding coffee"."""
    return f"{with_article(triplet.subject)} {triplet.relation} {triplet.object}"


def _is_verb(word: str) -> bool:
    return len(word) > 4 and word.casefold().endswith("ing") and word.casefold() not in _NO_VERBS


def _take_role(words: list[str]) -> tuple[str | None, list[str]]:
    """Whom the person dresses up as ("as a ..."), and the words after it."""
    if len(words) < 3 or words[0].casefold() != "as" or words[1].casefold() not in ("a", "an", "the"):
        return None, words
    known = max((len(noun.split()) for noun in ROLE_NOUNS if _begins(words[2:], noun)), default=0)
    ends = (i for i, word in enumerate(words) if i > 2 and (_is_verb(word) or _locative(words, i)))
    end = 2 + known if known else next(ends, len(words))
    return " ".join(words[2:end]), words[end:]


def _begins(words: Sequence[str], phrase: str) -> bool:
    parts = phrase.casefold().split()
    return [word.casefold() for word in words[: len(parts)]] == parts


def _locative(words: Sequence[str], place: int) -> str | None:
    return next((locative for locative in _LOCATIVES if _begins(words[place:], locative)), None)


def _find(detectable: str, words: Sequence[str]) -> _Span | None:
    """Where a detectable stands: all its words, else the last one; singular and plural are the same."""
    parts = [_stem(part) for part in re.findall(r"[\w'’-]+", detectable)]
    stems = [_stem(word) for word in words]
    for wanted in (parts, parts[-1:]):
        for start in range(len(stems) - len(wanted) + 1) if wanted else ():
            if stems[start : start + len(wanted)] == wanted:
                return _Span(start, start + len(wanted))
    return None


def _stem(word: str) -> str:
    word = word.casefold()
    if word.endswith("es") and word[:-2].endswith(("s", "x", "z", "ch", "sh")):
        return word[:-2]
    return word.removesuffix("s") if len(word) > 3 and not word.endswith("ss") else word


def _relation(gap: Sequence[str]) -> str:
    """The relation in the words before a noun phrase."""
    words = _without_determiners(list(gap))
    starts = [i for i in range(len(words)) if _locative(words, i) and not _inside_a_locative(words, i)]
    if starts and starts[-1] != 0 and not (starts[-1] == 1 and _is_verb(words[0])):
        words = words[starts[-1] :]
    return " ".join(words)


def _inside_a_locative(words: Sequence[str], place: int) -> bool:
    """Whether the word belongs to a longer locative that began before it ("in front of")."""
    return any(i + len((_locative(words, i) or "").split()) > place for i in range(place))


def _without_determiners(words: list[str]) -> list[str]:
    """The words without the beginning of a noun phrase at their end: "holding a big cup of" is "holding"."""
    while words:
        last = max((i for i, word in enumerate(words) if word.casefold() in _DETERMINERS), default=None)
        if last is not None and _only_nouns(words[last + 1 :]):
            words = words[:last]
        elif len(words) > 2 and words[-1].casefold() == "of" and not _ends_with_locative(words):
            words = words[:-2]
        else:
            return words
    return words


def _only_nouns(words: Sequence[str]) -> bool:
    """Whether there is neither a verb nor a locative among the words."""
    return not any(_is_verb(word) or _locative(words, i) for i, word in enumerate(words))


def _ends_with_locative(words: Sequence[str]) -> bool:
    return any(_begins(words[-len(locative.split()) :], locative) for locative in _LOCATIVES)
