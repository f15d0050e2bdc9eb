"""Cross-attention that reads subjects beside the text: SSR-Encoder's.

The U-Net gets one row of tokens, [text | tokens of every reference], and `subjects` says which are which. Text is read
as ever; the references' tokens have keys and values of their own, share the query, and compete in one softmax.
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
from diffusers.models.attention_processor import AttnProcessor2_0
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from likeness.backbones.sdxl.boxed_attention import CLOSED, in_heads


@dataclass(frozen=True)
class Subjects:
    """What the layers must know of a row of tokens, whose last n N are references with these `scales`.

    `some_absent`: one of the scales is 0, which the values of a tensor that has none (`train --plan`) cannot say.
    """

    scales: Float[Tensor, "B n"]
    num_tokens: int
    some_absent: bool = False

    @property
    def num_images(self) -> int:
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


class SubjectAttention(nn.Module):
    """The image attention of one cross-attention layer: keys and values of references, D wide, for its queries.

    Each matrix is the only entry of a list, as in diffusers' IP-Adapter, whose names a LoRA and a watch know.
    """

    def __init__(self, width: int, context_width: int) -> None:
        super().__init__()
        self.to_k_ip = nn.ModuleList([nn.Linear(context_width, width, bias=False)])
        self.to_v_ip = nn.ModuleList([nn.Linear(context_width, width, bias=False)])

    # Any: an Attention of diffusers, whose layers are typed as plain modules
    def __call__(
        self,
        attn: Any,
        hidden_states: Float[Tensor, "B Q C"],
        encoder_hidden_states: Float[Tensor, "B tokens D"],
        attention_mask: None = None,
        subjects: Subjects | None = None,
    ) -> Float[Tensor, "B Q C"]:
        """What cross-attention adds; without `subjects` all tokens are text, and the result is diffusers' own."""
        text = encoder_hidden_states if subjects is None else encoder_hidden_states[:, : -subjects.num_images]
        query = in_heads(attn, attn.to_q(hidden_states))
        found = functional.scaled_dot_product_attention(
            query, in_heads(attn, attn.to_k(text)), in_heads(attn, attn.to_v(text))
        )
        if subjects is not None:
            found = found + self._references(attn, query, encoder_hidden_states[:, -subjects.num_images :], subjects)
        joined = found.transpose(1, 2).flatten(2).to(query.dtype)
        return attn.to_out[1](attn.to_out[0](joined))

    def _references(self, attn: Any, query: Tensor, tokens: Tensor, subjects: Subjects) -> Tensor:
        """What the references add in each head, (B, heads, Q, width of a head)."""
        key = in_heads(attn, self.to_k_ip[0](tokens))
        value = in_heads(attn, self.to_v_ip[0](tokens) * subjects.weights.to(query.dtype))
        bias = None if subjects.bias is None else subjects.bias.to(query.dtype)
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)


class SelfAttention(AttnProcessor2_0):
    """Diffusers' own, which takes `subjects` without a warning and leaves it alone."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        subjects: Subjects | None = None,
    ) -> Tensor:
        """What self-attention adds."""
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask)
