"""DreamSim: perceptual distance of the picture and a subject's photos, whole pictures.

Source: DreamSim (arXiv:2306.09344): 1 - cosine of centred features, which is 1 - Pearson's correlation. Stellar's table
measures it to the conditioning photo.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from jaxtyping import Float

from likeness.metrics.base import (
    Evidence,
    Facts,
    Measured,
    Metric,
    Seen,
    SubjectEvidence,
    Value,
    cosine,
    not_measured,
    of_subjects,
)

ENCODER = "dreamsim"


def distance(a: Float[np.ndarray, " D"], b: Float[np.ndarray, " D"]) -> float:
    """1 - Pearson's correlation, in [0, 2] and in float64: 0 for equal features, symmetric."""
    if np.array_equal(a, b):
        return 0.0
    centred = [each.astype(np.float64) - each.astype(np.float64).mean() for each in (a, b)]
    return min(2.0, max(0.0, 1.0 - cosine(*centred)))


def _mean_distance(feature: Float[np.ndarray, " D"], photos: Sequence[Float[np.ndarray, " D"]]) -> Value:
    if not photos:
        return not_measured("no photo to compare with")
    return Value(math.fsum(distance(feature, photo) for photo in photos) / len(photos))


def _to(photos: Callable[[SubjectEvidence], Sequence[Seen]]) -> Callable[[Evidence], Measured]:
    def measure(evidence: Evidence) -> Measured:
        picture = evidence.picture[ENCODER]
        return of_subjects(
            [_mean_distance(picture, [photo[ENCODER] for photo in photos(subject)]) for subject in evidence.subjects]
        )

    return measure


_facts = partial(
    Facts,
    name="dreamsim",
    label="Perceptual distance (DreamSim)",
    short="DreamSim",
    question="How far is the picture from the subject's photos in what people notice?",
    needs=(ENCODER,),
    kind="subject",
    unit="distance",
    range=(0.0, 2.0),
    higher_is_better=False,
    per_subject=True,
)
DREAMSIM = (
    Metric(_facts(column="all_photos"), _to(lambda seen: seen.photos)),
    Metric(_facts(column="conditioning_photo"), _to(lambda seen: (seen.conditioning,))),
)
