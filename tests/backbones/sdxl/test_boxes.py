"""Boxes as numbers and as cells, against the note's formulas by hand."""

from __future__ import annotations

import math

import pytest
import torch
from ms_reference import cells_inside

from likeness.backbones.base import TokenGrid
from likeness.backbones.sdxl.boxes import FOURIER_WIDTH, fourier, inside_boxes


def test_fourier_features_are_in_the_published_order() -> None:
    """Note, check 2: sine then cosine of the four coordinates at w = 1, then at w = 1.778, and so on."""
    box = [0.1, 0.2, 0.3, 0.4]
    (found,) = fourier(torch.tensor([box], dtype=torch.float64)).tolist()
    assert len(found) == FOURIER_WIDTH == 64
    expected = [wave(100 ** (k / 8) * side) for k in range(8) for wave in (math.sin, math.cos) for side in box]
    assert found == pytest.approx(expected, abs=1e-12)
    assert found[8] == pytest.approx(math.sin(1.7783 * 0.1), abs=1e-5)


@pytest.mark.parametrize("grid", [TokenGrid(32, 32), TokenGrid(6, 10), TokenGrid(3, 5), TokenGrid(1, 1)])
def test_cells_that_a_box_touches(grid: TokenGrid) -> None:
    boxes = [[0.0, 0.2, 0.55, 0.85], [0.55, 0.26, 0.95, 0.9], [0.0, 0.0, 1.0, 1.0], [0.31, 0.4, 0.32, 0.41]]
    found = inside_boxes(torch.tensor([boxes]), grid)[0]
    for box, row in zip(boxes, found, strict=True):
        expected = cells_inside(box, rows=grid.rows, columns=grid.columns)
        assert set(row.nonzero().flatten().tolist()) == expected
        assert expected


def test_a_box_without_area_touches_nothing() -> None:
    boxes = torch.tensor([[[0.0, 0.0, 0.0, 0.0], [0.3, 0.2, 0.3, 0.9], [0.2, 0.31, 0.9, 0.31]]])
    assert not inside_boxes(boxes, TokenGrid(10, 10)).any()
