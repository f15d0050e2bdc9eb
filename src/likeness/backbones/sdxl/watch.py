"""Lets a `Watch` see picture and references where they meet in a U-Net: in the cross-attention of every block.

There is no sequence of both, as FLUX has it: the picture's tokens ask, and the references answer by a key and a value
per image token. So beside each feature of the picture stands that of the references which the layer compares it with:

    query             the picture's queries        the references' keys
    attention_input   the tokens that enter        the directions there that those keys ask for: q . k = x . (W_q^T k)
    attention_output  what cross-attention adds    what each image token would add, had it all the attention
    block_output      the tokens that leave        the same

Source: the design note, section 4.1, for the first row; the others are ours.
Hooks exist only between entering and leaving `watching`, as in flux/watch.py.

Shapes: B rows, L picture tokens of a layer, N tokens of a reference, D their width, C the layer's width.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from likeness.backbones.base import TokenGrid, Watch
from likeness.core.errors import ConfigError

FEATURES = ("query", "attention_input", "attention_output", "block_output")
_STAGES = ("down_blocks", "mid_block", "up_blocks")


# Any, here and below: a UNet2DConditionModel and its blocks, which diffusers types as plain modules
def watched_blocks(unet: Any) -> dict[str, Any]:
    """The blocks that a watch is told of by name, in the order of a pass: all with cross-attention."""
    found = [(name, module) for name, module in unet.named_modules() if getattr(module, "attn2", None) is not None]
    return dict(sorted(found, key=lambda each: _STAGES.index(each[0].split(".")[0])))


@contextmanager
def watching(
    blocks: Mapping[str, Any],
    watch: Watch | None,
    *,
    references: Sequence[Float[Tensor, "B N D"]],
    grid: TokenGrid,
) -> Generator[None, None, None]:
    """Within it, `watch` sees every block's tokens; the hooks are gone afterwards, also on error.

    `grid` is that of the latents. Raises: ConfigError for features that are none of FEATURES.
    """
    hooks: list[RemovableHandle] = []
    if watch is not None:
        if watch.features not in FEATURES:
            raise ConfigError(f"features: expected one of {', '.join(FEATURES)}, got {watch.features!r}; choose one.")
        hooks += [_hook(name, block, watch, references, grid) for name, block in blocks.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _hook(name: str, block: Any, watch: Watch, references: Sequence[Tensor], grid: TokenGrid) -> RemovableHandle:
    attention = block.attn2

    def report(target: Tensor, opposite: Callable[[Tensor], Tensor]) -> None:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not watch.detached):
            shown = [opposite(tokens) for tokens in references]
        seen = target.detach() if watch.detached else target
        watch(name, seen, shown, layer_grid(grid, count=target.shape[1]))

    def keys(tokens: Tensor) -> Tensor:
        return attention.processor.to_k_ip[0](tokens)

    def directions(tokens: Tensor) -> Tensor:
        return _pulled_back(attention.to_q, keys(tokens))

    def additions(tokens: Tensor) -> Tensor:
        return attention.to_out[0](attention.processor.to_v_ip[0](tokens))

    match watch.features:
        case "query":
            return attention.to_q.register_forward_hook(lambda _module, _args, output: report(output, keys))
        case "attention_input":
            return attention.register_forward_pre_hook(lambda _module, args: report(args[0], directions))
        case "attention_output":
            return attention.register_forward_hook(lambda _module, _args, output: report(output, additions))
        case _:
            return block.register_forward_hook(lambda _module, _args, output: report(output, additions))


def _pulled_back(linear: Any, keys: Float[Tensor, "B N C"]) -> Float[Tensor, "B N D"]:
    """W^T k of the linear layer as it acts, its adapters included."""
    follows = torch.is_grad_enabled()
    with torch.enable_grad():
        inputs = keys.new_zeros(*keys.shape[:-1], linear.in_features, requires_grad=True)
        (found,) = torch.autograd.grad(linear(inputs), inputs, keys, create_graph=follows)
    return found


def layer_grid(grid: TokenGrid, *, count: int) -> TokenGrid:
    """The grid of a layer with `count` tokens: each step down the U-Net halves the sides, rounding up."""
    return next(each for each in _halvings(grid) if each.rows * each.columns == count)


def _halvings(grid: TokenGrid) -> Iterator[TokenGrid]:
    while True:
        yield grid
        if grid == (1, 1):
            return
        grid = TokenGrid(-(-grid.rows // 2), -(-grid.columns // 2))
