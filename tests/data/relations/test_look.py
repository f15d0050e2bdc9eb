"""Subjects found in pictures: by rules to follow by hand, by tiny models of the true classes, by the embedded ones."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
from PIL import Image

from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.skeletons import AP10K, COCO
from likeness.data.relations.look import LoadLook, Look, look_named
from likeness.data.relations.read import read_relations
from likeness.encoders.answers import Pose
from likeness.encoders.detections import Detections
from likeness.encoders.grounding_dino import GroundingDinoDetector
from likeness.encoders.pose import PoseEncoder, box_sides, box_text
from likeness.encoders.sam2 import Sam2Segmenter

PICTURE = Image.new("RGB", (100, 50))


class Answers:
    """Answers by text, and notes what it was asked."""

    def __init__(self, answer: Callable[[str], Any]) -> None:
        self.answer, self.asked = answer, list[str]()

    def ask(self, images: Sequence[Image.Image], texts: Sequence[str]) -> list[Any]:
        self.asked += texts
        return [self.answer(text) for text in texts]


def detector(**boxes: list[tuple[tuple[int, int, int, int], float]]) -> Answers:
    """Phrase -> boxes with scores, best first."""

    def answer(phrase: str) -> Detections:
        found = boxes.get(phrase, [])
        sides = np.array([box for box, _ in found], dtype=np.float32).reshape(-1, 4)
        return Detections((100, 50), sides, np.array([score for _, score in found]), (phrase,) * len(found))

    return Answers(answer)


def poser(*, exchanged: bool = False) -> Answers:
    """A pose that fills its box, or with `exchanged` the box mirrored in the picture."""

    def answer(text: str) -> Pose:
        left, top, right, bottom = box_sides(text)
        steps = np.linspace(0.1, 0.9, 17)
        points = np.stack([left + steps * (right - left), top + steps * (bottom - top)], axis=1)
        if exchanged:
            points[:, 0] = 100 - points[:, 0]
        return Pose(points.astype(np.float32), np.where(np.arange(17) % 5 == 0, 0.1, 0.9), AP10K)

    return Answers(answer)


LEFT, RIGHT = (5, 10, 45, 40), (55, 10, 95, 40)


def test_each_phrase_gets_a_box_of_its_own_and_the_sum_of_scores_decides() -> None:
    boxes = detector(cat=[(LEFT, 0.9), (RIGHT, 0.5)], dog=[(LEFT, 0.8), (RIGHT, 0.3)])
    cat, dog = Look(boxes, None, poser(), 0.3).subjects(PICTURE, ["cat", "dog"]).subjects
    assert (cat.score, dog.score) == (0.5, pytest.approx(0.8))  # 1.3 beats 0.9 + 0.3
    assert cat.mask is not None
    assert dog.mask is not None
    assert np.argwhere(cat.mask)[[0, -1]].tolist() == [[10, 55], [39, 94]]
    assert np.argwhere(dog.mask)[[0, -1]].tolist() == [[10, 5], [39, 44]]
    assert cat.keypoints.valid == tuple(index % 5 != 0 for index in range(17))


def test_keypoints_on_the_other_mask_are_given_to_it() -> None:
    boxes = detector(cat=[(LEFT, 0.9)], dog=[(RIGHT, 0.9)])
    seen = Look(boxes, None, poser(exchanged=True), 0.3).subjects(PICTURE, ["cat", "dog"])
    assert (seen.order.rows, seen.order.votes, seen.order.votes_as_given) == ((1, 0), 34, 0)
    assert all(subject.keypoints.array[:, 0].max() < 0.5 for subject in seen.subjects[:1])
    assert sum(seen.subjects[1].keypoints.valid) == 13


def test_masks_that_are_known_are_not_sought() -> None:
    boxes, mask = detector(dog=[(RIGHT, 0.9)]), np.zeros((50, 100), bool)
    mask[12:30, 8:30] = True
    pose = poser()
    cat, dog = Look(boxes, None, pose, 0.3).subjects(PICTURE, ["cat", "dog"], masks=[mask, None]).subjects
    assert boxes.asked == ["dog"]
    assert (cat.mask == mask).all()
    assert (cat.score, dog.score) == (None, 0.9)
    assert pose.asked == ["8 12 30 30", "55 10 95 40"]


@pytest.mark.parametrize(
    ("phrases", "said"),
    [
        (["cat", "cow"], r"cow: expected a box with a score of 0\.3, got 0\.00 at best; supply a mask"),
        (["cat", "mouse"], r"mouse: expected a box with a score of 0\.3, got 0\.20 at best"),
        (["cat", "tom"], "expected a box for each of cat, tom, got one for all"),
        (["cat", "Cat"], "expected phrases that tell the subjects apart, or masks, got cat, Cat"),
        (["ant"], r"ant: expected a mask over 0\.5% of the picture, got 0\.08%"),
    ],
)
def test_what_is_not_found_is_told(phrases: list[str], said: str) -> None:
    small = (50, 20, 52, 22)
    boxes = detector(cat=[(LEFT, 0.9)], tom=[(LEFT, 0.8)], mouse=[(RIGHT, 0.2)], ant=[(small, 0.9)])
    with pytest.raises(DataError, match=said):
        Look(boxes, None, poser(), 0.3).subjects(PICTURE, phrases)


@pytest.fixture(scope="module")
def tiny_look(tmp_path_factory: pytest.TempPathFactory) -> LoadLook:
    folder = tmp_path_factory.mktemp("look")
    tiny.write_grounding_dino(folder / "dino")
    tiny.write_sam2(folder / "sam")
    tiny.write_vitpose(folder / "pose", keypoints=COCO)
    return look_named(
        detector=f"grounding_dino:{folder / 'dino'}", segmenter=f"sam2:{folder / 'sam'}", pose=str(folder / "pose"),
        device="cpu",
    )  # fmt: skip


def test_the_models_are_asked_as_their_own_classes_answer(tiny_look: LoadLook) -> None:
    """GroundingDINO, SAM 2 and ViTPose of the true classes, with random weights: box, mask and joints by hand."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8))
    (cat,) = tiny_look().subjects(picture, ["cat"]).subjects
    boxes = GroundingDinoDetector.load(str(tiny_look.detector_weights)).ask([picture], ["cat"])[0]
    left, top, right, bottom = (float(edge) for edge in boxes.boxes[0])
    question = box_text((left, top, right, bottom))
    own = Sam2Segmenter.load(str(tiny_look.segmenter_weights)).ask([picture], [question])
    assert cat.score == pytest.approx(float(boxes.scores[0]))
    assert (cat.mask == own[0].mask).all()
    rows, columns = np.flatnonzero(own[0].mask.any(1)), np.flatnonzero(own[0].mask.any(0))
    edges = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    pose = PoseEncoder.load(str(tiny_look.pose_weights)).ask([picture], [box_text(edges)])[0]
    np.testing.assert_allclose(cat.keypoints.array * [80, 60], pose.points, atol=1e-3)
    assert cat.keypoints.skeleton == "coco"
    assert not (cat.keypoints.seen & (pose.scores < 0.3)).any()


