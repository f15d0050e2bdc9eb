"""Local tokens against brute force: every cell sampled at many points, whole cells by torch's own pooling."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from likeness.core.errors import DataError
from likeness.encoders.object_tokens import CELLS, object_tokens, whole_pictures

FINE = 48
"""Points per patch and axis of the brute force."""


def dense(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def brute(grid: np.ndarray, box: tuple[float, ...], cells: int, mask: np.ndarray | None = None) -> np.ndarray:
    """Means over the points of a fine raster whose centres lie in the cell; NaN where none counts."""
    rows, columns, width = grid.shape
    y = (np.arange(rows * FINE) + 0.5) / (rows * FINE)
    x = (np.arange(columns * FINE) + 0.5) / (columns * FINE)
    found = np.full((cells, cells, width), np.nan)
    for k in range(cells):
        top, bottom = (box[1] + (box[3] - box[1]) * edge / cells for edge in (k, k + 1))
        inside_y = np.flatnonzero((y >= top) & (y < bottom)) // FINE
        for c in range(cells):
            left, right = (box[0] + (box[2] - box[0]) * edge / cells for edge in (c, c + 1))
            inside_x = np.flatnonzero((x >= left) & (x < right)) // FINE
            patches = grid[inside_y][:, inside_x].reshape(-1, width)
            weight = np.ones(len(patches)) if mask is None else mask[inside_y][:, inside_x].reshape(-1)
            if weight.sum() > 0:
                found[k, c] = (patches * weight[:, None]).sum(0) / weight.sum()
    return found.reshape(-1, width)


def test_a_box_is_pooled_by_area() -> None:
    grid = dense(2, 6, 9, 3)
    boxes = [(0.1, 0.25, 0.7, 0.9), (0.0, 0.0, 1.0, 1.0), (0.5, 0.5, 0.625, 0.75)]
    picture = torch.tensor([1, 0, 1])
    found = object_tokens(grid, torch.tensor(boxes, dtype=torch.float64), picture=picture, cells=3)
    assert bool(found.valid.all())
    for row, box in enumerate(boxes):
        expected = brute(grid[int(picture[row])].numpy(), box, 3)
        np.testing.assert_allclose(found.tokens[row].numpy(), expected, atol=0.06)


def test_cells_of_whole_patches_are_their_means() -> None:
    """What the public code's RoIAlign gives for a 64 x 64 map of 4 x 4 cells, here 16 x 16."""
    grid = dense(3, 16, 16, 5)
    found = object_tokens(grid, whole_pictures(3).double(), picture=torch.arange(3))
    expected = F.adaptive_avg_pool2d(grid.movedim(-1, 1), CELLS).flatten(2).transpose(1, 2)
    torch.testing.assert_close(found.tokens, expected)


def test_legacy_reads_the_first_picture_for_all_objects() -> None:
    grid = dense(3, 8, 8, 5)
    picture = torch.tensor([0, 1, 2])
    right = object_tokens(grid, whole_pictures(3), picture=picture)
    legacy = object_tokens(grid, whole_pictures(3), picture=picture, first_picture_for_all=True)
    assert torch.equal(legacy.tokens[0], right.tokens[0])
    assert torch.equal(legacy.tokens[1], right.tokens[0])
    assert torch.equal(legacy.tokens[2], right.tokens[0])
    assert not torch.equal(right.tokens[1], right.tokens[0])


def test_a_mask_leaves_out_patches_and_cells_without_any_are_told() -> None:
    grid = dense(1, 8, 8, 2)
    mask = torch.zeros(1, 8, 8, dtype=torch.float64)
    mask[0, :5, :3] = torch.rand(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    found = object_tokens(grid, whole_pictures(1), picture=torch.tensor([0]), cells=2, mask=mask)
    expected = brute(grid[0].numpy(), (0, 0, 1, 1), 2, mask[0].numpy())
    assert found.valid.tolist() == [[True, False, True, False]]
    np.testing.assert_allclose(found.tokens[0, [0, 2]].numpy(), expected[[0, 2]], atol=1e-6)
    assert float(found.tokens[0, [1, 3]].abs().max()) == 0


def test_a_uniform_map_stays_what_it_is_for_any_box() -> None:
    grid = torch.ones(1, 5, 7, 4)
    found = object_tokens(grid, torch.tensor([[0.13, 0.2, 0.37, 0.91]]), picture=torch.tensor([0]))
    torch.testing.assert_close(found.tokens, torch.ones(1, 16, 4))


def test_what_cannot_be_pooled_is_refused() -> None:
    grid, first = dense(1, 4, 4, 2), torch.tensor([0])
    for box in ([0.5, 0.2, 0.5, 0.9], [0.0, 0.0, 1.2, 1.0], [-0.1, 0.0, 0.5, 0.5]):
        with pytest.raises(DataError, match="box 0: expected left < right"):
            object_tokens(grid, torch.tensor([box]), picture=first)
    with pytest.raises(DataError, match="indices below 1"):
        object_tokens(grid, whole_pictures(1), picture=torch.tensor([1]))
    with pytest.raises(DataError, match="object 0: expected a mask"):
        object_tokens(grid, whole_pictures(1), picture=first, mask=torch.zeros(1, 4, 4))
