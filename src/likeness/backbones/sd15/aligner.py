"""SSR-Encoder's aligner: a query chooses patches of a reference, whose features of several layers become tokens.

Names of the tensors are the published ones (`SSR_aligners` of its code) without the words "aligner" and "processor".
Source: SSR-Encoder (arXiv:2312.16272): token-to-patch aligner and detail-preserving subject encoder; sizes, heads and
the closing norm by its public code (`ssr_encoder/ssr_encoder.py`, `attention_processor.py`).

Shapes: R references, T tokens of a query, D their width, S tokens of the image encoder, W their width, K its levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

HEAD = 64
"""Width of a head of its attention."""


class Aligner(nn.Module):
    """A = softmax(W_Q z_q (W_K z_K)^T / sqrt(HEAD)) in each head; tokens of level k are W_O^k A W_V^k z_k, normalised.

    z_q is the query, z_1 ... z_K are the image encoder's levels, the last of which is compared with the query.
    """

    def __init__(self, *, levels: int, inner: int, image_width: int, text_width: int) -> None:
        super().__init__()
        self.to_q = nn.Linear(text_width, inner, bias=False)
        self.to_k = nn.Linear(image_width, inner, bias=False)
        self.to_v = nn.ModuleList(nn.Linear(image_width, inner, bias=False) for _ in range(levels))
        self.to_out = nn.ModuleList(nn.Linear(inner, text_width, bias=False) for _ in range(levels))
        self.norm = nn.LayerNorm(text_width)

    def attention(self, query: Float[Tensor, "R T D"], last: Float[Tensor, "R S W"]) -> Float[Tensor, "R heads T S"]:
        """The map A: how much each token of the query looks at each patch; sums to 1 over S."""
        asked, patches = _heads(self.to_q(query)), _heads(self.to_k(last))
        return (asked @ patches.mT / HEAD**0.5).softmax(dim=-1)

    def forward(
        self, query: Float[Tensor, "R T D"], levels: Sequence[Float[Tensor, "R S W"]]
    ) -> Float[Tensor, "R tokens D"]:
        """K T tokens, those of the first level first."""
        chosen = self.attention(query, levels[-1])
        tokens = [
            to_out((chosen @ _heads(to_v(level))).transpose(1, 2).flatten(2))
            for to_v, to_out, level in zip(self.to_v, self.to_out, levels, strict=True)
        ]
        return self.norm(torch.cat(tokens, dim=1))


def _heads(tokens: Float[Tensor, "R L inner"]) -> Float[Tensor, "R heads L c"]:
    return tokens.unflatten(-1, (-1, HEAD)).transpose(1, 2)
