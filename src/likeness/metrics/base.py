"""What every metric returns (`Value`), what is known about it (`Facts`), and the arithmetic that several share."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any  # JSON

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Value:
    """A measured number, or NaN with a note that says why there is none."""

    value: float
    note: str = ""

    @property
    def measured(self) -> bool:
        """False for NaN."""
        return not math.isnan(self.value)

    def to_json(self) -> dict[str, Any]:
        """{"value": number or null, "note"}."""
        return {"value": self.value if self.measured else None, "note": self.note}


@dataclass(frozen=True)
class Facts:
    """What a reader of a number must know: its range, direction, unit, and which encoder it needs."""

    name: str
    range: tuple[float, float]
    higher_is_better: bool
    unit: str
    needs: tuple[str, ...]


def not_measured(reason: str) -> Value:
    """NaN with the reason."""
    return Value(math.nan, reason)


def cosine(a: Float[np.ndarray, " D"], b: Float[np.ndarray, " D"]) -> float:
    """The cosine of two features, in float64; symmetric, 1 for equal directions, unchanged by their lengths."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    # plain sums, not BLAS: a dot product there may change with the number of threads
    return float((a * b).sum() / math.sqrt(float((a * a).sum()) * float((b * b).sum())))


def mean_cosine(feature: Float[np.ndarray, " D"], photos: Float[np.ndarray, "P D"]) -> Value:
    """The mean cosine of one picture to each photo; not measured without photos."""
    if len(photos) == 0:
        return not_measured("no photo to compare with")
    return Value(math.fsum(cosine(feature, photo) for photo in photos) / len(photos))


def mean_over_subjects(values: Sequence[Value]) -> Value:
    """The mean of one value per subject; not measured when any is missing, since the rest is another population."""
    if not values:
        return not_measured("the case has no subject")
    missing = [value for value in values if not value.measured]
    if missing:
        return missing[0]
    notes = "; ".join(dict.fromkeys(value.note for value in values if value.note))
    return Value(math.fsum(value.value for value in values) / len(values), notes)
