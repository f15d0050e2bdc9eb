"""What the objectives share: squared errors under a weight map, and the preference loss.

Shapes: B pairs, C latent channels, h x w latent grid, L tokens of the grid (FLUX: 2x2 latents a token, L = h/2 * w/2).
v stands for what the backbone predicts: a velocity, or the noise.
"""

import math
from typing import Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from likeness.core.errors import ConfigError, DataError

Reduction = Literal["mean", "sum", "area"]
REDUCTIONS: tuple[str, ...] = get_args(Reduction)
Weighting = Literal["uniform", "eps", "elbo"]
"""What the backbone's `error_weight` knows."""

Utility = Literal["sigmoid", "linear"]

LINEAR_SLOPE = 0.4
"""Of the linear utility's share: Linear-DPO's code has 0.2 beta times the difference of differences, which is -0.4
`inside`; the sigmoid's slope at 0 is 0.25."""
SATURATED_SHARE = 0.05
"""Of its largest gradient: a pair with less is as good as won."""


class PairErrors(NamedTuple):
    """Squared error of each pair's two pictures under each model, measured with the same eps, t and weight map."""

    policy_preferred: Float[Tensor, " B"]
    policy_rejected: Float[Tensor, " B"]
    ref_preferred: Float[Tensor, " B"]
    ref_rejected: Float[Tensor, " B"]


class PairPredictions(NamedTuple):
    """What both models answered for both pictures, and what they should have; latents (B, C, h, w) or tokens."""

    policy_preferred: Float[Tensor, "B ..."]
    policy_rejected: Float[Tensor, "B ..."]
    ref_preferred: Float[Tensor, "B ..."]
    ref_rejected: Float[Tensor, "B ..."]
    target_preferred: Float[Tensor, "B ..."]
    target_rejected: Float[Tensor, "B ..."]


class PreferenceLoss(NamedTuple):
    """`loss` per pair, -log sigmoid(inside) or its like; `inside` > 0: the policy prefers the right picture more."""

    loss: Float[Tensor, " B"]
    inside: Float[Tensor, " B"]


