"""Aesthetic score: how people would rate the looks of a picture, whatever it shows.

Source: LAION's improved aesthetic predictor, "sac+logos+ava1-l14-linearMSE"; `encoders/aesthetic.py` computes it.
Its floor is measured on another subject's photo, like that of prompt metrics: what a plain photo scores.
"""

from likeness.metrics.base import UNBOUNDED, Evidence, Facts, Measured, Metric, Value


def aesthetic(evidence: Evidence) -> Measured:
    """The score of the picture, on a scale on which people gave 1 to 10."""
    return Measured(Value(evidence.picture["aesthetic"]))


AESTHETIC = Metric(
    Facts(
        name="aesthetic",
        label="Aesthetic score (LAION)",
        short="Aesthetic",
        question="How would people rate the looks of the picture?",
        needs=("aesthetic",),
        kind="prompt",
        unit="points of 1 to 10",
        range=UNBOUNDED,
        protocol={"aesthetic": "linear head on the CLIP L/14 feature of the whole picture; the prompt plays no part"},
    ),
    aesthetic,
)
