"""DreamRelation's folders, read and repaired: synthetic copies of the ten released samples' faults."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from published_relations import SAMPLES, SIDE, concept_poses, masks_of, tensor, write_samples, write_single

from likeness.core.errors import DataError
from likeness.core.files import read_jsonl
from likeness.data.relations.making import RelationSummary
from likeness.data.relations.published import published_examples, read_published
from likeness.data.relations.read import read_relations
from likeness.data.relations.records import RelationExample


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_samples(tmp_path_factory.mktemp("published") / "data")


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> RelationSummary:
    return read_published(source, out=tmp_path_factory.mktemp("read") / "set")


@pytest.fixture(scope="module")
def examples(made: RelationSummary) -> dict[str, RelationExample]:
    found = read_relations(made.folder)
    assert found.left_out == ()
    return {example.id: example for example in found.examples}


def poses(source: Path, name: str, file: str) -> np.ndarray:
    relation, key = name.split("-")
    return torch.load(source / relation / "videos" / key / file, weights_only=True).numpy()


def test_ten_of_ten_are_in_the_right_order(source: Path, examples: dict[str, RelationExample]) -> None:
    assert sorted(examples) == sorted(f"{sample.relation}-{sample.key}" for sample in SAMPLES)
    for sample in SAMPLES:
        name = f"{sample.relation}-{sample.key}"
        given = poses(source, name, "motion_keyposes.pth")
        wanted = given[::-1] if sample.swapped else given
        for subject, points, number in zip(examples[name].subjects, wanted, ("one", "two"), strict=True):
            np.testing.assert_allclose(subject.keypoints.array, points, atol=1e-6)
            own = poses(source, name, f"concept_keyposes_{number}.pth")[0]
            np.testing.assert_allclose(subject.reference.keypoints.array, own, atol=1e-6)
        exchanged = [told for told in examples[name].repairs if "order [1, 0]" in told]
        assert len(exchanged) == sample.swapped


def test_every_repair_is_told(examples: dict[str, RelationExample]) -> None:
    swap = "keypoints of the target put in the order [1, 0]: {} votes to {}"
    view = "motion_keyposes.pth is a view; its storage holds 1 further rows, left out"
    taken = "no predicate; 'shaking hands with' taken from the prompt"
    assert examples["hug-0"].repairs == (view,)
    assert examples["hug-2"].repairs == (swap.format(16, 6),)
    assert examples["shake-2"].repairs == (swap.format(33, 1), taken)
    assert examples["shake-4"].repairs == (taken,)
    assert examples["hug-1"].repairs == ()
    assert examples["hug-1"].sources["order"] == "vote of the masks, 9 for it, 9 for the rows as they were"
    assert examples["shake-0"].sources["predicate"] == "the words between the subjects"
    assert examples["hug-0"].sources["predicate"] == "published"


def test_guessed_joints_are_not_valid(examples: dict[str, RelationExample]) -> None:
    """Hind legs of a close-up lie on its edge and on the mouth; points beside the own mask are somebody else's."""
    for subject in examples["shake-4"].subjects:
        assert subject.reference.keypoints.valid == (True,) * 11 + (False,) * 6
    for sample in SAMPLES:
        for mask, subject in zip(
            masks_of(sample.relation), examples[f"{sample.relation}-{sample.key}"].subjects, strict=True
        ):
            columns, rows = (np.floor(subject.keypoints.array * SIDE).astype(int)).T
            near = [
                mask[max(r - 2, 0) : r + 3, max(c - 2, 0) : c + 3].any() for r, c in zip(rows, columns, strict=True)
            ]
            assert not (subject.keypoints.seen & ~np.array(near)).any()
            assert near[0] or not subject.keypoints.valid[0]


def test_pictures_and_masks_are_those_of_the_source(source: Path, examples: dict[str, RelationExample]) -> None:
    example = examples["shake-1"]
    place = source / "shake" / "videos" / "1"
    for file, own in ((example.target, "motion"), (example.subjects[1].reference.image, "concept1")):
        assert (np.asarray(Image.open(file)) == np.asarray(Image.open(place / f"{own}.png"))).all()
    mask = np.asarray(Image.open(example.subjects[1].mask)) > 0
    assert (mask == masks_of("shake")[1]).all()
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (columns[0] / SIDE, rows[0] / SIDE, (columns[-1] + 1) / SIDE, (rows[-1] + 1) / SIDE)
    assert example.subjects[1].box == pytest.approx(box)
    assert example.subjects[1].reference.mask is None
    assert [subject.phrase for subject in example.subjects] == ["tiger", "bear"]


