"""APS, attribute preservation: what share of the person's attributes does the face in the picture still have?

Source: Stellar (arXiv:2312.06116); linear probes of the embedding of the largest face. Fixed: the share of the case's
attributes that read right, NaN without a face. Paper: 0 without a face. Differs from the public code, which fits its
probes to the photos of the run that it judges and gives one AUC per attribute over the run, no value per picture; of
hard labels that AUC is the balanced accuracy, which the summary has per attribute (`face_attributes`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any  # JSON

from likeness.core.errors import MeasurementError
from likeness.encoders.face_attributes_seen import FaceAttributes
from likeness.encoders.reading import best_answer
from likeness.metrics.base import Evidence, Facts, SubjectEvidence, Value, not_measured
from likeness.metrics.face_likeness import NO_FACE, NO_FACE_IS_0, face_metrics

ENCODER = "face_attributes"
PROTOCOL = "share of the case's attributes that the probes read right of the largest face; paper: 0 without a face"
NO_LABEL = not_measured("the case names no attribute that the probes know", status="not_applicable")


def expected_attributes(wanted: Mapping[str, str] | None, *, labels: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The case's attributes that the probes know, in the probes' order.

    Raises: MeasurementError for a value of a known attribute that the probes have no label for.
    """
    found: dict[str, str] = {}
    for name in (name for name in labels if name in (wanted or {})):
        value = (wanted or {})[name]
        if value not in labels[name]:
            known = " or ".join(labels[name])
            raise MeasurementError(f"Attribute {name}: expected {known}, got {value}; correct the case.")
        found[name] = value
    return found


def attribute_share(seen: FaceAttributes, wanted: Mapping[str, str] | None) -> Value:
    """The share in [0, 1]; the parts hold for each attribute what was expected and what was read."""
    expected = expected_attributes(wanted, labels=seen.labels)
    if not expected:
        return NO_LABEL
    if seen.attributes is None:
        return NO_FACE
    read = {name: best_answer(seen.attributes[name]) for name in expected}
    parts: dict[str, Any] = {name: {"expected": expected[name], "read": read[name]} for name in expected}
    return Value(sum(read[name] == expected[name] for name in expected) / len(expected), parts=parts)


def _fixed(evidence: Evidence, subject: SubjectEvidence) -> Value:
    return attribute_share(evidence.picture[ENCODER], subject.subject.attributes)


def _paper(evidence: Evidence, subject: SubjectEvidence) -> Value:
    value = _fixed(evidence, subject)
    return Value(0.0, NO_FACE_IS_0) if value.status == "nothing_found" else value


_fixed_metric, *_others = face_metrics(
    Facts(
        name="aps",
        label="Attributes of the face (APS)",
        short="APS",
        question="What share of the person's attributes does the face in the picture still have?",
        needs=(ENCODER,),
        kind="subject",
        protocol={"aps": PROTOCOL},
        shown_as="percent",
        per_subject=True,
    ),
    fixed=_fixed,
    paper=_paper,
)
APS = (replace(_fixed_metric, tallied="face_attributes"), *_others)
