"""Identity margin (UMO's ID-Conf): is one found subject clearly the one most like a reference, or are two?

Source: Cheng et al., "UMO" (arXiv:2509.06818): (best - second) / best over the faces found, for each reference.
Differs: UMO leaves out pictures with one face or none; here a reference whom nobody found is
like enough to counts as 0. A second below 0 counts as 0.
"""

import numpy as np
from jaxtyping import Float

from likeness.metrics.base import Evidence, Facts, Measured, Metric, Value, of_subjects
from likeness.metrics.slots import ENCODER, NOT_FOUND, several

PROTOCOL = "(best - second) / best over the subjects found, for each reference; 0 where its best is not alike enough"


def margin(likeness: Float[np.ndarray, " F"], *, alike: float) -> Value:
    """The margin of one reference, in [0, 1]; 1 when nobody else is like it at all or only one was found."""
    best, second = sorted([0.0, 0.0, *likeness.tolist()], reverse=True)[:2]
    if best < alike or best <= 0:
        return Value(0.0, NOT_FOUND)
    return Value((best - second) / best)


def _measure(evidence: Evidence) -> Measured:
    """A margin per subject; one for whom nobody alike is left, since another subject needs them, counts as 0."""
    slots = several(evidence)
    present = slots.assignment.present
    return of_subjects(
        [
            margin(column, alike=slots.alike) if is_there else Value(0.0, NOT_FOUND)
            for column, is_there in zip(slots.similarity.T, present, strict=True)
        ]
    )


ID_CONFUSION = Metric(
    Facts(
        "id_confusion",
        "Identity margin",
        "ID margin",
        "Is exactly one subject of the picture clearly the one in each reference?",
        (ENCODER,),
        "subject",
        protocol={"id_confusion": PROTOCOL},
        shown_as="percent",
        per_subject=True,
    ),
    _measure,
)
