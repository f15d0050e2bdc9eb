"""Diffusion-DPO in rectified-flow form."""

from jaxtyping import Float
from torch import Tensor

from likeness.objectives.pair import PairPredictions, PreferenceLoss, pair_errors, preference_loss, time_weight


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
