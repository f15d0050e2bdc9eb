"""A file damaged in every place, one value at a time, and what a reader says of each damage."""

import json
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from likeness.core.errors import LikenessError

ABSENT = "(absent)"
SOME = pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
"""A test of damages takes minutes with all of them."""
WRONG: tuple[Any, ...] = (None, "many", 1e308, 10**400, -1, True, [], {}, [None], {"a": {"b": 1}}, "\0", "\ud800")


def damaged(value: Any, *, every: int = 1, number: Iterator[int] | None = None) -> Iterator[Any]:
    """The value with each of its parts, at any depth, replaced by each of WRONG or taken away.

    Of rows alike, in a list or under names, two are damaged. With `every`, of WRONG only one in so many, in each place
    others.
    """
    number = count() if number is None else number
    first = next(number) % every
    yield from WRONG[first::every]
    for key in _places(value):
        for inner in (*damaged(value[key], every=every, number=number), ABSENT):
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


def versions_of(path: Path, *, every: int) -> Iterator[str]:
    """The text of a file, damaged as by `damaged`; of JSONL the second row."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix == ".json":
        yield from (json.dumps(version) for version in damaged(json.loads("\n".join(lines)), every=every))
        return
    at = min(1, len(lines) - 1)
    for version in damaged(json.loads(lines[at]), every=every):
        yield "\n".join([*lines[:at], json.dumps(version), *lines[at + 1 :]]) + "\n"


def refusals(path: Path, build: Callable[[], object], *, every: int) -> list[str]:
    """What is said of each damage that is not taken; anything but an error of the tree leaves this function."""
    whole, said = path.read_text(encoding="utf-8"), list[str]()
    for version in versions_of(path, every=every):
        path.write_text(version, encoding="utf-8")
        try:
            build()
        except LikenessError as error:
            said.append(str(error))
    path.write_text(whole, encoding="utf-8")
    return said
