"""Entropy maps against a per-patch loop of the formula and against scikit-image."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from skimage.filters.rank import entropy as rank_entropy
from skimage.measure import shannon_entropy
from torch import Tensor

from likeness.core.errors import ConfigError, DataError
from likeness.focus import KINDS, complexity, entropy, token_complexity
from likeness.focus.complexity import grey_levels


def picture(seed: int, *, height: int = 64, width: int = 96, noise: float = 0.1) -> Tensor:
    """A smooth gradient with noise growing from left to right, 8-bit steps, (1, 3, H, W) in [-1, 1]."""
    draw = torch.Generator().manual_seed(seed)
    rows, columns = torch.linspace(-0.8, 0.8, height)[:, None], torch.linspace(0, 1, width)[None]
    pixels = rows + 0.2 * columns + noise * columns * torch.randn(1, 3, height, width, generator=draw)
    return ((pixels.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1


def loop_kde(pixels: Tensor, *, patch: int, stride: int) -> np.ndarray:
    """The formula as printed, patch by patch and bin by bin, in float64."""
    red, green, blue = pixels[0].double().numpy()
    grey = 0.2989 * red + 0.5870 * green + 0.1140 * blue
    before, after = (patch - stride) // 2, (patch - stride + 1) // 2
    grey = np.pad(grey, ((before, after), (before, after)), mode="reflect")
    bins = np.linspace(-1, 1, 32)
    rows, columns = pixels.shape[-2] // stride, pixels.shape[-1] // stride
    result = np.empty((rows, columns))
    for i in range(rows):
        for j in range(columns):
            values = grey[i * stride : i * stride + patch, j * stride : j * stride + patch].ravel()
            kernel = np.array([np.exp(-0.5 * ((values - b) / 0.01) ** 2).mean() for b in bins])
            p = kernel / (kernel.sum() + 1e-40) + 1e-40
            result[i, j] = -(p * np.log(p)).sum()
    return result


@pytest.mark.parametrize(("patch", "stride"), [(16, 16), (16, 8), (8, 8), (12, 8), (5, 4)])
def test_kde32_equals_the_formula_patch_by_patch(patch: int, stride: int) -> None:
    pixels = picture(0)
    ours = entropy(pixels, patch=patch, stride=stride)[0]
    assert ours.shape == (64 // stride, 96 // stride)
    np.testing.assert_allclose(ours.numpy(), loop_kde(pixels, patch=patch, stride=stride), atol=3e-5)


def test_kde32_of_every_pixel_equals_the_formula() -> None:
    pixels = picture(1, height=20, width=24)
    np.testing.assert_allclose(
        entropy(pixels, patch=7, stride=1)[0].numpy(), loop_kde(pixels, patch=7, stride=1), atol=3e-5
    )


def test_kde32_of_unquantised_numbers_and_of_numbers_beyond_the_bins() -> None:
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.7
    expected = loop_kde(pixels, patch=16, stride=16)
    np.testing.assert_allclose(entropy(pixels)[0].numpy(), expected, atol=3e-5)


E: Any = math.e  # scikit-image types the base as an int, and takes any number


def _grey8(pixels: Tensor) -> np.ndarray:
    return ((grey_levels(pixels)[0] + 1) * 127.5).round().to(torch.uint8).numpy()


def test_hist256_equals_shannon_entropy_of_scikit_image() -> None:
    pixels, grey = picture(0), _grey8(picture(0))
    expected = [
        [shannon_entropy(grey[i : i + 16, j : j + 16], base=E) for j in range(0, 96, 16)] for i in range(0, 64, 16)
    ]
    np.testing.assert_allclose(entropy(pixels, kind="hist256")[0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("patch", [5, 7, 9, 16, 19])
def test_hist256_of_every_pixel_equals_rank_entropy_of_scikit_image(patch: int) -> None:
    pixels = picture(2, height=50, width=160)  # two bands of rows
    ours = entropy(pixels, patch=patch, stride=1, kind="hist256")[0].numpy()
    theirs = rank_entropy(_grey8(pixels), np.ones((patch, patch), np.uint8)) * math.log(2)  # in bits
    shift = (patch + 1) % 2  # an even window reaches one pixel further back there
    inner = ours[patch : -patch - shift, patch : -patch - shift]
    np.testing.assert_allclose(inner, theirs[patch + shift : -patch, patch + shift : -patch], atol=1e-5)


@pytest.mark.parametrize("patch", [8, 16, 18])
def test_hist256_of_every_pixel_where_a_patch_has_one_level_or_all(patch: int) -> None:
    """256 pixels of one level, or 256 levels of one pixel, in a patch of 16; flat and mixed patches beside."""
    grey = np.arange(256, dtype=np.float32).reshape(16, 16)
    tiles = np.block([[grey, np.full((16, 16), 7)], [np.full((16, 16), 7), np.full((16, 16), 255)]])
    pixels = torch.from_numpy(tiles.astype(np.float32) / 127.5 - 1).expand(1, 3, -1, -1)
    ours = entropy(pixels, patch=patch, stride=1, kind="hist256")[0]
    before = (patch - 1) // 2
    for row in range(before, 32 - patch // 2, 3):
        for column in range(before, 32 - patch // 2, 3):
            window = _grey8(pixels)[row - before :, column - before :][:patch, :patch]
            assert ours[row, column].item() == pytest.approx(shannon_entropy(window, base=E), abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_dense_and_strided_maps_agree_where_they_meet(kind: str) -> None:
    pixels = picture(3)
    dense = entropy(pixels, stride=1, kind=kind)[0]
    strided = entropy(pixels, stride=16, kind=kind)[0]
    torch.testing.assert_close(dense[7:-8:16, 7:-8:16], strided, atol=1e-5, rtol=0)  # 7 px before the centre, 8 after


@pytest.mark.parametrize("kind", KINDS)
def test_the_grid_is_the_token_grid(kind: str) -> None:
    pixels = picture(0, height=48, width=80).expand(2, -1, -1, -1)
    assert complexity(pixels, kind=kind).shape == (2, 3, 5)
    assert complexity(pixels, stride=8, kind=kind).shape == (2, 6, 10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_spans_0_to_1_and_noise_is_more_complex_than_a_flat_area(kind: str) -> None:
    pixels = torch.zeros(1, 3, 32, 64)
    pixels[..., 48:] = torch.rand(1, 1, 32, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    values = complexity(pixels, kind=kind)[0]
    assert values.min() == 0
    assert values.max() == 1
    assert values[:, 3].min() > 0.9
    assert values[:, :3].max() == 0


@pytest.mark.parametrize("grey", [-1.0, -0.3, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_flat_picture_is_1_everywhere_and_nothing_is_nan(grey: float, kind: str) -> None:
    pixels = torch.full((1, 3, 32, 32), grey)
    assert complexity(pixels, kind=kind).tolist() == [[[1.0, 1.0], [1.0, 1.0]]]
    assert entropy(pixels, kind=kind).isfinite().all()
    if kind == "hist256":
        assert entropy(pixels, kind=kind).abs().max() == 0


def test_flat_patches_score_by_their_grey_level() -> None:
    """The bins are wider than the kernel: between two bins a flat patch has ln 2, on a bin nothing."""
    between, on_a_bin = (torch.full((1, 3, 16, 16), grey / 0.9999) for grey in (0.0, 1 / 31))
    assert entropy(between).item() == pytest.approx(math.log(2), abs=1e-4)
    assert entropy(on_a_bin).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_does_not_depend_on_its_batch(kind: str) -> None:
    pixels = torch.cat([picture(0), picture(1), picture(2, noise=0.0)])
    together = complexity(pixels, kind=kind)
    for i in range(3):
        assert torch.equal(complexity(pixels[i : i + 1], kind=kind)[0], together[i])
    assert torch.equal(complexity(pixels[[2, 0]], kind=kind), together[[2, 0]])


def test_half_precision_pixels_and_gradients_are_harmless() -> None:
    pixels = picture(0).to(torch.bfloat16).requires_grad_()
    values = complexity(pixels)
    assert values.dtype == torch.float32
    assert not values.requires_grad


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected one of kde32, hist256, got 'kde'"):
        entropy(picture(0), kind="kde")
    with pytest.raises(ConfigError, match="stride 16, patch 8"):
        entropy(picture(0), patch=8, stride=16)
    with pytest.raises(DataError, match="multiple of 16 px and >= 16, got 90 x 64"):
        entropy(picture(0, width=90))


def test_a_dense_map_averages_the_patch_of_every_pixel() -> None:
    pixels = torch.rand(1, 3, 16, 24, generator=torch.Generator().manual_seed(3)) * 2 - 1
    dense = token_complexity(pixels, token=8, kind="hist256", dense=True)
    every = complexity(pixels, patch=8, stride=1, kind="hist256")
    for row in range(2):
        for column in range(3):
            square = every[0, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8]
            assert float(dense[0, row, column]) == pytest.approx(float(square.double().mean()), abs=1e-6)
    own = token_complexity(pixels, token=8, kind="hist256")
    assert torch.equal(own, complexity(pixels, patch=8, stride=8, kind="hist256"))
    assert not torch.allclose(own, dense)
