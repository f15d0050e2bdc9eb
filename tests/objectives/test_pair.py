"""Errors, time weights and the preference loss against float64 arithmetic and known identities."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from likeness.backbones.flux.tokens import pack_latents
from likeness.core.errors import ConfigError, DataError
from likeness.objectives.pair import (
    REDUCTIONS,
    PairErrors,
    PairPredictions,
    denoising_errors,
    implicit_accuracy,
    pair_errors,
    preference_loss,
)

B, C, H, W = 3, 4, 6, 8
L = H * W // 4


def latents(seed: int) -> Tensor:
    return torch.randn(B, C, H, W, generator=torch.Generator().manual_seed(seed))


def random_focus(seed: int = 9) -> Tensor:
    return torch.rand(B, L, generator=torch.Generator().manual_seed(seed))


def predictions(*, equal: bool = False) -> PairPredictions:
    six = [latents(seed) for seed in range(6)]
    if equal:
        six[2:4] = six[:2]
    return PairPredictions(*six)


def loop_errors(prediction: Tensor, target: Tensor, focus: Tensor | None, *, reduction: str, power: int) -> np.ndarray:
    """Element by element in float64."""
    result = np.zeros(B)
    for b in range(B):
        total, area = 0.0, 0.0
        for c in range(C):
            for i in range(H):
                for j in range(W):
                    weight = 1.0 if focus is None else float(focus[b, (i // 2) * (W // 2) + j // 2]) ** power
                    total += weight * (float(target[b, c, i, j]) - float(prediction[b, c, i, j])) ** 2
                    area += weight
        result[b] = {"sum": total, "mean": total / (C * H * W), "area": total / area}[reduction]
    return result


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("with_focus", [True, False])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_errors_equal_a_float64_loop(reduction: str, *, with_focus: bool, power: int) -> None:
    focus = random_focus() if with_focus else None
    ours = denoising_errors(latents(0), latents(1), focus, reduction=reduction, weight_power=power)
    expected = loop_errors(latents(0), latents(1), focus, reduction=reduction, power=power)
    np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_tokens_and_latents_have_the_same_errors(reduction: str) -> None:
    prediction, target, focus = latents(0), latents(1), random_focus()
    tokens = denoising_errors(pack_latents(prediction), pack_latents(target), focus, reduction=reduction)
    torch.testing.assert_close(tokens, denoising_errors(prediction, target, focus, reduction=reduction))


def test_a_unet_has_one_weight_per_latent() -> None:
    prediction, target, focus = latents(0), latents(1), random_focus()
    fine = focus.reshape(B, H // 2, W // 2).repeat_interleave(2, 1).repeat_interleave(2, 2).flatten(1)
    assert torch.equal(denoising_errors(prediction, target, fine), denoising_errors(prediction, target, focus))


def test_reductions_differ_by_known_factors() -> None:
    focus = random_focus()
    errors = {name: denoising_errors(latents(0), latents(1), focus, reduction=name) for name in REDUCTIONS}
    torch.testing.assert_close(errors["sum"], errors["mean"] * (C * H * W))
    torch.testing.assert_close(errors["sum"], errors["area"] * (4 * C * focus.square().sum(1)))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_focus_of_ones_is_no_focus_to_the_bit(reduction: str) -> None:
    plain = denoising_errors(latents(0), latents(1), reduction=reduction)
    ones = denoising_errors(latents(0), latents(1), torch.ones(B, L), reduction=reduction)
    if reduction == "area":
        torch.testing.assert_close(ones, plain)
    else:
        assert torch.equal(ones, plain)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_an_empty_focus_gives_0_and_no_gradient(reduction: str) -> None:
    prediction = latents(0).requires_grad_()
    errors = denoising_errors(prediction, latents(1), torch.zeros(B, L), reduction=reduction)
    assert errors.tolist() == [0.0] * B
    (gradient,) = torch.autograd.grad(errors.sum(), prediction)
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_masked_out_tokens_get_no_gradient(reduction: str) -> None:
    prediction, focus = latents(0).requires_grad_(), random_focus()
    focus[:, ::2] = 0
    errors = denoising_errors(prediction, latents(1), focus, reduction=reduction)
    (gradient,) = torch.autograd.grad(errors.sum(), prediction)
    by_token = pack_latents(gradient).abs().amax(-1)
    assert by_token[:, ::2].max() == 0
    assert by_token[:, 1::2].min() > 0


def test_each_picture_uses_its_own_focus() -> None:
    prediction, focus = torch.zeros(2, 1, 4, 4), torch.zeros(2, 4)
    prediction[:, :, :2] = 1.0  # wrong on top; look on top, then below
    focus[0, :2], focus[1, 2:] = 1.0, 1.0
    errors = denoising_errors(prediction, torch.zeros(2, 1, 4, 4), focus, reduction="area")
    assert errors.tolist() == [1.0, 0.0]


def test_focus_and_target_carry_no_gradient_and_half_precision_is_lifted() -> None:
    focus, target = random_focus().requires_grad_(), latents(1).requires_grad_()
    prediction = latents(0).bfloat16().requires_grad_()
    errors = denoising_errors(prediction, target, focus)
    assert errors.dtype == torch.float32
    errors.sum().backward()
    assert focus.grad is None
    assert target.grad is None
    expected = loop_errors(prediction.detach(), target.detach(), focus.detach(), reduction="mean", power=2)
    np.testing.assert_allclose(errors.detach().numpy(), expected, rtol=1e-6)


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match="expected mean, sum, area and 1 or 2, got 'avg' and 2"):
        denoising_errors(latents(0), latents(1), reduction="avg")
    with pytest.raises(ConfigError, match="got 'mean' and 3"):
        denoising_errors(latents(0), latents(1), weight_power=3)
    with pytest.raises(DataError, match="got 5 weights for 6 x 8 latents"):
        denoising_errors(latents(0), latents(1), torch.ones(B, 5))
    with pytest.raises(DataError, match="expected 12 tokens, got 48"):
        denoising_errors(pack_latents(latents(0)), pack_latents(latents(1)), torch.ones(B, 48))


# the preference loss -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.98, 0.36, 1e-4), (50.0, 1.5, 0.01)])
@pytest.mark.parametrize("beta", [0.1, 5.0, 2000.0])
def test_loss_equals_a_float64_rewrite(beta: float, weights: tuple[float, ...]) -> None:
    p, focus = predictions(), random_focus()
    errors = pair_errors(p, focus)
    loss, inside = preference_loss(errors, beta=beta, weight=torch.tensor(weights))
    for b in range(B):
        four = []
        for name in ("policy_preferred", "policy_rejected", "ref_preferred", "ref_rejected"):
            target = p.target_preferred if "preferred" in name else p.target_rejected
            prediction = getattr(p, name)
            four.append(loop_errors(prediction, target, focus, reduction="mean", power=2)[b])
        weight = weights[b]
        expected = -0.5 * beta * weight * ((four[0] - four[2]) - (four[1] - four[3]))
        scale = 0.5 * beta * weight * max(four)  # of what is subtracted
        assert inside[b].item() == pytest.approx(expected, abs=1e-6 * scale, rel=1e-6)
        assert loss[b].item() == pytest.approx(np.logaddexp(0, -expected), abs=1e-6 * max(scale, 1), rel=1e-6)


@pytest.mark.parametrize("beta", [0.0, 1.0, 5000.0])
def test_loss_is_ln_2_to_the_bit_when_policy_equals_reference(beta: float) -> None:
    loss, inside = preference_loss(pair_errors(predictions(equal=True), random_focus()), beta=beta)
    assert inside.abs().tolist() == [0.0] * B
    assert loss.tolist() == [torch.tensor(math.log(2)).item()] * B


def test_swapping_the_pair_flips_the_sign_of_inside() -> None:
    p = pair_errors(predictions(), random_focus())
    swapped = PairErrors(p.policy_rejected, p.policy_preferred, p.ref_rejected, p.ref_preferred)
    first, second = (preference_loss(errors, beta=7.0) for errors in (p, swapped))
    assert torch.equal(first.inside, -second.inside)
    assert first.inside.abs().min() > 0
    torch.testing.assert_close(torch.sigmoid(first.inside) + torch.sigmoid(second.inside), torch.ones(B))


def test_beta_times_reduction_factor_leaves_the_loss() -> None:
    p, focus = predictions(), random_focus()
    mean = preference_loss(pair_errors(p, focus, reduction="mean"), beta=50.0)
    total = preference_loss(pair_errors(p, focus, reduction="sum"), beta=50.0 / (C * H * W))
    factor = C * H * W / (4 * C * focus.square().sum(1))
    area = preference_loss(pair_errors(p, focus, reduction="area"), beta=50.0, weight=1 / factor)
    for other in (total, area):
        torch.testing.assert_close(other.inside, mean.inside, rtol=1e-5, atol=1e-5)


def test_the_policy_is_drawn_to_the_preferred_picture_and_from_the_rejected_one() -> None:
    p = PairErrors(*(torch.ones(2, requires_grad=index < 2) for index in range(4)))
    gradients = torch.autograd.grad(preference_loss(p, beta=4.0).loss.sum(), p[:2])
    assert [g.tolist() for g in gradients] == [[1.0, 1.0], [-1.0, -1.0]]  # beta / 2 * sigmoid(0)


def test_no_gradient_reaches_the_reference_policy() -> None:
    p = PairPredictions(*(tensor.requires_grad_() for tensor in predictions()))
    preference_loss(pair_errors(p, random_focus()), beta=1.0).loss.sum().backward()
    assert [tensor.grad is None for tensor in p] == [False, False, True, True, True, True]


def test_extreme_margins_stay_finite() -> None:
    p = PairErrors(*(torch.tensor([1e4, 0.0]), torch.tensor([0.0, 1e4]), torch.zeros(2), torch.zeros(2)))
    loss, inside = preference_loss(p, beta=100.0)
    assert inside.tolist() == [-5e5, 5e5]
    assert loss.tolist() == [5e5, 0.0]


def test_implicit_accuracy_counts_ties_half() -> None:
    assert implicit_accuracy(torch.tensor([2.0, 0.0, -0.0, -1e-9])).tolist() == [1.0, 0.5, 0.5, 0.0]
