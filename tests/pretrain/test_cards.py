"""Cards by hand: chances and their intervals, keypoints, and a detector that is right or has a planted fault."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.stats import mannwhitneyu

from likeness.core.skeletons import AP10K
from likeness.encoders import load_encoder
from likeness.encoders.detections import Detections
from likeness.pretrain.cards.clarity import blurred, clarity_card, noised
from likeness.pretrain.cards.detector import (
    FACE,
    SPECIES,
    WORDS,
    Looked,
    boxes_card,
    goa_card,
    matches,
    truth_of,
    words_card,
)
from likeness.pretrain.cards.numbers import grouped_auc
from likeness.pretrain.cards.pose import Read, keypoints_card
from likeness.pretrain.detector import face_box
from likeness.world.props import PROPS
from likeness.world.render import Rendering, render
from likeness.world.scenario import sample_scenario


# -- numbers ---------------------------------------------------------------------------------------------------
def test_grouped_auc_is_the_share_of_pairs_won() -> None:
    """3 beats 1 and 2, ties with 3 and loses to 4: 2.5 of 4; 0 wins none."""
    found = grouped_auc([3.0, 0.0], [1.0, 3.0, 2.0, 4.0], groups=(["a", "b"], ["a", "a", "b", "b"]))
    assert (found["mean"], found["n"], found["n_wrong"], found["n_groups"]) == (
        pytest.approx(2.5 / 8, abs=1e-4),
        2,
        4,
        2,
    )


def test_grouped_auc_agrees_with_mann_whitney_and_copies_add_no_certainty() -> None:
    rng = np.random.default_rng(0)
    right, wrong = rng.normal(1, 1, 60).round(1), rng.normal(0, 1, 90).round(1)
    names = ([str(i) for i in range(60)], [str(i) for i in range(90)])
    once: Any = grouped_auc([*right], [*wrong], groups=names)
    assert once["mean"] == pytest.approx(mannwhitneyu(right, wrong).statistic / (60 * 90), abs=1e-4)
    assert once["ci_low"] < once["mean"] < once["ci_high"]
    thrice: Any = grouped_auc([*right] * 3, [*wrong] * 3, groups=(names[0] * 3, names[1] * 3))
    for key in ("mean", "ci_low", "ci_high"):
        assert thrice[key] == pytest.approx(once[key], abs=1e-4)


def test_without_pairs_or_groups_it_says_so() -> None:
    assert grouped_auc([], [1.0], groups=([], ["a"]))["reason"] == "nothing is right"
    assert grouped_auc([1.0], [], groups=(["a"], []))["reason"] == "nothing is wrong"
    alone = grouped_auc([2.0, 2.0], [1.0, 3.0], groups=(["a", "a"], ["a", "b"]))
    assert (alone["mean"], alone["ci_low"], alone["reason"]) == (0.5, None, "one group: an interval needs at least two")


# -- pose ------------------------------------------------------------------------------------------------------
def test_keypoints_within_a_tenth_of_the_box_are_correct() -> None:
    """Box of 50 px: 5 px are correct, 5.1 are not; hidden keypoints count for visibility alone."""
    visible = np.array([1.0] * 16 + [0.0])
    near = Read("a", 50.0, np.full(17, 5.0), np.array([0.9] * 16 + [0.1]), visible)
    far = Read("b", 50.0, np.full(17, 5.1), np.array([0.5] * 16 + [0.7]), visible)
    card: Any = keypoints_card([near, far])
    assert card["pck_at_0.1"] | {"ci_low": 0, "ci_high": 0} == {
        "mean": 0.5, "ci_low": 0, "ci_high": 0, "n": 32, "n_subjects": 2, "reason": "",
    }  # fmt: skip
    assert card["error_px"]["mean"] == pytest.approx(5.05)
    assert card["visible_auc"]["mean"] == pytest.approx(0.75)  # 0.9 beats 0.1 and 0.7; 0.5 beats 0.1 alone
    assert card["pck_by_keypoint"][AP10K[0]]["n"] == 2
    assert card["pck_by_keypoint"][AP10K[16]]["reason"] == "no value was measured"


# -- detector --------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def pictures() -> list[Rendering]:
    return [render(sample_scenario(i, split="test", num_subjects=1 + i % 2, dressed=False), size=64) for i in range(24)]


def answered(picture: Rendering, *, moved: float = 0.0, doubled: bool = False) -> Looked:
    """A detector that knows the truth; its boxes are `moved` by that share of the picture, or come twice."""
    found: dict[str, Detections] = {}
    for word in WORDS:
        people = [s for s in picture.labels.subjects if s.class_name == word or word == FACE]
        boxes = [box for s in people if (box := face_box(s) if word == FACE else s.box) is not None]
        boxes = (np.array(boxes, np.float32).reshape(-1, 4) + moved) * 64
        boxes = np.concatenate([boxes, boxes + 1]) if doubled else boxes
        if not len(boxes) and truth_of(picture.labels, word):  # a thing somewhere
            boxes = np.array([[0, 0, 9, 9]], np.float32)
        found[word] = Detections((64, 64), boxes, np.full(len(boxes), 0.9, np.float32), (word,) * len(boxes))
    return Looked(picture.labels, 64, found)


def test_words_are_species_faces_and_things_that_the_world_draws() -> None:
    assert {"bicycle", "soccer ball", "hammock", *SPECIES, FACE} <= set(WORDS)
    assert set(WORDS) - {*SPECIES, FACE, "hammock"} <= {name.replace("_", " ") for name in PROPS}


def test_what_a_picture_shows(pictures: list[Rendering]) -> None:
    labels = pictures[0].labels
    ours = replace(labels, objects=("soccer_ball", "hammock_back"))
    assert truth_of(ours, "soccer ball")
    assert truth_of(ours, "hammock")
    assert truth_of(ours, "kite") is False
    assert truth_of(ours, labels.subjects[0].class_name)
    people = [p for p in pictures if any(s.class_name == "person" for s in p.labels.subjects)]
    assert people
    for picture in people:
        seen = any(face_box(s) for s in picture.labels.subjects)
        assert truth_of(picture.labels, FACE) is (True if seen else None)
    subjects = tuple(replace(s, keypoints=0 * s.keypoints) for s in people[0].labels.subjects)
    assert truth_of(replace(people[0].labels, subjects=subjects), FACE) is None
    assert {truth_of(p.labels, FACE) for p in pictures if all(s.class_name != "person" for s in p.labels.subjects)} == {
        False
    }


def test_a_detector_that_knows_the_truth_is_right_throughout(pictures: list[Rendering]) -> None:
    looks = [answered(picture) for picture in pictures]
    words, boxes, goa = words_card(looks, WORDS), boxes_card(looks, SPECIES), goa_card(looks)
    assert (words["mean"], words["n"]) == (1.0, sum(truth_of(e.labels, w) is True for e in looks for w in WORDS))
    card: Any = {**boxes, **goa}
    assert (card["recall"]["mean"], card["recall"]["n"]) == (1.0, 36)
    assert card["precision"]["mean"] == card["auc"]["mean"] == 1.0
    assert (card["matched"]["mean"], card["shuffled"]["mean"]) == (pytest.approx(0.9), 0.0)


def test_planted_faults_show(pictures: list[Rendering]) -> None:
    moved: Any = boxes_card([answered(picture, moved=0.3) for picture in pictures], SPECIES)
    assert moved["recall"]["mean"] < 0.2 > moved["precision"]["mean"]
    twice: Any = boxes_card([answered(picture, doubled=True) for picture in pictures], SPECIES)
    assert twice["recall"]["mean"] == twice["precision"]["mean"] == 1.0  # the second overlaps the first and goes
    looks = [answered(picture) for picture in pictures]
    others = [each._replace(labels=other.labels) for each, other in zip(looks, [*looks[2:], *looks[:2]], strict=True)]
    confused: Any = goa_card(others)
    assert confused["matched"]["mean"] < 0.5
    faces: Any = boxes_card([answered(picture) for picture in pictures], [FACE])
    assert faces["recall"]["n"] == sum(face_box(s) is not None for p in pictures for s in p.labels.subjects) > 0


def test_each_box_is_right_once() -> None:
    wanted = np.array([[0.0, 0.0, 10.0, 10.0], [0.0, 4.0, 10.0, 14.0]])
    found = np.array([[0.0, 1.0, 10.0, 11.0], [0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
    assert matches(found, wanted) == ([True, False], [True, False, False])  # the second find fits the first box alone
    assert matches(found[:0], wanted) == ([False, False], [])
    assert matches(found, wanted[:0]) == ([], [False] * 3)


# -- clarity ---------------------------------------------------------------------------------------------------
def test_damage_is_what_it_says() -> None:
    grey = np.full((40, 40, 3), 128, np.uint8)
    assert (blurred(grey, 2.0) == 128).all()
    noisy = noised(grey, seed=1).astype(float)
    assert noisy.std() == pytest.approx(16, rel=0.05)
    np.testing.assert_array_equal(noised(grey, seed=1), noised(grey, seed=1))


def test_clarity_tells_true_pictures_from_damaged_ones() -> None:
    true = [render(sample_scenario(i, split="test", num_subjects=1 + i % 2, dressed=False)) for i in range(6)]
    smeared = [np.asarray(Image.fromarray(p.image).resize((16, 16)).resize((128, 128))) for p in true]
    card: Any = clarity_card(load_encoder("probe", "probe"), true, autoencoded=smeared)
    assert card["auc"]["autoencoded"]["mean"] > 0.9
    assert 0.5 < card["auc"]["blurred_by_1_px"]["mean"] < card["auc"]["blurred_by_2_px"]["mean"]
    assert card["true"]["n"] == 6
    assert card["true"]["mean"] > card["blurred_by_2_px"]["mean"] > card["autoencoded"]["mean"]
