"""Potato: a project (its config is JSON, which is YAML as well), and what its raters said, a file each or all in one.

Source: potato-annotation 2, documentation of data and export formats. Nothing of it is copied or imported.
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any  # JSON of others, checked here

from likeness.core.errors import DataError
from likeness.core.files import read_json, read_jsonl, write_json, write_jsonl
from likeness.study.design import Study
from likeness.study.platforms.task import Answers, Task, answer_of, choices_of, sifted, tasks_of


def write(study: Study, folder: Path, url: str) -> None:
    """config.yaml and data.jsonl of a project."""
    tasks = list(tasks_of(study, url))
    write_jsonl(folder / "data.jsonl", [{"id": task.id, "text": _html(task)} for task in tasks])
    write_json(folder / "config.yaml", _config(study, tasks[0]))


def _html(task: Task) -> str:
    photos = "".join(f'<img src="{escape(photo)}" alt="photo" width="140">' for photo in task.references)
    pictures = "".join(
        f'<figure><img src="{escape(picture)}" alt="picture {k}" width="320">'
        f"<figcaption>Picture {k}</figcaption></figure>"
        for k, picture in enumerate(task.pictures, 1)
    )
    return f"<p>{escape(task.prompt)}</p>{photos}{pictures}"


def _config(study: Study, task: Task) -> dict[str, Any]:
    schemes = [
        {
            "annotation_type": "radio",
            "name": question.name,
            "description": question.text,
            "labels": [{"name": value, "tooltip": words} for value, words in choices_of(task, question)],
            "label_requirement": {"required": True},
        }
        for question in task.questions
    ]
    return {
        "annotation_task_name": study.title,
        "task_dir": ".",
        "output_annotation_dir": "annotation_output",
        "export_annotation_format": "jsonl",
        "data_files": ["data.jsonl"],
        "item_properties": {"id_key": "id", "text_key": "text"},
        "user_config": {"allow_all_users": True, "users": []},
        "max_annotations_per_item": study.votes,
        "annotation_schemes": schemes,
        "site_dir": "default",
    }


def read(study: Study, path: Path) -> Answers:
    """The answers of a rater's user_state.json, of the folder that holds one of each rater, or of an export as JSONL.

    Rows of version 1's annotated_instances.jsonl name no rater: the folder that the file lies in is called after one.
    Raises: DataError for other JSON, or a folder without answers.
    """
    files = sorted(path.glob("*/user_state.json")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path}: expected RATER/user_state.json in it, got none; name Potato's annotation_output.")
    rows = (row for file in files for row in (_rows_of_state if file.suffix == ".json" else _rows_of_lines)(file))
    return sifted(
        answer_of(study, task=task, rater=rater, given=_chosen(labels), where=where)
        for where, task, rater, labels in rows
    )


_Row = tuple[str, str, str, Any]
"""Where it stands, task, rater, and labels in one of the shapes of `_chosen`."""


def _rows_of_state(path: Path) -> Iterator[_Row]:
    found = read_json(path)
    labels = found.get("instance_id_to_label_to_value") if isinstance(found, dict) else None
    if not isinstance(labels, dict):
        raise DataError(f"{path}: expected the state of a rater, got none; name a user_state.json of Potato.")
    rater = str(found.get("user_id") or _folder(path))
    return ((f"{path}:{task}", str(task), rater, given) for task, given in labels.items())


def _rows_of_lines(path: Path) -> Iterator[_Row]:
    for number, row in enumerate(read_jsonl(path), start=1):
        found = row if isinstance(row, dict) else {}
        task = str(found.get("instance_id", found.get("id", "")))
        labels = found.get("labels", found.get("label_annotations"))
        yield f"{path}:{number}", task, str(found.get("user_id", _folder(path))), labels


def _folder(path: Path) -> str:
    return path.resolve().parent.name


def _chosen(labels: Any) -> dict[str, str]:
    """Question -> the one label that was chosen; questions with none or several have no answer.

    Potato writes {question: {label: "true"}}, {question: {"labels": {label: true}}}, {question: label}, or pairs
    [{"schema": question, "name": label}, value].
    """
    found: dict[str, list[str]] = {}
    match labels:
        case dict():
            for question, given in labels.items():
                inner = given.get("labels", given) if isinstance(given, dict) else {str(given): True}
                found[str(question)] = [str(name) for name, value in inner.items() if value not in (False, "false", "")]
        case list():
            for pair in labels:
                match pair:
                    case [{"schema": question, "name": label}, value] if value not in (False, "false", ""):
                        found.setdefault(str(question), []).append(str(label))
                    case _:
                        pass
        case _:
            pass
    return {question: names[0] for question, names in found.items() if len(names) == 1}
