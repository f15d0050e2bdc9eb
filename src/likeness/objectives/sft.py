"""Supervised fine-tuning: regression on the preferred picture."""

from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from likeness.objectives.base import Objective, PairLoss, PairSeen
from likeness.objectives.pair import Reduction, denoising_errors


def sft_loss(
    prediction_preferred: Float[Tensor, "B ..."], target_preferred: Float[Tensor, "B ..."], *, reduction: str = "mean"
) -> Float[Tensor, " B"]:
    """||v - v_hat||^2 of the preferred picture: the loss that the backbone was trained with.

    Also the anchor that may be added to a preference loss, so that the preferred picture's own error does not rise.
    Source: rectified flow (arXiv:2209.03003) Eq. 1; the "+SFT" rows of FocusDPO (arXiv:2509.01181).
    """
    return denoising_errors(prediction_preferred, target_preferred, reduction=reduction)


class Sft(Objective):
    """Squared error on the preferred picture, summed over it by `reduction`."""

    label: ClassVar[str] = "SFT"
    needs_rejected: ClassVar[bool] = False

    kind: Literal["sft"] = "sft"
    reduction: Reduction = "mean"

    def loss(self, seen: PairSeen) -> PairLoss:
        """`sft_loss` of every pair."""
        return PairLoss(sft_loss(seen.policy_preferred, seen.target_preferred, reduction=self.reduction))
