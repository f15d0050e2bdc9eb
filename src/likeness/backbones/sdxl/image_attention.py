"""Cross-attention that reads images beside the text: what MS-Diffusion's and SSR-Encoder's have in common.

The U-Net gets one row of tokens, [text | tokens beside it], and what is told as `images` says what those are. Text is
read as ever; what stands beside it has keys and values of its own and shares the query. How, is each design's.
Source: decoupled cross-attention of IP-Adapter (arXiv:2308.06721), Eq. 5.

Shapes: B pictures, Q queries of a layer, D the width of tokens.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from diffusers.models.attention_processor import AttnProcessor2_0
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

CLOSED = -10000.0
"""Added to the logit of a token that may not be read; finite, so that a row of these alone is no NaN."""


@runtime_checkable
class Beside(Protocol):
    """What a layer must know of a row of tokens."""

    @property
    def num_beside(self) -> int:
        """How many tokens stand behind the text."""
        ...


BesideT = TypeVar("BesideT", bound=Beside)


class ImageAttention(nn.Module, Generic[BesideT]):
    """The attention of one cross-attention layer, `width` wide: text as ever, and what `_beside` finds in the rest.

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
        images: BesideT | None = None,
    ) -> Float[Tensor, "B Q C"]:
        """What cross-attention adds; without `images` all tokens are text, and the result is diffusers' own."""
        text = encoder_hidden_states if images is None else encoder_hidden_states[:, : -images.num_beside]
        query = in_heads(attn, attn.to_q(hidden_states))
        found = functional.scaled_dot_product_attention(
            query, in_heads(attn, attn.to_k(text)), in_heads(attn, attn.to_v(text))
        )
        if images is not None:
            found = found + self._beside(attn, query, encoder_hidden_states[:, -images.num_beside :], images)
        joined = found.transpose(1, 2).flatten(2).to(query.dtype)
        return attn.to_out[1](attn.to_out[0](joined))

    @abstractmethod
    def _beside(self, attn: Any, query: Tensor, tokens: Tensor, images: BesideT) -> Tensor:
        """What the tokens beside the text add in each head, (B, heads, Q, width of a head)."""


class SelfAttention(AttnProcessor2_0):
    """Diffusers' own, which takes `images` without a warning and leaves them alone."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        images: Beside | None = None,
    ) -> Tensor:
        """What self-attention adds."""
        return super().__call__(attn, hidden_states, encoder_hidden_states, attention_mask)


def in_heads(attn: Any, tokens: Float[Tensor, "B L C"]) -> Float[Tensor, "B heads L c"]:
    """The tokens as the heads of an Attention of diffusers share them."""
    return tokens.unflatten(-1, (attn.heads, -1)).transpose(1, 2)
