"""Inline pictures and the contact sheet."""

from pathlib import Path

import pytest
from PIL import Image

from likeness.core.errors import DataError
from likeness.report import contact_sheet
from likeness.report.figures import inline_picture


def test_large_pictures_are_reduced_and_small_ones_kept(tmp_path: Path) -> None:
    for name, size in (("large", (800, 400)), ("small", (64, 32))):
        Image.new("RGB", size, "red").save(tmp_path / f"{name}.png")
    large = inline_picture(tmp_path / "large.png", long_side=384)
    small = inline_picture(tmp_path / "small.png", long_side=384)
    assert (large.width, large.height) == (384, 192)
    assert (small.width, small.height) == (64, 32)


def test_a_missing_picture_is_a_problem_with_a_reason(tmp_path: Path) -> None:
    found = inline_picture(tmp_path / "absent.png", long_side=384)
    assert found.uri == ""
    assert "absent.png" in found.problem


def test_contact_sheet_has_a_cell_for_every_picture() -> None:
    sheet = contact_sheet([Image.new("RGB", (10, 20), "red")] * 5, columns=3, cell=40, gap=10)
    assert sheet.size == (3 * 50 + 10, 2 * 50 + 10)
    assert sheet.getpixel((30, 30)) == (255, 0, 0)
    assert sheet.getpixel((130, 80)) == (250, 249, 246)  # the sixth cell is empty


def test_contact_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="at least one picture"):
        contact_sheet([], columns=3)
