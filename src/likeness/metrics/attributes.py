"""Metrics of the drawn world, where every attribute, action and scene is known exactly.

All are functions of a probe's reading and the expected labels; the probe's label lists (`labels`) decide which
attributes apply. Expected "none" is scored where the probe knows "none" as an answer ("wears nothing") and skipped
where it does not ("hair color of a teapot").
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from likeness.core.errors import MeasurementError
from likeness.encoders.reading import Reading, SubjectReading, best_answer
from likeness.metrics.base import (
    Evidence,
    Facts,
    Measured,
    Metric,
    NotApplicableError,
    Value,
    not_measured,
    of_subjects,
)
from likeness.world.face_attributes import FACE_ATTRIBUTES

PROTOCOL = "share of applicable attributes read right by the probe, subjects matched by log-probability"
NOT_FOUND = "not found"
ABSENT = "none"
_SMALLEST = 1e-12  # so that a probability of 0 has a finite logarithm

Attributes = Mapping[str, str]
Labels = Mapping[str, Sequence[str]]


def applicable(expected: Attributes, *, labels: Labels) -> dict[str, str]:
    """The expected attributes that the probe can answer, in the probe's order; absent keys are skipped.

    Yes-or-no attributes of faces are another probe's (aps.py).
    Raises: MeasurementError for an attribute or value that the probe has no label for.
    """
    kept: dict[str, str] = {}
    if unknown := sorted(set(expected) - set(labels) - set(FACE_ATTRIBUTES)):
        known = ", ".join(labels)
        raise MeasurementError(f"Attributes: expected {known}, got {unknown[0]}; train a probe that reads it.")
    for name, values in labels.items():
        value = expected.get(name)
        if value is not None and value in values:
            kept[name] = value
        elif value not in (None, ABSENT):
            known = ", ".join(values)
            raise MeasurementError(f"Attribute {name}: expected one of {known}, got {value}; correct the case.")
    return kept


def _log_probability(reading: SubjectReading, expected: Attributes) -> float:
    return math.fsum(math.log(max(reading.attributes[name][value], _SMALLEST)) for name, value in expected.items())


def match_subjects(
    readings: Sequence[SubjectReading], expected: Sequence[Attributes], *, labels: Labels
) -> list[SubjectReading | None]:
    """For each expected subject the reading that plays it, or None, so that the total log-probability is largest.

    Every reading plays at most one subject. With fewer readings than subjects the least probable subjects are None.
    """
    from scipy.optimize import linear_sum_assignment

    wanted = [applicable(attributes, labels=labels) for attributes in expected]
    matched: list[SubjectReading | None] = [None] * len(wanted)
    scores = np.array([[_log_probability(reading, attributes) for reading in readings] for attributes in wanted])
    scores = scores.reshape(len(wanted), len(readings))  # also where one of them is empty
    for subject, reading in zip(*linear_sum_assignment(scores, maximize=True), strict=True):
        matched[subject] = readings[reading]
    return matched


def right_attributes(reading: SubjectReading | None, expected: Attributes, *, labels: Labels) -> dict[str, bool]:
    """Applicable attribute -> whether the probe's most probable value is the expected one; all False if not found."""
    return {
        name: reading is not None and best_answer(reading.attributes[name]) == value
        for name, value in applicable(expected, labels=labels).items()
    }


def attribute_accuracy(reading: SubjectReading | None, expected: Attributes | None, *, labels: Labels) -> Value:
    """Share of one subject's applicable attributes that read right; 0 for a subject that is not in the picture.

    The parts are `right_attributes`.
    """
    if expected is None:
        return not_measured("the case names no attributes", status="not_applicable")
    right = right_attributes(reading, expected, labels=labels)
    if not right:
        return not_measured("no attribute applies", status="not_applicable")
    return Value(sum(right.values()) / len(right), "" if reading is not None else NOT_FOUND, parts=right)


