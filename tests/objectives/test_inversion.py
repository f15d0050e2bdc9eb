"""StellarNet's loss against loops in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from likeness.objectives.inversion import latent_mask, masked_error, word_size

SHAPE = (3, 4, 5, 6)


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def masks() -> Tensor:
    found = torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(9)) > 0.6
    found[1] = False
    return found


def expected(prediction: Tensor, target: Tensor, mask: Tensor, *, normalised: str) -> list[float]:
    """One sum over places, cell by cell."""
    rows: list[float] = []
    for row in range(len(prediction)):
        total, cells = 0.0, 0
        for i in range(SHAPE[2]):
            for j in range(SHAPE[3]):
                if mask[row, i, j]:
                    cells += 1
                    errors = [(float(prediction[row, c, i, j]) - float(target[row, c, i, j])) ** 2 for c in range(4)]
                    total += sum(errors) / 4
        rows.append(total / (SHAPE[2] * SHAPE[3] if normalised == "pixels" else max(cells, 1)))
    return rows


@pytest.mark.parametrize("normalised", ["pixels", "area"])
def test_the_error_within_the_mask(normalised: Any) -> None:
    prediction, target, mask = drawn(*SHAPE, seed=0), drawn(*SHAPE, seed=1), masks()
    found = masked_error(prediction.float(), target.float(), mask, normalised=normalised)
    wanted = expected(prediction, target, mask, normalised=normalised)
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-5)
    assert found[1] == 0
    everything = masked_error(prediction.float(), target.float(), torch.ones_like(mask), normalised=normalised)
    torch.testing.assert_close(
        everything.double(), (prediction - target).square().mean(dim=(1, 2, 3)), rtol=1e-5, atol=0
    )


def test_the_papers_form_grows_with_the_person_and_elites_does_not() -> None:
    ones, zeros, mask = torch.ones(2, 4, 8, 8), torch.zeros(2, 4, 8, 8), torch.zeros(2, 8, 8, dtype=torch.bool)
    mask[0, :2], mask[1, :4] = True, True
    assert masked_error(ones, zeros, mask, normalised="pixels").tolist() == [0.25, 0.5]
    assert masked_error(ones, zeros, mask, normalised="area").tolist() == [1.0, 1.0]


def test_errors_outside_of_the_mask_have_no_gradient() -> None:
    prediction, mask = drawn(*SHAPE, seed=0).float().requires_grad_(), masks()
    masked_error(prediction, torch.zeros(SHAPE), mask, normalised="area").sum().backward()
    assert prediction.grad is not None
    assert torch.equal(prediction.grad.abs().sum(dim=1) > 0, mask)


def test_masks_reach_the_grid_by_nearest_pixels() -> None:
    mask = torch.zeros(1, 8, 8, dtype=torch.bool)
    mask[0, 2, 4] = mask[0, 5, 5] = True  # the pixel in a cell's upper left corner decides it
    found = latent_mask(mask, grid=(4, 4))
    assert found.nonzero().tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("summed", [False, True])
def test_the_size_of_words(summed: bool) -> None:
    words = [drawn(2, 5, 3, seed=2), drawn(2, 5, 7, seed=3)]
    each = np.array([np.abs(branch.numpy()).mean(axis=(1, 2)) for branch in words])
    wanted = each.sum(axis=0) if summed else each.mean(axis=0)
    np.testing.assert_allclose(word_size(words, summed=summed).numpy(), wanted, rtol=1e-6)
