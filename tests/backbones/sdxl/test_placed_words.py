"""Words in prompts: with ordinary embeddings in their place all is the stock pipeline's, the pooled end included."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.backbones.sdxl.placed_words import placed_ids, read_placed, with_place
from likeness.core.errors import DataError


def embeddings(sdxl: SdxlIpAdapter, words: str) -> list[Tensor]:
    """(1, K, E) of ordinary words, one for each text encoder."""
    parts, found = sdxl.parts, list[Tensor]()
    for tokenizer, encoder in (
        (parts.tokenizer, parts.text_encoder),
        (parts.tokenizer_2, parts.text_encoder_2),
    ):
        ids = tokenizer(words, add_special_tokens=False, return_tensors="pt").input_ids
        found.append(encoder.get_input_embeddings()(ids).detach())
    return found


@torch.no_grad()
def stock_text(pipeline: Any, prompt: str) -> tuple[Tensor, Tensor]:
    embeds, _, pooled, _ = pipeline.encode_prompt(prompt, device="cpu", do_classifier_free_guidance=False)
    return embeds, pooled


@pytest.mark.parametrize("words", ["cat", "a red fox waves on"])
@pytest.mark.parametrize(
    "prompt", ["A {} is hugging a duck.", "{} hugs a cat", "a cat, {}", "{} and a {}, in the snow"]
)
def test_ordinary_words_give_the_numbers_of_the_stock_pipeline(
    sdxl: SdxlIpAdapter, plain: Any, prompt: str, words: str
) -> None:
    own = embeddings(sdxl, words)
    found = read_placed(sdxl.parts, [prompt.replace("{}", "S*")], own)
    embeds, pooled = stock_text(plain, prompt.replace("{}", words))
    torch.testing.assert_close(found.embeds, embeds, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.pooled, pooled, rtol=0, atol=1e-5)
    other, _ = stock_text(plain, prompt.replace("{}", "snow"))
    assert (found.embeds - other).abs().max() > 1e-2


def test_prompts_of_a_batch_answer_as_each_alone(sdxl: SdxlIpAdapter) -> None:
    prompts = ["a S* in the snow", "S*", "a cat hugs a dog"]
    own = [torch.cat([words, 2 * words, 3 * words]) for words in embeddings(sdxl, "red fox")]
    both = read_placed(sdxl.parts, prompts, own)
    for row, prompt in enumerate(prompts):
        alone = read_placed(sdxl.parts, [prompt], [words[[row]] for words in own])
        torch.testing.assert_close(both.embeds[[row]], alone.embeds, rtol=0, atol=1e-5)
        torch.testing.assert_close(both.pooled[[row]], alone.pooled, rtol=0, atol=1e-5)


def test_the_pooled_text_has_a_gradient_to_every_word_and_a_hook_does_not_stay(sdxl: SdxlIpAdapter) -> None:
    own = [words.requires_grad_() for words in embeddings(sdxl, "a red fox")]
    read_placed(sdxl.parts, ["a S* in the snow"], own).pooled.sum().backward()
    assert own[0].grad is None  # the first encoder has no pooled text
    assert own[1].grad is not None
    assert (own[1].grad.abs().sum(dim=2) > 0).all()
    before = sdxl.embed_text(["a cat"]).embeds
    assert torch.equal(sdxl.embed_text(["a cat"]).embeds, before)
    assert not any(encoder.get_input_embeddings()._forward_hooks for encoder in (sdxl.parts.text_encoder,))


def test_elites_end_is_where_the_prompt_would_end_with_one_token(sdxl: SdxlIpAdapter) -> None:
    own, prompt = embeddings(sdxl, "a red fox"), "a S* in the snow"
    right, wrong = (read_placed(sdxl.parts, [prompt], own, legacy=legacy) for legacy in (False, True))
    assert torch.equal(right.embeds, wrong.embeds)
    assert (right.pooled - wrong.pooled).abs().max() > 1e-3
    encoder, length = sdxl.parts.text_encoder_2, len(sdxl.parts.tokenizer_2("a fox in the snow").input_ids)
    ids = sdxl.parts.tokenizer_2("a a red fox in the snow", padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        state = encoder(ids).last_hidden_state[:, length - 1]
        expected = encoder.text_projection(state)
    torch.testing.assert_close(wrong.pooled, expected, rtol=0, atol=1e-5)
    one = [words[:, :1] for words in own]
    single = [read_placed(sdxl.parts, [prompt], one, legacy=legacy).pooled for legacy in (False, True)]
    torch.testing.assert_close(single[0], single[1], rtol=0, atol=1e-6)


def test_a_long_prompt_is_cut_as_the_tokenizer_cuts_it(sdxl: SdxlIpAdapter, plain: Any) -> None:
    prompt = "a {} hugs " + "a dog in the snow and " * 8
    found = read_placed(sdxl.parts, [prompt.replace("{}", "S*")], embeddings(sdxl, "cat"))
    embeds, pooled = stock_text(plain, prompt.replace("{}", "cat"))
    torch.testing.assert_close(found.embeds, embeds, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.pooled, pooled, rtol=0, atol=1e-5)
    tokenizer: Any = sdxl.parts.tokenizer
    fits, cut = "S*" + " cat" * 21, "S*" + " cat" * 22
    assert [len(tokenizer(each.replace("S*", "cat")).input_ids) for each in (fits, cut)] == [24, 25]
    assert [placed_ids(tokenizer, each, count=1).is_cut for each in (fits, cut)] == [False, True]
    with pytest.raises(DataError, match=r"expected every S\* within the 24 tokens"):
        placed_ids(sdxl.parts.tokenizer, "a dog in the snow and " * 8 + "S*", count=1)


@pytest.mark.parametrize(
    ("prompt", "placed"),
    [
        ("a photo of a S* person", "a photo of a S* person"),
        ("{} skiing", "a S* person skiing"),
        ("A person and a person in the snow", "A S* person and a person in the snow"),
        ("Person, personal", "S* person, personal"),
    ],
)
def test_the_place_of_the_words_is_found(prompt: str, placed: str) -> None:
    assert with_place(prompt) == placed


def test_a_prompt_without_a_place_is_refused() -> None:
    with pytest.raises(DataError, match=r"expected S\*, \{\} or the word person, got 'a cat'"):
        with_place("a cat")
