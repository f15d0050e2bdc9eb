"""Sets of prompts in files: plain lists, and what Stellar's data has.

NAME.txt                    a prompt a line
NAME.json                   ["..."] or {"prompts": [...]} or {"000": {"prompts": [...], "detectables": ...}, ...}
NAME.jsonl                  {"prompt": "..."} a line, as in cases.jsonl
FOLDER                      stellar_t.json and stellar_h.json, or Stellar's folders 000, 001, ...
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple  # Any: JSON until it is checked

from likeness.core.errors import DataError
from likeness.core.files import numbered_lines, read_json, read_jsonl, read_text, write_json
from likeness.data.formats.stellar_files import Prompt, filled, person_folders, prompt_lists, read_person

__all__ = ["FREE", "TEMPLATES", "PromptSet", "read_lists", "read_prompts", "sentence", "write_people"]

TEMPLATES, FREE = "stellar_t.json", "stellar_h.json"
"""Prompts by person before they lie in the people's folders: number of the person -> the lists of prompts_t.json."""
FORMS = "a .txt, .json or .jsonl file of prompts, or a folder of Stellar's data"


class PromptSet(NamedTuple):
    """A set by name: the prompts of each person, or one list without a person where nobody was named."""

    name: str
    people: dict[str, tuple[str, ...]]

    @property
    def texts(self) -> tuple[str, ...]:
        """All prompts in order."""
        return tuple(text for texts in self.people.values() for text in texts)


def sentence(prompt: str) -> str:
    """The prompt as it is read: with "a person" in the slot."""
    return filled(prompt)


def read_prompts(path: Path) -> PromptSet:
    """The prompts of a file or folder as shown above. Raises: DataError for other content, naming the file."""
    name = path.name if path.is_dir() else path.stem
    people = {who: tuple(texts) for who, texts in (_of_folder(path) if path.is_dir() else _of_file(path)) if texts}
    if not people:
        raise DataError(f"{path}: expected at least one prompt, got none; name {FORMS}.")
    return PromptSet(name, people)


def _of_folder(folder: Path) -> Iterator[tuple[str, list[str]]]:
    files = [folder / name for name in (TEMPLATES, FREE) if (folder / name).is_file()]
    if not files:
        for each in person_folders(folder):
            yield each.name, [prompt.text for prompt in read_person(each).prompts]
        return
    found: dict[str, list[str]] = {}
    for file in files:
        for who, texts in _of_file(file):
            found.setdefault(who, []).extend(texts)
    yield from found.items()


def _of_file(path: Path) -> Iterator[tuple[str, list[str]]]:
    if path.suffix == ".txt":
        yield "", [" ".join(line.split()) for _, line in numbered_lines(read_text(path))]
    elif path.suffix == ".jsonl":
        yield "", _texts(read_jsonl(path), path)
    elif path.suffix == ".json":
        yield from _of_json(read_json(path), path)
    else:
        raise DataError(
            f"{path}: expected {FORMS}, got {path.suffix or 'a file without ending'}; rename or convert it."
        )


def _of_json(value: Any, path: Path) -> Iterator[tuple[str, list[str]]]:
    if isinstance(value, dict) and "prompts" not in value:
        for who, lists in value.items():
            if not isinstance(lists, dict):
                raise DataError(f"{path}: {who}: expected an object with prompts, got {type(lists).__name__}; mend it.")
            yield str(who), _texts(lists.get("prompts"), path)
    else:
        yield "", _texts(value["prompts"] if isinstance(value, dict) else value, path)


def _texts(rows: Any, path: Path) -> list[str]:
    """Raises: DataError for what is no list of prompts."""
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of prompts, got {type(rows).__name__}; correct the file.")
    texts = [row.get("prompt") if isinstance(row, dict) else row for row in rows]
    odd = next((place for place, text in enumerate(texts) if not isinstance(text, str) or not text.strip()), None)
    if odd is not None:
        raise DataError(f"{path}: prompt {odd}: expected text with a word, got {str(rows[odd])[:60]!r}; correct it.")
    return [re.sub(r"\s+", " ", str(text)).strip() for text in texts]


def read_lists(path: Path) -> dict[str, Any]:
    """Number of a person -> the lists of prompts_t.json or prompts_h.json. Raises: DataError for another file."""
    value = read_json(path)
    is_named = isinstance(value, dict) and all(re.fullmatch("[0-3][0-9]{2}", str(who)) for who in value)
    if not is_named or not all(isinstance(lists, dict) and lists.get("prompts") for lists in value.values()):
        raise DataError(f'{path}: expected {{"000": {{"prompts": [...]}}, ...}}, got others; see docs/stellar-data.md.')
    return value


def write_people(path: Path, people: dict[str, list[Prompt]]) -> None:
    """The prompts of every person with their lists, as `read_lists` reads them. Raises: OutputError."""
    write_json(path, {who: prompt_lists(prompts) for who, prompts in people.items()})
