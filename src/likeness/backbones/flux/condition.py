"""What FLUX is told beside noise and time: one prompt and its references, or the two or three that guidance compares.

Shapes: B pictures, C latent channels, h x w latent grid, T text tokens, C4 numbers of a token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.backbones.base import TokenGrid


@dataclass(frozen=True)
class FluxText:
    """Prompts as the network reads them: T5 tokens (B, T, D_t5) and one CLIP vector (B, D_clip) each."""

    embeds: Float[Tensor, "B T D5"]
    pooled: Float[Tensor, "B Dc"]


@dataclass(frozen=True)
class FluxCondition:
    """Everything but noise and time: text, reference tokens with their grids, and the guidance number.

    `guidance` is None for networks without a guidance embedding.
    """

    text: FluxText
    references: tuple[Float[Tensor, "B _ C4"], ...] = ()
    reference_grids: tuple[TokenGrid, ...] = ()
    guidance: Float[Tensor, " B"] | None = None

    @property
    def batch_size(self) -> int:
        """B."""
        return self.text.pooled.shape[0]

    def select(self, rows: Sequence[int] | Tensor) -> FluxCondition:
        """The condition of the given rows, in that order; a row may come twice."""
        index = torch.as_tensor(rows, device=self.text.pooled.device)
        return replace(
            self,
            text=FluxText(self.text.embeds[index], self.text.pooled[index]),
            references=tuple(tokens[index] for tokens in self.references),
            guidance=None if self.guidance is None else self.guidance[index],
        )


@dataclass(frozen=True)
class GuidedCondition:
    """A condition and the poorer ones that classifier-free guidance leads away from, each where it is needed.

    v = v_empty + s_p (v_prompt - v_empty) + s_r (v_full - v_prompt), s_p the `cfg_scale` and s_r the
    `reference_cfg_scale`. `prompt_only` is None where both are one s, since then v = v_empty + s (v_full - v_empty),
    and where there are no references, `empty` where s_p is 1: one to three passes.
    Source: InstructPix2Pix (Brooks et al., arXiv:2211.09800, equation 3).
    Differs: prompt before references, not after, since FLUX knows the prompt alone and never references alone.
    """

    full: FluxCondition
    prompt_only: FluxCondition | None
    empty: FluxCondition | None
    cfg_scale: float | Float[Tensor, "B 1 1 1"]
    reference_cfg_scale: float | Float[Tensor, "B 1 1 1"]

    def velocity(self, predict: Callable[[FluxCondition], Tensor]) -> Tensor:
        """The guided velocity, of the shape that `predict` gives: the network at one x_t and t, (B, C, h, w)."""
        full = predict(self.full)
        prompt = full if self.prompt_only is None else predict(self.prompt_only)
        velocity = prompt
        if self.empty is not None:
            free = predict(self.empty)
            velocity = free + self.cfg_scale * (prompt - free)
        return velocity if self.prompt_only is None else velocity + self.reference_cfg_scale * (full - prompt)
