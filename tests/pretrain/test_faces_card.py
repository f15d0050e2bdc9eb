"""Cards of faces: matches, counts and pairs by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from likeness.encoders.face_attributes_seen import FaceAttributes
from likeness.encoders.faces_seen import COSINE, Face, FacesSeen, largest_first
from likeness.metrics.base import Value, not_measured
from likeness.pretrain.cards.faces import accuracies, detector_card, matched_boxes, pairs_card, pairs_of
from likeness.pretrain.detector import face_box
from likeness.world.identity import Identity
from likeness.world.render import Rendering, render
from likeness.world.scenario import sample_scenario


def person(skin: str, *, age: str = "adult") -> Identity:
    return Identity("person", "red", "blue", "plain", "none", "none", skin, "short", "red", "shaved", age)


def test_each_box_is_matched_once_and_the_best_first() -> None:
    true = [(0.0, 0.0, 1.0, 1.0), (3.0, 0.0, 4.0, 1.0)]
    found = [(0.0, 0.0, 1.0, 0.9), (0.0, 0.0, 1.0, 1.0), (3.0, 0.0, 4.0, 0.4)]
    assert matched_boxes(found, true) == {0: (1, 1.0)}  # the third covers 0.4 of the second only


def with_faces(count: int) -> Rendering:
    """A picture in which as many faces are in sight."""
    drawn = (render(sample_scenario(i, split="train"), size=48) for i in range(400))
    return next(p for p in drawn if sum(face_box(s) is not None for s in p.labels.subjects) == count)


def sight(boxes: list[tuple[float, ...]]) -> FacesSeen:
    faces = [Face((b[0], b[1], b[2], b[3]), 1.0, np.zeros((5, 2), np.float32), np.ones(2, np.float32)) for b in boxes]
    return FacesSeen("nobody", (100, 50), COSINE, 0.5, largest_first(faces))


def test_the_detectors_card_by_hand() -> None:
    """The first picture's two faces: one found, one thing taken for a face. The second has none, and none is found."""
    two, none = with_faces(2), with_faces(0)
    true = [box for subject in two.labels.subjects if (box := face_box(subject))]
    x0, y0, x1, y1 = true[0]
    card: Any = detector_card([two, none], [sight([(100 * x0, 50 * y0, 100 * x1, 50 * y1), (0, 0, 3, 3)]), sight([])])
    assert card["recall"]["mean"] == pytest.approx(0.5)
    assert card["recall"]["n"] == 2
    assert card["precision"]["mean"] == pytest.approx(0.5)
    assert card["overlap"]["mean"] == pytest.approx(1.0, abs=1e-3)
    assert card["count_right"]["mean"] == pytest.approx(1.0)  # two boxes for two faces, none for none


def test_pairs_without_a_face_are_left_out_and_counted() -> None:
    people = [person(skin) for skin in ("light", "tan", "dark")]

    def measure(i: int, j: int) -> Value:
        return not_measured("no face") if i == 1 or j == 1 else Value(10.0 * i + j)

    found = pairs_of(people, measure)
    assert found.values.tolist() == [[0.0, 2.0], [20.0, 22.0]]
    assert found.names == [people[0].id, people[2].id]
    assert found.missing == 1


def test_matched_against_shuffled_by_hand() -> None:
    """Own 0.9, 0.5 and 0.4; others 0.1 and 0.6, 0.2 twice, 0.3 twice. Of 18 pairs, 0.6 wins against two of the own."""
    values = np.array([[0.9, 0.1, 0.6], [0.2, 0.5, 0.2], [0.3, 0.3, 0.4]])
    card: Any = pairs_card(pairs_of([person(s) for s in ("light", "tan", "dark")], lambda i, j: Value(values[i, j])))
    assert card["auc"]["mean"] == pytest.approx(16 / 18, abs=1e-4)
    assert card["auc_hardest"]["mean"] == pytest.approx(7 / 9, abs=1e-4)
    assert card["first"]["mean"] == 1.0
    assert card["matched"]["mean"] == pytest.approx(0.6)
    assert card["shuffled"]["mean"] == pytest.approx((0.35 + 0.2 + 0.3) / 3, abs=1e-4)
    assert (card["rivals_per_subject"], card["missing"]) == (2, 0)
    nobody: Any = pairs_card(pairs_of([person("tan")], lambda i, j: not_measured("no face")))
    assert nobody["missing"] == 1
    assert nobody["reason"]


def test_accuracy_per_attribute_counts_faces_that_were_found() -> None:
    people = [person("light"), person("dark"), person("light", age="child")]
    labels = {"Pale_Skin": ("no", "yes"), "Young": ("no", "yes")}
    says = {"Pale_Skin": {"no": 0.2, "yes": 0.8}, "Young": {"no": 0.9, "yes": 0.1}}
    seen = FaceAttributes("nobody", says, labels)
    card: Any = accuracies(people, [seen, seen, replace(seen, attributes=None)])
    assert (card["Pale_Skin"]["mean"], card["Pale_Skin"]["n"]) == (0.5, 2)
    assert card["Young"]["mean"] == 1.0
    assert card["Young"]["yes"] == pytest.approx(1 / 3, abs=1e-4)
