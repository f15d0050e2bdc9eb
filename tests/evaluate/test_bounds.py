"""Who stands in for whom: with few candidates the smallest hash of all, with many one of the 32 behind the subject."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from likeness.core.records import Case, Subject
from likeness.core.rng import seed_for
from likeness.evaluate.bounds import MOST_CANDIDATES, MOST_LOOKED_AT, make_pool, other_subject, other_truth

CLASSES = ("cat", "dog", "teapot")


def subject(number: int, *, class_name: str) -> Subject:
    return Subject(id=f"{class_name}-{number}", class_name=class_name, reference_image=Path(f"{number}.png"))


def cases_of(subjects: Sequence[Subject], *, per_case: int = 1) -> list[Case]:
    """Case i has the subjects i, i + 1 ... i + per_case - 1, around the end."""
    groups = [tuple(subjects[(i + k) % len(subjects)] for k in range(per_case)) for i in range(len(subjects))]
    return [Case(id=f"case-{i}", prompt="a picture", subjects=group) for i, group in enumerate(groups)]


def smallest_hash_of_all(who: Subject, *, case: Case, subjects: Sequence[Subject]) -> Subject | None:
    """The rule written out over everybody."""
    others = [s for s in subjects if s.id not in {present.id for present in case.subjects}]
    same = [s for s in others if s.class_name == who.class_name]
    return min(same or others, key=lambda s: (seed_for("floor", case.id, who.id, s.id), s.id), default=None)


def smallest_hash_of_all_truths(case: Case, *, cases: Sequence[Case]) -> str | None:
    present = {s.id for s in case.subjects}
    apart = [c for c in cases if len(c.subjects) == len(present) and present.isdisjoint(s.id for s in c.subjects)]
    return min((c.id for c in apart), key=lambda name: (seed_for("floor-labels", case.id, name), name), default=None)


def draw_truths(folder: Path, cases: Sequence[Case]) -> Path:
    for case in cases:
        (folder / f"{case.id}.png").touch()
    return folder


@pytest.mark.parametrize("per_case", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 5, MOST_CANDIDATES])
def test_few_candidates_all_compete(tmp_path: Path, count: int, per_case: int) -> None:
    people = [subject(number, class_name=CLASSES[number % 3]) for number in range(count)]
    cases = cases_of(people, per_case=min(per_case, count))
    pool = make_pool(cases, truth_folder=draw_truths(tmp_path, cases))
    for case in cases:
        for who in case.subjects:
            assert other_subject(who, case=case, pool=pool) == smallest_hash_of_all(who, case=case, subjects=people)
        found = other_truth(case, pool=pool)
        assert (found and found.stem) == smallest_hash_of_all_truths(case, cases=cases)


def test_cases_of_another_number_of_subjects_lend_no_truth(tmp_path: Path) -> None:
    people = [subject(number, class_name="cat") for number in range(4)]
    alone = Case(id="alone", prompt="a cat", subjects=(people[0],))
    pair = Case(id="pair", prompt="two cats", subjects=(people[1], people[2]))
    pool = make_pool([alone, pair], truth_folder=draw_truths(tmp_path, [alone, pair]))
    assert other_truth(alone, pool=pool) is None
    assert other_truth(Case(id="none", prompt="a tree"), pool=pool) is None


def test_of_many_subjects_each_has_its_own_candidates(tmp_path: Path) -> None:
    people = [subject(number, class_name=name) for number in range(100) for name in CLASSES]
    cases = cases_of(people, per_case=4)
    pool = make_pool(cases, truth_folder=draw_truths(tmp_path, cases))
    chosen: dict[str, set[str]] = {}
    for case in cases:
        for who in case.subjects:
            other = other_subject(who, case=case, pool=pool)
            assert other is not None
            assert other.class_name == who.class_name
            assert other not in case.subjects
            chosen.setdefault(who.id, set()).add(other.id)
        truth = other_truth(case, pool=pool)
        assert truth is not None
        lent = next(c for c in cases if c.id == truth.stem)
        assert {s.id for s in lent.subjects}.isdisjoint(s.id for s in case.subjects)
    everybody = set().union(*chosen.values())
    assert len(everybody) > len(people) / 2  # far from all the same few
    assert len({frozenset(names) for names in chosen.values()}) > len(people) / 2


def test_a_choice_asks_for_at_most_32_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    people = [subject(number, class_name="cat") for number in range(100)]
    cases = cases_of(people)
    pool = make_pool(cases, truth_folder=None)
    asked: list[object] = []

    def counted(*names: str | int) -> int:
        asked.append(names)
        return seed_for(*names)

    monkeypatch.setattr("likeness.evaluate.bounds.seed_for", counted)
    other_subject(people[0], case=cases[0], pool=pool)
    assert len(asked) == MOST_CANDIDATES


def test_a_case_without_subjects_is_not_its_own_floor(tmp_path: Path) -> None:
    cases = [Case(id=f"case-{i}", prompt="x") for i in range(2)]
    for case in cases:
        (tmp_path / f"{case.id}.png").touch()
    pool = make_pool(cases, truth_folder=tmp_path)
    assert [other_truth(case, pool=pool) for case in cases] == [tmp_path / "case-1.png", tmp_path / "case-0.png"]


def test_where_all_cases_share_a_subject_the_search_ends(tmp_path: Path) -> None:
    who = Subject(id="who", class_name="cat", reference_image=tmp_path / "who.png")
    cases = [Case(id=f"case-{i}", prompt="x", subjects=(who,)) for i in range(4 * MOST_LOOKED_AT)]
    for case in cases:
        (tmp_path / f"{case.id}.png").touch()
    pool, asked = make_pool(cases, truth_folder=tmp_path), Counter[str]()

    class Asked(dict[str, Case]):
        def __getitem__(self, name: str) -> Case:
            asked[name] += 1
            return super().__getitem__(name)

    assert other_truth(cases[0], pool=replace(pool, cases=Asked(pool.cases))) is None
    assert 0 < asked.total() < 2 * MOST_LOOKED_AT  # of four times as many; who checks annotations looks at a few too
