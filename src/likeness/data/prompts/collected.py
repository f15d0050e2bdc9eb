"""Prompts that people wrote for a photo: the rules they are given, and what comes back, checked row by row.

Source: Stellar (arXiv:2312.06116v1), supplementary text on Stellar-H: three prompts for a task, at most ten tasks for a
worker, and no edits of the body, no clothing, eyewear or jewellery, no other particular people.
Differs: rules are checked by words, so that a reader must still look: a prompt that breaks a rule in other words
passes. What was refused is listed with the word that did it.
"""

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple  # Any: rows of others

from likeness.core.errors import DataError
from likeness.core.files import numbered_lines, read_text
from likeness.core.rows import LeftOut, json_object
from likeness.data.formats.stellar_files import SLOT

__all__ = ["BANNED", "FIELDS", "MOST_CHARACTERS", "MOST_TASKS", "NUM_PROMPTS", "RULES", "Collected", "read_collected"]

NUM_PROMPTS, MOST_TASKS = 3, 10
"""Prompts of a task, and tasks of one worker."""
MOST_CHARACTERS = 300
FIELDS = ("worker", "task", "photo", *(f"prompt_{k}" for k in range(1, NUM_PROMPTS + 1)))
"""Columns of what comes back: a row a task."""
RULES = (
    f"Write {NUM_PROMPTS} different prompts about the person in the photo, each with {SLOT} once in place of a name.",
    "Say what the person does, where, when, or with what. Anything goes that a picture can show, real or not.",
    "Do not change the body: no hair, skin, age, weight, make-up, tattoos or sex.",
    "Do not ask for clothes, glasses or jewellery.",
    "Do not name another particular person, real or invented.",
    "Write English, nothing hateful, violent or sexual.",
)
BANNED: dict[str, str] = {
    "changes the body": "hair haired bald beard bearded moustache mustache makeup make-up lipstick tattoo tattoos "
    "tattooed wrinkles freckles skinny fat muscular younger older taller shorter blonde brunette pregnant",
    "asks for clothes, glasses or jewellery": "wearing wears dressed glasses sunglasses eyeglasses hat shirt dress "
    "jacket coat suit trousers jeans skirt shoes boots scarf necklace earring earrings bracelet jewellery jewelry tie",
}
"""Why a prompt is refused -> words that break the rule."""


class Collected(NamedTuple):
    """Prompts by photo, in the order of the file, and what was left out with its line and reason."""

    by_photo: dict[str, tuple[str, ...]]
    left_out: tuple[LeftOut, ...]
    num_workers: int

    @property
    def num_prompts(self) -> int:
        """How many were kept."""
        return sum(map(len, self.by_photo.values()))


def read_collected(path: Path) -> Collected:
    """What a study gave back, from CSV with a header or JSONL, with the keys FIELDS; further keys are ignored.

    Every fault is one line: a task that lacks something, a worker's eleventh task, a prompt that breaks a rule or was
    written before for the same photo. Raises: DataError for another file, and where nothing is usable.
    """
    kept: dict[str, list[str]] = {}
    left_out: list[LeftOut] = []
    tasks: Counter[str] = Counter()
    done: set[tuple[str, str]] = set()
    for line, row in _rows(path, left_out):
        where = f"{path}:{line}"
        fault = _task_fault(row, tasks=tasks, done=done)
        if fault:
            left_out.append(LeftOut.at(where, fault))
            continue
        worker, task, photo = (str(row[name]).strip() for name in FIELDS[:3])
        tasks[worker] += 1
        done.add((worker, task))
        for name in FIELDS[3:]:
            text = re.sub(r"\s+", " ", str(row[name])).strip()
            known = kept.setdefault(photo, [])
            reason = fault_of(text) or ("written before for this photo" if _same(text, known) else "")
            if reason:
                left_out.append(LeftOut.at(where, f"{name}: {reason}: {text[:80]!r}."))
            else:
                known.append(text)
    by_photo = {photo: tuple(texts) for photo, texts in kept.items() if texts}
    if not by_photo:
        first = left_out[0].reason if left_out else "the file holds no rows"
        raise DataError(f"{path}: expected at least one usable prompt, got none; first: {first}")
    return Collected(by_photo, tuple(left_out), len(tasks))


def fault_of(prompt: str) -> str:
    """Why the prompt is refused; empty for one that keeps the rules."""
    if prompt.count(SLOT) != 1:
        return f"expected {SLOT} once"
    words = re.findall(r"[\w'’-]+", prompt.replace(SLOT, " ").casefold())
    if len(words) < 2:
        return "expected two words or more"
    if len(prompt) > MOST_CHARACTERS:
        return f"expected at most {MOST_CHARACTERS} characters, got {len(prompt)}"
    for reason, banned in BANNED.items():
        if found := next((word for word in words if word in banned.split()), None):
            return f"{reason} ({found})"
    return ""


def _same(text: str, others: list[str]) -> bool:
    return text.casefold().rstrip(".") in {other.casefold().rstrip(".") for other in others}


def _task_fault(row: Mapping[str, Any], *, tasks: Mapping[str, int], done: set[tuple[str, str]]) -> str:
    """Why a whole task is left out; empty for one that counts."""
    missing = [name for name in FIELDS if not str(row.get(name) or "").strip()]
    if missing:
        return f"expected {', '.join(missing)}, got nothing; ask the worker again."
    worker, task = str(row["worker"]).strip(), str(row["task"]).strip()
    if (worker, task) in done:
        return f"expected each task of a worker once, got {task!r} of {worker!r} again; drop one."
    if tasks[worker] >= MOST_TASKS:
        return f"expected at most {MOST_TASKS} tasks of one worker, got another of {worker!r}; drop it."
    return ""


def _rows(path: Path, left_out: list[LeftOut]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """(line, row); of a JSONL line that is no object, only the reason."""
    text = read_text(path)
    if path.suffix == ".csv":
        reader = csv.DictReader(io.StringIO(text))
        if absent := [name for name in FIELDS if name not in (reader.fieldnames or ())]:
            raise DataError(f"{path}: expected the columns {', '.join(FIELDS)}, got none named {absent[0]}; add it.")
        for row in reader:
            yield reader.line_num, row
    elif path.suffix == ".jsonl":
        for number, line in numbered_lines(text):
            try:
                yield number, json_object(line)
            except DataError as error:
                left_out.append(LeftOut.at(f"{path}:{number}", error))
    else:
        raise DataError(
            f"{path}: expected a .csv or .jsonl file of answers, got {path.suffix or 'neither'}; export one."
        )
