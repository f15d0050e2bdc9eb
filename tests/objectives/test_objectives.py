"""The four objectives: how they relate."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from likeness.core.errors import ConfigError, DataError
from likeness.objectives.base import PairSeen, PatchWeights
from likeness.objectives.dpo import Dpo, dpo_loss
from likeness.objectives.focus_dpo import FocusDpo, focus_dpo_loss
from likeness.objectives.pair import (
    Alignment,
    PairPredictions,
    alignment,
    pair_errors,
    safe_scale,
)
from likeness.objectives.patch_dpo import patch_dpo_loss, patch_weights
from likeness.objectives.sft import sft_loss

SHAPE, L = (2, 4, 4, 4), 4


def predictions() -> PairPredictions:
    draw = torch.Generator().manual_seed(0)
    return PairPredictions(*(torch.randn(SHAPE, generator=draw).requires_grad_(index < 2) for index in range(6)))


def gradients(loss: Tensor, p: PairPredictions) -> tuple[Tensor, ...]:
    return torch.autograd.grad(loss.sum(), (p.policy_preferred, p.policy_rejected))


@pytest.mark.parametrize("weight", [1.0, torch.tensor([0.3, 0.8])])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_focus_of_ones_is_dpo_to_the_bit(reduction: str, weight: Any) -> None:
    p = predictions()
    options: dict[str, Any] = {"beta": 3.0, "weight": weight, "reduction": reduction}
    dpo, focus = dpo_loss(p, **options), focus_dpo_loss(p, torch.ones(2, L), **options)
    assert torch.equal(dpo.inside, focus.inside)
    assert torch.equal(dpo.loss, focus.loss)
    for first, second in zip(gradients(dpo.loss, p), gradients(focus.loss, p), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("reduction", ["mean", "sum", "area"])
def test_focus_of_zeros_is_ln_2_without_gradient(reduction: str) -> None:
    p = predictions()
    result = focus_dpo_loss(p, torch.zeros(2, L), beta=3.0, reduction=reduction)
    torch.testing.assert_close(result.loss, torch.full((2,), 0.6931471805599453))
    assert all(gradient.abs().max() == 0 for gradient in gradients(result.loss, p))


def test_tokens_out_of_focus_get_no_gradient_in_either_picture() -> None:
    p, focus = predictions(), torch.tensor([[1.0, 0.0, 0.5, 0.0]] * 2)
    for gradient in gradients(focus_dpo_loss(p, focus, beta=3.0).loss, p):
        assert gradient[..., 2:].abs().max() == 0  # tokens 1 and 3: the right half
        assert gradient[..., :2].abs().min() > 0


def test_weight_enters_squared_unless_asked_otherwise() -> None:
    p, half = predictions(), torch.full((2, L), 0.5)
    dpo = dpo_loss(p, beta=3.0).inside
    torch.testing.assert_close(focus_dpo_loss(p, half, beta=3.0).inside, dpo / 4)
    torch.testing.assert_close(focus_dpo_loss(p, half, beta=3.0, weight_power=1).inside, dpo / 2)


def test_sft_is_the_mean_squared_error_of_the_preferred_picture() -> None:
    p = predictions()
    loss = sft_loss(p.policy_preferred, p.target_preferred)
    expected = ((p.policy_preferred - p.target_preferred).detach().double() ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(loss.detach().numpy(), expected.numpy(), rtol=1e-6)


# PatchDPO ------------------------------------------------------------------------------------------------------------


def loop_quality(features: Tensor, others: Tensor, mask: Tensor | None) -> np.ndarray:
    """Best cosine of each patch, scaled to [0, 1], in float64."""
    best = []
    for f in features.double().numpy():
        allowed = [j for j in range(len(others)) if mask is None or mask[j]]
        cosines = [f @ g / np.linalg.norm(f) / np.linalg.norm(g) for g in others.double().numpy()[allowed]]
        best.append(max(cosines))
    values = np.array(best)
    return (values - values.min()) / (values.max() - values.min())


def test_patch_weights_equal_a_loop() -> None:
    draw = torch.Generator().manual_seed(0)
    preferred, rejected = torch.randn(2, 2, 6, 8, generator=draw)
    reference = torch.randn(2, 10, 8, generator=draw)
    mask = torch.rand(2, 10, generator=draw) < 0.4
    weights = patch_weights(
        preferred, rejected, features_reference=reference, reference_mask=mask, grid=(2, 3), patches=(2, 3)
    )
    for b in range(2):
        expected = 1 - loop_quality(preferred[b], rejected[b], None), loop_quality(rejected[b], reference[b], mask[b])
        np.testing.assert_allclose(weights.preferred[b].numpy(), expected[0], atol=1e-6)
        np.testing.assert_allclose(weights.rejected[b].numpy(), expected[1], atol=1e-6)


def test_what_the_pictures_share_weighs_nothing_in_the_preferred_one() -> None:
    draw = torch.Generator().manual_seed(0)
    preferred = torch.randn(1, 16, 32, generator=draw)
    rejected = preferred.clone()
    rejected[:, 5] = torch.randn(1, 32, generator=draw)
    weights = patch_weights(
        preferred, rejected, features_reference=preferred[:, 5:6], reference_mask=None, grid=(4, 4)
    ).preferred[0]
    assert weights.argmax() == 5
    assert weights[5] == 1
    assert weights[[i for i in range(16) if i != 5]].max() < 1e-6


def test_patch_weights_are_resized_and_flat_ones_are_neutral() -> None:
    same = torch.ones(1, 9, 4)
    empty = torch.zeros(1, 9, dtype=torch.bool)  # means all patches
    weights = patch_weights(same, same, features_reference=same, reference_mask=empty, grid=(4, 5))
    assert weights.preferred.tolist() == weights.rejected.tolist() == [[0.5] * 20]


def test_patches_that_are_no_square_are_named() -> None:
    features = torch.ones(1, 6, 4)
    with pytest.raises(DataError, match="expected 2 x 2 patches, got 6; pass `patches`"):
        patch_weights(features, features, features_reference=features, reference_mask=None, grid=(2, 2))


def test_patch_dpo_is_weighted_regression_on_both_pictures() -> None:
    p, draw = predictions(), torch.Generator().manual_seed(1)
    weights = PatchWeights(torch.rand(2, L, generator=draw), torch.rand(2, L, generator=draw))
    loss = patch_dpo_loss(
        prediction_preferred=p.policy_preferred,
        target_preferred=p.target_preferred,
        prediction_rejected=p.policy_rejected,
        target_rejected=p.target_rejected,
        weights=weights,
    )
    for b in range(2):
        total = 0.0
        for name in ("preferred", "rejected"):
            error = (getattr(p, f"policy_{name}") - getattr(p, f"target_{name}"))[b].detach().double() ** 2
            for token, weight in enumerate(getattr(weights, name)[b].tolist()):
                row, column = divmod(token, 2)
                total += weight * error[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].sum().item()
        assert loss[b].item() == pytest.approx(total / (2 * 64), rel=1e-6)


# the safeguard and the linear utility ---------------------------------------------------------------------------------


def weighted(p: PairPredictions, focus: Tensor | None) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of both errors with respect to the predictions, by autograd, in float64."""
    errors = pair_errors(p, focus, reduction="sum")
    found = torch.autograd.grad(errors.policy_preferred.sum() + errors.policy_rejected.sum(), p[:2], retain_graph=True)
    first, second = (each.flatten(1).double().numpy() for each in found)
    return first, second


