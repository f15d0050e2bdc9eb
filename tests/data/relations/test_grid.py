"""Pictures and the latent grid: cells by whole-number arithmetic, crops by pictures with a dot in them."""

import numpy as np
import pytest
import torch
from PIL import Image

from likeness.core.images import fit_reference
from likeness.data.relations.grid import Crop, cells, cropped, fitted_crop, legacy_cells


def test_a_pixel_falls_into_the_cell_of_eight_pixels_that_holds_it() -> None:
    width, height = 96, 64
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    points = (np.stack([columns, rows], axis=-1) + 0.5) / [width, height]
    found = cells(points, grid=(height // 8, width // 8))
    assert (found[..., 0] == rows // 8).all()
    assert (found[..., 1] == columns // 8).all()


def test_points_on_the_edge_and_outside_get_the_nearest_cell() -> None:
    points = np.array([[1.0, 1.0], [-0.2, 0.5], [0.5, 7.0], [0.0, 0.0]])
    assert cells(points, grid=(4, 6)).tolist() == [[3, 5], [2, 0], [3, 3], [0, 0]]


def test_the_published_code_reads_the_reference_from_sixteen_cells() -> None:
    """Its lookups, line by line: the channels are moved to the end between the first and the second."""
    eye = np.array([[98 / 128, 32 / 128]])
    target = torch.zeros(1, 4, 128, 128)
    moved = target.permute(0, 2, 3, 1)
    for tensor, expected in ((target, [32, 98]), (moved, [1, 3])):
        column, row = (int(float(share) * tensor.shape[-1]) for share in eye[0])
        assert legacy_cells(eye, last_axis=tensor.shape[-1]).tolist() == [[row, column]] == [expected]
    assert cells(eye, grid=(128, 128)).tolist() == [[32, 98]]
    assert legacy_cells(np.random.default_rng(0).random((99, 2)), last_axis=4).max() == 3


@pytest.mark.parametrize("size", [(200, 120), (90, 240), (128, 128), (130, 111)])
def test_keypoints_move_with_a_picture_that_is_not_square(size: tuple[int, int]) -> None:
    dots = [(0.3, 0.6), (0.7, 0.4), (0.5, 0.5), (0.45, 0.25)]
    crop = fitted_crop(size, long_side=96, multiple=16)
    valid = np.ones(1, bool)
    for dot in dots:
        x, y = round(dot[0] * size[0]), round(dot[1] * size[1])
        rows, columns = np.indices(size[::-1])
        light = 255 * np.exp(-((columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2) / 18)
        picture = Image.fromarray(light.astype(np.uint8)).convert("RGB")
        fitted = np.asarray(fit_reference(picture, long_side=96, multiple=16)).astype(float)[..., 0]
        moved, kept = cropped(np.array([[x / size[0], y / size[1]]]), valid, size=size, crop=crop)
        height, width = fitted.shape
        at = [(fitted.sum(0) @ (np.arange(width) + 0.5)), (fitted.sum(1) @ (np.arange(height) + 0.5))] / fitted.sum()
        assert kept.all()
        np.testing.assert_allclose(moved[0] * fitted.shape[::-1], at, atol=0.35)


def test_a_crop_cuts_points_off_and_padding_keeps_them() -> None:
    points, valid = np.array([[0.1, 0.5], [0.5, 0.5], [0.5, 0.5]]), np.array([True, True, False])
    moved, kept = cropped(points, valid, size=(100, 50), crop=Crop(20, 0, 80, 50))
    np.testing.assert_allclose(moved, [[-0.125, 0.5], [0.375, 0.5], [0.375, 0.5]])
    assert kept.tolist() == [False, True, False]
    letterboxed, kept = cropped(points, valid, size=(100, 50), crop=Crop(0, -25, 100, 100))
    np.testing.assert_allclose(letterboxed, [[0.1, 0.5], [0.5, 0.5], [0.5, 0.5]])
    assert kept.tolist() == valid.tolist()
