"""Potato: a project (its config is JSON, which is YAML as well), and annotated_instances.jsonl of one rater or of all.

Source: potato-annotation 2, documentation of data formats. Nothing of it is copied or imported.
"""

from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any  # JSON of others, checked here

from likeness.core.files import numbered_lines, read_text, write_json, write_jsonl
from likeness.core.rows import LeftOut, json_object
from likeness.study.design import Study
from likeness.study.platforms.task import Answer, Answers, Task, answer_of, choices_of, sifted, tasks_of


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
        "output_annotation_format": "jsonl",
        "data_files": ["data.jsonl"],
        "item_properties": {"id_key": "id", "text_key": "text"},
        "max_annotations_per_item": study.votes,
        "annotation_schemes": schemes,
    }


def read(study: Study, path: Path) -> Answers:
    """The answers of a file; where rows name no rater, the folder that the file lies in is called after one."""
    return sifted(_answers(study, path))


def _answers(study: Study, path: Path) -> Iterator[Answer | LeftOut]:
    for number, line in numbered_lines(read_text(path)):
        row = json_object(line)
        given = row.get("label_annotations")
        labels = {name: _chosen(value) for name, value in given.items()} if isinstance(given, dict) else {}
        task = str(row.get("instance_id", row.get("id", "")))
        rater = str(row.get("user_id", path.resolve().parent.name))
        yield answer_of(study, task=task, rater=rater, given=labels, where=f"{path}:{number}")


def _chosen(value: Any) -> str:
    """{"2": "true"} and {"2": "2"} alike stand for 2."""
    return str(next(iter(value), "")) if isinstance(value, dict) else str(value)
