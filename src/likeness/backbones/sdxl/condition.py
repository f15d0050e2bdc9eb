"""What SDXL is told beside noise and time: prompts and image tokens.

Shapes: B pictures, T text tokens, N tokens of a reference, D their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class SdxlText:
    """Prompts as the U-Net reads them: both CLIPs' hidden states side by side, and the second one's pooled vector."""

    embeds: Float[Tensor, "B T D"]
    pooled: Float[Tensor, "B Dp"]


@dataclass(frozen=True)
class SdxlCondition:
    """Everything but noise and time: the text and the resampled tokens of each reference.

    `scale` times what the references add to each layer. `averaged`: the tokens of several references are averaged, as
    PatchDPO does, instead of standing side by side, as in diffusers.
    """

    text: SdxlText
    references: tuple[Float[Tensor, "B N D"], ...] = ()
    scale: float = 1.0
    averaged: bool = False

    @property
    def batch_size(self) -> int:
        """B."""
        return self.text.pooled.shape[0]

    def select(self, rows: Sequence[int] | Tensor) -> SdxlCondition:
        """The condition of the given rows, in that order; a row may come twice."""
        index = torch.as_tensor(rows, device=self.text.pooled.device)
        return replace(
            self,
            text=SdxlText(self.text.embeds[index], self.text.pooled[index]),
            references=tuple(tokens[index] for tokens in self.references),
        )

    def image_tokens(self) -> Float[Tensor, "B images N D"] | None:
        """The tokens as diffusers takes them, None without references."""
        if not self.references:
            return None
        tokens = torch.stack(self.references, dim=1)
        return tokens.mean(dim=1, keepdim=True) if self.averaged else tokens


@dataclass(frozen=True)
class MsCondition:
    """Everything but noise and time for MS-Diffusion: text, tokens of each reference, its box, and its scale.

    `boxes` (left, top, right, bottom) in shares of the sides and `scales` are None without references.
    `legacy` is the option of that name.
    """

    text: SdxlText
    references: tuple[Float[Tensor, "B N D"], ...] = ()
    boxes: Float[Tensor, "B n 4"] | None = None
    scales: Float[Tensor, "B n"] | None = None
    legacy: bool = False

    @property
    def batch_size(self) -> int:
        """B."""
        return self.text.pooled.shape[0]

    def select(self, rows: Sequence[int] | Tensor) -> MsCondition:
        """The condition of the given rows, in that order; a row may come twice."""
        index = torch.as_tensor(rows, device=self.text.pooled.device)
        return replace(
            self,
            text=SdxlText(self.text.embeds[index], self.text.pooled[index]),
            references=tuple(tokens[index] for tokens in self.references),
            boxes=None if self.boxes is None else self.boxes[index],
            scales=None if self.scales is None else self.scales[index],
        )
