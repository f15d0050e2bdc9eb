"""Rapidata: the arguments of its compare jobs, one a question, and the results of such a job.

Its raters have no ids, so each vote counts as a rater of its own. A job shows the photos as `media_contexts` and offers
"Neither" and "Both" only with `AllowNeitherBothSetting`, an object of its library, which no JSON can hold.
Source: docs.rapidata.ai, "Job Definition Parameter Reference" and "Interpreting the Results" (versions 3 and 4).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any  # JSON of others, checked here

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_json, write_json
from likeness.core.rows import LeftOut
from likeness.core.stats.agreement import EQUAL
from likeness.study.design import NEITHER, Question, Study
from likeness.study.platforms.task import Answer, Answers, Task, answer_of, sifted, tasks_of

_OTHERS = {"both": EQUAL, "neither": NEITHER}


def write(study: Study, folder: Path, url: str) -> None:
    """job-QUESTION.json: what `create_compare_job_definition` takes, but for its settings.

    Raises: ConfigError where a query shows other than two pictures, which is all that a job takes.
    """
    tasks = list(tasks_of(study, url))
    _require_two(tasks)
    for question in tasks[0].questions:
        job: dict[str, Any] = {
            "name": _name(study, question),
            "instruction": question.text,
            "responses_per_datapoint": study.votes,
            "datapoints": [list(task.pictures) for task in tasks],
            "contexts": [task.prompt for task in tasks],
        }
        if any(task.references for task in tasks):
            job["media_contexts"] = [list(task.references) for task in tasks]
        write_json(folder / f"job-{question.name}.json", job)


def _name(study: Study, question: Question) -> str:
    return f"{study.name} {question.name}"


def _require_two(tasks: list[Task]) -> None:
    if any(len(task.pictures) != 2 for task in tasks):
        most = max(len(task.pictures) for task in tasks)
        raise ConfigError(f"--to rapidata: expected two pictures a query, got {most}; make a study of kind pairwise.")


def read(study: Study, path: Path) -> Answers:
    """The votes of results, which name pictures by file. Raises: DataError for other JSON, or an unknown question."""
    found = read_json(path)
    rows = found.get("results") if isinstance(found, dict) else None
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected results of a compare job, got none; save what the job returns.")
    return sifted(_answers(study, path, rows, question=_question(study, path, found.get("info"))))


def _question(study: Study, path: Path, info: Any) -> Question:
    """The only question of the study, or the one that the results name."""
    asked = {question.name: question for query in study.queries for question in study.questions_of(query)}
    told = info if isinstance(info, dict) else {}
    named = [q for q in asked.values() if told.get("name") == _name(study, q) or told.get("instruction") == q.text]
    found = list(asked.values()) if len(asked) == 1 else named
    if len(found) != 1:
        what = f"{path}: expected results that name one of the questions {', '.join(asked)}, got none in info"
        raise DataError(f"{what}; keep the name of the job, as the export wrote it.")
    return found[0]


def _answers(study: Study, path: Path, rows: list[Any], *, question: Question) -> Iterator[Answer | LeftOut]:
    tasks = {(task.prompt, frozenset(_file(p) for p in task.pictures)): task for task in tasks_of(study, "")}
    for number, row in enumerate(rows, start=1):
        where = f"{path}:{number}"
        try:
            shown = frozenset(_file(name) for name in row["aggregatedResults"] if name.lower() not in _OTHERS)
            task = tasks.get((str(row["context"]), shown))
            votes = [str(vote["votedFor"]) for vote in row["detailedResults"]]
        except (KeyError, TypeError, AttributeError) as error:
            yield LeftOut.at(where, f"expected a result of a compare job, got one without {error}.")
            continue
        if task is None:
            yield LeftOut.at(where, f"expected two pictures and the prompt of a query, got {sorted(shown)}.")
            continue
        for k, voted in enumerate(votes, 1):
            given = {question.name: _answer(voted, task=task, question=question)}
            rater = f"{task.id}-{k}"
            yield answer_of(study, task=task.id, rater=rater, given=given, where=where, only=question.name)


def _answer(voted: str, *, task: Task, question: Question) -> str:
    """The place of a picture, "equal" or "neither"; of questions without the latter, neither is more means equal."""
    places = {_file(picture): str(k) for k, picture in enumerate(task.pictures, 1)}
    other = _OTHERS.get(voted.lower(), voted)
    return places.get(_file(voted), EQUAL if other == NEITHER and NEITHER not in question.others else other)


def _file(address: str) -> str:
    return address.rpartition("/")[2]
