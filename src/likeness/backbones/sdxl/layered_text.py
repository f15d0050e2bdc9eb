"""A text of its own for each layer of the U-Net that reads it, as words with an embedding per layer need it.

The texts of n layers stand one behind the other, (B, n T, D), and each layer takes its own T tokens.
Source: P+ (arXiv:2303.09522), Mix-of-Show (arXiv:2305.18292), 3.2: one embedding for each cross-attention layer.
Decided for SDXL: a layer is a Transformer2DModel. Stable Diffusion 1 has 16 with one cross-attention layer each, SDXL
11 with 70 of them; a text for each of the 70 would take 70 passes of both text encoders per prompt.
The pooled text, which no layer reads, is the mean of those of all layers.

Shapes: B prompts, T tokens of a text, D their width.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from likeness.backbones.sdxl.condition import SdxlText
from likeness.backbones.sdxl.watch import watched_blocks
from likeness.core.errors import WeightsError


# Any, here and below: a UNet2DConditionModel and its modules
def text_layers(unet: Any) -> dict[str, Any]:
    """The layers by name, in the order of a pass."""
    names = dict.fromkeys(name.rpartition(".transformer_blocks.")[0] for name in watched_blocks(unet))
    return {name: unet.get_submodule(name) for name in names}


def require_layers(layers: Mapping[str, int], unet: Any, *, where: object) -> None:
    """Raises: WeightsError for layered words, by their tokens, of another number of layers than the U-Net has."""
    count = len(text_layers(unet))
    for token, own in layers.items():
        if own not in (1, count):
            wanted = f"{where}: expected {token} to have rows for {count} layers of this U-Net, got {own}"
            raise WeightsError(f"{wanted}; name the model that it was trained on.")


def give_own_texts(unet: Any, *, tokens: int) -> None:
    """From now on each layer reads its own text of `tokens` where there are as many texts as layers."""
    layers = text_layers(unet)
    for number, layer in enumerate(layers.values()):
        own = slice(number * tokens, (number + 1) * tokens)
        hook = partial(_take_own, own=own, length=len(layers) * tokens)
        layer.register_forward_pre_hook(hook, with_kwargs=True)


def _take_own(
    _: Any, args: tuple[Any, ...], told: dict[str, Any], *, own: slice, length: int
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    text = told["encoder_hidden_states"]
    if isinstance(text, tuple):  # image tokens stand beside it
        return args, {**told, "encoder_hidden_states": (_own(text[0], own=own, length=length), *text[1:])}
    return args, {**told, "encoder_hidden_states": _own(text, own=own, length=length)}


def _own(text: Tensor, *, own: slice, length: int) -> Tensor:
    return text[:, own] if text.shape[1] == length else text


def behind_each_other(text: SdxlText, *, layers: int) -> SdxlText:
    """Texts of (prompts x layers) rows as one row for each prompt."""
    if layers == 1:
        return text
    embeds = text.embeds.unflatten(0, (-1, layers)).flatten(1, 2)
    return SdxlText(embeds, text.pooled.unflatten(0, (-1, layers)).mean(dim=1))
