"""FocusDPO: the preference loss over the tokens that matter at this noise level."""

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.core.errors import DataError
from likeness.focus.options import FocusOptions
from likeness.objectives.base import PairLoss, PairSeen, Weights
from likeness.objectives.dpo import PreferenceOptions, dpo_loss
from likeness.objectives.pair import (
    PairPredictions,
    PreferenceLoss,
    alignment,
    pair_errors,
    preference_loss,
)


def focus_dpo_loss(
    predictions: PairPredictions,
    focus: Float[Tensor, "B L"],
    *,
    beta: float,
    weight: Float[Tensor, " B"] | float = 1.0,
    reduction: str = "mean",
    weight_power: int = 2,
    rejected_scale: Float[Tensor, " B"] | None = None,
    utility: str = "sigmoid",
    clip: float = 0.0,
) -> PreferenceLoss:
    """The DPO loss with E = ||M * (v - v_hat)||^2, the same map M = `focus` in all four terms.

    `focus` is the weight of `likeness.focus.focus_maps` on the token grid. M = 1 gives `dpo_loss` to the bit; M = 0
    gives ln 2 and no gradient. The last three options are those of `preference_loss`.
    Source: FocusDPO (arXiv:2509.01181) Eq. 10.
    """
    errors = pair_errors(predictions, focus, reduction=reduction, weight_power=weight_power)
    return preference_loss(errors, beta=beta, weight=weight, rejected_scale=rejected_scale, utility=utility, clip=clip)


class FocusDpo(PreferenceOptions):
    """The preference loss over the tokens of the focus map, which [objective.focus] shapes."""

    label: ClassVar[str] = "FocusDPO"
    weights: ClassVar[Weights] = "focus"
    columns: ClassVar[tuple[str, ...]] = (*PreferenceOptions.columns, "inside_size", "plain_inside_size")

    kind: Literal["focus_dpo"] = "focus_dpo"
    focus: FocusOptions = FocusOptions()

    def loss(self, seen: PairSeen) -> PairLoss:
        """`focus_dpo_loss` of every pair. Raises: DataError without a focus map."""
        if seen.focus is None:
            raise DataError("FocusDPO: expected a focus map, got none; watch the forward pass.")
        options = self.model_dump(include={"beta", "reduction", "utility", "clip"})
        power = self.focus.weight_power
        found = alignment(seen.predictions, seen.focus, weight_power=power)
        options |= {"weight": seen.weight, "weight_power": power, "rejected_scale": self.scale(found)}
        made = focus_dpo_loss(seen.predictions, seen.focus, **options)
        return self.pair_loss(made, found, seen, logged=self.sizes(made, seen))

    @torch.no_grad()
    def sizes(self, made: PreferenceLoss, seen: PairSeen) -> dict[str, Float[Tensor, " B"]]:
        """|inside| under the focus map, and as DPO with the same beta has it: their ratio matches the betas of both."""
        plain = dpo_loss(seen.predictions, weight=seen.weight, beta=self.beta, reduction=self.reduction).inside
        return {"inside_size": made.inside.detach().abs(), "plain_inside_size": plain.abs()}
