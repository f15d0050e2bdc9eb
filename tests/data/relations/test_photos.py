"""One's own pictures as examples: a folder each, subjects found by models or given by masks."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_jsonl
from likeness.data.relations.look import LoadLook, look_named
from likeness.data.relations.making import RelationSummary
from likeness.data.relations.photos import make_photo_relations, read_photo_examples
from likeness.data.relations.predicate import in_order_of, predicate_between
from likeness.data.relations.read import read_relations

EMBEDDED = look_named(detector="owl:detector", segmenter="box", pose="pose", device="cpu")


@pytest.fixture(scope="module")
def photos(fencing_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn example as somebody's pictures: without masks, with all of them, and two folders of no use."""
    folder = tmp_path_factory.mktemp("photos")
    (row,) = read_jsonl(fencing_set / "relations.jsonl")
    for name in ("bare", "masked"):
        place = folder / name
        place.mkdir()
        target = Image.open(fencing_set / row["target"]).convert("RGB")
        target.putpixel((0, 0), (255, 0, 0) if name == "masked" else (255, 255, 255))  # no target comes twice
        target.save(place / "target.png")
        (place / "target.txt").write_text("A cat is fencing with a dog.\n")
        for subject in row["subjects"]:
            shutil.copy(fencing_set / subject["reference"]["image"], place / f"{subject['phrase']}.png")
            if name == "masked":
                shutil.copy(fencing_set / subject["mask"], place / f"target.{subject['phrase']}.mask.png")
                shutil.copy(fencing_set / subject["reference"]["mask"], place / f"{subject['phrase']}.mask.png")
    shutil.copytree(folder / "bare", folder / "silent")
    (folder / "silent" / "target.txt").unlink()
    shutil.copytree(folder / "bare", folder / "wrong")
    Image.new("RGB", (128, 128), "white").save(folder / "wrong" / "target.png")
    return folder


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> RelationSummary:
    return make_photo_relations(photos, out=tmp_path_factory.mktemp("made") / "set", look=EMBEDDED)


def test_what_is_found_is_what_was_drawn(made: RelationSummary, fencing_set: Path) -> None:
    """Exact labels of the drawing are the oracle of detector, masks and joints."""
    (true,) = read_relations(fencing_set).examples
    examples = {example.id: example for example in read_relations(made.folder).examples}
    assert list(examples) == ["bare", "masked"]
    for name, example in examples.items():
        assert [subject.phrase for subject in example.subjects] == ["cat", "dog"]
        assert example.predicate == "fencing with"
        for subject, own in zip(example.subjects, true.subjects, strict=True):
            for found, drawn in ((subject, own), (subject.reference, own.reference)):
                away = np.abs(found.keypoints.array - drawn.keypoints.array).max(axis=1)
                assert np.median(away) < 0.03
            if name == "masked":
                assert subject.box == pytest.approx(own.box)
                assert subject.reference.box == pytest.approx(own.reference.box)
                assert (np.asarray(Image.open(subject.mask)) == np.asarray(Image.open(own.mask))).all()
                assert subject.detection_score is None
            else:
                assert subject.detection_score is not None


def test_every_field_tells_where_it_comes_from(made: RelationSummary) -> None:
    bare, masked = read_relations(made.folder).examples
    assert bare.sources.keys() == {
        "boxes",
        "masks",
        "keypoints",
        "target",
        "references",
        "prompt",
        "predicate",
        "order",
    }
    assert bare.sources["predicate"] == "the words between the subjects"
    assert bare.sources["masks"].startswith("owl detector@")
    assert masked.sources["masks"].startswith("supplied for cat, dog; else owl detector@")


def test_what_is_of_no_use_is_listed(made: RelationSummary) -> None:
    rows = {row["where"]: row for row in read_jsonl(made.folder / "rejected.jsonl")}
    assert rows.keys() == {"silent", "wrong"}
    assert "expected target.txt with the prompt, got none; add it" in rows["silent"]["reason"]
    assert "expected a box with a score of 0.2" in rows["wrong"]["reason"]
    assert (made.num_examples, made.num_asked, made.reasons) == (2, 3, {"folder": 1, "example": 1})


