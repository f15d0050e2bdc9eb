"""Masks: what is inside, another size told, unions, and tokens counted by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from likeness.core.errors import DataError
from likeness.core.masks import covered_tokens, inside, load_mask, read_mask, union


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
