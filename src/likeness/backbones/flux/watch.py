"""Lets a `Watch` see the image tokens inside a FLUX transformer while one forward pass runs.

Hooks exist only between entering and leaving `watching`, so that gradient checkpointing, which runs blocks again
during the backward pass, is not seen twice, and an unwatched pass costs nothing.

Shapes: B rows, L target tokens, Li tokens of reference i, T text tokens, D network width.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.utils.hooks import RemovableHandle

from likeness.backbones.base import FEATURES, TokenGrid, Watch
from likeness.core.errors import ConfigError


# Any: a FluxTransformer2DModel, whose config diffusers types as a dict
@contextmanager
def watching(
    transformer: Any, watch: Watch | None, *, lengths: list[int], grid: TokenGrid
) -> Generator[None, None, None]:
    """Within it, `watch` sees every block's image tokens; the hooks are gone afterwards, also on error.

    `lengths` are the numbers of tokens of the target, which lie on `grid`, and of each reference, in the order of the
    sequence. Raises: ConfigError for unknown features.
    """
    if watch is not None and watch.features not in FEATURES:
        raise ConfigError(f"features: expected one of {', '.join(FEATURES)}, got {watch.features!r}; choose one.")
    hooks: list[RemovableHandle] = []
    if watch is not None:
        blocks = {name: transformer.get_submodule(name) for name in layer_names(transformer.config)}
        hooks += [_hook(name, block, watch, lengths, grid) for name, block in blocks.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def layer_names(config: Mapping[str, Any]) -> list[str]:
    """The names a watch is told, in the order of a pass; `config` is that of the transformer."""
    singles = config.get("num_single_layers", 0)
    counts = {"transformer_blocks": config["num_layers"], "single_transformer_blocks": singles}
    return [f"{stem}.{index}" for stem, count in counts.items() for index in range(count)]


# Any: blocks of diffusers, and what passes through their hooks, are typed as plain modules and objects
def _hook(layer: str, block: Any, watch: Watch, lengths: list[int], grid: TokenGrid) -> RemovableHandle:
    """The hook on the part of the block where the features appear; it reports the last tokens, text comes first."""

    def report(tokens: Tensor) -> None:
        seen = tokens.detach() if watch.detached else tokens
        target, *references = seen[:, -sum(lengths) :].split(lengths, dim=1)
        watch(layer, target, references, grid)

    def image_stream(output: Any, index: int) -> Tensor:
        return output[index] if isinstance(output, tuple) else output

    after: dict[str, tuple[Any, Callable[[Any], Tensor]]] = {
        "block_output": (block, lambda output: image_stream(output, 1)),  # diffusers blocks answer (text, image)
        "attention_output": (block.attn, lambda output: image_stream(output, 0)),  # (image, text), or joined
        "query": (block.attn.norm_q, lambda output: output.flatten(2)),  # (B, tokens, heads, D / heads), before rope
        "key": (block.attn.norm_k, lambda output: output.flatten(2)),
    }
    if watch.features == "attention_input":
        return block.attn.register_forward_pre_hook(
            lambda _module, _args, kwargs: report(kwargs["hidden_states"]), with_kwargs=True
        )
    module, tokens_of = after[watch.features]
    return module.register_forward_hook(lambda _module, _args, output: report(tokens_of(output)))
