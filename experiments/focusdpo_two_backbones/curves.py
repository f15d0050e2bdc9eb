"""The trade-off curve of an adapter over its strength, the strength at equal CLIP-T, and the choice between tries.

A curve has a point per adapter strength, the first of them 0, which is the base model itself. Between neighbours every
mean is interpolated linearly in the strength.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from likeness.core.errors import MeasurementError

FIDELITY = "clip_t"
GAIN, LOSS = "attribute_accuracy", "leakage"


class Point(NamedTuple):
    """The means of every metric at an adapter strength, NaN where nothing was measured."""

    strength: float
    means: Mapping[str, float]


Curve = Sequence[Point]


class AtLevel(NamedTuple):
    """Where a curve has the wanted CLIP-T: the smallest such strength, and the means there.

    `reached` is False for a curve that stays above the level; the strength is then the largest that was drawn.
    """

    strength: float
    means: dict[str, float]
    reached: bool

    @property
    def value(self) -> float:
        """By which tries are chosen: attributes minus leakage."""
        return self.means[GAIN] - self.means[LOSS]


def at_level(curve: Curve, level: float) -> AtLevel:
    """The curve at the smallest strength where its CLIP-T has come down to `level`.

    Raises: MeasurementError for a curve that does not start at strength 0, at or above the level, or has NaN in it.
    """
    _require_sound(curve, level=level)
    for earlier, later in pairwise(curve):
        before, after = earlier.means[FIDELITY], later.means[FIDELITY]
        if after <= level:
            share = 0.0 if before == after else (before - level) / (before - after)
            strength = earlier.strength + share * (later.strength - earlier.strength)
            return AtLevel(strength, at_strength(curve, strength), True)
    return AtLevel(curve[-1].strength, dict(curve[-1].means), False)


def at_strength(curve: Curve, strength: float) -> dict[str, float]:
    """The means at a strength between two points. Raises: MeasurementError outside of the curve."""
    for earlier, later in pairwise(curve):
        if earlier.strength <= strength <= later.strength:
            share = (strength - earlier.strength) / (later.strength - earlier.strength)
            return {
                name: mean
                if share == 0
                else later.means[name]
                if share == 1
                else mean + share * (later.means[name] - mean)
                for name, mean in earlier.means.items()
            }
    ends = f"{curve[0].strength:g} to {curve[-1].strength:g}"
    raise MeasurementError(f"strength: expected one from {ends}, got {strength:g}; draw it.")


def at_fidelity(curve: Curve, fidelity: float, *, near: float) -> Point | None:
    """The curve where its CLIP-T is `fidelity`, at the strength nearest to `near`; None where it never is."""
    found: list[float] = []
    for earlier, later in pairwise(curve):
        before, after = earlier.means[FIDELITY], later.means[FIDELITY]
        if min(before, after) <= fidelity <= max(before, after):
            share = (before - fidelity) / (before - after) if before != after else 0.0
            found.append(earlier.strength + share * (later.strength - earlier.strength))
    if not found:
        return None
    strength = min(found, key=lambda each: abs(each - near))
    return Point(strength, at_strength(curve, strength))


def choose(tries: Mapping[str, AtLevel], *, tie: float) -> str:
    """The first try, in their order, whose value is at most `tie` below the best. Raises: MeasurementError for NaN."""
    if strangers := [name for name, found in tries.items() if math.isnan(found.value)]:
        raise MeasurementError(f"choice: expected a value of every try, got NaN for {strangers[0]}; measure it.")
    best = max(found.value for found in tries.values())
    return next(name for name, found in tries.items() if found.value >= best - tie - 1e-12)


def _require_sound(curve: Curve, *, level: float) -> None:
    strengths = [point.strength for point in curve]
    if len(curve) < 2 or strengths[0] != 0 or strengths != sorted(set(strengths)):
        raise MeasurementError(f"curve: expected rising strengths from 0, got {strengths}; add the base model.")
    if any(math.isnan(point.means[FIDELITY]) for point in curve):
        raise MeasurementError("curve: expected CLIP-T at every strength, got NaN; measure all pictures.")
    if curve[0].means[FIDELITY] < level:
        raise MeasurementError(f"curve: expected base at or above {level:.4f}, got {curve[0].means[FIDELITY]:.4f}.")
