"""What an objective is: its options, what it needs of a step, and the loss of what the step saw.

Shapes: B pairs, L tokens of the latent grid; predictions and targets are latents (B, C, h, w).
"""

from abc import abstractmethod
from typing import Any, ClassVar, Literal, NamedTuple

from jaxtyping import Float
from torch import Tensor

from likeness.core.spec import Spec
from likeness.objectives.pair import PairPredictions

Weights = Literal["none", "uniform", "patch", "focus"]


class PatchWeights(NamedTuple):
    """Weight in [0, 1] of every token of the two pictures."""

    preferred: Float[Tensor, "B L"]
    rejected: Float[Tensor, "B L"]


class PairSeen(NamedTuple):
    """What a step saw of B pairs. None is what the objective does not need: a picture, the reference policy, a map.

    `weight` is w(t) of the objective's `weighting`, by which a squared error of the backbone's prediction counts.
    """

    t: Float[Tensor, " B"]
    policy_preferred: Float[Tensor, "B ..."]
    target_preferred: Float[Tensor, "B ..."]
    policy_rejected: Float[Tensor, "B ..."] | None = None
    target_rejected: Float[Tensor, "B ..."] | None = None
    ref_preferred: Float[Tensor, "B ..."] | None = None
    ref_rejected: Float[Tensor, "B ..."] | None = None
    focus: Float[Tensor, "B L"] | None = None
    patches: PatchWeights | None = None
    weight: Float[Tensor, " B"] | float = 1.0

    @property
    def predictions(self) -> PairPredictions:
        """Both pictures under both models, for objectives that have a reference policy."""
        both = (self.policy_preferred, self.policy_rejected, self.ref_preferred, self.ref_rejected)
        found = [each for each in (*both, self.target_preferred, self.target_rejected) if each is not None]
        return PairPredictions(*found)


class PairLoss(NamedTuple):
    """`loss` per pair, and `anchor`, which is added to its mean.

    `inside` is the argument of a log-sigmoid; `logged` are further columns of the log, one number per pair.
    """

    loss: Float[Tensor, " B"]
    inside: Float[Tensor, " B"] | None = None
    anchor: Float[Tensor, ""] | None = None
    logged: dict[str, Float[Tensor, " B"]] | None = None


class Objective(Spec):
    """Base of every objective: the table [objective] of a recipe, and the loss.

    `label` is its name on pages. `needs_rejected`, `needs_ref_policy` and `weights` say which passes and which weight
    map a step must make for it: none, 1 everywhere, patch qualities, or M of FocusDPO.
    """

    label: ClassVar[str]
    needs_rejected: ClassVar[bool] = True
    needs_ref_policy: ClassVar[bool] = False
    weights: ClassVar[Weights] = "none"
    columns: ClassVar[tuple[str, ...]] = ()
    """What its loss logs beside what every objective of pairs does."""

    kind: Any = ""  # its key in OBJECTIVES, a Literal of each

    @property
    def moving_reference(self) -> float | None:
        """Decay of the average of the policy that is the reference policy; None where that is the base model."""
        return None

    @abstractmethod
    def loss(self, seen: PairSeen) -> PairLoss:
        """The loss of every pair, with gradient to the policy's predictions only."""
