"""Diffusion-DPO in rectified-flow form."""

from typing import ClassVar, Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from likeness.objectives.base import Objective, PairLoss, PairSeen, Weights
from likeness.objectives.pair import (
    PairPredictions,
    PreferenceLoss,
    Reduction,
    Weighting,
    pair_errors,
    preference_loss,
    time_weight,
)
from likeness.objectives.sft import sft_loss


def dpo_loss(
    predictions: PairPredictions,
    *,
    t: Float[Tensor, " B"],
    beta: float,
    weighting: str = "uniform",
    reduction: str = "mean",
) -> PreferenceLoss:
    """-log sigmoid(-beta/2 w(t) [(E_policy - E_ref) of preferred - (E_policy - E_ref) of rejected]).

    E = ||v - v_hat||^2. Both pictures of a pair share eps and t.
    Source: Diffusion-DPO (arXiv:2311.12908) Eq. 14; FocusDPO (arXiv:2509.01181) Eq. 1.
    Differs: velocities instead of noise, and w(t) chosen by `weighting` (the sources take T omega as constant).
    """
    errors = pair_errors(predictions, reduction=reduction)
    return preference_loss(errors, beta=beta, weight=time_weight(t, weighting))


class PreferenceOptions(Objective):
    """What the objectives with a reference policy share.

    `weighting` is w(t). `sft_anchor` times the policy's mean error on the preferred picture is added, against falling
    likelihoods. Source: Diffusion-DPO (arXiv:2311.12908) for beta's scale.
    """

    needs_ref_policy: ClassVar[bool] = True

    beta: float = Field(default=2000.0, gt=0)
    weighting: Weighting = "uniform"
    reduction: Reduction = "mean"
    sft_anchor: float = Field(default=0.0, ge=0)

    def anchor(self, seen: PairSeen) -> Float[Tensor, ""] | None:
        """What is added to the mean loss, None where `sft_anchor` is 0."""
        if self.sft_anchor == 0:
            return None
        return self.sft_anchor * sft_loss(seen.policy_preferred, seen.target_preferred).mean()


class Dpo(PreferenceOptions):
    """The preference loss over all tokens alike."""

    label: ClassVar[str] = "DPO"
    weights: ClassVar[Weights] = "uniform"

    kind: Literal["dpo"] = "dpo"

    def loss(self, seen: PairSeen) -> PairLoss:
        """`dpo_loss` of every pair."""
        found = dpo_loss(seen.predictions, t=seen.t, beta=self.beta, weighting=self.weighting, reduction=self.reduction)
        return PairLoss(found.loss, found.inside, self.anchor(seen))
