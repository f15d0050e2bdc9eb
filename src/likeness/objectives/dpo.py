"""Diffusion-DPO, on whatever the backbone predicts."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from likeness.objectives.base import Objective, PairLoss, PairSeen, Weights
from likeness.objectives.pair import (
    SATURATED_SHARE,
    Alignment,
    PairPredictions,
    PreferenceLoss,
    Reduction,
    Utility,
    Weighting,
    alignment,
    denoising_errors,
    gradient_share,
    pair_errors,
    preference_loss,
    safe_scale,
)
from likeness.objectives.sft import sft_loss


def dpo_loss(
    predictions: PairPredictions,
    *,
    beta: float,
    weight: Float[Tensor, " B"] | float = 1.0,
    reduction: str = "mean",
    rejected_scale: Float[Tensor, " B"] | None = None,
    utility: str = "sigmoid",
    clip: float = 0.0,
) -> PreferenceLoss:
    """-log sigmoid(-beta/2 w(t) [(E_policy - E_ref) of preferred - (E_policy - E_ref) of rejected]).

    E = ||v - v_hat||^2, v a velocity or the noise, and w(t) is `weight`, one number per pair from the backbone's
    `error_weight`. Both pictures of a pair share eps and t. The last three options are those of `preference_loss`.
    Source: Diffusion-DPO (arXiv:2311.12908) Eq. 14; FocusDPO (arXiv:2509.01181) Eq. 1.
    Differs: w(t) can be chosen, where the sources take T omega as constant.
    """
    errors = pair_errors(predictions, reduction=reduction)
    return preference_loss(errors, beta=beta, weight=weight, rejected_scale=rejected_scale, utility=utility, clip=clip)


class PreferenceOptions(Objective):
    """What the objectives with a reference policy share.

    `weighting` is the kind of w(t). `sft_anchor` times the policy's mean error on the preferred picture is added,
    against falling likelihoods. `winner_safeguard`, the mu of `safe_scale`, holds the rejected picture's gradient back
    where it would raise the preferred one's error (Diffusion-SDPO; its scripts use 0.6 to 0.9). `utility` and `clip`
    are those of `preference_loss`. The reference policy is the base model ("frozen") or the average of the trained
    adapter over the steps ("ema"), which forgets by `reference_decay` a step (Linear-DPO; its scripts name 0.95 to
    0.9999).
    Source: Diffusion-DPO (arXiv:2311.12908) for beta's scale; Linear-DPO (arXiv:2605.21123) for the average.
    """

    needs_ref_policy: ClassVar[bool] = True
    columns: ClassVar[tuple[str, ...]] = ("gradient_cosine", "rejected_scale", "preferred_worse", "saturated")

    beta: float = Field(default=2000.0, gt=0)
    weighting: Weighting = "uniform"
    reduction: Reduction = "mean"
    sft_anchor: float = Field(default=0.0, ge=0)
    winner_safeguard: float | None = Field(default=None, ge=0, le=1)
    utility: Utility = "sigmoid"
    clip: float = Field(default=0.0, ge=0, lt=0.5)
    reference: Literal["frozen", "ema"] = "frozen"
    reference_decay: float = Field(default=0.995, ge=0, le=1)

    @property
    def moving_reference(self) -> float | None:
        """`reference_decay` where the reference policy moves."""
        return self.reference_decay if self.reference == "ema" else None

    def scale(self, found: Alignment) -> Float[Tensor, " B"] | None:
        """The factor of the rejected picture's gradient, None without a safeguard."""
        return None if self.winner_safeguard is None else safe_scale(found, mu=self.winner_safeguard)

    def pair_loss(
        self,
        made: PreferenceLoss,
        found: Alignment,
        seen: PairSeen,
        *,
        logged: Mapping[str, Float[Tensor, " B"]] | None = None,
    ) -> PairLoss:
        """The loss with its anchor and what is logged beside it, one number per pair, with more that is `logged`.

        `gradient_cosine`: of the two pictures' gradients. `rejected_scale`: the safeguard's factor, 1 without one.
        `preferred_worse`: 1 where the policy's plain error on the preferred picture is above the reference policy's.
        `saturated`: 1 where less than 5% of the largest gradient is left.
        """
        assert seen.ref_preferred is not None, "a preference loss has a reference policy"
        with torch.no_grad():
            now, before = (
                denoising_errors(each, seen.target_preferred) for each in (seen.policy_preferred, seen.ref_preferred)
            )
            scale = self.scale(found)
            share = gradient_share(made.inside, utility=self.utility, clip=self.clip)
        columns = {
            "gradient_cosine": found.cosine,
            "rejected_scale": torch.ones_like(found.both) if scale is None else scale,
            "preferred_worse": (now > before).float(),
            "saturated": (share < SATURATED_SHARE).float(),
        }
        return PairLoss(made.loss, made.inside, self.anchor(seen), {**columns, **(logged or {})})

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
        options = self.model_dump(include={"beta", "reduction", "utility", "clip"})
        found = alignment(seen.predictions)
        made = dpo_loss(seen.predictions, weight=seen.weight, rejected_scale=self.scale(found), **options)
        return self.pair_loss(made, found, seen)
