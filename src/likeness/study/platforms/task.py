"""What all platforms share: a query as one task whose id says how its pictures were ordered, and answers to it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from likeness.core.rng import seed_for
from likeness.core.rows import LeftOut
from likeness.study.answers import allowed_answers
from likeness.study.assignment import Item, ItemKind, shown_order
from likeness.study.design import KINDS, Query, Question, Study, by_id

__all__ = ["Answer", "Answers", "Task", "answer_of", "tasks_of"]


class Task(NamedTuple):
    """One query as it is shown elsewhere, with the addresses of its pictures."""

    id: str
    prompt: str
    references: tuple[str, ...]
    pictures: tuple[str, ...]
    questions: tuple[Question, ...]


class Answer(NamedTuple):
    """A rater's answers to the questions of a task, as the pages of the study would have posted them."""

    rater: str
    shown: Item
    answers: dict[str, str]
    seconds: float


class Answers(NamedTuple):
    """What a platform's file held, and what of it could not be read."""

    answers: tuple[Answer, ...]
    left_out: tuple[LeftOut, ...]


def tasks_of(study: Study, url: str) -> Iterator[Task]:
    """Every query of the study, gold ones included, sides turned from query to query."""
    base = url.rstrip("/")
    photos = KINDS[study.kind].shows_references
    for query in study.queries:
        order = shown_order(len(query.options), seed_for("study platform", study.seed, query.id))
        yield Task(
            id=f"{query.id}@{''.join(map(str, order))}",
            prompt=query.prompt,
            references=tuple(f"{base}/{name}" for name in query.references) if photos else (),
            pictures=tuple(f"{base}/{query.options[index].picture}" for index in order),
            questions=study.questions_of(query),
        )


def answer_of(
    study: Study,
    *,
    task: str,
    rater: str,
    given: Mapping[str, str],
    seconds: float = 0.0,
    where: str,
    only: str | None = None,
) -> Answer | LeftOut:
    """The answers to a task by the numbers of places from 1 on, or why they are none; to one question with `only`."""
    name, _, digits = task.rpartition("@")
    query = by_id(study.queries).get(name)
    if (
        query is None
        or not re.fullmatch("[0-9]+", digits)
        or sorted(digits) != sorted(map(str, range(len(query.options))))
    ):
        return LeftOut.at(where, f"expected a task of this study, got {task!r}.")
    if not rater:
        return LeftOut.at(where, "expected the id of a rater, got none.")
    answers: dict[str, str] = {}
    asked = [question for question in study.questions_of(query) if only in (None, question.name)]
    for question in asked:
        text = given.get(question.name, "").strip()
        text = str(int(text) - 1) if text.isdecimal() and len(text) < 3 else text.lower()
        if text not in allowed_answers(question, options=len(query.options)):
            return LeftOut.at(where, f"{question.name}: expected an answer, got {given.get(question.name)!r}.")
        answers[question.name] = text
    return Answer(rater, Item(name, tuple(map(int, digits)), _kind(query)), answers, seconds)


def _kind(query: Query) -> ItemKind:
    return "query" if query.gold is None else "gold"


def filled(photos: Sequence[str], count: int) -> list[str]:
    """The photos as `count`, since layouts have one number of places: the last one again; none of none."""
    return [photos[min(k, len(photos) - 1)] for k in range(count)] if photos else []


def sifted(found: Iterator[Answer | LeftOut]) -> Answers:
    """Answers and what was left out, apart."""
    rows = list(found)
    answers = tuple(row for row in rows if isinstance(row, Answer))
    return Answers(answers, tuple(row for row in rows if isinstance(row, LeftOut)))


def choices_of(task: Task, question: Question) -> list[tuple[str, str]]:
    """(value, words) of what a rater may choose: numbers of places from 1 on, and the other answers."""
    if not question.is_choice:
        return [("yes", "Yes"), ("no", "No")]
    words = {"equal": "Equal", "neither": "Both are bad"}
    places = [(str(k), f"Picture {k}") for k in range(1, len(task.pictures) + 1)]
    return places + [(name, words.get(name, name)) for name in question.others]
