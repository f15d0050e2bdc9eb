"""Who plays whom: the subjects found in a picture, the subjects that should be there, one optimal assignment.

Shapes: F subjects found, E expected, D features of an identity.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Assignment:
    """Which found subject plays each expected one, by index.

    cast: per expected subject the one found that is left for it, like it or not; None where fewer were found.
    present: per expected subject whether the one in `cast` is alike enough.
    duplicated: (found, expected) of those that play nobody but are alike enough to somebody, whom they are most like.
    extra: those found that are like nobody, whether or not `cast` names them.
    """

    cast: tuple[int | None, ...]
    present: tuple[bool, ...]
    duplicated: tuple[tuple[int, int], ...]
    extra: tuple[int, ...]

    @property
    def num_missing(self) -> int:
        """Expected subjects that nobody found is alike enough to play."""
        return self.present.count(False)

    @property
    def is_exact(self) -> bool:
        """Whether everybody expected is there once, and nobody else."""
        return not (self.num_missing or self.duplicated or self.extra)


def similarities(
    found: Sequence[Float[np.ndarray, " D"]], expected: Sequence[Sequence[Float[np.ndarray, " D"]]]
) -> Float[np.ndarray, "F E"]:
    """The mean cosine of each found identity to the identities of each expected subject (unit vectors), in float64.

    Every expected subject needs one identity at least.
    """
    rows = [[[_cosine(one, photo) for photo in photos] for photos in expected] for one in found]
    means = [[sum(cosines) / len(cosines) for cosines in row] for row in rows]
    return np.array(means, dtype=np.float64).reshape(len(found), len(expected))


def _cosine(a: Float[np.ndarray, " D"], b: Float[np.ndarray, " D"]) -> float:
    # plain sums, not BLAS: a dot product there may change with the number of threads
    return float((a.astype(np.float64) * b.astype(np.float64)).sum())


def assign(similarity: Float[np.ndarray, "F E"], *, alike: float) -> Assignment:
    """The assignment with the largest total of (similarity - alike) over pairs that reach `alike`.

    So a pair that does not reach it never costs another pair its place. Whoever is left is then paired with whom it is
    most like, in total, below `alike`.
    """
    num_found, num_expected = similarity.shape
    chosen = dict(_best(np.maximum(similarity - alike, 0.0)))
    sure = {e: f for e, f in chosen.items() if similarity[f, e] > alike}
    left_found = [f for f in range(num_found) if f not in sure.values()]
    left_expected = [e for e in range(num_expected) if e not in sure]
    rest = _best(similarity[np.ix_(left_found, left_expected)])
    sure |= {left_expected[e]: left_found[f] for e, f in rest}
    cast = tuple(sure.get(e) for e in range(num_expected))
    present = tuple(f is not None and bool(similarity[f, e] >= alike) for e, f in enumerate(cast))
    playing = {f for f, is_there in zip(cast, present, strict=True) if is_there}
    idle = [f for f in range(num_found) if f not in playing]
    like = {f: int(np.argmax(similarity[f])) for f in idle if num_expected and similarity[f].max() >= alike}
    return Assignment(cast, present, tuple(like.items()), tuple(f for f in idle if f not in like))


def _best(weights: Float[np.ndarray, "F E"]) -> list[tuple[int, int]]:
    """(expected, found) of an assignment with the largest total."""
    from scipy.optimize import linear_sum_assignment

    found, expected = linear_sum_assignment(weights, maximize=True)
    return [(int(e), int(f)) for f, e in zip(found, expected, strict=True)]


def places_taken(found: Sequence[tuple[float, float]], places: Sequence[tuple[float, float]]) -> tuple[int | None, ...]:
    """For each place the index of the found subject that stands there: the least total of squared distances.

    Both are (x, y) in shares of the sides. None where fewer were found than there are places.
    """
    squares = [[-((x - px) ** 2) - (y - py) ** 2 for px, py in places] for x, y in found]
    taken = dict(_best(np.array(squares, dtype=np.float64).reshape(len(found), len(places))))
    return tuple(taken.get(place) for place in range(len(places)))
