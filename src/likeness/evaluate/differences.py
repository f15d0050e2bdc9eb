"""Recorded values beside values found anew: what is equal, what is close, what differs and what could not be checked.

A fault names the place, such as a picture, and the column, with both values. Numbers are equal or close by a
tolerance; all else is equal or not.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple  # Any: values are JSON

from likeness.core.files import canonical_json

MISSING = "(absent)"


class Fault(NamedTuple):
    """Something recorded that is not so: `column` of what lies at `where`."""

    where: str
    column: str
    recorded: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.where}, {self.column}: recorded {_short(self.recorded)}, found {_short(self.found)}"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 160 else f"{text[:156]} ..."


@dataclass
class Check:
    """One line of the table: of `what` so many were compared, and how that ended.

    `exact` were equal, `close` within the tolerance; `largest` is the largest difference among the numbers compared
    (None: no number was). `unchecked` could not be compared, for the `reasons`.
    """

    what: str
    exact: int = 0
    close: int = 0
    unchecked: int = 0
    largest: float | None = None
    faults: list[Fault] = field(default_factory=list[Fault])
    reasons: dict[str, int] = field(default_factory=dict[str, int])

    @property
    def differ(self) -> int:
        """How many places have a fault."""
        return len({fault.where for fault in self.faults})

    @property
    def checked(self) -> int:
        """How many were compared."""
        return self.exact + self.close + self.differ

    def skip(self, reason: str, *, count: int = 1) -> None:
        """`count` more could not be compared."""
        self.unchecked += count
        self.reasons[reason] = self.reasons.get(reason, 0) + count

    def compare(
        self, where: str, recorded: Any, found: Any, *, tolerance: float = 0.0, column: str | None = None
    ) -> None:
        """One more place is compared in all its parts, `found` as it would be written.

        A fault names the part after `column` (default: `what`).
        """
        differing, largest = list[Fault](), None
        written = json.loads(canonical_json(found))
        for part, old, new in _leaves(recorded, written, at=self.what if column is None else column):
            if _is_number(old) and _is_number(new):
                gap = abs(old - new)
                largest = gap if largest is None else max(largest, gap)
                if not gap <= tolerance:
                    differing.append(Fault(where, part, old, new))
            elif type(old) is not type(new) or old != new:
                differing.append(Fault(where, part, old, new))
        if largest is not None:
            self.largest = largest if self.largest is None else max(self.largest, largest)
        if differing:
            self.faults += differing
        elif largest:
            self.close += 1
        else:
            self.exact += 1

    def to_json(self) -> dict[str, Any]:
        """The line with its counts; the faults stand elsewhere."""
        counts = {"checked": self.checked, "exact": self.exact, "close": self.close, "differ": self.differ}
        reasons = [{"reason": reason, "count": count} for reason, count in self.reasons.items()]
        return {"what": self.what, **counts, "unchecked": self.unchecked, "largest": self.largest, "reasons": reasons}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _leaves(recorded: Any, found: Any, *, at: str) -> Iterator[tuple[str, Any, Any]]:
    """Every part of two JSON values that is no object or list, with its name; what only one has is MISSING."""
    if isinstance(recorded, Mapping) and isinstance(found, Mapping):
        for key in dict.fromkeys([*recorded, *found]):
            yield from _leaves(recorded.get(key, MISSING), found.get(key, MISSING), at=f"{at}.{key}".lstrip("."))
    elif _is_list(recorded) and _is_list(found) and len(recorded) == len(found):
        for place, (old, new) in enumerate(zip(recorded, found, strict=True)):
            yield from _leaves(old, new, at=f"{at}[{place}]")
    else:
        yield at, recorded, found


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
