"""CLIPSelf's loss against its equation in plain Python."""

import math

import pytest
import torch

from likeness.objectives.clipself import clipself_loss


def test_the_loss_is_one_minus_the_cosine_of_each_region() -> None:
    draw = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(7, 5, generator=draw, dtype=torch.float64) for _ in range(2))
    found = clipself_loss(student, teacher)
    for row, (s, t) in enumerate(zip(student.tolist(), teacher.tolist(), strict=True)):
        product = sum(a * b for a, b in zip(s, t, strict=True))
        lengths = math.sqrt(sum(a * a for a in s)) * math.sqrt(sum(b * b for b in t))
        assert float(found[row]) == pytest.approx(1 - product / lengths, abs=1e-12)


def test_same_opposite_and_scaled_features() -> None:
    feature = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    assert float(clipself_loss(feature, 2 * feature)) == pytest.approx(0, abs=1e-12)
    assert float(clipself_loss(feature, -feature)) == pytest.approx(2)
    assert float(clipself_loss(feature, torch.tensor([[-4.0, 3.0]], dtype=torch.float64))) == pytest.approx(1)


def test_no_gradient_reaches_the_teacher() -> None:
    student, teacher = (torch.randn(3, 4, requires_grad=True) for _ in range(2))
    clipself_loss(student, teacher).sum().backward()
    assert teacher.grad is None
    assert student.grad is not None


def test_the_gradient_is_that_of_finite_differences() -> None:
    draw = torch.Generator().manual_seed(1)
    student, teacher = (torch.randn(2, 3, generator=draw, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda s: clipself_loss(s, teacher), student.requires_grad_())
