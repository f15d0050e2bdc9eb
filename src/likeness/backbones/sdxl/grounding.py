"""MS-Diffusion's resampler: a reference's features become N tokens that know its box and its name.

Names of the tensors are the published ones (`image_proj` of ms_adapter.bin).
Source: MS-Diffusion (arXiv:2406.07209) by the design note, section 1.2; Perceiver resampler of Flamingo
(arXiv:2204.14198).

Shapes: R references, S tokens of the image encoder, W their width; N tokens made, D their width; P of a phrase.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from likeness.backbones.sdxl.adapter import DEPTH, HEAD
from likeness.backbones.sdxl.boxes import FOURIER_WIDTH, fourier


class GroundingResampler(nn.Module):
    """N learned or grounded queries, `width` wide, that attend DEPTH times to the features and to themselves.

    The features may be any number of tokens, in any order: their places are not told.
    """

    def __init__(
        self, *, num_tokens: int, width: int, heads: int, image_width: int, phrase_width: int, text_width: int
    ) -> None:
        super().__init__()
        self.grounding_latents = nn.Parameter(torch.zeros(1, num_tokens, width))
        self.latent_proj = nn.Sequential(
            nn.Linear(phrase_width + FOURIER_WIDTH, image_width), nn.GELU(), nn.Linear(image_width, num_tokens * width)
        )
        self.latent_norm = nn.LayerNorm(width)
        self.proj_in = nn.Linear(image_width, width)
        self.layers = nn.ModuleList(
            nn.ModuleList([PerceiverAttention(width, heads), _feed_forward(width)]) for _ in range(DEPTH)
        )
        self.attention_norm = nn.LayerNorm(width)
        self.proj_out = nn.Linear(width, text_width)
        self.norm_out = nn.LayerNorm(text_width)

    def queries(self, boxes: Float[Tensor, "R 4"], phrases: Float[Tensor, "R P"]) -> Float[Tensor, "R N width"]:
        """Those of references in boxes with the pooled vectors of their phrases."""
        told = torch.cat([phrases, fourier(boxes.float()).to(phrases.dtype)], dim=-1)
        flat = self.latent_proj(told)
        return self.latent_norm(flat.unflatten(-1, self.grounding_latents.shape[1:]))

    def forward(
        self,
        features: Float[Tensor, "R S W"],
        boxes: Float[Tensor, "R 4"] | None = None,
        phrases: Float[Tensor, "R P"] | None = None,
    ) -> Float[Tensor, "R N D"]:
        """The tokens; without box and phrase from the learned queries, as in 10% of the adapter's training."""
        if boxes is None or phrases is None:
            latents = self.grounding_latents.expand(len(features), -1, -1)
        else:
            latents = self.queries(boxes, phrases)
        return self.read(features, latents)

    def read(self, features: Float[Tensor, "R S W"], latents: Float[Tensor, "R N width"]) -> Float[Tensor, "R N D"]:
        """The tokens that these queries make of the features."""
        seen = self.proj_in(features)
        for block in self.layers:
            assert isinstance(block, nn.ModuleList)
            latents = latents + block[0](seen, latents)
            latents = latents + block[1](latents)
        return self.norm_out(self.proj_out(self.attention_norm(latents)))


class PerceiverAttention(nn.Module):
    """Attention of queries to features and queries side by side, no biases, heads HEAD wide."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        inner = heads * HEAD
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.to_q = nn.Linear(width, inner, bias=False)
        self.to_kv = nn.Linear(width, 2 * inner, bias=False)
        self.to_out = nn.Linear(inner, width, bias=False)

    def forward(self, features: Float[Tensor, "R S width"], latents: Float[Tensor, "R N width"]) -> Tensor:
        """What is added to the queries."""
        features, latents = self.norm1(features), self.norm2(latents)
        parts = [self.to_q(latents), *self.to_kv(torch.cat([features, latents], dim=1)).chunk(2, dim=-1)]
        query, key, value = (part.unflatten(-1, (-1, HEAD)).transpose(1, 2) for part in parts)
        found = functional.scaled_dot_product_attention(query, key, value)
        return self.to_out(found.transpose(1, 2).flatten(2))


def _feed_forward(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, 4 * width, bias=False), nn.GELU(), nn.Linear(4 * width, width, bias=False)
    )
