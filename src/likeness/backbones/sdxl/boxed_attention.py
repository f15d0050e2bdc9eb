"""Cross-attention in which each reference is read only inside its box: MS-Diffusion's.

The U-Net gets one row of tokens, [text | dummy | image tokens of every reference], and a `Boxed` says what is what.
Text is read as ever. The image tokens have keys and values of their own, share the query, and compete in one softmax
where boxes overlap; outside every box nothing is added.
Source: MS-Diffusion (arXiv:2406.07209), by the design note, section 1.5.
Differs: the dummy tokens take no part. The published code lets queries outside every box attend to them alone and then
sets what they got to zero, which is the same; on its faster path it forgets the second step, which is `legacy` here.

Shapes: B pictures, Q queries of a layer, T text tokens, n references, N tokens of each, D their width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from likeness.backbones.base import TokenGrid
from likeness.backbones.sdxl.boxes import inside_boxes
from likeness.backbones.sdxl.image_attention import CLOSED, ImageAttention, in_heads
from likeness.backbones.sdxl.watch import layer_grid


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
    def num_beside(self) -> int:
        """Dummies and image tokens in a row."""
        return self.num_dummies + self.boxes.shape[1] * self.num_tokens

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


class BoxedAttention(ImageAttention[Boxed]):
    """The attention of one cross-attention layer: image tokens are read by the queries inside their box."""

    def _beside(self, attn: Any, query: Tensor, tokens: Tensor, images: Boxed) -> Tensor:
        """What the image tokens add in each head, (B, heads, Q, width of a head)."""
        shown = tokens if images.legacy else tokens[:, images.num_dummies :]
        bias, inside = (part.to(query.dtype) for part in images.places(query.shape[2]))
        value = self.to_v_ip[0](shown) * images.weights()[..., None].to(query.dtype)
        key = in_heads(attn, self.to_k_ip[0](shown))
        return functional.scaled_dot_product_attention(query, key, in_heads(attn, value), attn_mask=bias) * inside
