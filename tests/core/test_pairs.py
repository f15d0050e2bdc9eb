"""The pair schema: house names and the note's names, every mistake named, paths found."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from likeness.core.errors import DataError
from likeness.core.pairs import PAIRS_NAME, PreferencePair, pair_files, pair_row, read_pairs, with_files

ROW: dict[str, Any] = {
    "id": "pair-1",
    "subset": "multi",
    "category": "animal",
    "prompt": "a cat hugs a robot",
    "references": [
        {"image": "r0.png", "mask": "m0.png", "phrase": "a cat", "category": "animal", "class_name": "cat", "id": "c"},
        {"image": "r1.png", "mask": None, "phrase": "a robot", "category": "object", "class_name": "robot", "id": "r"},
    ],
    "preferred": "w.png",
    "rejected": "l.png",
    "subjects": [
        {"phrase": "a cat", "reference_index": 0, "mask": "s0.png", "box": [0, 0.1, 0.5, 1], "disrupted": True},
        {"phrase": "a robot", "reference_index": 1, "mask": "s1.png", "box": [0.4, 0, 1, 1], "disrupted": False},
    ],
    "prior_mask": "p.png",
    "size": [64, 48],
    "seeds": {"preferred": 3},
    "models": {"t2i": "world", "vlm": None},
    "qa": {
        "preferred": {"judge": [[True] * 10, [True] * 10], "human": None},
        "rejected": {"judge": [[False] * 10] * 2},
    },
    "split": "train",
}
FILES = ("r0.png", "m0.png", "r1.png", "w.png", "l.png", "s0.png", "s1.png", "p.png")


def changed(*path: str | int, to: Any) -> dict[str, Any]:
    """ROW with the value at `path` replaced."""
    row = deepcopy(ROW)
    place: Any = row
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return row


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def write(folder: Path, *rows: dict[str, Any]) -> None:
    (folder / PAIRS_NAME).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_a_pair_is_read_with_its_paths_found(folder: Path) -> None:
    write(folder, ROW)
    found = read_pairs(folder)
    (pair,) = found.pairs
    assert found.left_out == ()
    assert pair.preferred == folder / "w.png"
    assert pair.references[0].mask == folder / "m0.png"
    assert pair.references[1].mask is None
    assert pair.disrupted == (0,)
    assert read_pairs(folder / PAIRS_NAME) == found


def test_every_file_of_a_pair_has_a_slot_and_only_files_change() -> None:
    pair = PreferencePair.model_validate(ROW)
    slots = {"reference_0": "r0.png", "reference_mask_0": "m0.png", "reference_1": "r1.png"}
    slots |= {"subject_mask_0": "s0.png", "subject_mask_1": "s1.png"}
    slots |= {"preferred": "w.png", "rejected": "l.png", "prior_mask": "p.png"}
    assert pair_files(pair) == {slot: Path(name) for slot, name in slots.items()}
    moved = with_files(pair, lambda slot, path: Path(slot) / path)
    assert pair_files(moved) == {slot: Path(slot) / name for slot, name in slots.items()}
    assert with_files(moved, lambda _, path: Path(path.name)) == pair


def test_a_pair_written_and_read_again_is_the_same(folder: Path) -> None:
    write(folder, ROW)
    (pair,) = read_pairs(folder).pairs
    row = pair_row(pair, folder=folder)
    assert (row["preferred"], row["subjects"][1]["mask"], row["references"][1]["mask"]) == ("w.png", "s1.png", None)
    write(folder, row)
    assert read_pairs(folder).pairs == (pair,)


def test_the_names_of_the_note_are_read() -> None:
    row = deepcopy(ROW)
    row["win"], row["lose"], row["refs"] = row.pop("preferred"), row.pop("rejected"), row.pop("references")
    for subject in row["subjects"]:
        subject["ref_index"], subject["det_score"] = subject.pop("reference_index"), 0.5
    row["qa"] = {"win": {"vlm": [[True] * 10] * 2, "human": 9}, "lose": {"vlm": [[False] * 10] * 2, "human": 4}}
    pair = PreferencePair.model_validate(row)
    assert pair.preferred == Path("w.png")
    assert pair.subjects[1].reference_index == 1
    assert pair.subjects[0].detection_score == 0.5
    assert (pair.qa.preferred.human, pair.qa.rejected.judge[0]) == (9, (False,) * 10)


def test_one_flat_list_of_answers_belongs_to_one_subject() -> None:
    row = changed("subjects", to=ROW["subjects"][:1]) | {"subset": "single"}
    row["qa"] = {"preferred": {"judge": [True] * 9 + [None]}}
    assert PreferencePair.model_validate(row).qa.preferred.judge == ((True,) * 9 + (None,),)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (changed("colour", to=1), r"pairs\.jsonl:2: colour: expected no such key"),
        (changed("references", 0, "masque", to=1), r"references\.0\.masque: expected no such key"),
        (changed("references", to=[]), "references: expected at least one reference picture, got none"),
        (changed("subjects", 0, "disrupted", to=False), "expected at least one disrupted subject"),
        (changed("subjects", 0, "disrupted", to="yes"), r"subjects\.0\.disrupted: expected true or false, got \"yes\""),
        (changed("subjects", 1, "reference_index", to=2), "reference_index: expected 0 to 1, got 2"),
        (changed("subset", to="single"), "got 2 in a single pair"),
        (changed("subset", to="both"), "subset: expected 'single' or 'multi'"),
        (changed("category", to="plant"), "category: expected 'object', 'animal' or 'human'"),
        (changed("id", to="../up"), "case id: expected"),
        (changed("prompt", to=" "), "prompt: expected at least one word"),
        (changed("size", to=[0, 4]), "size: expected width and height of at least 1 px"),
        (changed("subjects", 0, "box", to=[0, 0, 64, 64]), "box: expected left < right"),
        (changed("qa", "preferred", "judge", to=[[True] * 9] * 2), "expected 10 answers per subject, got 9"),
        (changed("qa", "preferred", "judge", to=[[True] * 10]), "got 1 for 2 subjects"),
        (changed("qa", "preferred", "human", to=11), r"qa\.preferred\.human"),
        (changed("rejected", to="gone.png"), r"rejected: expected a file, got nothing at .*gone\.png"),
        (changed("subjects", 1, "mask", to="gone.png"), "subject mask: expected a file"),
        (ROW, "expected each id once"),
    ],
)
def test_a_bad_row_is_left_out_with_its_reason(folder: Path, row: dict[str, Any], message: str) -> None:
    write(folder, ROW, row)
    found = read_pairs(folder)
    assert len(found.pairs) == 1
    with pytest.raises(DataError, match=message):
        raise DataError(found.left_out[0].reason)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file holds no rows"),
        ("{", r"pairs\.jsonl:1: expected one JSON object, got"),
        ("[]\n", "expected a JSON object, got list"),
        ("[" * 100_000, "nesting too deep"),
    ],
)
def test_a_set_without_a_usable_pair_is_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / PAIRS_NAME).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_pairs(tmp_path)


def test_a_missing_set_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a readable file"):
        read_pairs(tmp_path)
