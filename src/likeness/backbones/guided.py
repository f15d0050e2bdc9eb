"""Conditions that classifier-free guidance compares, whichever backbone they are of.

Shapes: B pictures, C latent channels, h x w latent grid.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from jaxtyping import Float
from torch import Tensor

ConditionT = TypeVar("ConditionT")


@dataclass(frozen=True)
class GuidedCondition(Generic[ConditionT]):
    """A condition and the poorer ones that classifier-free guidance leads away from, each where it is needed.

    v = v_empty + s_p (v_prompt - v_empty) + s_r (v_full - v_prompt), s_p the `cfg_scale` and s_r the
    `reference_cfg_scale`. `prompt_only` is None where both are one s, since then v = v_empty + s (v_full - v_empty),
    and where there are no references, `empty` where s_p is 1: one to three passes.
    Source: InstructPix2Pix (Brooks et al., arXiv:2211.09800, equation 3).
    Differs: prompt before references, not after, since FLUX knows the prompt alone and never references alone.
    """

    full: ConditionT
    prompt_only: ConditionT | None
    empty: ConditionT | None
    cfg_scale: float | Float[Tensor, "B 1 1 1"]
    reference_cfg_scale: float | Float[Tensor, "B 1 1 1"]

    def prediction(self, predict: Callable[[ConditionT], Tensor]) -> Tensor:
        """The guided velocity or noise, of the shape that `predict` gives: one x_t and t, (B, C, h, w)."""
        full = predict(self.full)
        prompt = full if self.prompt_only is None else predict(self.prompt_only)
        guided = prompt
        if self.empty is not None:
            free = predict(self.empty)
            guided = free + self.cfg_scale * (prompt - free)
        return guided if self.prompt_only is None else guided + self.reference_cfg_scale * (full - prompt)
