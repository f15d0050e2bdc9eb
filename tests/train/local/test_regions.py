"""Grids and crops of self-distillation, by hand."""

from collections import Counter

import numpy as np
import torch
from PIL import Image

from likeness.train.local.regions import chosen_boxes, corner_boxes, cut_out, draw_shape, grid_cells, grids, in_corner


def test_the_grids_are_those_of_the_public_script() -> None:
    """M from 1 to 6, N from ceil(M / 2) to min(2 M, 6)."""
    expected = {(m, n) for m in range(1, 7) for n in range(1, 7) if -(-m // 2) <= n <= min(2 * m, 6)}
    assert set(grids(6)) == expected
    assert len(grids(6)) == len(expected)
    assert grids(1) == ((1, 1),)


def order(side: int, seed: int) -> torch.Tensor:
    return torch.randn(side, side, generator=torch.Generator().manual_seed(seed))


def test_every_grid_is_drawn_alike_and_tiles_the_picture() -> None:
    counts = Counter[int]()
    for number in range(2000):
        cells = grid_cells((number + 0.5) / 2000, order(6, number), max_split=6, at_most=100)
        area = sum((right - left) * (bottom - top) for left, top, right, bottom in cells)
        assert abs(area - 1) < 1e-9
        counts[len(cells)] += 1
    wanted = Counter(rows * columns for rows, columns in grids(6))
    for size, times in wanted.items():
        assert abs(counts[size] / 2000 - times / len(grids(6))) < 0.01


def test_of_many_cells_a_random_part_is_taken() -> None:
    seen = Counter[tuple[float, ...]]()
    for number in range(300):
        cells = grid_cells(0.9999, order(6, number), max_split=6, at_most=20)
        assert len(cells) == len(set(cells)) == 20
        seen.update(cells)
    assert len(seen) == 36  # the last grid is 6 x 6
    assert 0.4 < min(seen.values()) / 300 < max(seen.values()) / 300 < 0.7  # 20 / 36 = 0.56


def test_boxes_are_all_taken_or_a_random_part() -> None:
    boxes = [(0.0, 0.0, 0.1 * i, 1.0) for i in range(1, 8)]
    assert chosen_boxes(boxes, order(9, 0), at_most=20) == boxes
    some = {tuple(chosen_boxes(boxes, order(9, seed), at_most=3)) for seed in range(20)}
    assert all(len(found) == 3 for found in some)
    assert len(some) > 5
    assert draw_shape(6, 20)[1] ** 2 >= 20


def test_a_crop_lies_in_the_middle_of_a_black_square() -> None:
    picture = Image.new("RGB", (100, 60), (255, 0, 0))
    picture.paste((0, 255, 0), (50, 0, 100, 30))
    crop = np.asarray(cut_out(picture, (0.5, 0.0, 1.0, 0.5), side=20))  # 50 x 30 px
    assert crop.shape == (20, 20, 3)
    assert (crop[4:16] == (0, 255, 0)).all()
    assert (crop[:4] == 0).all()
    assert (crop[16:] == 0).all()


def test_the_student_sees_the_picture_in_the_corner_and_boxes_move_along() -> None:
    picture = Image.new("RGB", (40, 80), (255, 255, 255))
    square = np.asarray(in_corner(picture, side=16))
    assert (square[:, :8] == 255).all()
    assert (square[:, 8:] == 0).all()
    boxes = corner_boxes([(0.0, 0.0, 1.0, 1.0), (0.5, 0.25, 1.0, 0.5)], size=picture.size)
    assert boxes.tolist() == [[0.0, 0.0, 0.5, 1.0], [0.25, 0.25, 0.5, 0.5]]
