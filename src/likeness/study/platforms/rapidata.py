"""Rapidata: the arguments of its compare orders, one a question, and the results of such an order.

Its raters have no ids, so each vote counts as a rater of its own. Source: docs.rapidata.ai, "Interpreting the Results".
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any  # JSON of others, checked here

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_json, write_json
from likeness.core.rows import LeftOut
from likeness.study.design import Study
from likeness.study.platforms.task import Answer, Answers, Task, answer_of, sifted, tasks_of

_OTHERS = {"both": "equal", "neither": "neither"}


def write(study: Study, folder: Path, url: str) -> None:
    """order-QUESTION.json: `instruction`, `datapoints` (two addresses each), `contexts`, and `ids` of ours.

    Raises: ConfigError where a query shows other than two pictures, which is all that an order takes.
    """
    tasks = list(tasks_of(study, url))
    _require_two(tasks)
    for question in tasks[0].questions:
        order = {
            "name": f"{study.name} {question.name}",
            "instruction": question.text,
            "responses_per_datapoint": study.votes,
            "datapoints": [list(task.pictures) for task in tasks],
            "contexts": [task.prompt for task in tasks],
            "ids": [task.id for task in tasks],
        }
        write_json(folder / f"order-{question.name}.json", order)


def _require_two(tasks: list[Task]) -> None:
    if any(len(task.pictures) != 2 for task in tasks):
        most = max(len(task.pictures) for task in tasks)
        raise ConfigError(f"--to rapidata: expected two pictures a query, got {most}; make a study of kind pairwise.")


def read(study: Study, path: Path) -> Answers:
    """The votes of results, which name pictures by file. Raises: DataError for other JSON, or several questions."""
    found = read_json(path)
    rows = found.get("results") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected results of a compare order, got none; save what the order returns.")
    names = {question.name for query in study.queries for question in study.questions_of(query)}
    if len(names) != 1:
        raise DataError(f"{path}: expected a study with one question, got {len(names)}; Rapidata asks one an order.")
    return sifted(_answers(study, path, rows, question=names.pop()))


def _answers(study: Study, path: Path, rows: list[Any], *, question: str) -> Iterator[Answer | LeftOut]:
    tasks = {(task.prompt, frozenset(_file(p) for p in task.pictures)): task for task in tasks_of(study, "")}
    for number, row in enumerate(rows, start=1):
        where = f"{path}:{number}"
        try:
            shown = frozenset(_file(name) for name in row["aggregatedResults"] if name.lower() not in _OTHERS)
            task = tasks.get((str(row["context"]), shown))
            votes = [str(vote["votedFor"]) for vote in row["detailedResults"]]
        except (KeyError, TypeError, AttributeError) as error:
            yield LeftOut.at(where, f"expected a result of a compare order, got one without {error}.")
            continue
        if task is None:
            yield LeftOut.at(where, f"expected two pictures and the prompt of a query, got {sorted(shown)}.")
            continue
        places = {_file(picture): str(k) for k, picture in enumerate(task.pictures, 1)}
        for k, voted in enumerate(votes, 1):
            answer = places.get(_file(voted), _OTHERS.get(voted.lower(), voted))
            rater = f"{task.id}-{k}"
            yield answer_of(study, task=task.id, rater=rater, given={question: answer}, where=where)


def _file(address: str) -> str:
    return address.rpartition("/")[2]
