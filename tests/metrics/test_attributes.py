"""Attribute metrics on hand-made readings: matching against brute force, accuracy, the leakage truth table, gaps."""

import itertools
import math
from typing import Any

import numpy as np
import pytest

from likeness.core.errors import MeasurementError
from likeness.encoders.reading import SubjectReading
from likeness.metrics.attributes import (
    applicable,
    attribute_accuracy,
    found_only,
    leakage,
    match_subjects,
    recognised,
    right_attributes,
)
from likeness.world.face_attributes import FACE_ATTRIBUTES

LABELS = {
    "species": ("cat", "dog", "teapot"),
    "color": ("red", "green", "blue"),
    "hat": ("none", "cap"),  # "none" is an answer: wears no hat
    "hat_color": ("red", "green", "blue"),  # "none" means that the question does not apply
}
RED_CAT = {"species": "cat", "color": "red", "hat": "none", "hat_color": "none"}
BLUE_DOG = {"species": "dog", "color": "blue", "hat": "cap", "hat_color": "green"}


def reading(*, sure: float = 0.9, **values: str) -> SubjectReading:
    """A reading that gives `sure` to the named values, else to the first label, and shares the rest."""
    attributes = {}
    for name, labels in LABELS.items():
        rest = (1 - sure) / (len(labels) - 1)
        attributes[name] = {label: sure if label == values.get(name, labels[0]) else rest for label in labels}
    return SubjectReading(position=(0.5, 0.5), score=0.8, attributes=attributes)


def read_as(expected: dict[str, str], **changes: str) -> SubjectReading:
    asked: dict[str, Any] = {n: value for n, value in (expected | changes).items() if value in LABELS[n]}
    return reading(**asked)


def test_attributes_that_do_not_apply_are_skipped() -> None:
    assert applicable(RED_CAT, labels=LABELS) == {"species": "cat", "color": "red", "hat": "none"}
    assert applicable({"color": "blue"}, labels=LABELS) == {"color": "blue"}
    assert applicable({}, labels=LABELS) == {}


def test_attributes_of_faces_are_another_probes_question() -> None:
    answers = dict.fromkeys(FACE_ATTRIBUTES, "yes")
    assert applicable(RED_CAT | answers, labels=LABELS) == applicable(RED_CAT, labels=LABELS)
    assert (
        attribute_accuracy(reading(species="cat", color="red", hat="none"), RED_CAT | answers, labels=LABELS).value == 1
    )
    assert attribute_accuracy(reading(), answers, labels=LABELS).status == "not_applicable"
    with pytest.raises(MeasurementError, match="got fur"):
        applicable(RED_CAT | answers | {"fur": "soft"}, labels=LABELS)


@pytest.mark.parametrize(("expected", "named"), [({"color": "purple"}, "purple"), ({"wings": "two"}, "wings")])
def test_what_the_probe_does_not_know_is_refused(expected: dict[str, str], named: str) -> None:
    with pytest.raises(MeasurementError, match=named):
        applicable(expected, labels=LABELS)


def random_reading(rng: np.random.Generator) -> SubjectReading:
    attributes = {}
    for name, labels in LABELS.items():
        attributes[name] = dict(zip(labels, rng.dirichlet(np.ones(len(labels))).tolist(), strict=True))
    return SubjectReading((0.5, 0.5), 0.5, attributes)


@pytest.mark.parametrize("num_readings", [1, 2, 3, 4])
@pytest.mark.parametrize("num_subjects", [1, 2, 3, 4])
def test_matching_equals_brute_force(num_readings: int, num_subjects: int) -> None:
    rng = np.random.default_rng(num_readings * 10 + num_subjects)
    for _ in range(10):
        readings = [random_reading(rng) for _ in range(num_readings)]
        expected = [
            {name: str(rng.choice(labels)) for name, labels in LABELS.items() if rng.random() < 0.8}
            for _ in range(num_subjects)
        ]
        matched = match_subjects(readings, expected, labels=LABELS)
        assert total(matched, expected) == pytest.approx(best_total(readings, expected))
        chosen = [id(r) for r in matched if r is not None]
        assert len(set(chosen)) == len(chosen) == min(num_readings, num_subjects)


def total(matched: list[SubjectReading | None], expected: list[dict[str, str]]) -> float:
    pairs = [(r, e) for r, e in zip(matched, expected, strict=True) if r is not None]
    return sum(math.log(r.attributes[name][value]) for r, e in pairs for name, value in e.items())


def best_total(readings: list[SubjectReading], expected: list[dict[str, str]]) -> float:
    slots = [*readings, *[None] * max(0, len(expected) - len(readings))]
    most = min(len(readings), len(expected))
    options = [p for p in itertools.permutations(slots, len(expected)) if sum(r is not None for r in p) == most]
    return max(total(list(option), expected) for option in options)


def test_matching_without_readings_finds_nobody() -> None:
    assert match_subjects([], [RED_CAT, BLUE_DOG], labels=LABELS) == [None, None]
    assert match_subjects([read_as(RED_CAT)], [], labels=LABELS) == []


def test_a_probability_of_zero_is_no_obstacle() -> None:
    certain = [reading(sure=1.0, species="dog"), reading(sure=1.0, species="cat")]
    cat, dog = match_subjects(certain, [{"species": "cat"}, {"species": "dog"}], labels=LABELS)
    assert (cat, dog) == (certain[1], certain[0])


def test_order_of_readings_does_not_matter() -> None:
    cat, dog = read_as(RED_CAT), read_as(BLUE_DOG)
    assert match_subjects([dog, cat], [RED_CAT, BLUE_DOG], labels=LABELS) == [cat, dog]