def leakage(
    matched: Sequence[SubjectReading | None], expected: Sequence[Attributes], *, subject: int, labels: Labels
) -> Value:
    """1 when `subject` wrongly shows another subject's value of an attribute in which the two differ, else 0.

    1 too for a subject that was not found: what most often takes its place is another subject, and a model that loses
    subjects must not look better for it. Not measured for a single subject and where no attribute differs. Another
    subject's "none" cannot leak: a lost hat is an error of accuracy only.
    """
    if len(expected) < 2:
        return not_measured("one subject: nothing can leak", status="not_applicable")
    reading = matched[subject]
    own = applicable(expected[subject], labels=labels)
    others = [applicable(e, labels=labels) for index, e in enumerate(expected) if index != subject]
    foreign = {name: {o[name] for o in others if name in o} - {value, ABSENT} for name, value in own.items()}
    if not any(foreign.values()):
        return not_measured("the subjects differ in no attribute", status="not_applicable")
    if reading is None:
        return Value(1.0, NOT_FOUND)
    return Value(float(any(best_answer(reading.attributes[name]) in values for name, values in foreign.items())))


def found_only(value: Value) -> Value:
    """A leakage that leaves out subjects that were not found."""
    return not_measured(NOT_FOUND, status="nothing_found") if value.note == NOT_FOUND else value


def recognised(probabilities: Mapping[str, float], expected: str | None, *, kind: str) -> Value:
    """1 when the most probable action or scene (`kind`) is the expected one, else 0.

    Not measured where the case names none, or one that the probe does not know.
    """
    if expected is None:
        return not_measured(f"the case names no {kind}", status="not_applicable")
    if expected not in probabilities:
        return not_measured(f"the probe has no {kind} {expected!r}", status="not_applicable")
    return Value(float(best_answer(probabilities) == expected))


def _matched(evidence: Evidence) -> tuple[list[SubjectReading | None], list[Attributes], Labels]:
    """The reading that plays each subject, the subjects' attributes, and the probe's labels.

    Raises: NotApplicableError when a subject has no attributes; MeasurementError for one that the probe does not know.
    """
    reading: Reading = evidence.picture["probe"]
    expected: list[Attributes] = [s.attributes for s in evidence.case.subjects if s.attributes is not None]
    if len(expected) < len(evidence.case.subjects):
        raise NotApplicableError("the case does not name every subject's attributes")
    matched = match_subjects(reading.subjects[: len(expected)], expected, labels=reading.labels)
    return matched, expected, reading.labels


def _accuracy(evidence: Evidence) -> Measured:
    matched, expected, labels = _matched(evidence)
    pairs = zip(matched, expected, strict=True)
    return of_subjects([attribute_accuracy(reading, wanted, labels=labels) for reading, wanted in pairs])


def _leakage(evidence: Evidence) -> Measured:
    matched, expected, labels = _matched(evidence)
    return of_subjects([leakage(matched, expected, subject=i, labels=labels) for i in range(len(expected))])


def _leakage_found_only(evidence: Evidence) -> Measured:
    return of_subjects([found_only(value) for value in _leakage(evidence).per_subject])


_of_probe = partial(Facts, needs=("probe",), kind="labels", card=True)
_of_subjects = partial(_of_probe, shown_as="percent", per_subject=True)


def _recognition(kind: str, *, headline: int | None = None) -> Metric:
    """Whether the probe reads the right "action" or "scene"."""
    name, question = kind.capitalize(), f"Does the probe read the right {kind}?"
    facts = _of_probe(f"{kind}_recognised", f"{name} recognised", name, question, shown_as="yes_no", headline=headline)

    def measure(evidence: Evidence) -> Measured:
        probabilities, expected = getattr(evidence.picture["probe"], kind), getattr(evidence.case, kind)
        return Measured(recognised(probabilities, expected, kind=kind))

    return Metric(facts, measure)


ATTRIBUTES = (
    Metric(
        _of_subjects(
            name="attribute_accuracy",
            label="Attributes right",
            short="Attributes",
            question="What share of each subject's attributes (species, colours, pattern, hat ...) reads right?",
            protocol={"attributes": PROTOCOL},
            headline=0,
            ranks=0,
        ),
        _accuracy,
        tallied="attributes",
    ),
    Metric(
        _of_subjects(
            name="leakage",
            label="Leaked from another subject",
            short="Leakage",
            question="What share of subjects carries an attribute of another subject of the picture, or is not found?",
            higher_is_better=False,
            headline=1,
        ),
        _leakage,
    ),
    Metric(
        _of_subjects(
            name="leakage",
            label="Leaked from another subject",
            short="Leakage",
            question="What share carries an attribute of another subject, in pictures where all are found?",
            higher_is_better=False,
            column="found_only",
            card=False,
        ),
        _leakage_found_only,
    ),
    _recognition("action", headline=2),
    _recognition("scene"),
)
