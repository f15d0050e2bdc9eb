"""Attributes of drawn faces: what they mean, and how common each is."""

import random

import pytest

from likeness.world.face_attributes import FACE_ATTRIBUTES, face_attributes
from likeness.world.identity import ANIMALS, OBJECTS, Identity, draw_identity

ANN = Identity("person", "red", "blue", "plain", "crown", "green", "dark", "curly", "gray", "shaved", "child")
BOB = Identity("person", "red", "blue", "plain", "glasses", "black", "light", "short", "red", "bearded", "adult")


@pytest.mark.parametrize(
    ("who", "yes"),
    [
        (ANN, {"Young", "Wearing_Hat", "Curly_Hair", "Gray_Hair", "Dark_Skin"}),
        (BOB, {"Bearded", "Wearing_Glasses", "Pale_Skin"}),
    ],
)
def test_every_attribute_is_answered(who: Identity, yes: set[str]) -> None:
    answers = face_attributes(who)
    assert list(answers) == list(FACE_ATTRIBUTES)
    assert {name for name, answer in answers.items() if answer == "yes"} == yes
    assert set(answers.values()) == {"no", "yes"}


def test_who_is_no_person_has_none() -> None:
    rng = random.Random(0)
    for species in (*ANIMALS, *OBJECTS):
        assert face_attributes(draw_identity(rng, species=species)) == {}


def test_both_answers_are_common() -> None:
    """By the rules of draw_identity: glasses are one of seven, a hair colour one of five, hats three of seven."""
    rng = random.Random(1)
    people = [face_attributes(draw_identity(rng, species="person")) for _ in range(4000)]
    for name, share in {"Wearing_Glasses": 1 / 7, "Wearing_Hat": 3 / 7, "Young": 1 / 2, "Bearded": 1 / 4}.items():
        assert sum(answers[name] == "yes" for answers in people) / 4000 == pytest.approx(share, abs=0.03)
    for name in FACE_ATTRIBUTES:
        assert 0.1 < sum(answers[name] == "yes" for answers in people) / 4000 < 0.9
