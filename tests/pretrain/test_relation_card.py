"""The card of relations: by a judge that knows the labels, by one with a planted fault, and calibration by hand."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from likeness.core.hashing import pixels_sha256
from likeness.encoders.answers import YesNo
from likeness.encoders.clip import TextFeature
from likeness.encoders.clip_judge import ClipJudge
from likeness.encoders.relations import around, shown_large
from likeness.metrics.relations import distractors
from likeness.pretrain.cards.relations import (
    Answers,
    calibration_card,
    look,
    metric_card,
    odds_card,
    part_card,
    roles_card,
    strangers,
    uneven_scenarios,
)
from likeness.pretrain.relations import synonyms, true_texts
from likeness.world.relations import RELATIONS
from likeness.world.render import Rendering, render
from likeness.world.scenario import pair_split, sample_scenario


class Oracle(ClipJudge):
    """A judge that knows what holds in each picture: a text is one axis, a picture the sum of its true ones.

    Cosines are 1 / sqrt(number of true texts) or 0. `by_part` says whose part of a picture is whose.
    """

    def __init__(self, pictures: list[Rendering], *, swapped: bool = False) -> None:
        self.scale, self.bias = 100.0, -15.0
        names = [[s.class_name for s in p.labels.subjects][:: -1 if swapped else 1] for p in pictures]
        true = [true_texts(p.labels.action, each) for p, each in zip(pictures, names, strict=True)]
        shown = [Image.fromarray(picture.image) for picture in pictures]
        self.true = {pixels_sha256(image): texts for image, texts in zip(shown, true, strict=True)}
        for picture, texts in zip(pictures, true, strict=True):
            if len(picture.labels.subjects) == 2:
                self.true[pixels_sha256(part_of(picture))] = texts
        self.axes: dict[str, int] = {text: i for i, text in enumerate(sorted(set().union(*true)))}
        clip: Any = SimpleNamespace(look=self.look, read=self.read)
        self.clip = clip

    def look(self, images: list[Image.Image]) -> np.ndarray:
        rows = np.zeros((len(images), len(self.axes) + 2), np.float32)
        for row, image in zip(rows, images, strict=True):
            row[[self.axes[text] for text in self.true[pixels_sha256(image)]] or [-1]] = 1
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def read(self, texts: list[str]) -> list[TextFeature]:
        vectors = np.eye(len(self.axes) + 2, dtype=np.float32)  # the last but one: what is nowhere true
        return [TextFeature(vectors[self.axes.get(text, -2)], False) for text in texts]

    def ask(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[YesNo]:
        known = [text in self.true[pixels_sha256(image)] for image, text in zip(images, texts, strict=True)]
        return [YesNo(9.0 if each else -9.0, 1.0) for each in known]


def part_of(picture: Rendering) -> Image.Image:
    image = Image.fromarray(picture.image)
    first, second = (np.array(subject.box) * image.width for subject in picture.labels.subjects)
    return shown_large(image.crop(around(first, second, size=image.size)))


@pytest.fixture(scope="module")
def pictures() -> list[Rendering]:
    return [render(sample_scenario(i, split="test", num_subjects=1 + i % 2, dressed=False), size=32) for i in range(60)]


@pytest.fixture(scope="module")
def roles() -> list[Rendering]:
    scenarios = uneven_scenarios()
    return [render(next(scenarios), size=32) for _ in range(12)]


def test_a_judge_that_knows_is_always_right(pictures: list[Rendering], roles: list[Rendering]) -> None:
    judge = Oracle([*pictures, *roles])
    looks = look(judge, pictures)
    for metric in ("rfs_c", "clip_r"):
        for subjects in (1, 2):
            card: Any = metric_card(judge, looks, metric=metric, subjects=subjects)
            assert card["auc"]["mean"] == 1.0
            assert card["auc"]["n"] == card["auc"]["n_wrong"] > 15
            chance = 1 / 9 if metric == "rfs_c" else 0.0  # nothing that is asked holds in another's picture
            assert card["shuffled"]["mean"] == pytest.approx(chance, abs=1e-4)
            assert card["matched"]["mean"] > 0.4
    part: Any = part_card(judge, looks)
    assert part["auc"]["mean"] == 1.0
    assert part["matched"]["mean"] > 0.99
    asked: Any = roles_card(judge, look(judge, roles))
    assert asked["auc"]["mean"] == asked["right_of_two"]["mean"] == 1.0
    assert sum(asked["relations"].values()) == len(roles)
    odds: Any = odds_card(judge, looks)
    assert odds["expected_calibration_error"] < 1e-4
    assert odds["mean_chances"] == pytest.approx(odds["mean_holds"], abs=1e-4)


def test_a_judge_that_exchanges_roles_is_found_out(pictures: list[Rendering], roles: list[Rendering]) -> None:
    judge = Oracle([*pictures, *roles], swapped=True)
    asked: Any = roles_card(judge, look(judge, roles))
    assert asked["auc"]["mean"] == asked["right_of_two"]["mean"] == 0.0
    odds: Any = odds_card(judge, look(judge, pictures))
    assert odds["expected_calibration_error"] > 0.002
    words: Any = metric_card(judge, look(judge, pictures), metric="clip_r", subjects=2)
    assert words["auc"]["mean"] == 1.0  # the relation's words alone have no roles


def test_a_stranger_shows_another_relation_with_as_many_subjects(pictures: list[Rendering]) -> None:
    judge = Oracle(pictures)
    pairs = strangers(look(judge, pictures))
    assert len(pairs) == sum(p.labels.action in RELATIONS for p in pictures)
    for own, other in pairs:
        assert len(own.names) == len(other.names)
        assert other.relation is not None
        assert own.relation is not None
        assert other.relation not in synonyms(own.relation)
    alone = [replace(p, labels=replace(p.labels, action="stand")) for p in pictures]
    assert strangers(look(judge, alone)) == []


def test_roles_are_asked_of_new_subjects_in_new_scenes() -> None:
    scenarios = uneven_scenarios()
    for scenario in (next(scenarios) for _ in range(20)):
        first, second = scenario.identities
        assert first.species != second.species
        assert not RELATIONS[scenario.action].symmetric
        assert pair_split(scenario.action, scenario.scene) == "test"


def test_calibration_is_the_gap_between_chances_and_truth() -> None:
    """Bin 0.9 to 1: chances 0.95 and 0.95, one of two holds, a surplus of 0.9; bin 0 to 0.1: 0.05, which does not."""
    rows = [Answers(np.array([0.95, 0.05]), np.array([True, False])), Answers(np.array([0.95]), np.array([False]))]
    card: Any = calibration_card(rows)
    assert card["expected_calibration_error"] == pytest.approx((0.9 + 0.05) / 3, abs=1e-4)
    assert (card["n"], card["n_pictures"]) == (3, 2)
    assert card["mean_chances"] == pytest.approx(0.65)
    assert card["mean_holds"] == pytest.approx(1 / 3, abs=1e-4)
    assert card["ci_low"] == pytest.approx(0.05, abs=1e-4)  # only the first picture: |0.95 - 1| + 0.05, over 2
    assert card["ci_high"] == pytest.approx(0.95, abs=1e-4)  # only the second
    sure = [Answers(np.array([1.0, 0.0]), np.array([True, False]))] * 3
    assert calibration_card(sure)["expected_calibration_error"] == 0


def test_rivals_of_the_world_are_not_what_it_draws() -> None:
    """A rival never holds beside the stated relation, so that one of nine is right."""
    for relation in RELATIONS.values():
        assert not set(distractors(relation.relation)) & set(synonyms(relation.relation))