@pytest.mark.parametrize("focus", [None, torch.tensor([[1.0, 0.3, 0.5, 0.0]] * 2)])
def test_alignment_is_that_of_autograds_gradients(focus: Tensor | None) -> None:
    p = predictions()
    preferred, rejected = weighted(p, focus)
    cosines = (preferred * rejected).sum(1) / np.sqrt((preferred**2).sum(1) * (rejected**2).sum(1))
    found = alignment(p, focus)
    np.testing.assert_allclose(found.cosine.numpy(), cosines, atol=1e-6)
    np.testing.assert_allclose(4 * found.both.numpy(), (preferred * rejected).sum(1), rtol=1e-5)
    nothing = alignment(p._replace(policy_preferred=p.target_preferred))
    assert nothing.cosine.tolist() == [0, 0]


def test_the_safe_scale_by_hand() -> None:
    found = Alignment(torch.tensor([4.0, 4.0, 4.0, 0.0]), torch.ones(4), torch.tensor([8.0, 1.0, -3.0, 1.0]))
    torch.testing.assert_close(safe_scale(found, mu=0.0), torch.tensor([0.5, 1.0, 1.0, 0.0]))
    torch.testing.assert_close(safe_scale(found, mu=0.9), torch.tensor([0.05, 0.4, 1.0, 0.0]))
    assert safe_scale(found, mu=1.0)[0] == 0


def preferred_errors(row: int, *, mu: float | None) -> tuple[float, float]:
    """Before and after a small step of weights that are the answer for both pictures: one Jacobian, the identity."""
    draw = torch.Generator().manual_seed(row)
    weights, target, move = (torch.randn(1, 1, 6, generator=draw) for _ in range(3))
    weights.requires_grad_()
    p = PairPredictions(weights, weights, weights.detach(), weights.detach(), target, target + move)
    scale = None if mu is None else safe_scale(alignment(p), mu=mu)
    loss = dpo_loss(p, beta=2.0, rejected_scale=scale, reduction="sum").loss.sum()
    (step,) = torch.autograd.grad(loss, weights)
    now = weights.detach().double()
    before, after = ((each - target).square().sum() for each in (now, now - 1e-4 * step))
    return float(before), float(after)


def test_with_the_safeguard_a_small_step_raises_no_preferred_error() -> None:
    plain, safe = ([preferred_errors(row, mu=mu) for row in range(60)] for mu in (None, 0.1))
    assert sum(after > before for before, after in plain) > 10
    assert all(after < before for before, after in safe)


