"""Portraits: drawn people, folders, CelebAMask-HQ; what cannot be used, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import planted_portraits as planted
import pytest
from PIL import Image
from tiny_stellar import write_portraits

from likeness.core.errors import ConfigError, DataError
from likeness.core.images import load_image
from likeness.encoders.faces import FaceEncoder
from likeness.encoders.faces_seen import COSINE, Face, FacesSeen
from likeness.train.inversion.rows import DataTable, PhotoPortraits, Portrait, face_fault, fitted, portraits_of
from likeness.world.identity import split_of_identity


def seen(*boxes: tuple[float, float, float, float], side: int = 40) -> FacesSeen:
    faces = tuple(Face(box, 1.0, np.zeros((5, 2), np.float32), np.ones(2, np.float32)) for box in boxes)
    return FacesSeen("planted", (side, side), COSINE, 0.5, faces)


class PlantedFaces(FaceEncoder):
    """A face in the middle of every picture, but two where the first pixel is red and none where it is blue."""

    id = "planted"

    def look(self, images: Any) -> list[FacesSeen]:
        found: list[FacesSeen] = []
        for image in images:
            red, _, blue = (int(value) for value in np.asarray(image)[0, 0])
            number = 2 if red > 250 else 0 if blue > 250 else 1
            found.append(seen(*[(2.0, 2.0, 10.0, 10.0)] * number))
        return found

    def faces(self, image: Image.Image) -> list[Face]:
        raise AssertionError(image)


@pytest.fixture
def planted_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FaceEncoder, "load", classmethod(lambda _, spec: PlantedFaces()))


def table(folder: Path, **changes: Any) -> DataTable:
    return DataTable.model_validate({"source": "folder", "folder": str(folder), "size": 64, "faces": "none"} | changes)


def test_drawn_people_are_of_the_training_split_and_always_the_same() -> None:
    one, two = (portraits_of(DataTable(count=5, size=64)) for _ in range(2))
    assert len(one) == 5
    people: Any = one
    assert {split_of_identity(people.who(row)) for row in range(5)} == {"train"}
    assert len({people.who(row).id for row in range(5)}) == 5
    first, again = one.read(3), two.read(3)
    assert np.array_equal(np.asarray(first.image), np.asarray(again.image))
    assert np.array_equal(first.mask, again.mask)
    assert 0.05 < first.mask.mean() < 0.6
    outside = np.asarray(first.image)[~first.mask].reshape(-1, 3)
    assert (outside.std(axis=0) < 12).all()  # a plain backdrop, but for the person's soft edge
    assert one.facts() == two.facts() != portraits_of(DataTable(count=5, size=32)).facts()


def test_masks_of_every_kind_are_read_at_the_pictures_size(tmp_path: Path) -> None:
    """A palette of dark colours, grey below 128 and RGB."""
    found = portraits_of(table(write_portraits(tmp_path / "faces")))
    assert len(found) == 3
    wanted = np.zeros((40, 40), dtype=bool)
    wanted[:, :20] = True
    for row in range(3):
        portrait = found.read(row)
        assert portrait.image.tobytes() == load_image(tmp_path / "faces" / f"{row}.png").tobytes()
        assert np.array_equal(portrait.mask, wanted)


def test_what_cannot_be_used_is_listed_with_its_reason(tmp_path: Path, planted_faces: None) -> None:
    folder = write_portraits(tmp_path / "faces", count=9)
    (folder / "1_bg.png").unlink()
    Image.new("L", (20, 10), 255).save(folder / "2_bg.png")
    Image.new("L", (20, 20)).save(folder / "3_bg.png")
    Image.new("L", (20, 20), 9).save(folder / "4_bg.png")
    for number, colour in ((5, (255, 0, 0)), (6, (0, 0, 255))):
        Image.new("RGB", (40, 40), colour).save(folder / f"{number}.png")
    beside = np.zeros((20, 20), np.uint8)
    beside[:, 12:] = 255
    Image.fromarray(beside).save(folder / "7_bg.png")
    (folder / "8.png").write_bytes(b"no picture")
    found = portraits_of(table(folder, faces="planted"))
    assert len(found) == 1
    reasons = {Path(row.where).stem: row.reason for row in found.left_out}
    said = {
        "1": "expected a mask 1_bg.png beside it, got none",
        "2": "expected a mask of the shape of the picture, 40 x 40 px, got 20 x 10 px",
        "3": "expected a mask of 1% to 99% of the picture, got 0.0%",
        "4": "expected a mask of 1% to 99% of the picture, got 100.0%",
        "5": "expected one face, found 2",
        "6": "expected a face, found none",
        "7": "expected a mask that covers the face, got one beside it",
        "8": "8.png: expected",
    }
    assert reasons.keys() == said.keys()
    assert [name for name, words in said.items() if words not in reasons[name]] == []


def test_faces_are_not_asked_for_where_nobody_looks(tmp_path: Path) -> None:
    folder = write_portraits(tmp_path / "faces")
    Image.new("RGB", (40, 40), (0, 0, 255)).save(folder / "0.png")
    assert len(portraits_of(table(folder))) == 3


def test_celebamask_hq_gives_its_training_split(tmp_path: Path) -> None:
    rows = [planted.Row(original, 7, 1, 1) for original in (5, 162_770, 162_771, 199_000)]
    rows.append(planted.Row(6, 8, 1, 1, masks=()))
    root = planted.write_celeba(tmp_path / "celeba", rows)
    found = portraits_of(table(root, source="celeba"))
    assert isinstance(found, PhotoPortraits)
    assert len(found) == 2
    (left_out,) = found.left_out
    assert "expected masks of its parts" in left_out.reason
    wanted = np.zeros((20, 20), dtype=bool)
    wanted[:13, 4:16] = True
    assert np.array_equal(found.read(0).mask[::2, ::2], wanted)


def test_contents_decide_the_rows(tmp_path: Path) -> None:
    folder = write_portraits(tmp_path / "faces")
    before = portraits_of(table(folder)).facts()
    assert portraits_of(table(folder)).facts() == before
    mask = np.zeros((20, 20), np.uint8)
    mask[:4] = 1
    Image.fromarray(mask).save(folder / "1_bg.png")
    assert portraits_of(table(folder)).facts() != before


@pytest.mark.parametrize("damage", ["nowhere", "empty"])
def test_a_folder_without_portraits_is_refused(tmp_path: Path, damage: str) -> None:
    folder = tmp_path / "faces"
    if damage == "empty":
        folder.mkdir()
    with pytest.raises((ConfigError, DataError), match=r"expected (a folder of portraits|portraits with masks)"):
        portraits_of(table(folder))


def test_a_table_names_a_folder_where_it_reads_one() -> None:
    for wrong in ({"source": "folder"}, {"source": "world", "folder": "x"}):
        with pytest.raises(ValueError, match="expected one for source folder or celeba only"):
            DataTable.model_validate(wrong)


def test_a_face_at_the_edge_is_looked_up_inside_the_mask() -> None:
    mask = np.zeros((40, 40), dtype=bool)
    mask[:, 39] = True
    assert face_fault(seen((30.0, 0.0, 60.0, 20.0)), mask=mask) == ""
    assert "beside it" in face_fault(seen((0.0, 0.0, 20.0, 20.0)), mask=mask)


def test_the_middle_square_is_taken_of_picture_and_mask_alike() -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 10:30, 0] = 200
    made = fitted(Portrait(Image.fromarray(pixels), pixels[..., 0] > 0), size=16)
    assert made.image.size == (16, 16)
    assert (np.asarray(made.image)[..., 0] == 200).all()
    assert made.mask.all()
    assert made.mask.shape == (16, 16)
