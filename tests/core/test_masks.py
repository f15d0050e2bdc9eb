"""Masks: what is inside, another size told, unions, and tokens counted by hand."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from likeness.core.errors import DataError
from likeness.core.masks import covered_tokens, find_mask, inside, load_mask, read_mask, union


@pytest.fixture
def path(tmp_path: Path) -> Path:
    levels = np.array([[0, 127, 128], [255, 1, 254]], np.uint8)
    Image.fromarray(levels).save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def test_half_and_more_is_inside(path: Path) -> None:
    assert read_mask(path).tolist() == [[False, False, True], [True, False, True]]
    assert np.array_equal(read_mask(path, size=(3, 2)), inside(load_mask(path)))
    assert np.array_equal(inside(load_mask(path).convert("RGB")), read_mask(path)), "fitting makes masks RGB"


def test_another_size_is_told(path: Path) -> None:
    wanted = r"subject mask .*mask\.png: expected 2 x 3 px as its picture has, got 3 x 2; make the mask again"
    with pytest.raises(DataError, match=wanted):
        read_mask(path, size=(2, 3), what="subject mask")
    (path.parent / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"text\.png: expected a picture"):
        read_mask(path.parent / "text.png")


def test_unions_by_hand() -> None:
    one, other = np.array([[True, False, False]]), np.array([[False, False, True]])
    assert union([one]).tolist() == [[True, False, False]]
    assert union(mask for mask in (one, other)).tolist() == [[True, False, True]]


def test_tokens_count_from_half_a_cell() -> None:
    mask = np.zeros((64, 64), bool)
    mask[:16, :8] = True
    mask[16:32, :7] = True
    assert covered_tokens(mask, token=16) == (1, 16)
    assert covered_tokens(mask, token=128) == (0, 1)
    assert covered_tokens(np.ones((64, 48), bool), token=16) == (12, 12)


# -- masks as people have them ---------------------------------------------------------------------------------
EXPECTED = np.array([[True, True, False, False], [False, True, False, False]])
LEVELS = EXPECTED.astype(np.uint8)


def merged(colours: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> Image.Image:
    return Image.merge("RGBA", [*[Image.fromarray(colours)] * 3, Image.fromarray(alpha)])


@pytest.mark.parametrize(
    ("image", "note"),
    [
        (Image.fromarray(LEVELS * 255), None),
        (Image.fromarray(LEVELS), "values 0 and 1; multiplied by 255"),
        (Image.fromarray(LEVELS.astype(np.uint16)), "values 0 and 1; multiplied by 255"),
        (Image.fromarray(EXPECTED), None),
        (merged(LEVELS * 0, LEVELS * 255), "the alpha channel is the mask"),
        (merged(LEVELS * 0 + 255, LEVELS * 255), "the alpha channel is the mask"),
        (merged(LEVELS * 0, LEVELS), "the alpha channel is the mask; values 0 and 1; multiplied by 255"),
        (merged(LEVELS * 255, LEVELS * 255), None),
        (merged(LEVELS * 255, LEVELS * 0 + 255), None),
        (merged(LEVELS * 255, LEVELS * 0), None),
    ],
)
def test_masks_are_read_as_people_save_them(tmp_path: Path, image: Image.Image, note: str | None) -> None:
    image.save(tmp_path / "mask.png")
    found = find_mask(tmp_path / "mask.png", size=(4, 2))
    assert (inside(found.image) == EXPECTED).all()
    assert found.note == note
    assert (read_mask(tmp_path / "mask.png") == EXPECTED).all()


def test_two_masks_in_one_file_are_refused(tmp_path: Path) -> None:
    merged(LEVELS * 255, 255 - LEVELS * 255).save(tmp_path / "mask.png")
    with pytest.raises(DataError, match="the alpha channel is the mask when colour carries none, got two different"):
        find_mask(tmp_path / "mask.png")


def test_an_empty_mask_stays_empty(tmp_path: Path) -> None:
    Image.new("L", (4, 2)).save(tmp_path / "mask.png")
    assert not inside(find_mask(tmp_path / "mask.png").image).any()
