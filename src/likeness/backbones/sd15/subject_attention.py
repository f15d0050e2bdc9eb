"""Cross-attention that reads subjects beside the text: SSR-Encoder's.

The U-Net gets one row of tokens, [text | tokens of every reference], and a `Subjects` says which are which. Text is
read as ever; the references' tokens have keys and values of their own, share the query, and compete in one softmax.
Source: SSR-Encoder (arXiv:2312.16272), subject-conditioned generation; its public code for the layout of the row.
Differs: a scale of each reference times what it adds, where the public code has one for all or scales the tokens; at
scale 0 its tokens leave the softmax, so that the others are read as if it were not there.

Shapes: B pictures, Q queries of a layer, n references, N tokens of each, D their width.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from likeness.backbones.sdxl.image_attention import CLOSED, ImageAttention, in_heads


@dataclass(frozen=True)
class Subjects:
    """What the layers must know of a row of tokens, whose last n N are references with these `scales`.

    `some_absent`: one of the scales is 0, which the values of a tensor that has none (`train --plan`) cannot say.
    """

    scales: Float[Tensor, "B n"]
    num_tokens: int
    some_absent: bool = False

    @property
    def num_beside(self) -> int:
        """Tokens of references in a row."""
        return self.scales.shape[1] * self.num_tokens

    @cached_property
    def weights(self) -> Float[Tensor, "B tokens 1"]:
        """What the value of each token of a reference is multiplied by."""
        return self.scales.repeat_interleave(self.num_tokens, dim=-1)[..., None]

    @cached_property
    def bias(self) -> Float[Tensor, "B 1 1 tokens"] | None:
        """What is added to logits, None where every reference is there."""
        return torch.where(self.weights.mT[:, None] == 0, CLOSED, 0.0) if self.some_absent else None


class SubjectAttention(ImageAttention[Subjects]):
    """The attention of one cross-attention layer: every query reads the references' tokens in one softmax."""

    def _beside(self, attn: Any, query: Tensor, tokens: Tensor, images: Subjects) -> Tensor:
        """What the references add in each head, (B, heads, Q, width of a head)."""
        key = in_heads(attn, self.to_k_ip[0](tokens))
        value = in_heads(attn, self.to_v_ip[0](tokens) * images.weights.to(query.dtype))
        bias = None if images.bias is None else images.bias.to(query.dtype)
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
