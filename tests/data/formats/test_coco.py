"""The COCO reader: boxes as shares, and every row that cannot be used with its reason."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from likeness.core.errors import DataError
from likeness.data.formats.coco import read_coco


def write(folder: Path, content: Any | None = None) -> Path:
    (folder / "images").mkdir(parents=True)
    for name, size in (("a.png", (80, 40)), ("b.png", (20, 20))):
        Image.new("RGB", size).save(folder / "images" / name)
    if content is not None:
        (folder / "instances.json").write_text(json.dumps(content))
    return folder


IMAGES = [
    {"id": 7, "file_name": "b.png", "width": 20, "height": 20},
    {"id": 5, "file_name": "a.png", "width": 80, "height": 40},
]


def test_boxes_are_shares_cut_to_the_picture(tmp_path: Path) -> None:
    boxes = [
        {"image_id": 5, "bbox": [20, 10, 40, 20], "category_id": 1},
        {"image_id": 5, "bbox": [60, 30, 40, 40]},
        {"image_id": 5, "bbox": [0, 0, 80, 40], "iscrowd": 1},
    ]
    pictures, left_out = read_coco(write(tmp_path / "coco", {"images": IMAGES, "annotations": boxes}))
    assert [picture.path.name for picture in pictures] == ["a.png", "b.png"]
    assert pictures[0].boxes == ((0.25, 0.25, 0.75, 0.75), (0.75, 0.75, 1.0, 1.0))
    assert pictures[1].boxes == ()
    assert left_out == ()


def test_rows_that_cannot_be_used_are_told(tmp_path: Path) -> None:
    images = [*IMAGES[1:], {"id": 1, "file_name": "gone.png", "width": 9, "height": 9}]
    images += [{"id": 2, "file_name": "b.png", "width": 0, "height": 20}]
    boxes = [{"image_id": 5, "bbox": box} for box in ([1, 2, 3], [90, 0, 5, 5], [0, 0, 0, 9], ["a", 0, 1, 1], None)]
    pictures, left_out = read_coco(write(tmp_path / "coco", {"images": images, "annotations": boxes}))
    assert len(pictures) == 1
    assert pictures[0].boxes == ()
    reasons = [row.reason for row in left_out]
    assert "images[1]: expected a picture gone.png in images, got none." in reasons[0]
    assert "images[2]: expected width and height in px, got 0 and 20." in reasons[1]
    assert len(reasons) == 2 + 5
    assert all("expected a box of 4 numbers with an area inside" in reason for reason in reasons[2:])


def test_without_annotations_every_picture_is_taken(tmp_path: Path) -> None:
    pictures, left_out = read_coco(write(tmp_path / "coco"))
    assert [(picture.path.name, picture.boxes) for picture in pictures] == [("a.png", ()), ("b.png", ())]
    assert left_out == ()


def test_another_layout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected a folder images"):
        read_coco(tmp_path / "empty")
    with pytest.raises(DataError, match="expected a list of objects as annotations"):
        read_coco(write(tmp_path / "other", {"images": []}))
    with pytest.raises(DataError, match="expected at least one picture, got none"):
        read_coco(write(tmp_path / "none", {"images": [], "annotations": []}))
