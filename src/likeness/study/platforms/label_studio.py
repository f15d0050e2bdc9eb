"""Label Studio: tasks with a labelling interface, and its JSON export.

Choices rather than the Pairwise tag, whose answers know no tie. Source: labelstud.io, task format and tags.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any  # JSON of others, checked here
from xml.sax.saxutils import quoteattr

from likeness.core.errors import DataError
from likeness.core.files import atomic_write_text, read_json, write_json
from likeness.core.rows import LeftOut
from likeness.study.design import Study
from likeness.study.platforms.task import Answer, Answers, Task, answer_of, choices_of, filled, sifted, tasks_of


def write(study: Study, folder: Path, url: str) -> None:
    """tasks.json to import, and interface.xml for the project's labelling interface."""
    tasks = list(tasks_of(study, url))
    photos = max(len(task.references) for task in tasks)
    write_json(folder / "tasks.json", [{"data": _data(task, photos=photos)} for task in tasks])
    atomic_write_text(folder / "interface.xml", _interface(tasks[0], photos=photos))


def _data(task: Task, *, photos: int) -> dict[str, str]:
    return {
        "query": task.id,
        "prompt": task.prompt,
        **{f"photo_{k}": photo for k, photo in enumerate(filled(task.references, photos), 1)},
        **{f"picture_{k}": picture for k, picture in enumerate(task.pictures, 1)},
    }


def _interface(task: Task, *, photos: int) -> str:
    names = [f"photo_{k}" for k in range(1, photos + 1)] + [f"picture_{k}" for k in range(1, len(task.pictures) + 1)]
    parts = ["<View>", '  <Header value="$prompt"/>']
    parts += [f'  <Image name="{name}" value="${name}"/>' for name in names]
    for question in task.questions:
        parts.append(f"  <Header value={quoteattr(question.text)}/>")
        parts.append(f'  <Choices name="{question.name}" toName="picture_1" choice="single" required="true">')
        for value, words in choices_of(task, question):
            parts.append(f"    <Choice value={quoteattr(words)} alias={quoteattr(value)}/>")
        parts.append("  </Choices>")
    return "\n".join([*parts, "</View>", ""])


def read(study: Study, path: Path) -> Answers:
    """The answers of an export; annotations that were cancelled are left out. Raises: DataError for other JSON."""
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of tasks, got {type(rows).__name__}; export as JSON.")
    return sifted(_answers(study, path, rows))


def _answers(study: Study, path: Path, rows: list[Any]) -> Iterator[Answer | LeftOut]:
    for number, row in enumerate(rows, start=1):
        where = f"{path}:{number}"
        try:
            task, annotations = row["data"]["query"], row["annotations"]
            for annotation in annotations:
                if annotation.get("was_cancelled"):
                    yield LeftOut.at(where, "expected an answer, got an annotation that was cancelled.")
                    continue
                given = {each["from_name"]: str(each["value"]["choices"][0]) for each in annotation["result"]}
                rater, seconds = _rater(annotation["completed_by"]), float(annotation.get("lead_time") or 0)
                yield answer_of(study, task=str(task), rater=rater, given=given, seconds=seconds, where=where)
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            yield LeftOut.at(where, f"expected a task as Label Studio exports it, got one without {error}.")


def _rater(found: Any) -> str:
    """`completed_by` is a number, or an object with one."""
    return str(found["id"] if isinstance(found, dict) else found)
