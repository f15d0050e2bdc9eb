"""Rows of an input file that become records: the usable ones in order, every other one with its place and reason."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import (  # Any: parsed JSON is open until it is checked
    TYPE_CHECKING,
    Any,
    Protocol,
    Self,
    TypeVar,
    runtime_checkable,
)

from pydantic import BaseModel, ConfigDict, ValidationError

from likeness.core.errors import DataError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class Frozen(BaseModel):
    """Base of records and of tables whose values are converted: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def of_row(cls, row: Any) -> Self:
        """The record of a row. Raises: DataError with every mistake of the row in one line."""
        try:
            return cls.model_validate(row)
        except ValidationError as error:
            raise DataError(readable_mistakes(error)) from None


class LeftOut(Frozen):
    """An input that was left out: where it stood and why."""

    where: str
    reason: str

    @classmethod
    def at(cls, where: Path | str, reason: object) -> Self:
        """What was left out at `where`, which the reason begins with."""
        return cls(where=str(where), reason=f"{where}: {reason}")


@runtime_checkable
class _Named(Protocol):
    @property
    def id(self) -> str: ...


Row = TypeVar("Row")
Record = TypeVar("Record", bound=_Named)


def sift_rows(
    rows: Iterable[tuple[int, Row]], make: Callable[[int, Row], Record], *, path: Path, what: str
) -> tuple[tuple[Record, ...], tuple[LeftOut, ...]]:
    """`make(number, row)` of every numbered row that it does not refuse, and the rows that were left out.

    An id may come once, upper and lower case alike. `what` is the word for a record in messages.
    Raises: DataError when no row is usable.
    """
    kept: list[Record] = []
    left_out: list[LeftOut] = []
    seen: set[str] = set()
    for number, row in rows:
        try:
            record = make(number, row)
            if record.id.casefold() in seen:
                raise DataError(f"{what} id: expected each id once (case is ignored), got {record.id!r} again.")
        except DataError as error:
            left_out.append(LeftOut.at(f"{path}:{number}", error))
        else:
            seen.add(record.id.casefold())
            kept.append(record)
    if not kept:
        first = left_out[0].reason if left_out else f"{path}: the file holds no rows"
        raise DataError(f"{path}: expected at least one usable {what}, got {len(left_out)} bad rows; first: {first}")
    return tuple(kept), tuple(left_out)


def json_object(line: str) -> dict[str, Any]:
    """The JSON object of a line. Raises: DataError saying what the line is instead."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"expected one JSON object, got {error.msg.lower()} at column {error.colno}.") from None
    except ValueError:  # Python reads no longer numbers
        raise DataError("expected one JSON object, got a number of thousands of digits; shorten it.") from None
    except RecursionError:
        raise DataError("expected one JSON object, got nesting too deep to read.") from None
    if not isinstance(value, dict):
        raise DataError(f"expected a JSON object, got {type(value).__name__}.")
    return value


_KINDS = {
    "tuple_type": "a list",
    "list_type": "a list",
    "string_type": "a text",
    "path_type": "a path",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of fewer digits",
    "float_type": "a number",
    "float_parsing": "a number",
    "dict_type": "a JSON object",
    "model_type": "a JSON object",
    "model_attributes_type": "a JSON object",
}
_PATHS = ("references", "photos", "image_paths")
SHOWN = 60
"""Characters of a wrong value that a message repeats."""


def readable_mistakes(error: ValidationError) -> str:
    """Every mistake of a row in one line, in the words of the row and not of its validator."""
    return "; ".join(_mistake(item) for item in error.errors(include_url=False)) + "."


def _mistake(item: "ErrorDetails") -> str:
    place = ".".join(str(part) for part in item["loc"]) or "row"
    if item["type"] == "missing":
        return f"{place}: expected a value, got none"
    if item["type"] == "extra_forbidden":
        return f"{place}: expected no such key; correct or drop it"
    if item["type"] == "too_short":
        return f"{place}: expected at least {item.get('ctx', {}).get('min_length')}, got {_shown(item['input'])}"
    wanted = _KINDS.get(item["type"])
    if wanted is None:
        message = item["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        return f"{place}: expected {message}, got {_shown(item['input'])}"
    wanted += " of paths" if wanted == "a list" and item["loc"][-1:] and item["loc"][-1] in _PATHS else ""
    return f"{place}: expected {wanted}, got {_shown(item['input'])}"


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):  # a whole number of more digits than Python writes; nesting
        return f"a {type(value).__name__} too long to show"
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."


def existing_file(path: Path, *, folder: Path, what: str) -> Path:
    """`path` resolved against `folder`, with either separator. Raises: DataError when there is no such file."""
    full = folder / path
    for place in (full, folder / str(path).replace("\\", "/")):
        try:
            if place.is_file():
                return place
        except (OSError, ValueError):  # a name too long, or with a NUL
            continue
    raise DataError(f"{what}: expected a file, got nothing at {full}; restore it or correct the row.")


def list_of_one(value: Any) -> Any:
    """One path as text is a list of one."""
    return [value] if isinstance(value, str) else value
