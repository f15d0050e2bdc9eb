"""What is seen of the words, against diffusers' own attention scores on what entered each layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from likeness.backbones.base import ShowsText, TokenGrid
from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.backbones.sdxl.text_attention import columns_of, watching_text
from likeness.backbones.sdxl.watch import watched_blocks

PROMPT = "A cat is hugging a duck in the snow."
GRID = TokenGrid(6, 10)


def latents() -> Tensor:
    return torch.randn(1, 4, *GRID, generator=torch.Generator().manual_seed(0))


def words_of(sdxl: SdxlIpAdapter, words: str) -> list[str]:
    """The text of the chosen tokens."""
    tokenizer = sdxl.parts.tokenizer
    ids = tokenizer(PROMPT, padding="max_length", max_length=tokenizer.model_max_length, truncation=True).input_ids
    chosen = sdxl.word_columns(PROMPT, words)
    return [tokenizer.decode([token]).strip() for token, seen in zip(ids, chosen.tolist(), strict=True) if seen]


@pytest.mark.parametrize("words", ["hugging", "is hugging", "Hugging", "snow"])
def test_the_columns_are_the_tokens_of_the_words(sdxl: SdxlIpAdapter, words: str) -> None:
    assert "".join(words_of(sdxl, words)) == words.casefold().replace(" ", "")


def test_words_that_the_prompt_lacks_have_no_column(sdxl: SdxlIpAdapter) -> None:
    assert not sdxl.word_columns(PROMPT, "kissing").any()
    assert not sdxl.word_columns(PROMPT, "").any()


def test_places_that_overlap_count() -> None:
    offsets = [(0, 0), (0, 3), (4, 7), (7, 11), (11, 12), (0, 0)]
    assert columns_of(offsets, prompt="the hugging!", words="hugging").tolist() == [
        False,
        False,
        True,
        True,
        False,
        False,
    ]


def test_parts_of_a_word_are_not_the_word() -> None:
    offsets = [(0, 4), (5, 7), (8, 15)]
    assert columns_of(offsets, prompt="This is hugging", words="is").tolist() == [False, True, False]
    assert not columns_of(offsets, prompt="This is hugging", words="hug").any()


def test_maps_are_diffusers_scores_of_the_words_over_text_alone(sdxl: SdxlIpAdapter) -> None:
    condition, entered = sdxl.collate([sdxl.prepare(PROMPT)]), dict[str, tuple[Tensor, Tensor]]()
    hooks = []
    for name, block in watched_blocks(sdxl.network).items():

        def keep(_module: Any, args: Any, kwargs: Any, name: str = name) -> None:
            entered[name] = (args[0], kwargs["encoder_hidden_states"])

        hooks.append(block.attn2.register_forward_pre_hook(keep, with_kwargs=True))
    words = sdxl.word_columns(PROMPT, "is hugging")[None]
    with torch.no_grad(), sdxl.text_attention(words, grid=GRID) as seen:
        sdxl.predict(latents(), torch.tensor(0.5), condition)
    for hook in hooks:
        hook.remove()
    found = seen.maps()
    assert len(found) == len(entered) > 3
    for (name, (hidden, context)), one in zip(entered.items(), found, strict=True):
        attn = watched_blocks(sdxl.network)[name].attn2
        text = context[0] if isinstance(context, tuple) else context  # the adapter's own tokens stand behind it
        query, key = (attn.head_to_batch_dim(each) for each in (attn.to_q(hidden), attn.to_k(text)))
        scores = attn.get_attention_scores(query, key)
        expected = scores[:, :, words[0]].mean(dim=(0, 2))
        torch.testing.assert_close(one.flatten(1)[0], expected, rtol=0, atol=1e-6)


def test_absent_words_are_zero_everywhere_and_large_layers_left_out(sdxl: SdxlIpAdapter) -> None:
    condition, none = sdxl.collate([sdxl.prepare(PROMPT)]), torch.zeros(1, sdxl.parts.text_tokens, dtype=torch.bool)
    with torch.no_grad(), sdxl.text_attention(none, grid=GRID) as seen:
        sdxl.predict(latents(), torch.tensor(0.5), condition)
    assert all(one.abs().sum() == 0 for one in seen.maps())
    blocks = watched_blocks(sdxl.network)
    with torch.no_grad(), watching_text(blocks, none, grid=GRID, max_queries=6) as small:
        sdxl.predict(latents(), torch.tensor(0.5), condition)
    assert 0 < len(small.maps()) < len(seen.maps())
    assert {tuple(one.shape) for one in small.maps()} == {(1, 2, 3)}


def test_maps_carry_the_gradient_and_the_hooks_go(sdxl: SdxlIpAdapter) -> None:
    assert isinstance(sdxl, ShowsText)
    condition = sdxl.collate([sdxl.prepare(PROMPT)])
    x = latents().requires_grad_()
    with sdxl.text_attention(sdxl.word_columns(PROMPT, "hugging")[None], grid=GRID) as seen:
        sdxl.predict(x, torch.tensor(0.5), condition)
    sum(one.sum() for one in seen.maps()).backward()  # pyright: ignore[reportAttributeAccessIssue] there are maps
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    before = len(seen.seen)
    with torch.no_grad():
        sdxl.predict(latents(), torch.tensor(0.5), condition)
    assert len(seen.seen) == before
    assert not any(block.attn2.to_q._forward_hooks for block in watched_blocks(sdxl.network).values())