def test_lint_sees_boxes_as_masks_and_no_error(made: RelationSummary) -> None:
    assert made.lint.num_errors == 0
    assert made.lint.by_code["rectangle_mask"] == 4


def test_the_same_command_makes_nothing_anew(made: RelationSummary, photos: Path) -> None:
    class Unloaded(LoadLook):
        def __call__(self) -> Any:
            raise AssertionError("loaded again")

    before = {path: path.stat().st_mtime_ns for path in (made.folder / "images").iterdir()}
    again = make_photo_relations(photos, out=made.folder, look=Unloaded(**vars(EMBEDDED)))
    assert again.num_examples == 2
    assert {path: path.stat().st_mtime_ns for path in (made.folder / "images").iterdir()} == before


def folder_of(place: Path, *names: str, prompt: str = "a cat is hugging a polar bear") -> Path:
    place.mkdir(parents=True)
    for name in names:
        Image.new("RGB", (40, 30), "red").save(place / f"{name}.png")
    (place / "target.txt").write_text(prompt)
    return place


def test_names_are_phrases_in_the_order_of_the_prompt(tmp_path: Path) -> None:
    folder_of(tmp_path / "a", "target", "polar_bear", "cat2", "target.polar_bear.mask", "cat2.mask")
    ((example,), refused) = read_photo_examples(tmp_path)
    assert refused == ()
    assert list(example.references) == ["cat", "polar bear"]
    assert (list(example.masks), list(example.target_masks)) == (["cat"], ["polar bear"])
    assert (example.predicate, example.predicate_source) == ("hugging", "the words between the subjects")
    (tmp_path / "a" / "predicate.txt").write_text("is hugging\n")
    ((example,), _) = read_photo_examples(tmp_path)
    assert (example.predicate, example.predicate_source) == ("is hugging", "predicate.txt")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("cat",), r"expected target\.jpg, got none"),
        (("target",), "expected 1 to 4 pictures of subjects beside target.png, got 0"),
        (("target", "cat1", "cat2"), "expected names that give different phrases, got cat1, cat2"),
        (("target", "cat", "dog.mask"), "expected masks of cat, got one of 'dog'"),
    ],
)
def test_a_folder_that_is_none_is_told(names: tuple[str, ...], said: str, tmp_path: Path) -> None:
    folder_of(tmp_path / "a", *names)
    with pytest.raises(DataError, match=said):
        read_photo_examples(tmp_path)


def test_no_folder_and_wrong_settings_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a sub-folder for each example"):
        read_photo_examples(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="size: expected at least 64, got 10"):
        make_photo_relations(tmp_path, out=tmp_path / "set", look=EMBEDDED, size=10)


@pytest.mark.parametrize(
    ("prompt", "phrases", "predicate"),
    [
        ("A cat is hugging a dog in a park.", ["cat", "dog"], "hugging"),
        ("A cat is hugging a dog in a park.", ["dog", "cat"], "hugging"),
        ("a wolf shakes hands with the leopard", ["wolf", "leopard"], "shakes hands with"),
        ("Two friends: a cat, sitting back to back with its dog", ["cat", "dog"], "sitting back to back with"),
        ("a cat and a dog", ["cat", "dog"], None),
        ("a cat waves", ["cat"], None),
        ("a cat hugs a bear", ["cat", "dog"], None),
        ("a concatenated dog hugs a cat", ["cat", "dog"], "hugs"),
    ],
)
def test_the_predicate_stands_between_the_subjects(prompt: str, phrases: list[str], predicate: str | None) -> None:
    assert predicate_between(prompt, phrases) == predicate
    assert predicate is None or predicate in prompt


def test_phrases_that_the_prompt_lacks_come_last() -> None:
    assert in_order_of("a dog and a cat", ["zebra", "cat", "ape", "dog"]) == ["dog", "cat", "ape", "zebra"]