def _spread(weight: Float[Tensor, "B L"], shape: torch.Size) -> Tensor:
    """The weights so shaped that they multiply latents (B, C, h, w) or tokens (B, L, D) of `shape`."""
    if len(shape) == 3:
        if weight.shape[1] != shape[1]:
            raise DataError(f"focus: expected {shape[1]} tokens, got {weight.shape[1]}; bring it to the token grid.")
        return weight[..., None]
    height, width = shape[-2:]
    side = math.isqrt(height * width // weight.shape[1])  # latents per token and axis: FLUX 2, a U-Net 1
    if side == 0 or height % side or width % side or weight.shape[1] * side**2 != height * width:
        got = f"{weight.shape[1]} weights for {height} x {width} latents"
        raise DataError(f"focus: expected one weight per square of latents, got {got}; bring it to the token grid.")
    cells = weight.reshape(-1, 1, height // side, width // side)
    return cells.repeat_interleave(side, dim=2).repeat_interleave(side, dim=3)


def denoising_errors(
    prediction: Float[Tensor, "B ..."],
    target: Float[Tensor, "B ..."],
    focus: Float[Tensor, "B L"] | None = None,
    *,
    reduction: str = "mean",
    weight_power: int = 2,
) -> Float[Tensor, " B"]:
    """Squared error per picture, each token's weighted by focus ** weight_power; fp32, gradient to `prediction` only.

    Reductions: "sum" of all weighted squares; "mean" = sum / number of elements, whatever the focus; "area" = sum /
    (C * total weight), 0 where the focus is empty. Without focus all weights are 1 and "area" equals "mean".
    Source: FocusDPO (arXiv:2509.01181) Eq. 10, ||M * (v - v_hat)||^2: the weight enters squared.
    Raises: ConfigError for another reduction or power; DataError when the focus does not fit the grid.
    """
    if reduction not in REDUCTIONS or weight_power not in (1, 2):
        got = f"{reduction!r} and {weight_power}"
        raise ConfigError(f"reduction, weight_power: expected {', '.join(REDUCTIONS)} and 1 or 2, got {got}.")
    squares = (target.detach().float() - prediction.float()).square()
    if focus is None:
        return squares.flatten(1).sum(1) if reduction == "sum" else squares.flatten(1).mean(1)
    weight = _spread(focus.detach().float() ** weight_power, squares.shape)
    weighted = (squares * weight).flatten(1)
    if reduction == "mean":
        return weighted.mean(1)
    if reduction == "sum":
        return weighted.sum(1)
    total = weight.flatten(1).sum(1) * (weighted.shape[1] / weight[0].numel())
    return weighted.sum(1) / torch.where(total > 0, total, 1.0)


def pair_errors(
    predictions: PairPredictions,
    focus: Float[Tensor, "B L"] | None = None,
    *,
    reduction: str = "mean",
    weight_power: int = 2,
) -> PairErrors:
    """The four errors of each pair under one weight map, the same in all four."""
    p = predictions
    terms = (
        (p.policy_preferred, p.target_preferred),
        (p.policy_rejected, p.target_rejected),
        (p.ref_preferred.detach(), p.target_preferred),
        (p.ref_rejected.detach(), p.target_rejected),
    )
    return PairErrors(*(denoising_errors(*t, focus, reduction=reduction, weight_power=weight_power) for t in terms))


class Alignment(NamedTuple):
    """Inner products of the gradients g of both pictures' errors with respect to the policy's predictions.

    g = weight * (prediction - target), without the factor that the reduction gives to both.
    """

    preferred: Float[Tensor, " B"]
    rejected: Float[Tensor, " B"]
    both: Float[Tensor, " B"]

    @property
    def cosine(self) -> Float[Tensor, " B"]:
        """Of the angle between the gradients; 0 where one of them is 0."""
        length = (self.preferred * self.rejected).sqrt()
        return torch.where(length > 0, self.both / torch.where(length > 0, length, 1.0), 0.0)


@torch.no_grad()
def alignment(
    predictions: PairPredictions, focus: Float[Tensor, "B L"] | None = None, *, weight_power: int = 2
) -> Alignment:
    """How the policy's errors on the two pictures of each pair pull, under the weight map of the loss; fp32.

    Source: Diffusion-SDPO (arXiv:2511.03317), output-space approximation: the Jacobians of both predictions are taken
    as one.
    """
    p, gradients = predictions, list[Tensor]()
    for prediction, target in ((p.policy_preferred, p.target_preferred), (p.policy_rejected, p.target_rejected)):
        residual = prediction.float() - target.float()
        weight = 1.0 if focus is None else _spread(focus.float() ** weight_power, residual.shape)
        gradients.append((weight * residual).flatten(1))
    preferred, rejected = gradients
    products = ((preferred, preferred), (rejected, rejected), (preferred, rejected))
    return Alignment(*((a * b).sum(1) for a, b in products))


def safe_scale(found: Alignment, *, mu: float) -> Float[Tensor, " B"]:
    """By how much, in [0, 1], the rejected picture's gradient may count so that the preferred one's error still falls.

    The step -(g_w - s g_l) changes the preferred error by -|g_w|^2 + s <g_w, g_l>, to first order. It falls by at least
    `mu` |g_w|^2 where s <= (1 - mu) |g_w|^2 / <g_w, g_l>; where the product is not positive, s is 1.
    Source: Diffusion-SDPO (arXiv:2511.03317), closed form. Differs: per pair, where its code has one s for a batch.
    """
    pulls = found.both > 0
    bound = (1 - mu) * found.preferred / torch.where(pulls, found.both, 1.0)
    return torch.where(pulls, bound.clamp(0.0, 1.0), 1.0)


def gradient_share(inside: Float[Tensor, " B"], *, utility: str, clip: float = 0.0) -> Float[Tensor, " B"]:
    """By which share, in [0, 1], the gradient of -inside counts in that of `preference_loss`; no gradient itself."""
    fixed = inside.detach()
    return torch.sigmoid(-fixed) if utility == "sigmoid" else (0.5 - LINEAR_SLOPE * fixed).clamp(clip, 1 - clip)


def preference_loss(
    errors: PairErrors,
    *,
    beta: float,
    weight: Float[Tensor, " B"] | float = 1.0,
    rejected_scale: Float[Tensor, " B"] | None = None,
    utility: str = "sigmoid",
    clip: float = 0.0,
) -> PreferenceLoss:
    """The loss of inside = -beta/2 * weight * [(policy - ref) of preferred - (policy - ref) of rejected].

    "sigmoid": -log sigmoid(inside), ln 2 where the policy equals the reference policy; its gradient is that of -inside
    times sigmoid(-inside). "linear": -inside times the share 1/2 - 0.4 inside, cut to [clip, 1 - clip] and without
    gradient, so that pairs far from won count fully and those well won not at all. `rejected_scale` multiplies the
    gradient of the rejected picture's error and no value. `beta` goes with the errors' reduction: beta for "mean" is
    beta for "sum" times the number of elements.
    Source: Diffusion-DPO (arXiv:2311.12908) Eq. 14, with T omega in beta; FocusDPO (arXiv:2509.01181) Eqs. 1 and 10;
    "linear": Linear-DPO (arXiv:2605.21123) and its public training script. Differs: there the share multiplies the
    difference of the errors, here -inside, which is beta/2 of it, so that one learning rate suits both utilities.
    Raises: ConfigError for another utility.
    """
    made = errors.policy_rejected
    if rejected_scale is not None:
        made = made.detach() + rejected_scale * (made - made.detach())
    inside = -0.5 * beta * weight * (errors.policy_preferred - errors.ref_preferred - (made - errors.ref_rejected))
    match utility:
        case "sigmoid":
            return PreferenceLoss(-functional.logsigmoid(inside), inside)
        case "linear":
            return PreferenceLoss(-gradient_share(inside, utility=utility, clip=clip) * inside, inside)
        case _:
            raise ConfigError(f"utility: expected sigmoid or linear, got {utility!r}; choose one.")


def implicit_accuracy(inside: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """1 where the policy, against its reference, moved towards the preferred picture; 0.5 for a tie, else 0."""
    return (inside.detach().sign() + 1) / 2
