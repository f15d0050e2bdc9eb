"""The reader at the door of training: each fault is told with the file, what is wrong, and what to do."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from likeness.core.errors import DataError
from likeness.core.files import read_jsonl, write_jsonl
from likeness.data.relations.read import read_relations

Row = dict[str, Any]


def target(row: Row) -> Row:
    return row["subjects"][0]


def keypoints(row: Row) -> Row:
    return target(row)["keypoints"]


def remove(row: Row, folder: Path) -> None:
    (folder / row["target"]).unlink()


def change(row: Row, folder: Path) -> None:
    path = folder / target(row)["reference"]["image"]
    path.write_bytes(path.read_bytes() + b"\0")


def resize(row: Row, folder: Path) -> None:
    row["sha256"] = {}
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(folder / target(row)["mask"])


def no_picture(row: Row, folder: Path) -> None:
    row["sha256"] = {}
    (folder / row["target"]).write_bytes(b"text")


FAULTS: dict[str, tuple[Callable[[Row, Path], Any], str]] = {
    "missing": (remove, r"target picture: expected a file, got nothing at .*target\.png; restore it"),
    "changed": (change, r"reference-0\.png: expected the bytes of SHA-256 \w{12}, got \w{12}; restore the file"),
    "size": (resize, r"target-0\.png: expected 96 x 96 px as the row says, got 10 x 10; correct the row"),
    "no picture": (no_picture, r"target\.png: expected a picture, got a damaged one"),
    "predicate": (lambda row, _: row.update(predicate="eating"), "predicate: expected words of the prompt .*'eating'"),
    "few points": (lambda row, _: keypoints(row)["points"].pop(), "keypoints.points: expected at least 17"),
    "NaN": (lambda row, _: keypoints(row)["points"][2].__setitem__(0, float("nan")), "finite number"),
    "skeleton": (lambda row, _: keypoints(row).update(skeleton="face"), "expected 'ap10k' or 'coco'"),
    "two skeletons": (
        lambda row, _: keypoints(row).update(skeleton="coco"),
        "one skeleton, got coco and ap10k; point i",
    ),
    "no subjects": (lambda row, _: row.update(subjects=[]), "subjects: expected 1 to 4, got 0"),
    "box": (lambda row, _: target(row).update(box=[0.5, 0, 0.2, 1]), "left < right"),
    "key": (lambda row, _: row.update(colour=1), "colour: expected no such key"),
    "id": (lambda row, _: row.update(id="../x"), "case id: expected"),
    "prompt": (lambda row, _: row.update(prompt=" "), "prompt: expected at least one word"),
    "no size": (lambda row, _: row.update(size=[0, 4]), "expected width and height of at least 1 px"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_leaves_the_row_out_with_its_reason(fault: str, relation_set: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(relation_set, tmp_path / "set"))
    rows = read_jsonl(copy / "relations.jsonl")
    plant, said = FAULTS[fault]
    plant(rows[1], copy)
    text = "".join(f"{line}\n" for line in map(_json, rows))
    (copy / "relations.jsonl").write_text(text)
    found = read_relations(copy)
    assert [example.id for example in found.examples] == [row["id"] for i, row in enumerate(rows) if i != 1]
    (left_out,) = found.left_out
    assert left_out.where.endswith("relations.jsonl:2")
    with pytest.raises(DataError, match=said):
        raise DataError(left_out.reason)


def _json(row: Row) -> str:
    import json

    return json.dumps(row)  # which writes NaN as Python reads it


def test_a_set_without_a_usable_row_is_told(relation_set: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a readable file"):
        read_relations(tmp_path)
    rows = read_jsonl(relation_set / "relations.jsonl")
    write_jsonl(tmp_path / "relations.jsonl", rows)
    with pytest.raises(DataError, match="expected at least one usable example, got 5 bad rows"):
        read_relations(tmp_path)


def test_files_are_not_looked_into_unless_asked(relation_set: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(relation_set, tmp_path / "set"))
    change(read_jsonl(copy / "relations.jsonl")[0], copy)
    assert len(read_relations(copy, check_files=False).examples) == 5
    assert len(read_relations(copy).examples) == 4
