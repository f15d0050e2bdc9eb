"""MS-Diffusion's attention in its explicit form, by the design note, section 1.5: loops, a softmax, dummy tokens.

Shapes: B pictures, Q queries, n references, N tokens of each.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn


def cells_inside(box: list[float], *, rows: int, columns: int) -> set[int]:
    """Numbers of the cells of one box, row by row."""
    left, top, right, bottom = box
    if left >= right or top >= bottom:
        return set()
    return {
        row * columns + column
        for row in range(math.floor(top * rows), math.ceil(bottom * rows))
        for column in range(math.floor(left * columns), math.ceil(right * columns))
    }


def bias_of(boxes: Tensor, *, rows: int, columns: int, num_tokens: int, num_dummies: int) -> tuple[Tensor, Tensor]:
    """(B, Q, dummies + n N) with 0 or -10000, and (B, Q) whether a query is outside every box."""
    count, num = rows * columns, boxes.shape[1]
    bias = torch.full((len(boxes), count, num_dummies + num * num_tokens), -10000.0, dtype=torch.float64)
    background = torch.ones(len(boxes), count, dtype=torch.bool)
    for picture, own in enumerate(boxes.tolist()):
        for number, box in enumerate(own):
            for cell in cells_inside(box, rows=rows, columns=columns):
                start = num_dummies + number * num_tokens
                bias[picture, cell, start : start + num_tokens] = 0.0
                background[picture, cell] = False
        bias[picture, background[picture], :num_dummies] = 0.0
    return bias, background


class ReferenceAttention(nn.Module):
    """One layer's processor, which takes the published code's arguments and knows the sizes of the grid by Q.

    `forgets`: background queries keep what they got from the dummies, as the published code's faster path.
    """

    def __init__(self, weights: Mapping[str, Tensor], *, num_tokens: int, num_dummies: int = 4) -> None:
        super().__init__()
        self.key, self.value = weights["to_k_ip.weight"], weights["to_v_ip.weight"]
        self.num_tokens, self.num_dummies = num_tokens, num_dummies
        self.forgets = False

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        boxes: Tensor | None = None,
        cells: Mapping[int, tuple[int, int]] | None = None,
        image_scale: float = 1.0,
        subject_scales: list[float] | None = None,
    ) -> Tensor:
        assert encoder_hidden_states is not None
        assert boxes is not None
        assert cells is not None
        heads, num_images = attn.heads, boxes.shape[1] * self.num_tokens + self.num_dummies
        text, images = encoder_hidden_states[:, :-num_images], encoder_hidden_states[:, -num_images:]
        query = split(attn.to_q(hidden_states), heads)
        found = softmax_of(query, split(attn.to_k(text), heads)) @ split(attn.to_v(text), heads)
        rows, columns = cells[hidden_states.shape[1]]
        sizes = {"num_tokens": self.num_tokens, "num_dummies": self.num_dummies}
        bias, background = bias_of(boxes, rows=rows, columns=columns, **sizes)
        probabilities = softmax_of(query, split(images @ self.key.T, heads), bias=bias[:, None].to(query.dtype))
        if not self.forgets:
            probabilities = torch.where(background[:, None, :, None], 0.0, probabilities)
        if subject_scales is not None:
            columns_of = [1.0] * self.num_dummies + [s for s in subject_scales for _ in range(self.num_tokens)]
            probabilities, image_scale = probabilities * probabilities.new_tensor(columns_of), 1.0
        found = found + image_scale * (probabilities @ split(images @ self.value.T, heads))
        return attn.to_out[0](found.transpose(1, 2).flatten(2))


class PlainAttention(nn.Module):
    """Self-attention, explicitly; it takes what cross-attention is given and leaves it."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        boxes: Tensor | None = None,
        cells: Mapping[int, tuple[int, int]] | None = None,
        image_scale: float = 1.0,
        subject_scales: list[float] | None = None,
    ) -> Tensor:
        query, key, value = (split(part(hidden_states), attn.heads) for part in (attn.to_q, attn.to_k, attn.to_v))
        return attn.to_out[0]((softmax_of(query, key) @ value).transpose(1, 2).flatten(2))


def split(tokens: Tensor, heads: int) -> Tensor:
    return tokens.reshape(tokens.shape[0], tokens.shape[1], heads, -1).transpose(1, 2)


def softmax_of(query: Tensor, key: Tensor, *, bias: Tensor | float = 0.0) -> Tensor:
    return (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + bias).softmax(dim=-1)


def set_reference(unet: Any, groups: Mapping[str, Any], *, num_tokens: int) -> None:
    """The stock U-Net has the explicit form in every layer, with the weights of the published groups."""
    found: dict[str, Any] = {}
    for number, name in enumerate(unet.attn_processors):
        weights = {key: tensor for key, tensor in groups["ms_adapter"].items() if key.split(".")[0] == str(number)}
        own = {key.partition(".")[2]: tensor for key, tensor in weights.items()}
        found[name] = ReferenceAttention(own, num_tokens=num_tokens) if own else PlainAttention()
    unet.set_attn_processor(found)
