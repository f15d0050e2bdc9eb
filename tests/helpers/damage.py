"""A file damaged in every place, one value at a time, and what a reader says of each damage."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from likeness.core.errors import LikenessError

ABSENT = "(absent)"
WRONG: tuple[Any, ...] = (None, "many", 1e308, 10**400, -1, True, [], {}, [None], {"a": {"b": 1}}, "\0", "\ud800")


def damaged(value: Any) -> Iterator[Any]:
    """The value with each of its parts, at any depth, replaced by each of WRONG or taken away.

    Of rows alike, in a list or under names, two are damaged.
    """
    yield from WRONG
    for key in _places(value):
        for inner in (*damaged(value[key]), ABSENT):
            copy = value.copy()
            if inner is ABSENT:
                del copy[key]
            else:
                copy[key] = inner
            yield copy


def _places(value: Any) -> list[Any]:
    if isinstance(value, list):
        return list(range(min(2, len(value))))
    if not isinstance(value, dict):
        return []
    rows = [set(row) for row in value.values() if isinstance(row, dict)]
    alike = len(rows) == len(value) > 2 and all(keys == rows[0] for keys in rows)
    return list(value)[:2] if alike else list(value)


def versions_of(path: Path) -> Iterator[str]:
    """The text of a file, damaged in every way; of JSONL the second row."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix == ".json":
        yield from (json.dumps(version) for version in damaged(json.loads("\n".join(lines))))
        return
    at = min(1, len(lines) - 1)
    for version in damaged(json.loads(lines[at])):
        yield "\n".join([*lines[:at], json.dumps(version), *lines[at + 1 :]]) + "\n"


def refusals(path: Path, build: Callable[[], object]) -> list[str]:
    """What is said of each damage that is not taken; anything but an error of the tree leaves this function."""
    whole, said = path.read_text(encoding="utf-8"), list[str]()
    for version in versions_of(path):
        path.write_text(version, encoding="utf-8")
        try:
            build()
        except LikenessError as error:
            said.append(str(error))
    path.write_text(whole, encoding="utf-8")
    return said
