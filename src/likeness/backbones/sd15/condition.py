"""What SD 1.5 is told beside noise and time: the prompt and the tokens of subjects.

Shapes: B pictures, T text tokens, n references, N tokens of each, D their width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class SsrCondition:
    """The prompt's hidden states, tokens of each reference and its scale; None without references.

    `some_absent`: one of the scales is 0. `legacy` is the option of that name.
    """

    text: Float[Tensor, "B T D"]
    references: tuple[Float[Tensor, "B N D"], ...] = ()
    scales: Float[Tensor, "B n"] | None = None
    some_absent: bool = False
    legacy: bool = False

    @property
    def batch_size(self) -> int:
        """B."""
        return self.text.shape[0]

    def select(self, rows: Sequence[int] | Tensor) -> SsrCondition:
        """The condition of the given rows, in that order; a row may come twice."""
        index = torch.as_tensor(rows, device=self.text.device)
        return replace(
            self,
            text=self.text[index],
            references=tuple(tokens[index] for tokens in self.references),
            scales=None if self.scales is None else self.scales[index],
        )
