"""Short rows of pairs.jsonl mean what the full row says."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from likeness.core.files import write_jsonl
from likeness.core.pairs import PairsFile, read_pairs

SIZE = (40, 20)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("ref", "ref2", "win", "lose"):
        Image.new("RGB", SIZE).save(tmp_path / f"{name}.png")
    for name, box in (("mask", (10, 5, 30, 15)), ("mask2", (0, 0, 4, 20))):
        mask = Image.new("L", SIZE)
        mask.paste(255, box)
        mask.save(tmp_path / f"{name}.png")
    Image.new("L", SIZE).save(tmp_path / "black.png")
    return tmp_path


PICTURES = {"prompt": "a dog", "preferred": "win.png", "rejected": "lose.png"}
SHORTEST = PICTURES | {"references": ["ref.png"], "prior_mask": "mask.png"}


def read(folder: Path, *rows: dict[str, Any]) -> PairsFile:
    write_jsonl(folder / "pairs.jsonl", rows)
    return read_pairs(folder)


def test_the_shortest_row_is_a_pair(folder: Path) -> None:
    found = read(folder, SHORTEST)
    (pair,) = found.pairs
    (subject,) = pair.subjects
    assert (pair.id, pair.subset, pair.category, pair.size) == ("pair-00001", "single", "object", SIZE)
    assert (subject.box, subject.mask, subject.disrupted) == ((0.25, 0.25, 0.75, 0.75), folder / "mask.png", True)
    assert (subject.phrase, subject.reference_index, pair.references[0].category) == ("subject", 0, "object")
    filled = ("box", "category", "disrupted", "id", "phrase", "reference_index", "size", "subjects", "subset")
    assert found.filled == dict.fromkeys(filled, 1)


def test_one_reference_as_text_with_the_separator_of_windows(folder: Path) -> None:
    (folder / "imgs").mkdir()
    (folder / "ref.png").rename(folder / "imgs" / "ref.png")
    (pair,) = read(folder, SHORTEST | {"references": "imgs\\ref.png"}).pairs
    assert pair.references[0].image == folder / "imgs" / "ref.png"


def test_what_the_row_says_stands(folder: Path) -> None:
    said = {"id": "p", "category": "animal", "size": [40, 20], "subset": "single"}
    found = read(folder, SHORTEST | said)
    assert found.pairs[0].category == found.pairs[0].references[0].category == "animal"
    assert not {"id", "size", "subset"} & set(found.filled)


def test_two_subjects_give_a_multi_pair_whose_prior_is_the_union(folder: Path) -> None:
    references = [{"image": "ref.png", "category": "animal", "class_name": "dog"}, {"image": "ref2.png"}]
    subjects = [{"mask": "mask.png", "disrupted": False}, {"mask": "mask2.png", "disrupted": True}]
    (pair,) = read(folder, PICTURES | {"references": references, "subjects": subjects}).pairs
    assert (pair.subset, pair.category, pair.prior_mask) == ("multi", "object", folder / "mask2.png")
    assert [subject.reference_index for subject in pair.subjects] == [0, 1]
    assert [reference.phrase for reference in pair.references] == ["dog", "subject"]
    subjects[0]["disrupted"] = True
    (pair,) = read(folder, PICTURES | {"references": references, "subjects": subjects}).pairs
    assert (pair.category, pair.prior_mask) == ("animal", None)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prior_mask": "black.png"}, "expected white on the subject"),
        ({"prior_mask": "gone.png"}, "subject mask: expected a file, got nothing"),
        ({"preferred": "gone.png"}, "preferred: expected a file, got nothing"),
        ({"preferred": 7}, "preferred: expected"),
        ({"references": 7}, "references: expected a list of paths, got 7"),
        ({"references": []}, "references: expected at least one reference"),
        ({"prior_mask": None}, "subjects: expected prior_mask, or subjects with a mask each, got neither"),
        ({"subjects": [7]}, "subjects.0: expected a JSON object, got 7"),
    ],
)
def test_a_bad_short_row_is_left_out_with_its_reason(folder: Path, change: dict[str, Any], reason: str) -> None:
    found = read(folder, SHORTEST, SHORTEST | change)
    assert [pair.id for pair in found.pairs] == ["pair-00001"]
    assert reason in found.left_out[0].reason
