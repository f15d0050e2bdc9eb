"""Candidates: how many, that they are different, what they state, and that the parser of prompts reads the same."""

import re
from collections import Counter

import pytest

from likeness.core.errors import ConfigError
from likeness.data.formats.stellar_files import SLOT, Prompt
from likeness.data.prompts.grammar import (
    NUM_CANDIDATES,
    PARTS,
    candidates,
    most_candidates,
    objects,
    parts_of,
    word_counts,
)
from likeness.metrics.triplets import is_role, parse_prompt


@pytest.fixture(scope="module")
def drawn() -> list[Prompt]:
    return candidates(9000, seed=5)  # enough for all that do one thing at no place


@pytest.mark.slow
def test_the_paper_s_number_of_different_candidates() -> None:
    found = candidates()
    assert len(found) == NUM_CANDIDATES == len({prompt.text for prompt in found}) == 177_000
    assert most_candidates() > NUM_CANDIDATES


def test_vocabularies_are_as_large_as_the_paper_states() -> None:
    sizes = {"food": 26, "landmark": 25, "role": 22, "sport": 12, "car_brand": 20}
    assert {kind: word_counts()[kind] for kind in sizes} == sizes
    assert word_counts()["nature"] == 10
    assert {name: len(parts_of(name)) for name in PARTS} == {"role": 22, "activity": 534, "location": 144, "time": 20}
    assert (len(objects()), most_candidates() // 10**6) == (315, 37)
    for name in PARTS:
        texts = [part.text for part in parts_of(name)]
        assert len(set(texts)) == len(texts)
        assert not [text for text in texts if re.search(r"[\[\]{}]|->|  ", text)]


def test_prompts_are_different_and_follow_from_the_seed(drawn: list[Prompt]) -> None:
    some = candidates(300, seed=5)
    assert candidates(300, seed=5) == some != candidates(300, seed=6)
    assert len({prompt.text for prompt in drawn}) == len(drawn) == 9000


def test_a_prompt_is_of_stellar_s_form(drawn: list[Prompt]) -> None:
    for prompt in drawn:
        assert prompt.text.startswith(f"{SLOT} ")
        assert prompt.text.count(SLOT) == 1
        assert 0 <= len(prompt.detectables) <= 3
        assert prompt.categories
        assert len({label.casefold() for label in prompt.detectables}) == len(prompt.detectables)
        assert set(prompt.detectables) <= set(objects())
    counts = Counter(len(prompt.detectables) for prompt in drawn)
    assert min(counts[k] for k in range(4)) > 0


def test_roles_are_those_that_metrics_skip_and_stand_in_no_relation(drawn: list[Prompt]) -> None:
    assert all(is_role(part.label) for part in parts_of("role"))
    for prompt in drawn:
        things = [label for label in prompt.detectables if not is_role(label)]
        assert [thing for _, _, thing in prompt.relations] == things
        assert {who for who, _, _ in prompt.relations} <= {"person"}


def test_relations_are_those_that_the_parser_of_prompts_reads(drawn: list[Prompt]) -> None:
    """The parser of the metrics was written without the grammar; where a single verb stands before the place it reads
    "sleeping outside" for "outside", and of "taking a selfie with" only "taking"."""
    equal = 0
    some = drawn[::6]
    for prompt in some:
        parsed = parse_prompt(prompt.text, prompt.detectables)
        assert parsed is not None
        read = {triplet.object: triplet.relation for triplet in parsed.triplets}
        assert read.keys() == {thing for *_, thing in prompt.relations}
        for _, relation, thing in prompt.relations:
            selfie = relation == "taking a selfie with" and read[thing] == "taking"
            assert selfie or re.fullmatch(rf"([a-z]+ing )?{relation}", read[thing]), prompt
        equal += all(read[thing] == relation for _, relation, thing in prompt.relations)
    assert equal > 0.95 * len(some)


def test_some_prompts_in_full(drawn: list[Prompt]) -> None:
    found = {prompt.text: prompt for prompt in drawn}
    skiing = found["{} skiing downhill"]
    assert skiing == Prompt("{} skiing downhill", ("skis",), ("sports", "sport"), (("person", "skiing on", "skis"),))
    assert found["{} in Paris"] == Prompt("{} in Paris", (), ("location", "city"), ())
    assert found["{} as a clown"] == Prompt("{} as a clown", ("clown",), ("role",), ())


def test_more_than_there_are_is_refused() -> None:
    small = sum(len(parts_of(name)) for name in PARTS if name != "time")
    assert len(candidates(small)) == small


def test_no_more_than_the_grammar_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("likeness.data.prompts.grammar._shapes", lambda: [("role",)])
    assert len(candidates(22)) == 22
    with pytest.raises(ConfigError, match="at most 22, got 23"):
        candidates(23)
