"""Clarity, the quality of a drawn picture: how sure the attribute probe is of the subjects that it sees.

It falls where outlines smear and faces dissolve, whether or not the picture shows the right thing. On true pictures it
reads about 0.93. How well it tells damaged pictures from true ones is in the probe's card (stage "calibrate"), and for
generated pictures figures/quality.py measures it.
"""

from collections.abc import Sequence

from likeness.encoders.reading import Reading, SubjectReading
from likeness.metrics.base import Evidence, Facts, Measured, Metric, Value, not_measured


def clarity(subject: SubjectReading) -> float:
    """The height of the head's peak times the mean probability of the probe's own answers, in [0, 1]."""
    sure = [max(probabilities.values()) for probabilities in subject.attributes.values()]
    return subject.score * sum(sure) / len(sure)


def clarity_of(found: Sequence[SubjectReading]) -> float | None:
    """The mean over subjects; None where there is none."""
    return sum(map(clarity, found)) / len(found) if found else None


def _clarity(evidence: Evidence) -> Measured:
    """The mean over the subjects found, at most as many as the case has: the strongest heads."""
    reading: Reading = evidence.picture["probe"]
    found = reading.subjects[: len(evidence.case.subjects)]
    if not evidence.case.subjects:
        return Measured(not_measured("the case has no subject", status="not_applicable"))
    if (value := clarity_of(found)) is None:
        return Measured(not_measured("no subject was found in the picture", status="nothing_found"))
    return Measured(Value(value, parts={"subjects_found": len(found)}))


CLARITY = Metric(
    Facts(
        name="clarity",
        label="Clarity of the drawing",
        short="Clarity",
        question="How clearly are the subjects drawn, by the probe's own certainty?",
        needs=("probe",),
        kind="quality",
        protocol={"clarity": "head peak times mean probability of the probe's answers, mean over found subjects"},
        headline=6,
    ),
    _clarity,
)
