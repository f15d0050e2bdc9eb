"""Losses of subject tuning against the same arithmetic in float64 loops."""

import numpy as np
import pytest
import torch
from torch import Tensor

from likeness.objectives.subject import prior_preservation_loss, subject_errors


def tensors(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def by_hand(prediction: Tensor, target: Tensor, weight: Tensor | None) -> list[float]:
    """Loops over all numbers."""
    found: list[float] = []
    for b in range(len(prediction)):
        total = count = 0.0
        for c in range(prediction.shape[1]):
            for i in range(prediction.shape[2]):
                for j in range(prediction.shape[3]):
                    w = 1.0 if weight is None else float(weight[b, i, j])
                    total += w * (float(prediction[b, c, i, j]) - float(target[b, c, i, j])) ** 2
                    count += w
        found.append(total / count)
    return found


@pytest.mark.parametrize("masked", [False, True])
def test_errors_are_means_over_what_counts(masked: bool) -> None:
    prediction, target = tensors(0, 2, 3, 4, 5), tensors(1, 2, 3, 4, 5)
    weight = tensors(2, 2, 4, 5).abs().clamp(0, 1) if masked else None
    found = subject_errors(prediction, target, weight)
    np.testing.assert_allclose(found.numpy(), by_hand(prediction, target, weight), rtol=1e-5)


def test_what_a_mask_leaves_out_has_no_gradient() -> None:
    prediction, weight = tensors(0, 1, 2, 2, 2).requires_grad_(), torch.zeros(1, 2, 2)
    weight[0, 1, 0] = 1.0
    subject_errors(prediction, tensors(1, 1, 2, 2, 2), weight).sum().backward()
    assert prediction.grad is not None
    assert (prediction.grad[0] != 0).all(0).tolist() == [[False, False], [True, False]]


def test_the_prior_is_added_with_its_weight() -> None:
    errors, prior = torch.tensor([0.5, 2.0]), torch.tensor([1.0, 4.0])
    assert prior_preservation_loss(errors, prior, prior_weight=0.25).tolist() == [0.75, 3.0]
    assert torch.equal(prior_preservation_loss(errors, prior, prior_weight=0.0), errors)
