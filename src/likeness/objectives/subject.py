"""Losses of methods that learn one subject: its noise error, beside that of its class as the base model draws it."""

from jaxtyping import Float
from torch import Tensor

from likeness.objectives.pair import denoising_errors


def subject_errors(
    prediction: Float[Tensor, "B C h w"], target: Float[Tensor, "B C h w"], weight: Float[Tensor, "B h w"] | None = None
) -> Float[Tensor, " B"]:
    """The squared error per picture, a mean over its elements; with a `weight`, over what that covers.

    Source: Textual Inversion (arXiv:2208.01618) equation 2. Differs: the paper has no masks.
    """
    if weight is None:
        return denoising_errors(prediction, target)
    return denoising_errors(prediction, target, weight.flatten(1), reduction="area", weight_power=1)


def prior_preservation_loss(
    errors: Float[Tensor, " B"], prior_errors: Float[Tensor, " B"], *, prior_weight: float
) -> Float[Tensor, " B"]:
    """The subject's error + lambda x that of a picture of its class which the untrained model drew.

    Source: DreamBooth (arXiv:2208.12242) equation 2, without its weights of times; Custom Diffusion (arXiv:2212.04488)
    section 3.1 uses the same with lambda = 1.
    """
    return errors + prior_weight * prior_errors
