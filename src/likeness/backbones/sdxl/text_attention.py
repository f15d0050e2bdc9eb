"""How much each place of the picture attends to chosen words of the prompt, in the cross-attention of a U-Net.

Shapes: B pictures, T text tokens, Q queries of a layer, h x w its grid.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likeness.backbones.base import TokenGrid
from likeness.backbones.sdxl.watch import layer_grid

MAX_QUERIES = 32 * 32
"""Layers of more queries are left out: SDXL's first level at 1024 px. Source: DreamRelation's code (note, 2.7)."""


class TextAttention:
    """Queries and text keys of each layer, as the pass computed them, with their gradient."""

    def __init__(self, words: Bool[Tensor, "B T"], *, grid: TokenGrid) -> None:
        self._words, self._grid = words, grid
        self.seen: dict[str, dict[str, Tensor]] = {}
        self.heads: dict[str, int] = {}

    def maps(self) -> list[Float[Tensor, "B h w"]]:
        """Per layer, the probability that the words' tokens get, a mean over them and over heads; 0 without words.

        The softmax is over the text alone. With gradient checkpointing the maps have no gradient.
        """
        return [self._map(name, **parts) for name, parts in self.seen.items()]

    def _map(self, name: str, *, query: Tensor, key: Tensor) -> Float[Tensor, "B h w"]:
        grid = layer_grid(self._grid, count=query.shape[1])
        split = [part.unflatten(-1, (self.heads[name], -1)).transpose(1, 2).float() for part in (query, key)]
        logits = split[0] @ split[1].mT / split[0].shape[-1] ** 0.5
        words = self._words.to(logits.device).float()
        share = words / words.sum(dim=-1, keepdim=True).clamp_min(1)
        found = (logits.softmax(dim=-1) * share[:, None, None]).sum(dim=-1).mean(dim=1)
        return found.unflatten(1, tuple(grid))


# Any: blocks of a UNet2DConditionModel, which diffusers types as plain modules
@contextmanager
def watching_text(
    blocks: Mapping[str, Any], words: Bool[Tensor, "B T"], *, grid: TokenGrid, max_queries: int = MAX_QUERIES
) -> Generator[TextAttention, None, None]:
    """Within it, queries and text keys of every block's cross-attention are kept; the hooks are gone afterwards."""
    watch = TextAttention(words, grid=grid)

    def keep(name: str, part: str) -> Any:
        def hook(_module: Any, _args: Any, output: Tensor) -> None:
            if part == "query" and output.shape[1] > max_queries:
                return
            if part == "key" and name not in watch.seen:
                return  # its queries were left out
            watch.seen.setdefault(name, {}).setdefault(part, output)

        return hook

    hooks = []
    for name, block in blocks.items():
        watch.heads[name] = block.attn2.heads
        hooks += [
            block.attn2.to_q.register_forward_hook(keep(name, "query")),
            block.attn2.to_k.register_forward_hook(keep(name, "key")),
        ]
    try:
        yield watch
    finally:
        for hook in hooks:
            hook.remove()


# Any: a CLIPTokenizer
def columns_in(prompt: str, words: str, *, tokenizer: Any) -> Bool[Tensor, " T"]:
    """The tokens of the padded prompt that `words` of it became; none where it does not hold them."""
    options: Any = {"padding": "max_length", "truncation": True, "return_offsets_mapping": True}
    read = tokenizer(prompt, max_length=tokenizer.model_max_length, **options)
    return columns_of(read["offset_mapping"], prompt=prompt, words=words)


def columns_of(offsets: Sequence[tuple[int, int]], *, prompt: str, words: str) -> Bool[Tensor, " T"]:
    """Tokens whose characters (start, end) overlap the first place of the prompt that holds `words` as whole words."""
    found = re.search(rf"(?<!\w){re.escape(words)}(?!\w)", prompt, re.IGNORECASE) if words else None
    if found is None:
        return torch.zeros(len(offsets), dtype=torch.bool)
    start, end = found.span()
    return torch.tensor([first < end and last > start for first, last in offsets])
