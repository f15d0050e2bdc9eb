"""What a set of prompts says, in counts: words and parts of speech per prompt and person, and how much of a vocabulary.

Source: Stellar (arXiv:2312.06116v1), Table 6: total unique (TT), per prompt (PP), unique per person (PI).
Differs: the paper does not say how it counts the subject. Here a prompt is tagged with "A person" in its slot, and
these two words are not counted; words are compared without case, and punctuation is no word. Names count as nouns.
"""

import math
import re
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple  # Any: JSON

from likeness.core.errors import DataError
from likeness.data.formats.stellar_files import PERSON, SLOT, filled
from likeness.data.prompts.files import PromptSet
from likeness.data.prompts.tagger import Tagger, Word

__all__ = ["KINDS", "Count", "Coverage", "coverage", "told_counts", "word_counts_of", "words_of"]

KINDS: dict[str, frozenset[str] | None] = {
    "tokens": None,
    "nouns": frozenset({"NOUN", "PROPN"}),
    "verbs": frozenset({"VERB"}),
    "adjectives": frozenset({"ADJ"}),
    "adpositions": frozenset({"ADP"}),
}
"""Rows of the table -> parts of speech; None for every word."""
NOT_WORDS = frozenset({"PUNCT", "SYM", "SPACE"})


class Count(NamedTuple):
    """`total` different ones; `per_prompt` how many a prompt has; `per_person` how many different ones a person has,
    NaN where nobody is named."""

    total: int
    per_prompt: float
    per_person: float


class Coverage(NamedTuple):
    """`share` of the prompts' different words that the vocabulary has, and `named` of the vocabulary that they say."""

    share: float
    named: float
    num_words: int
    num_entries: int


def words_of(prompts: PromptSet, tagger: Tagger) -> dict[str, list[list[Word]]]:
    """Person -> the words of each prompt, without the subject's own and without punctuation. Lower case.

    Raises: DataError for a tagger that answers with other words than it was given.
    """
    different = list(dict.fromkeys(prompts.texts))
    tagged = dict(zip(different, tagger([_asked(text) for text in different]), strict=True))
    return {who: [_own(text, tagged[text]) for text in texts] for who, texts in prompts.people.items()}


def _asked(text: str) -> str:
    asked = filled(text)
    return asked[0].upper() + asked[1:]


def _own(text: str, words: Sequence[Word]) -> list[Word]:
    """Without the words of the slot."""
    kept = [Word(word.text.casefold(), word.part) for word in words if word.part not in NOT_WORDS]
    if SLOT not in text:
        return kept
    subject = PERSON.split()
    said = [word.text for word in kept]
    for place in range(len(kept)):
        if said[place : place + len(subject)] == subject:
            return kept[:place] + kept[place + len(subject) :]
    raise DataError(f"Tagger: expected the words {PERSON!r} in {text[:60]!r}, got {said[:8]}; check the tagger.")


def word_counts_of(words: Mapping[str, Sequence[Sequence[Word]]]) -> dict[str, Count]:
    """The rows of the table, by the names of KINDS, over the words of each person's prompts."""
    return {name: _count(words, parts) for name, parts in KINDS.items()}


def _count(words: Mapping[str, Sequence[Sequence[Word]]], parts: frozenset[str] | None) -> Count:
    kept = {
        who: [[w.text for w in row if parts is None or w.part in parts] for row in rows] for who, rows in words.items()
    }
    rows = [row for some in kept.values() for row in some]
    each = [len({word for row in some for word in row}) for who, some in kept.items() if who]
    return Count(len({word for row in rows for word in row}), fmean(map(len, rows)), fmean(each) if each else math.nan)


def coverage(words: Sequence[str], vocabulary: Sequence[str]) -> Coverage:
    """How far different `words` (or phrases) and a vocabulary say the same; plural and singular are one word.

    Raises: DataError for no words at all.
    """
    said, known = {_singular(word) for word in words}, {_singular(word) for word in vocabulary}
    if not said or not known:
        raise DataError(f"Coverage: expected words on both sides, got {len(said)} and {len(known)}; check the files.")
    both = len(said & known)
    return Coverage(both / len(said), both / len(known), len(said), len(known))


def _singular(word: str) -> str:
    """A rough singular, the same for both sides."""
    word = " ".join(word.casefold().split())
    if re.search(r"(x|z|ch|sh|ss)es$", word):
        return word[:-2]
    return word[:-1] if re.search(r"[^su]s$", word) else word


def told_counts(counts: Mapping[str, Count]) -> dict[str, dict[str, Any]]:
    """The counts as JSON; what is not known is null."""
    return {
        name: {
            "total": count.total,
            "per_prompt": count.per_prompt,
            "per_person": None if math.isnan(count.per_person) else count.per_person,
        }
        for name, count in counts.items()
    }
