"""Leakage as a matrix: how like every reference each place of the picture became, beyond what the true picture is.

Source: "MultiBind" (arXiv:2603.21937): slot-to-slot similarities minus those of the true picture, read as drift, swap,
dominance and blend. Differs: a continuous strength in [0, 1] of each of the four in place of classes by thresholds, and
where there is no true picture the references' own similarities stand in for it.
Shapes: E subjects; row i is the place of subject i, column j the subject j of the true picture, or else its photos.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float

from likeness.metrics.assignment import places_taken, similarities
from likeness.metrics.base import Evidence, Facts, Measured, Metric, Value, not_measured
from likeness.metrics.places import places_of
from likeness.metrics.slots import ENCODER, NOT_FOUND, Slots, several, truth_slots

PROTOCOL = (
    "mean rise of the cosine of each place to every other place of the true picture, over that among those places"
)
LEAST_APART = 0.05
"""Two subjects whose exchange would change a cosine by less cannot be told apart, and nothing is read of them."""

Matrix = Float[np.ndarray, "E E"]


@dataclass(frozen=True)
class Reading:
    """Strengths in [0, 1] of what happened to the subject or pair to which most happened.

    drift: a subject lost likeness to itself and gained none to another (loss of cosine). swap: two have exchanged
    places. dominance: one stands in another's place too. blend: a place shows something between two subjects.
    """

    drift: float
    swap: float
    dominance: float
    blend: float


def taken_over(matrix: Matrix, base: Matrix) -> Matrix:
    """How far place i became subject j, from 0 (as in the base) to 1 (j itself), for i != j; 0 on the diagonal.

    The smaller of two shares: of the likeness to i that j's coming would cost, and of the likeness to j it would bring.
    """
    own, change = np.diag(base), matrix - base
    cost = own[:, None] - base.T  # j in place i: its likeness to i falls from base[i, i] to base[j, i]
    gain = own[None, :] - base
    apart = (cost >= LEAST_APART) & (gain >= LEAST_APART) & ~np.eye(len(base), dtype=bool)
    lost = -np.diag(change)[:, None] / np.where(apart, cost, 1.0)
    won = change / np.where(apart, gain, 1.0)
    return np.where(apart, np.clip(np.minimum(lost, won), 0.0, 1.0), 0.0)


def read(matrix: Matrix, base: Matrix) -> Reading:
    """The four strengths. Of a pair (i, j) with shares t and u taken over: swap 2 min(t, u) - 1, dominance
    (2 t - 1)(1 - u), blend 1 - |2 t - 1|, each at least 0."""
    shares, change = taken_over(matrix, base), matrix - base
    crossed = np.maximum(2 * shares - 1, 0.0)
    elsewhere = np.maximum(np.where(np.eye(len(base), dtype=bool), 0.0, change).max(axis=1), 0.0)
    return Reading(
        drift=float(np.clip(-np.diag(change) - elsewhere, 0.0, 1.0).max()),
        swap=float(np.minimum(crossed, crossed.T).max()),
        dominance=float((crossed * (1 - shares.T)).max()),
        blend=float((1 - np.abs(2 * shares - 1)).max()),
    )


def leaked(matrix: Matrix, base: Matrix) -> float:
    """The mean over i != j of how much liker j place i is than in the base; falls count as 0."""
    rises = np.maximum(matrix - base, 0.0)[~np.eye(len(base), dtype=bool)]
    return float(rises.sum() / rises.size)


def reference_matrix(slots: Slots) -> Matrix:
    """The mean cosine of each subject's photos to each subject's photos; a photo is not compared with itself."""
    pairs = [[_between(a, b, same=i == j) for j, b in enumerate(slots.expected)] for i, a in enumerate(slots.expected)]
    return np.array(pairs, dtype=np.float64)


def _between(a: Sequence[Float[np.ndarray, " D"]], b: Sequence[Float[np.ndarray, " D"]], *, same: bool) -> float:
    cosines = similarities(a, [[each] for each in b])
    kept = cosines[~np.eye(len(a), dtype=bool)] if same else cosines
    return float(kept.mean()) if kept.size else 1.0


def _measure(evidence: Evidence) -> Measured:
    slots, truth = several(evidence), truth_slots(evidence)
    places = places_of(evidence, truth)
    taken = (
        slots.assignment.cast
        if isinstance(places, Value)
        else places_taken([each.centre for each in slots.found], places)
    )
    rows = [place for place in taken if place is not None]
    if len(rows) < len(taken):
        return Measured(not_measured(f"{len(taken) - len(rows)} {NOT_FOUND}", status="nothing_found"))
    matrix, base = _matrices(slots, rows, truth)
    parts = {
        **asdict(read(matrix, base)),
        "matrix": (matrix - base).tolist(),
        "minus": "references" if isinstance(truth, Value) else "truth",
        "slots": "looks" if isinstance(places, Value) else "places",
    }
    return Measured(Value(leaked(matrix, base), parts=parts))


def _matrices(slots: Slots, rows: Sequence[int], truth: Slots | Value) -> tuple[Matrix, Matrix]:
    """How like each place is to what should be there and elsewhere, and how like it should be."""
    if isinstance(truth, Value):
        return slots.similarity[list(rows)], reference_matrix(slots)
    true = [each.identity for each in map(truth.of, range(len(rows))) if each is not None]
    made = [slots.found[place].identity for place in rows]
    return similarities(made, [[each] for each in true]), similarities(true, [[each] for each in true])


LEAKAGE_MATRIX = Metric(
    Facts(
        "leakage_matrix",
        "Likeness leaked between places",
        "Leak matrix",
        "How much liker the other subjects is each place than it is in the true picture?",
        (ENCODER,),
        "prompt",
        "cosine",
        (0.0, 2.0),
        higher_is_better=False,
        protocol={"leakage_matrix": PROTOCOL},
    ),
    _measure,
    compares_truth=True,
)
