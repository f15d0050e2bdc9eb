"""Words that are no words of a vocabulary, put into a prompt for SDXL's two text encoders.

Each S* of a prompt becomes K tokens side by side, whose embeddings are replaced before positions are added; the prompt
ends K - 1 tokens later and the pooled text is read at that end. With embeddings of ordinary words in their place, all
numbers are those of diffusers' `StableDiffusionXLPipeline.encode_prompt`.
Differs: ELITE's code keeps one token and moves what follows to the right, but not the place of the end, which is read
for the pooled text: harmless for Stable Diffusion 1, which has none; `legacy` does so.

Shapes: B prompts, T tokens, K words of a branch, E their width.
"""

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple  # Any: stock tokenizers and text encoders

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from likeness.backbones.sdxl.condition import SdxlText
from likeness.core.errors import DataError

PLACE = "S*"
"""Stands for the words in a prompt."""
CLASS = "person"
_SLOT = "{}"


class PlacedIds(NamedTuple):
    """Token ids, which of the K words each is (-1: none), where the prompt would end with one token for each S*, and
    whether its end is cut off.
    """

    ids: Int[Tensor, " T"]
    which: Int[Tensor, " T"]
    short_end: int
    is_cut: bool


def with_place(prompt: str, *, noun: str = CLASS) -> str:
    """The prompt with its PLACE: as it is, or in the slot {} of Stellar's prompts, or before the first `noun`.

    Source: StellarNet, Fig. 11, "a photo of a S* person". Raises: DataError for a prompt with none of the three.
    """
    if PLACE in prompt:
        return prompt
    if _SLOT in prompt:
        return prompt.replace(_SLOT, f"a {PLACE} {noun}")
    wanted = rf"\b{re.escape(noun)}\b"
    placed, count = re.subn(wanted, lambda _: f"{PLACE} {noun}", prompt, count=1, flags=re.IGNORECASE)
    if not count:
        raise DataError(f"prompt: expected {PLACE}, {_SLOT} or the word {noun}, got {prompt!r}; say who is meant.")
    return placed


def placed_ids(tokenizer: Any, prompt: str, *, count: int) -> PlacedIds:
    """The prompt padded and cut as the tokenizer does it, `count` tokens for each PLACE.

    Raises: DataError where a PLACE lies beyond what is read.
    """
    length, special = tokenizer.model_max_length, set(tokenizer.all_special_ids)
    stand_in = next(number for number in range(len(tokenizer)) if number not in special)
    ids, which = [tokenizer.bos_token_id], [-1]
    parts = prompt.split(PLACE)
    for number, part in enumerate(parts):
        if number:
            ids, which = ids + [stand_in] * count, which + list(range(count))
        own = tokenizer(part, add_special_tokens=False, verbose=False).input_ids
        ids, which = ids + own, which + [-1] * len(own)
    if max((place for place, word in enumerate(which) if word >= 0), default=0) >= length - 1:
        wanted = f"prompt: expected every {PLACE} within the {length} tokens that are read"
        raise DataError(f"{wanted}, got {prompt!r}; shorten what stands before it.")
    short, is_cut = len(ids) - (len(parts) - 1) * (count - 1), len(ids) >= length
    ids, which = [*ids[: length - 1], tokenizer.eos_token_id], [*which[: length - 1], -1]
    padding = length - len(ids)
    ids, which = ids + [tokenizer.pad_token_id] * padding, which + [-1] * padding
    return PlacedIds(torch.tensor(ids), torch.tensor(which), min(short, length - 1), is_cut)


def place_columns(tokenizer: Any, prompts: Sequence[str], *, count: int) -> Bool[Tensor, "B T"]:
    """Which tokens of the prompts are words, with `count` of them for each PLACE."""
    return torch.stack([placed_ids(tokenizer, prompt, count=count).which >= 0 for prompt in prompts])


def read_placed(
    parts: Any, prompts: Sequence[str], words: Sequence[Float[Tensor, "B K _"]], *, legacy: bool = False
) -> SdxlText:
    """The prompts as the U-Net reads them, with the gradient of the words; `words` are those of each text encoder.

    `parts` are those of an SDXL folder (sdxl/folder.py). Raises: DataError as `placed_ids`.
    """
    coders = ((parts.tokenizer, parts.text_encoder), (parts.tokenizer_2, parts.text_encoder_2))
    hidden, pooled, second = list[Tensor](), torch.empty(0), parts.text_encoder_2
    for (tokenizer, encoder), own in zip(coders, words, strict=True):
        placed = [placed_ids(tokenizer, prompt, count=own.shape[1]) for prompt in prompts]
        ids, which = (
            torch.stack(rows).to(own.device) for rows in zip(*((p.ids, p.which) for p in placed), strict=True)
        )
        with _words_in(encoder, own, which=which):
            seen = encoder(ids, output_hidden_states=True)
        hidden.append(seen.hidden_states[-2])
        pooled = seen[0]  # of the second encoder, which has a projection
        if legacy and encoder is second:
            ends = torch.tensor([each.short_end for each in placed], device=own.device)
            pooled = second.text_projection(seen.last_hidden_state[torch.arange(len(ends), device=own.device), ends])
    return SdxlText(torch.cat(hidden, dim=-1), pooled)


@contextmanager
def _words_in(encoder: Any, words: Float[Tensor, "B K E"], *, which: Int[Tensor, "B T"]) -> Generator[None, None, None]:
    """Within it the tokens that are words have their embeddings."""

    def replace(_: Any, __: Any, embedded: Tensor) -> Tensor:
        places = which.clamp_min(0)[..., None].expand(-1, -1, words.shape[-1])
        return torch.where(which[..., None] >= 0, words.to(embedded).gather(1, places), embedded)

    handle = encoder.get_input_embeddings().register_forward_hook(replace)
    try:
        yield
    finally:
        handle.remove()
