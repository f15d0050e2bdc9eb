"""Cross-attention in which each reference is read only inside its box: MS-Diffusion's.

The U-Net gets one row of tokens, [text | dummy | image tokens of every reference], and `boxed` says what is what. Text
is read as ever. The image tokens have keys and values of their own, share the query, and compete in one softmax where
boxes overlap; outside every box nothing is added.
Source: MS-Diffusion (arXiv:2406.07209), by the design note, section 1.5.
Differs: the dummy tokens take no part. The published code lets queries outside every box attend to them alone and then
sets what they got to zero, which is the same; on its faster path it forgets the second step, which is `legacy` here.

Shapes: B pictures, Q queries of a layer, T text tokens, n references, N tokens of each, D their width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor2_0
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from likeness.backbones.base import TokenGrid
from likeness.backbones.sdxl.boxes import inside_boxes
from likeness.backbones.sdxl.watch import layer_grid

CLOSED = -10000.0
"""Added to the logit of a token outside its box; finite, so that a row of these alone is no NaN."""


@dataclass(frozen=True)
class Boxed:
    """What the layers must know of a row of tokens, whose last n N are references in `boxes`, and dummies before them.

    `grid` is that of the latents; `scales` times what each reference adds, in each picture. `legacy`: see the module.
    """

    boxes: Float[Tensor, "B n 4"]
    scales: Float[Tensor, "B n"]
    grid: TokenGrid
    num_tokens: int
    num_dummies: int
    legacy: bool = False
    _seen: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict[int, tuple[Tensor, Tensor]], compare=False)

    @property
    def num_images(self) -> int:
        """Image tokens in a row."""
        return self.boxes.shape[1] * self.num_tokens

    @property
    def num_text(self) -> int:
        """By how many tokens a row is longer than its text."""
        return self.num_images + self.num_dummies

    def places(self, num_queries: int) -> tuple[Tensor, Tensor]:
        """(B, 1, Q, n N) what is added to logits, and (B, 1, Q, 1) whether a query is inside a box, in fp32.

        With `legacy`, the first columns are those of the dummies, and every query counts as inside.
        """
        if num_queries not in self._seen:
            inside = inside_boxes(self.boxes, layer_grid(self.grid, count=num_queries))
            anywhere = inside.any(dim=1)[:, None, :, None]
            opened = inside.mT[:, None].repeat_interleave(self.num_tokens, dim=-1)
            if self.legacy:
                opened = torch.cat([(~anywhere).expand(-1, -1, -1, self.num_dummies), opened], dim=-1)
                anywhere = torch.ones_like(anywhere)
            self._seen[num_queries] = (torch.where(opened, 0.0, CLOSED), anywhere.float())
        return self._seen[num_queries]

    def weights(self) -> Float[Tensor, "B tokens"]:
        """What each image token's value is multiplied by; the dummies', with `legacy`, by the mean of the scales."""
        each = self.scales.repeat_interleave(self.num_tokens, dim=-1)
        if not self.legacy:
            return each
        return torch.cat([self.scales.mean(dim=-1, keepdim=True).expand(-1, self.num_dummies), each], dim=-1)


class BoxedAttention(nn.Module):
    """The image attention of one cross-attention layer: keys and values of image tokens, D wide, for its queries.

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
        boxed: Boxed | None = None,
    ) -> Float[Tensor, "B Q C"]:
        """What cross-attention adds; without `boxed` all tokens are text, and the result is diffusers' own."""
        text = encoder_hidden_states if boxed is None else encoder_hidden_states[:, : -boxed.num_text]
        query = in_heads(attn, attn.to_q(hidden_states))
        found = functional.scaled_dot_product_attention(
            query, in_heads(attn, attn.to_k(text)), in_heads(attn, attn.to_v(text))
        )
        if boxed is not None:
            found = found + self._images(attn, query, encoder_hidden_states, boxed)
        joined = found.transpose(1, 2).flatten(2).to(query.dtype)
        return attn.to_out[1](attn.to_out[0](joined))

    def _images(self, attn: Any, query: Tensor, tokens: Tensor, boxed: Boxed) -> Tensor:
        """What the image tokens add in each head, (B, heads, Q, width of a head)."""
        count = boxed.num_text if boxed.legacy else boxed.num_images
        shown = tokens[:, -count:]
        bias, inside = (part.to(query.dtype) for part in boxed.places(query.shape[2]))
        value = self.to_v_ip[0](shown) * boxed.weights()[..., None].to(query.dtype)
        key = in_heads(attn, self.to_k_ip[0](shown))
        return functional.scaled_dot_product_attention(query, key, in_heads(attn, value), attn_mask=bias) * inside


def in_heads(attn: Any, tokens: Float[Tensor, "B L C"]) -> Float[Tensor, "B heads L c"]:
    """The tokens as the heads of an Attention of diffusers share them."""
    return tokens.unflatten(-1, (attn.heads, -1)).transpose(1, 2)


class SelfAttention(AttnProcessor2_0):
    """Diffusers' own, which takes `boxed` without a warning and leaves it alone."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        boxed: Boxed | None = None,
    ) -> Tensor:
        """What self-attention adds."""
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask)