def test_accuracy_is_the_share_of_applicable_attributes() -> None:
    assert attribute_accuracy(read_as(RED_CAT), RED_CAT, labels=LABELS).value == 1
    assert attribute_accuracy(read_as(RED_CAT, color="blue"), RED_CAT, labels=LABELS).value == pytest.approx(2 / 3)
    assert attribute_accuracy(read_as(BLUE_DOG, color="red", hat="none"), BLUE_DOG, labels=LABELS).value == 0.5
    wrong = right_attributes(read_as(RED_CAT, hat="cap"), RED_CAT, labels=LABELS)
    assert wrong == {"species": True, "color": True, "hat": False}  # a hat that should not be there is an error


def test_a_subject_that_is_not_there_is_wrong_in_everything() -> None:
    value = attribute_accuracy(None, BLUE_DOG, labels=LABELS)
    assert (value.value, value.note) == (0.0, "not found")


def test_no_labels_give_no_number() -> None:
    assert "no attributes" in attribute_accuracy(read_as(RED_CAT), None, labels=LABELS).note
    assert not attribute_accuracy(read_as(RED_CAT), {"hat_color": "none"}, labels=LABELS).measured


@pytest.mark.parametrize(
    ("cat_reads", "cat_leaks"),
    [
        ({}, 0.0),  # all right
        ({"color": "blue"}, 1.0),  # the dog's colour
        ({"color": "green"}, 0.0),  # wrong, but nobody's colour
        ({"color": "green", "hat": "cap"}, 1.0),  # the dog's cap
        ({"species": "teapot"}, 0.0),
        ({"species": "dog", "color": "blue", "hat": "cap"}, 1.0),  # several at once count once
    ],
)
def test_leakage_truth_table(cat_reads: dict[str, str], cat_leaks: float) -> None:
    matched = [read_as(RED_CAT, **cat_reads), read_as(BLUE_DOG)]
    values = [leakage(matched, [RED_CAT, BLUE_DOG], subject=i, labels=LABELS).value for i in (0, 1)]
    assert values == [cat_leaks, 0.0]


def test_a_lost_hat_does_not_leak_from_the_bareheaded_one() -> None:
    matched = [read_as(RED_CAT), read_as(BLUE_DOG, hat="none")]
    assert leakage(matched, [RED_CAT, BLUE_DOG], subject=1, labels=LABELS).value == 0


def test_a_shared_value_cannot_leak() -> None:
    red_dog = BLUE_DOG | {"color": "red"}
    matched = [read_as(RED_CAT, color="green"), read_as(red_dog)]
    assert leakage(matched, [RED_CAT, red_dog], subject=0, labels=LABELS).value == 0


def test_leakage_from_any_of_three() -> None:
    green_pot = {"species": "teapot", "color": "green"}
    expected = [RED_CAT, BLUE_DOG, green_pot]
    matched = [read_as(RED_CAT, color="green"), read_as(BLUE_DOG), read_as(green_pot, species="cat")]
    assert [leakage(matched, expected, subject=i, labels=LABELS).value for i in range(3)] == [1, 0, 1]


@pytest.mark.parametrize(
    ("matched", "expected", "reason"),
    [
        ([read_as(RED_CAT)], [RED_CAT], "one subject"),
        ([read_as(RED_CAT)] * 2, [RED_CAT, RED_CAT], "differ in no attribute"),
    ],
)
def test_leakage_that_cannot_be_seen_is_not_zero(
    matched: list[SubjectReading | None], expected: list[dict[str, str]], reason: str
) -> None:
    value = leakage(matched, expected, subject=0, labels=LABELS)
    assert math.isnan(value.value)
    assert reason in value.note


def test_a_subject_that_was_not_found_counts_as_leaked_except_in_the_column_of_those_found() -> None:
    matched = [None, read_as(BLUE_DOG)]
    values = [leakage(matched, [RED_CAT, BLUE_DOG], subject=i, labels=LABELS) for i in (0, 1)]
    assert [(value.value, value.note) for value in values] == [(1, "not found"), (0, "")]
    old = [found_only(value) for value in values]
    assert (old[0].status, old[0].note, old[1]) == ("nothing_found", "not found", values[1])
    alike = leakage([None, None], [RED_CAT, RED_CAT], subject=0, labels=LABELS)
    assert alike.status == "not_applicable"  # lost or not, nothing could have leaked


@pytest.mark.parametrize("kind", ["action", "scene"])
def test_recognition_is_the_most_probable_label(kind: str) -> None:
    probabilities = {"hug": 0.5, "chase": 0.3, "wave": 0.2}
    assert recognised(probabilities, "hug", kind=kind).value == 1
    assert recognised(probabilities, "chase", kind=kind).value == 0
    assert f"names no {kind}" in recognised(probabilities, None, kind=kind).note
    assert not recognised(probabilities, "fly", kind=kind).measured


def test_right_readings_score_above_swapped_ones() -> None:
    expected = [RED_CAT, BLUE_DOG]
    right, swapped = [read_as(RED_CAT), read_as(BLUE_DOG)], [read_as(BLUE_DOG), read_as(RED_CAT)]
    scores = [
        sum(attribute_accuracy(r, e, labels=LABELS).value for r, e in zip(m, expected, strict=True))
        for m in (right, swapped)
    ]
    assert scores[0] > scores[1]
    assert match_subjects(swapped, expected, labels=LABELS) == right  # matching mends mere order