def test_lint_finds_rectangles_and_no_error(made: RelationSummary) -> None:
    assert made.lint.num_errors == 0
    assert made.lint.by_code["rectangle_mask"] == 10
    assert made.repairs == 4 + 1 + 5
    assert (made.num_examples, made.reasons) == (10, {})


def test_a_relation_of_one_subject_has_other_names(tmp_path: Path) -> None:
    made = read_published(write_single(tmp_path / "data") / "wave", out=tmp_path / "set")
    (example,) = read_relations(made.folder).examples
    (subject,) = example.subjects
    assert (example.id, subject.phrase, example.predicate) == ("wave-0", "tiger", "waving")
    assert example.repairs == ()
    assert sum(subject.keypoints.valid) == 17


def test_rows_of_somebody_in_the_background_are_left_out(source: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(source / "shake", tmp_path / "shake"))
    path = folder / "videos" / "3" / "motion_keyposes.pth"
    stray = tensor(concept_poses(np.random.default_rng(0), cut_off=False) * 0.01)
    own = torch.load(path, weights_only=True)
    torch.save(torch.cat([stray, own[1:], own[:1]]), path)
    read_published(folder, out=tmp_path / "set")
    example = next(e for e in read_relations(tmp_path / "set").examples if e.id == "shake-3")
    for subject, points in zip(example.subjects, own.numpy(), strict=True):
        np.testing.assert_allclose(subject.keypoints.array, points, atol=1e-6)
    assert example.repairs[:2] == (
        "keypoints of the target put in the order [2, 1]: 34 votes to 17",
        "1 further rows of key poses in the target left out",
    )


FAULTS = {
    "a reference is missing": ("videos/0/concept1.png", None, "concept1.png: expected a file, got none"),
    "another shape": (
        "videos/0/motion_keyposes.pth",
        torch.zeros(2, 68, 2),
        r"at least \(2, 17, 2\), got \(2, 68, 2\)",
    ),
    "one row for two": ("videos/0/motion_keyposes.pth", torch.zeros(1, 17, 2), r"got \(1, 17, 2\)"),
    "not finite": ("videos/0/motion_keyposes.pth", torch.full((2, 17, 2), torch.nan), "expected finite shares"),
    "no tensor": ("videos/0/motion_keyposes.pth", {"a": 1}, r"got dict; restore"),
    "damaged": ("videos/0/motion_keyposes.pth", b"PK\x03\x04 short", "expected a whole file"),
    "an empty mask": ("masks/0/motion0.png", np.zeros((SIDE, SIDE), np.uint8), "got an empty one"),
    "a small mask": ("masks/0/motion0.png", np.full((9, 9), 255, np.uint8), f"expected {SIDE} x {SIDE} px"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_read_is_left_out_with_its_reason(fault: str, source: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(source / "hug", tmp_path / "hug"))
    name, content, said = FAULTS[fault]
    if content is None:
        (folder / name).unlink()
    elif isinstance(content, bytes):
        (folder / name).write_bytes(content)
    elif isinstance(content, np.ndarray):
        Image.fromarray(content).save(folder / name)
    else:
        torch.save(content, folder / name)
    made = read_published(folder, out=tmp_path / "set")
    assert made.num_examples == 4
    (row,) = read_jsonl(made.folder / "rejected.jsonl")
    assert row["where"] in ("hug/0", "hug-0")
    with pytest.raises(DataError, match=said):
        raise DataError(row["reason"])


def test_a_pickle_that_would_run_code_is_refused(source: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(source / "hug", tmp_path / "hug"))
    torch.save(Path("somewhere"), folder / "videos" / "0" / "motion_keyposes.pth")
    made = read_published(folder, out=tmp_path / "set")
    assert "which could run code" in made.left_out[0]["reason"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("text", "expected an object with a prompt"),
        ({"prompt": "a"}, "expected 1 to 4 entities, got None"),
        ({"prompt": "a", "entities": ["x", 3]}, "expected 1 to 4 entities"),
        ({"prompt": "a", "entities": ["x", "y"], "predicate": [3]}, "expected a predicate of words"),
    ],
)
def test_rows_of_prompts_are_checked(row: object, said: str, source: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(source / "hug", tmp_path / "hug"))
    rows = json.loads((folder / "prompts.json").read_text())
    (folder / "prompts.json").write_text(json.dumps({"0": row, "1": rows["1"]}))
    examples, (refused,) = published_examples(folder)
    assert [example.name for example in examples] == ["hug-1"]
    assert said in refused.reason


def test_another_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected DreamRelation's layout with prompts\.json"):
        published_examples(tmp_path)
    (tmp_path / "prompts.json").write_text("[]")
    with pytest.raises(DataError, match="expected an object of ids, got list"):
        published_examples(tmp_path)