def test_sources_name_the_models_by_their_content(tiny_look: LoadLook) -> None:
    assert tiny_look.sources.keys() == {"boxes", "masks", "keypoints"}
    assert "grounding_dino dino@" in tiny_look.sources["masks"]
    assert "sam2 sam@" in tiny_look.sources["masks"]
    assert tiny_look.sources["keypoints"].startswith("pose pose@")
    assert tiny_look.id == "; ".join(f"{key}: {value}" for key, value in tiny_look.sources.items())


def test_a_model_of_other_keypoints_is_told(tiny_look: LoadLook, tmp_path: Path) -> None:
    from dataclasses import replace

    face = replace(tiny_look, pose_weights=str(tiny.write_vitpose(tmp_path / "face")))
    with pytest.raises(WeightsError, match="17 keypoints of COCO or AP-10K, got 5: Nose"):
        face().subjects(Image.new("RGB", (40, 40), "red"), ["cat"])


@pytest.mark.parametrize(
    ("detector", "segmenter", "said"),
    [
        ("yolo", "sam2", "--detector: expected grounding_dino or owl"),
        ("owl", "sam", "--segmenter: expected sam2 or box"),
    ],
)
def test_unknown_models_are_told(detector: str, segmenter: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        look_named(detector=detector, segmenter=segmenter, pose=None)


def test_the_embedded_models_find_drawn_subjects_and_their_joints(fencing_set: Path) -> None:
    """Boxes of the detector and joints of ViTPose against the exact labels of a drawing."""
    (example,) = read_relations(fencing_set).examples
    look = look_named(detector="owl:detector", segmenter="box", pose="pose", device="cpu")()
    picture = Image.open(example.target).convert("RGB")
    seen = look.subjects(picture, [subject.phrase for subject in example.subjects])
    for found, true in zip(seen.subjects, example.subjects, strict=True):
        assert found.mask is not None
        rows, columns = np.flatnonzero(found.mask.any(1)), np.flatnonzero(found.mask.any(0))
        middle = np.array([columns[0] + columns[-1], rows[0] + rows[-1]]) / 256
        wanted = np.array([true.box[0] + true.box[2], true.box[1] + true.box[3]]) / 2
        assert np.abs(middle - wanted).max() < 0.08
        away = np.abs(found.keypoints.array - true.keypoints.array).max(axis=1)
        assert np.median(away) < 0.02
        assert found.keypoints.seen.sum() >= 10