def test_a_scale_changes_the_rejected_gradient_and_no_value() -> None:
    p, half = predictions(), torch.tensor([0.5, 0.0])
    plain, scaled = dpo_loss(p, beta=3.0), dpo_loss(p, beta=3.0, rejected_scale=half)
    assert torch.equal(plain.loss, scaled.loss)
    for (first, second), factor in zip(
        zip(gradients(plain.loss, p), gradients(scaled.loss, p), strict=True), (torch.ones(2), half), strict=True
    ):
        torch.testing.assert_close(second, factor[:, None, None, None] * first)


def test_the_linear_utility_by_hand() -> None:
    p = predictions()
    plain = dpo_loss(p, beta=0.5)
    linear = dpo_loss(p, beta=0.5, utility="linear", clip=0.1)
    assert torch.equal(plain.inside, linear.inside)
    share = np.clip(0.5 - 0.4 * plain.inside.detach().numpy(), 0.1, 0.9)
    np.testing.assert_allclose(linear.loss.detach().numpy(), -share * plain.inside.detach().numpy(), rtol=1e-6)
    sigmoid = 1 / (1 + np.exp(plain.inside.detach().numpy()))
    for first, second in zip(gradients(plain.loss, p), gradients(linear.loss, p), strict=True):
        np.testing.assert_allclose(second.numpy(), first.numpy() * (share / sigmoid)[:, None, None, None], rtol=1e-4)
    with pytest.raises(ConfigError, match="utility: expected sigmoid or linear, got 'cubic'"):
        dpo_loss(p, beta=0.5, utility="cubic")


@pytest.mark.parametrize("kind", [Dpo, FocusDpo])
def test_what_a_preference_loss_logs(kind: type[Dpo | FocusDpo]) -> None:
    p, focus = predictions(), torch.rand(2, L, generator=torch.Generator().manual_seed(5))
    parts = {f"{model}_{picture}": getattr(p, f"{model}_{picture}")
             for model in ("policy", "ref", "target") for picture in ("preferred", "rejected")}  # fmt: skip
    seen = PairSeen(t=torch.tensor([0.3, 0.8]), focus=focus, **parts)
    plain, safe = (kind(beta=40.0, winner_safeguard=mu).loss(seen) for mu in (None, 0.8))
    assert plain.logged is not None
    assert safe.logged is not None
    assert plain.logged.keys() == set(kind.columns)
    assert plain.logged["rejected_scale"].tolist() == [1, 1]
    found = alignment(p, focus if kind is FocusDpo else None)
    torch.testing.assert_close(plain.logged["gradient_cosine"], found.cosine)
    torch.testing.assert_close(safe.logged["rejected_scale"], safe_scale(found, mu=0.8))
    now, before = ((each - p.target_preferred).square().flatten(1).mean(1) for each in (p[0], p[2]))
    assert plain.logged["preferred_worse"].tolist() == (now > before).float().tolist()
    assert plain.inside is not None
    assert plain.logged["saturated"].tolist() == (torch.sigmoid(-plain.inside) < 0.05).float().tolist()
    assert torch.equal(plain.loss, safe.loss)


def test_the_logged_sizes_match_the_beta_of_dpo() -> None:
    """|inside| by hand in float64, and DPO at the matched beta has the mean |inside| of FocusDPO."""
    p, focus = predictions(), torch.tensor([[1.0, 0.0, 0.5, 0.0], [0.25, 0.5, 0.0, 0.0]])
    names = (
        "policy_preferred",
        "policy_rejected",
        "ref_preferred",
        "ref_rejected",
        "target_preferred",
        "target_rejected",
    )
    weight = torch.tensor([0.49, 0.04])
    seen = PairSeen(torch.tensor([0.3, 0.8]), **dict(zip(names, p, strict=True)), focus=focus, weight=weight)
    found = FocusDpo(beta=40.0).loss(seen)
    logged, expected = found.logged or {}, dict[str, list[float]](inside_size=[], plain_inside_size=[])
    for row in range(2):
        weights = np.kron(focus[row].numpy().reshape(2, 2), np.ones((2, 2)))
        for name, mask in (("inside_size", weights), ("plain_inside_size", np.ones((4, 4)))):
            errors = [
                float(((mask * (p[target][row] - p[answer][row]).detach().double().numpy()) ** 2).mean())
                for answer, target in ((0, 4), (2, 4), (1, 5), (3, 5))
            ]
            difference = errors[0] - errors[1] - (errors[2] - errors[3])
            expected[name].append(abs(20.0 * float(weight[row]) * difference))
    for name, values in expected.items():
        assert logged[name].tolist() == pytest.approx(values, rel=1e-5)
    matched = 40.0 * float(logged["inside_size"].sum() / logged["plain_inside_size"].sum())
    inside = Dpo(beta=matched).loss(seen).inside
    assert inside is not None
    assert float(inside.detach().abs().mean()) == pytest.approx(float(logged["inside_size"].mean()), rel=1e-5)
    assert matched != pytest.approx(40.0, rel=0.1)
