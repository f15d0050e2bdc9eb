"""Hinge DPO, a toy: the preference loss with a hinge in place of the log-sigmoid.

Source: SLiC (Zhao et al., arXiv:2305.10425), equation 2, on the argument that DPO has.
"""

from typing import ClassVar, Literal

from pydantic import Field

from likeness.objectives.base import PairLoss, PairSeen
from likeness.objectives.dpo import PreferenceOptions
from likeness.objectives.pair import pair_errors, preference_loss


class HingeDpo(PreferenceOptions):
    """max(0, margin - inside), with "inside" as in DPO."""

    label: ClassVar[str] = "Hinge DPO"
    weights: ClassVar[Literal["none", "uniform", "patch", "focus"]] = "uniform"
    columns: ClassVar[tuple[str, ...]] = ("slack",)

    kind: Literal["hinge_dpo"] = "hinge_dpo"
    margin: float = Field(default=1.0, gt=0)

    def loss(self, seen: PairSeen) -> PairLoss:
        """The hinge of every pair; logged is which pairs still pull."""
        inside = preference_loss(pair_errors(seen.predictions, reduction=self.reduction), beta=self.beta).inside
        slack = (self.margin - inside).clamp_min(0)
        return PairLoss(slack, inside, self.anchor(seen), logged={"slack": (slack.detach() > 0).float()})
