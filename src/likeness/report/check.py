"""What the files of a run must hold for a page. A mistake is told with its file, row and key.

A shape takes a JSON value and gives its first mistake, or None. Keys that a shape does not name may hold anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard  # Any: what json.load gives

from likeness.core.errors import DataError
from likeness.core.files import read_json, read_jsonl

Json = dict[str, Any]
LARGEST = 1e30  # numbers beyond it measure nothing, and arithmetic with them overflows
MOST = 2**53
ABSENT = object()
NAMES: dict[type[Any], str] = {dict: "an object", list: "a list", type(None): "null"}


class Mistake(NamedTuple):
    """Where in a value, what was wanted there, what was found."""

    at: str
    wanted: str
    got: object


Shape = Callable[[Any], Mistake | None]


def anything(value: Any) -> Mistake | None:
    """Any value whose numbers and texts, at any depth, can be shown."""
    if isinstance(value, dict):
        return _first({str(key): anything(item) for key, item in value.items()})
    if isinstance(value, list):
        return _first({str(index): anything(item) for index, item in enumerate(value)})
    if isinstance(value, str):
        return text(value)
    return number(value) if _is_number(value) else None


def text(value: Any) -> Mistake | None:
    """Unicode text."""
    good = isinstance(value, str) and not re.search("[\ud800-\udfff]", value)
    return None if good else Mistake("", "Unicode text", value)


def number(value: Any) -> Mistake | None:
    """A number of at most LARGEST; NaN and infinities stand for one that was not measured."""
    good = _is_number(value) and (abs(value) <= LARGEST or not _is_finite(value))
    return None if good else Mistake("", f"a number up to {LARGEST:g}", value)


def count(value: Any) -> Mistake | None:
    """A whole number from 0 to MOST."""
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST
    return None if good else Mistake("", "a count", value)


def amount(value: Any) -> Mistake | None:
    """A number from 0 to LARGEST."""
    return None if _is_number(value) and 0 <= value <= LARGEST else Mistake("", "an amount", value)


def flag(value: Any) -> Mistake | None:
    """True or false."""
    return None if isinstance(value, bool) else Mistake("", "true or false", value)


def table(value: Any) -> Mistake | None:
    """An object that holds anything."""
    return anything(value) if isinstance(value, dict) else Mistake("", "an object", value)


def maybe(shape: Shape) -> Shape:
    """`shape`, or null."""
    return lambda value: None if value is None else shape(value)


def listed(shape: Shape) -> Shape:
    """A list of values of `shape`."""

    def check(value: Any) -> Mistake | None:
        if not isinstance(value, list):
            return Mistake("", "a list", value)
        return _first({str(index): shape(item) for index, item in enumerate(value)})

    return check


def named(shape: Shape) -> Shape:
    """An object whose values are all of `shape`."""

    def check(value: Any) -> Mistake | None:
        if not isinstance(value, dict):
            return Mistake("", "an object", value)
        return _first({str(key): shape(item) for key, item in value.items()})

    return check


def record(required: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> Shape:
    """An object with the `required` keys and perhaps the `optional` ones."""

    def check(value: Any) -> Mistake | None:
        if not isinstance(value, dict):
            return Mistake("", "an object", value)
        found = {key: shape(value.get(key, ABSENT)) for key, shape in required.items()}
        found |= {key: shape(value[key]) for key, shape in (optional or {}).items() if key in value}
        return _first(found) or anything({key: item for key, item in value.items() if key not in found})

    return check


def _first(found: Mapping[str, Mistake | None]) -> Mistake | None:
    """The first mistake, told from outside."""
    for key, mistake in found.items():
        if mistake is not None:
            return mistake._replace(at=f"{key}.{mistake.at}".rstrip("."))
    return None


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_finite(value: int | float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def require(value: Any, shape: Shape, *, where: Path | str) -> None:
    """Raises: DataError naming `where`, the key, what was wanted and what was found."""
    mistake = shape(value)
    if mistake is not None:
        wanted = f"{mistake.wanted} as {mistake.at!r}" if mistake.at else mistake.wanted
        todo = "correct the file, or remove it and repeat the command that writes it"
        raise DataError(f"{where}: expected {wanted}, got {_told(mistake.got)}; {todo}.")


def _told(value: object) -> str:
    if value is ABSENT:
        return "nothing"
    if type(value) in NAMES:
        return NAMES[type(value)]
    if isinstance(value, int) and abs(value) > MOST:
        return f"a number of about {math.log10(abs(value)):.0f} digits"
    shown = ascii(value)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."


def read_object(path: Path, shape: Shape = table) -> Json:
    """The JSON object of a file, empty where there is no file. Raises: DataError unless it has the shape."""
    if not path.is_file():
        return {}
    found = read_json(path)
    if not isinstance(found, dict):
        wanted = f"expected a JSON object, got {type(found).__name__}"
        raise DataError(f"{path}: {wanted}; correct the file, or remove it and repeat the command that writes it.")
    require(found, shape, where=path)
    return found


def read_rows(path: Path, shape: Shape) -> list[Json]:
    """The rows of a JSONL file, none where there is no file. Raises: DataError naming the first row at fault."""
    if not path.is_file():
        return []
    rows = read_jsonl(path)
    if all(shape(row) is None for row in rows):
        return rows
    for line, row in numbered_rows(path, rows=rows):
        require(row, shape, where=f"{path}:{line}")
    return rows


def numbered_rows(path: Path, *, rows: list[Any]) -> list[tuple[int, Any]]:
    """The rows with the numbers of their lines; blank lines count."""
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    numbers = [number for number, line in enumerate(lines, start=1) if line.strip()]
    return list(zip(numbers, rows, strict=True))


# the files of a run --------------------------------------------------------------------------------------------------

_TABLES = dict.fromkeys(("model", "settings", "settings_in_force", "versions"), maybe(table))
IDENTITY = record({}, {**_TABLES, "benchmark": maybe(text)})
MANIFEST_ROW = record({"id": text, "case_id": text, "image": text}, {**_TABLES, "notes": maybe(listed(text))})
_VALUE = record({}, {"value": maybe(number), "note": maybe(text), "status": maybe(text)})
SCORES_ROW = record({"id": text, "case_id": text, "values": named(_VALUE)}, {"image": maybe(text)})
REJECTED_ROW = record({"where": text, "reason": text})
COMMANDS = named(text)
_ENDS: dict[str, Shape] = {"mean": maybe(number), "ci_low": maybe(number), "ci_high": maybe(number)}
_COUNTS: dict[str, Shape] = {"n": count, "n_subjects": count, "missing": count}
SUMMARY_ROW = record(
    {"row": text, "metric": text, **_ENDS, **_COUNTS, "unit": text, "higher_is_better": flag},
    {"column": maybe(text), "reason": maybe(text)},
)
_ORDERS = dict.fromkeys(("headline", "ranks", "compared"), maybe(number))
METRIC = record(
    {
        **dict.fromkeys(("name", "column", "label", "short", "shown_as"), text),
        **{"card": flag, "higher_is_better": flag, **_ORDERS},
    },
    {"range": maybe(listed(maybe(number)))},
)
CARD_ROW = record(
    {"column": text, **_ENDS, "n": count, "higher_is_better": flag},
    {**dict.fromkeys(("floor", "ceiling", "coverage"), maybe(number)), "reason": maybe(text), "scale": maybe(text)},
)
_PUBLISHED = record({"method": text, "source": text, "values": named(number)}, {"note": maybe(text)})
CARD = record(
    {"title": text, "rows": listed(CARD_ROW)},
    {"sha256": maybe(text), "cases": maybe(text), "published": listed(_PUBLISHED)},
)
_REASONS = named(count)
FAILURE = record(
    {
        **dict.fromkeys(("name", "label", "metric", "unit", "definition"), text),
        **{"limit": number, "n": count, "failed": count},
        **dict.fromkeys(("share", "ci_low", "ci_high"), maybe(number)),
        **{"not_measured": _REASONS, "not_applicable": _REASONS},
        "worst": listed(record({"id": text, "case_id": text, "value": number})),
    }
)
SUMMARY = record(
    {"rows": listed(SUMMARY_ROW)},
    {
        "benchmark": maybe(text),
        "metrics": maybe(named(METRIC)),
        "attributes": maybe(named(record({"share_right": number, "n": count}))),
        "cards": maybe(named(CARD)),
        "failures": maybe(listed(FAILURE)),
        "missing_images": listed(text),
        "extra_images": listed(text),
    },
)
_DECILES = record({}, {"sum": maybe(listed(amount)), "count": maybe(listed(amount))})
_LOGGED = record({"step": count}, {"focus_share_by_t": maybe(_DECILES)})
_CONFIG = dict.fromkeys(("model", "train", "focus"), maybe(table))
TRAINING = record(
    {},
    {
        **dict.fromkeys(("model", "data", "settings", "versions"), maybe(table)),
        "objective": maybe(record({}, {"label": text, "compares": flag})),
        "config": maybe(record({}, {**_CONFIG, "objective": maybe(record({}, {"focus": maybe(table)}))})),
    },
)
RECIPE = record({}, {"train": record({}, {"steps": count})})
SAMPLES = record(
    {"cases": listed(record({"id": text, "prompt": text, "subjects": listed(text), "references": listed(text)}))}
)


def log_row(row: Any) -> Mistake | None:
    """A row of log.jsonl; how many rows of the data were seen is a count, whatever the task calls them."""
    seen = [key for key in row if key.startswith("num_")] if isinstance(row, dict) else []
    return _LOGGED(row) or _first({key: count(row[key]) for key in seen})
