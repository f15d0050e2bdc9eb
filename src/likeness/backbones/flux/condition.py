"""What FLUX is told beside noise and time: prompts and their references.

Shapes: B pictures, C latent channels, h x w latent grid, T text tokens, C4 numbers of a token.
"""

from __future__ import annotations

from collections.abc import Sequence
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
