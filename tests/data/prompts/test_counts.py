"""Counts of words by hand, with a tagger of known answers; the real tagger where it is installed."""

import math
from collections.abc import Sequence
from importlib.util import find_spec

import pytest

from likeness.core.errors import DataError, MeasurementError
from likeness.data.prompts import tagger as tagger_module
from likeness.data.prompts.counts import Count, coverage, told_counts, word_counts_of, words_of
from likeness.data.prompts.files import PromptSet
from likeness.data.prompts.tagger import PACKAGE, Word, spacy_tagger

PARTS = {
    "a": "DET",
    "person": "NOUN",
    "riding": "VERB",
    "eating": "VERB",
    "horse": "NOUN",
    "pizza": "NOUN",
    "paris": "PROPN",
    "in": "ADP",
    "red": "ADJ",
    ".": "PUNCT",
}


def listed(texts: Sequence[str]) -> list[list[Word]]:
    """The parts of speech of PARTS."""
    return [[Word(word, PARTS[word.casefold()]) for word in text.replace(".", " .").split()] for text in texts]


SET = PromptSet(
    "t",
    {
        "000": ("{} riding a red horse in Paris.", "{} eating pizza in paris"),
        "001": ("a horse, a person".replace(",", ""), "{} eating pizza in paris"),
    },
)


def test_words_are_counted_per_prompt_and_person_without_the_subject() -> None:
    found = word_counts_of(words_of(SET, listed))
    # prompts have 6, 4, 4 and 4 words; without a slot, "a person" counts like any words
    assert found["tokens"] == Count(9, (6 + 4 + 4 + 4) / 4, (8 + 7) / 2)
    assert found["nouns"] == Count(4, (2 + 2 + 2 + 2) / 4, (3 + 4) / 2)  # horse, Paris, pizza, person
    assert found["verbs"] == Count(2, 3 / 4, (2 + 1) / 2)
    assert found["adjectives"] == Count(1, 1 / 4, (1 + 0) / 2)
    assert found["adpositions"] == Count(1, 3 / 4, (1 + 1) / 2)


def test_without_people_the_count_per_person_is_not_known() -> None:
    found = word_counts_of(words_of(PromptSet("x", {"": ("{} eating pizza",)}), listed))
    assert found["tokens"][:2] == (2, 2.0)
    assert math.isnan(found["tokens"].per_person)
    assert told_counts(found)["tokens"] == {"total": 2, "per_prompt": 2.0, "per_person": None}


def test_a_tagger_that_loses_the_subject_is_told() -> None:
    with pytest.raises(DataError, match="'a person'"):
        words_of(PromptSet("x", {"": ("{} eating pizza",)}), lambda texts: [[Word("eating", "VERB")] for _ in texts])


def test_coverage_goes_both_ways_and_takes_plurals_as_one() -> None:
    found = coverage(["Horse", "pizzas", "boxes", "glass", "paris"], ["horses", "box", "glass", "car"])
    assert found == (3 / 5, 3 / 4, 5, 4)
    with pytest.raises(DataError, match="got 0 and 1"):
        coverage([], ["car"])


def test_an_absent_tagger_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tagger_module, "PACKAGE", "no_such_package")
    with pytest.raises(MeasurementError, match=r"pip install 'likeness\[prompts\]'"):
        spacy_tagger()


@pytest.mark.weights
@pytest.mark.skipif(find_spec(PACKAGE) is None or find_spec("spacy") is None, reason="needs the extra `prompts`")
def test_the_real_tagger_knows_verbs_from_nouns() -> None:
    (words,) = spacy_tagger()(["A person skiing next to a red house in Paris."])
    parts = {word.text: word.part for word in words}
    expected = {"person": "NOUN", "skiing": "VERB", "red": "ADJ", "house": "NOUN", "in": "ADP", "Paris": "PROPN"}
    assert expected.items() <= parts.items()
    assert parts["."] == "PUNCT"
