"""Words that were learnt: rows beside the token embeddings of both text encoders of SDXL, named by new tokens.

A word of n vectors is n tokens, `<rex>`, `<rex>_1` ..., and stands in prompts by the first of them, as in diffusers.
A layered word has n / layers of them for each of several layers, those of the first layer first (layered_text.py).

Shapes: n vectors of a word, D width of a text encoder.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from likeness.core.errors import ConfigError, WeightsError

ENCODERS = {"clip_l": ("tokenizer", "text_encoder"), "clip_g": ("tokenizer_2", "text_encoder_2")}
"""Keys of files with words for SDXL -> the parts that take their rows."""


class WithWords(nn.Module):
    """A table of token embeddings in which the tokens from `first` on have the `rows`."""

    def __init__(self, base: nn.Module, rows: nn.Parameter, *, first: int) -> None:
        super().__init__()
        self.base, self.rows, self.first = base, rows, first

    @property
    def weight(self) -> Tensor:
        """That of the table."""
        weight: Any = self.base.weight  # a tensor of whichever kind of table
        return weight

    def forward(self, ids: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch D"]:
        """Known tokens as before; the table is not asked for the new ones."""
        own = ids - self.first
        is_new = (own >= 0) & (own < len(self.rows))
        known = self.base(ids.masked_fill(is_new, 0))
        return torch.where(is_new[..., None], self.rows.to(known)[own.clamp(0, len(self.rows) - 1)], known)


@runtime_checkable
class TakesWords(Protocol):
    """The parts of a folder that words go into."""

    @property
    def stored(self) -> Any: ...  # PartsOnDemand


class Words:
    """The words that a backbone has learnt; they stay when its text encoders are put away and read again."""

    def __init__(self, parts: TakesWords) -> None:
        self._parts: Any = parts
        self.rows: dict[str, dict[str, nn.Parameter]] = {}
        self.layers: dict[str, int] = {}
        """Of every word; 1 for one that is the same in all layers."""

    def add(self, token: str, rows: Mapping[str, Tensor], *, layers: int = 1) -> dict[str, nn.Parameter]:
        """The word `token` has these rows (n, D) for each key of ENCODERS, from now on; returns them as parameters.

        The same word with equal rows is left as it is.
        Raises: WeightsError for rows that do not fit, and for a token that is there already.
        """
        if token in self.rows:
            same = all(torch.equal(mine.detach().cpu(), rows[key].cpu()) for key, mine in self.rows[token].items())
            if same:
                return self.rows[token]
            raise WeightsError(f"word {token}: expected each word once, got two that differ; leave one out.")
        self._require_fit(token, rows, layers=layers)
        names = _names(token, count=len(rows["clip_l"]))
        made: dict[str, nn.Parameter] = {}
        for key, (tokenizer, encoder) in ENCODERS.items():
            reader = getattr(self._parts, tokenizer)
            first = len(reader)
            reader.add_tokens(names)
            if reader.convert_tokens_to_ids(names) != list(range(first, first + len(names))):
                wanted = f"word {token}: expected tokens that the model does not have, got one of {', '.join(names)}"
                raise WeightsError(f"{wanted}; choose another token, say <{token.strip('<>')}-1>.")
            made[key] = nn.Parameter(rows[key].detach().float().to(self._parts.device, copy=True), requires_grad=False)
            self._parts.stored.always(encoder, partial(_install, rows=made[key], first=first))
        self.rows[token], self.layers[token] = made, layers
        return made

    def _require_fit(self, token: str, rows: Mapping[str, Tensor], *, layers: int) -> None:
        for key, (_, encoder) in ENCODERS.items():
            width = self._parts.stored.get(encoder).config.hidden_size
            shape = tuple(rows[key].shape) if key in rows else None
            if shape is None or len(shape) != 2 or shape[1] != width or shape[0] != len(rows["clip_l"]):
                raise WeightsError(
                    f"word {token}: expected {key} of n rows of {width}, got {shape}; it is of another model."
                )
            if shape[0] % layers:
                wanted = f"word {token}: expected as many rows of {key} for each of {layers} layers"
                raise WeightsError(f"{wanted}, got {shape[0]} in all; save it again.")

    def rows_of(self, word: str) -> dict[str, Float[Tensor, "1 D"]]:
        """The rows of a word that each tokenizer has as one token. Raises: ConfigError for one that it cuts up."""
        found: dict[str, Tensor] = {}
        for key, (tokenizer, encoder) in ENCODERS.items():
            ids = getattr(self._parts, tokenizer)(word, add_special_tokens=False).input_ids
            if len(ids) != 1:
                wanted = f"word {word!r}: expected one token of {tokenizer}, got {len(ids)}"
                raise ConfigError(f"{wanted}; name a common word.")
            table = self._parts.stored.get(encoder).get_input_embeddings()
            found[key] = table.weight.detach()[ids].clone()
        return found

    def spelt(self, prompt: str, *, layer: int = 0) -> str:
        """The prompt with all tokens of each word in the place of its first. Source: diffusers' TextualInversion.

        In capitals it is the same word, as for the tokenizers. Of a layered word those of `layer`, whose number is the
        same for all layers.
        """
        for token, rows in self.rows.items():
            names, layers = _names(token, count=len(rows["clip_l"])), self.layers[token]
            share = len(names) // layers
            own = " ".join(names[layer * share : (layer + 1) * share] if layers > 1 else names)
            prompt = re.sub(re.escape(token) + r"(?!_\d)", lambda _, own=own: own, prompt, flags=re.IGNORECASE)
        return prompt

    def layers_in(self, prompts: Iterable[str]) -> int:
        """How many layers read the prompts each in their own way; 1 without a layered word."""
        told = [prompt.lower() for prompt in prompts]
        said = [layers for token, layers in self.layers.items() if any(token.lower() in prompt for prompt in told)]
        return max(said, default=1)


def _names(token: str, *, count: int) -> list[str]:
    return [token, *(f"{token}_{number}" for number in range(1, count))]


def _install(encoder: Any, *, rows: nn.Parameter, first: int) -> None:  # Any: a CLIPTextModel, with projection or not
    encoder.set_input_embeddings(WithWords(encoder.get_input_embeddings(), rows, first=first))
