"""SSR-Encoder in its explicit form, from the paper's equations and what its public code does: loops and a softmax.

Shapes: B pictures, Q queries, n references, N tokens of each, S patches.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from ms_reference import PlainAttention, softmax_of, split
from torch import Tensor, nn

HEAD = 64


def aligned(query: Tensor, levels: list[Tensor], weights: Mapping[str, Tensor]) -> Tensor:
    """(K T, D) tokens of one query (T, D) and the levels (S, W) of one picture, head by head and row by row."""
    asked = query @ weights["aligner.to_q.weight"].T
    patches = levels[-1] @ weights["aligner.to_k.weight"].T
    found: list[Tensor] = []
    for number, level in enumerate(levels):
        values = level @ weights[f"aligner.processor.to_v.{number}.weight"].T
        for row in asked:
            parts: list[Tensor] = []
            for start in range(0, len(row), HEAD):
                own = slice(start, start + HEAD)
                logits = torch.stack([(row[own] * patch).sum() / math.sqrt(HEAD) for patch in patches[:, own]])
                shares = logits.exp() / logits.exp().sum()
                parts.append(torch.stack([s * value for s, value in zip(shares, values[:, own], strict=True)]).sum(0))
            found.append(weights[f"aligner.processor.to_out.{number}.weight"] @ torch.cat(parts))
    tokens = torch.stack(found)
    spread = (tokens - tokens.mean(dim=1, keepdim=True)).square().mean(dim=1, keepdim=True)
    normed = (tokens - tokens.mean(dim=1, keepdim=True)) / (spread + 1e-5).sqrt()
    return normed * weights["norm.weight"] + weights["norm.bias"]


def levels_of(encoder: Any, pixels: Tensor) -> list[Tensor]:
    """What leaves layers 4, 8, ... of a CLIP vision model for one picture (3, H, W), layer by layer, without a norm."""
    vision, found = encoder.vision_model, list[Tensor]()
    hidden = vision.pre_layrnorm(vision.embeddings(pixels[None]))
    for number, layer in enumerate(vision.encoder.layers, start=1):
        out = layer(hidden, None)
        hidden = out[0] if isinstance(out, tuple) else out
        if number % 4 == 0:
            found.append(hidden[0])
    return found


class ReferenceAttention(nn.Module):
    """One layer's processor. `subject_scales` (n) multiply what each reference adds; at 0 its tokens are cut out."""

    def __init__(self, weights: Mapping[str, Tensor], *, num_tokens: int) -> None:
        super().__init__()
        self.key, self.value = weights["to_k_SSR.weight"], weights["to_v_SSR.weight"]
        self.num_tokens = num_tokens

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        subject_scales: list[float] | None = None,
    ) -> Tensor:
        assert encoder_hidden_states is not None
        assert subject_scales is not None
        heads, num, each = attn.heads, len(subject_scales), self.num_tokens
        text, images = encoder_hidden_states[:, : -num * each], encoder_hidden_states[:, -num * each :]
        query = split(attn.to_q(hidden_states), heads)
        found = softmax_of(query, split(attn.to_k(text), heads)) @ split(attn.to_v(text), heads)
        kept = [i for i, scale in enumerate(subject_scales) if scale]
        if kept:
            present = torch.cat([images[:, i * each : (i + 1) * each] for i in kept], dim=1)
            shares = softmax_of(query, split(present @ self.key.T, heads))
            shares = shares * shares.new_tensor([subject_scales[i] for i in kept for _ in range(each)])
            found = found + shares @ split(present @ self.value.T, heads)
        return attn.to_out[0](found.transpose(1, 2).flatten(2))


def set_reference(unet: Any, layers: Mapping[str, Tensor], *, num_tokens: int) -> None:
    """The stock U-Net has the explicit form in every layer, with the weights of pytorch_model_1.bin."""
    found: dict[str, Any] = {}
    for number, name in enumerate(unet.attn_processors):
        own = {key.partition(".")[2]: tensor for key, tensor in layers.items() if key.split(".")[0] == str(number)}
        found[name] = ReferenceAttention(own, num_tokens=num_tokens) if own else PlainAttention()
    unet.set_attn_processor(found)
