"""A balanced sample: even over subjects and prompts, without chance, each sample the beginning of the larger ones."""

import random
import time
from collections import Counter
from pathlib import Path

import pytest

from likeness.core.records import Case, Subject
from likeness.core.sampling import balanced_sample

WORDS = ("mug", "cat", "toy", "dog", "can", "fox")
PROMPTS = ("a {} on a beach", "a {} in the snow", "a red {}", "a {} on a table")


def case(word: str, prompt: str, *, number: int = 0) -> Case:
    subject = Subject(id=word, class_name=word, reference_image=Path(f"{word}.png"))
    return Case(id=f"{word}-{number}", prompt=prompt.format(word), subjects=(subject,))


GRID = [case(word, prompt, number=i) for word in WORDS for i, prompt in enumerate(PROMPTS)]


def template(found: Case) -> str:
    return found.prompt.replace(found.subjects[0].class_name, "{}")


@pytest.mark.parametrize("limit", range(1, len(GRID) + 1))
def test_counts_of_subjects_and_of_prompts_differ_by_one_at_most(limit: int) -> None:
    found = balanced_sample(GRID, limit)
    assert len(found) == len({each.id for each in found}) == limit
    for counts, of in ((Counter(c.subjects[0].id for c in found), WORDS), (Counter(map(template, found)), PROMPTS)):
        numbers = [counts[name] for name in of]
        assert max(numbers) - min(numbers) <= 1


def test_a_smaller_sample_begins_every_larger_one_and_nothing_is_drawn() -> None:
    rng = random.Random(0)
    cases = rng.sample(GRID, len(GRID))
    whole = balanced_sample(cases, len(cases) - 1)
    for limit in range(1, len(cases)):
        assert balanced_sample(cases, limit) == whole[:limit]
    assert [c.id for c in balanced_sample(cases, 1)] == [cases[0].id]


def test_without_a_limit_or_with_a_large_one_all_are_there_in_order() -> None:
    assert balanced_sample(GRID, None) == balanced_sample(GRID, 999) == tuple(GRID)


def test_a_subject_with_many_rows_does_not_take_the_place_of_one_with_few() -> None:
    many = [case("mug", f"a {{}} number {i}", number=i) for i in range(50)]
    assert {c.subjects[0].id for c in balanced_sample([*many, case("cat", "a {}")], 2)} == {"mug", "cat"}


def test_prompts_alone_are_taken_once_each_before_any_is_taken_twice() -> None:
    cases = [Case(id=f"c{i}", prompt=f"prompt {i // 3}") for i in range(9)]
    assert [c.id for c in balanced_sample(cases, 4)] == ["c0", "c3", "c6", "c1"]


def test_thousands_of_cases_take_seconds_at_most() -> None:
    cases = [case(f"s{i % 97}", f"a {{}} and {i % 89}", number=i) for i in range(4_000)]
    began = time.monotonic()
    assert len(balanced_sample(cases, 3_999)) == 3_999
    assert time.monotonic() - began < 10
