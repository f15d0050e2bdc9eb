"""Amazon Mechanical Turk: a CSV of HITs with the layout that shows them, and the CSV of batch results.

Variables are put into the layout as they are, so text is escaped in the table. Source: MTurk Requester documentation,
"Creating a HIT template" (${variables}), "Crowd HTML Elements" and batch results (Input.*, Answer.*).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

from likeness.core.files import atomic_write_text
from likeness.core.rows import LeftOut
from likeness.study.design import Study
from likeness.study.platforms.task import Answer, Answers, Task, answer_of, choices_of, filled, sifted, tasks_of
from likeness.study.tables_csv import csv_text, read_csv


def write(study: Study, folder: Path, url: str) -> None:
    """hits.csv, a row a query, and layout.html for the HIT's design."""
    tasks = list(tasks_of(study, url))
    photos = max(len(task.references) for task in tasks)
    rows = [
        {
            "query": task.id,
            "prompt": escape(task.prompt),
            **{f"photo_{k}": photo for k, photo in enumerate(filled(task.references, photos), 1)},
            **{f"picture_{k}": picture for k, picture in enumerate(task.pictures, 1)},
        }
        for task in tasks
    ]
    atomic_write_text(folder / "hits.csv", csv_text(rows))
    atomic_write_text(folder / "layout.html", _layout(tasks[0], photos=photos))


def _layout(task: Task, *, photos: int) -> str:
    parts = [
        '<script src="https://assets.crowd.aws/crowd-html-elements.js"></script>',
        "<crowd-form>",
        "<p>${prompt}</p>",
    ]
    parts += [f'<img src="${{photo_{k}}}" alt="photo {k}" width="140">' for k in range(1, photos + 1)]
    for k in range(1, len(task.pictures) + 1):
        parts.append(
            f'<figure><img src="${{picture_{k}}}" alt="picture {k}" width="320">'
            f"<figcaption>Picture {k}</figcaption></figure>"
        )
    for question in task.questions:
        parts.append(f"<fieldset><legend>{escape(question.text)}</legend>")
        for value, words in choices_of(task, question):
            parts.append(f'<label><input type="radio" name="{question.name}" value="{value}" required> {words}</label>')
        parts.append("</fieldset>")
    return "\n".join([*parts, "</crowd-form>", ""])


def read(study: Study, path: Path) -> Answers:
    """The answers of a batch results file; rejected assignments are left out."""
    return sifted(_answers(study, path))


def _answers(study: Study, path: Path) -> Iterator[Answer | LeftOut]:
    for number, row in enumerate(read_csv(path, needed=("Input.query", "WorkerId")), start=2):
        where = f"{path}:{number}"
        if row.get("AssignmentStatus") == "Rejected":
            yield LeftOut.at(where, "expected an assignment that was not rejected.")
            continue
        seconds = row.get("WorkTimeInSeconds", "")
        yield answer_of(
            study,
            task=row["Input.query"],
            rater=row["WorkerId"],
            given=_given(row),
            seconds=float(seconds) if seconds.isdecimal() else 0.0,
            where=where,
        )


def _given(row: Mapping[str, str]) -> dict[str, str]:
    """Question -> answer: a column a question of a plain form; a column a choice, true or false, of a <crowd-form>."""
    columns = {name.removeprefix("Answer."): value for name, value in row.items() if name.startswith("Answer.")}
    chosen = [name.rpartition(".") for name, value in columns.items() if "." in name and value.lower() == "true"]
    twice = {question for question, count in Counter(question for question, _, _ in chosen).items() if count > 1}
    return columns | {question: choice for question, _, choice in chosen if question not in twice}
