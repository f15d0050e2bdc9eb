"""The tiny folder opens with stock classes and reads every corpus word whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline
from safetensors.torch import load_file
from transformers import AutoTokenizer, CLIPTextModel

from likeness.pretrain.tiny_flux import build_tiny_flux
from likeness.pretrain.tiny_tokenizers import clip_tokenizer, corpus_words

CORPUS = [
    "A cat is hugging a duck in the forest.",
    "Two dogs play high-five, near the sea",
    "A red fox with blue spots is waving on the beach.",
]


@pytest.fixture(scope="module")
def corpus() -> list[str]:
    """The sentences whose words the tiny model knows."""
    return CORPUS


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny FLUX with two double and three single blocks."""
    numbers = {"transformer": {"num_single_layers": 3}, "likeness": {"reference_size_multi": 64}}
    return build_tiny_flux(tmp_path_factory.mktemp("tiny") / "flux", corpus=CORPUS, config=numbers)


def test_words_are_lower_case_and_distinct() -> None:
    assert corpus_words(["A cat, a CAT.", "high-five 9"]) == ["a", "cat", "five", "high"]


@pytest.mark.parametrize("name", ["tokenizer", "tokenizer_2"])
def test_each_corpus_word_is_one_token(tiny_folder: Path, corpus: list[str], name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder / name)
    split = [word for word in corpus_words(corpus) if len(tokenizer.tokenize(word)) != 1]
    assert split == []


def test_t5_reads_sentences_without_junk(tiny_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder / "tokenizer_2")
    pieces = ["▁a", "▁cat", "▁is", "▁hugging", "▁a", "▁duck", "▁in", "▁the", "▁forest", "."]
    assert tokenizer.tokenize("A cat is hugging a duck in the forest.") == pieces
    assert tokenizer.tokenize("A CAT is Hugging a duck in THE forest.") == pieces
    assert tokenizer.tokenize("high-five,") == ["▁high", "-", "five", ","]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer("A cat").input_ids[-1] == 1


def test_t5_spells_unknown_words(tiny_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder / "tokenizer_2")
    assert "".join(tokenizer.tokenize("zebra")) == "▁zebra"
    assert tokenizer.unk_token_id not in tokenizer("zebra 42!?").input_ids


def test_clip_never_meets_an_unknown_piece(tiny_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder / "tokenizer")
    ids = tokenizer("zebra Ünïcode 漢 🦊 42 cat").input_ids
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert tokenizer.eos_token_id not in ids[1:-1]


def test_clip_pools_at_the_end_token(tiny_folder: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_folder / "tokenizer")
    model = CLIPTextModel.from_pretrained(tiny_folder / "text_encoder").eval()
    batch = tokenizer(["a cat"], padding="max_length", return_tensors="pt")
    assert batch.input_ids.shape == (1, model.config.max_position_embeddings)
    with torch.no_grad():
        out = model(batch.input_ids)
    assert torch.equal(out.pooler_output[0], out.last_hidden_state[0, 3])  # start, a, cat, end


def test_folder_is_a_stock_pipeline(tiny_folder: Path) -> None:
    pipeline = FluxPipeline.from_pretrained(tiny_folder)
    assert pipeline.vae_scale_factor == 8
    assert pipeline.tokenizer_max_length == 48
    assert list(pipeline.transformer.config.axes_dims_rope) == [8, 28, 28]


def test_same_arguments_give_the_same_weights_and_leave_the_global_state(tmp_path: Path, corpus: list[str]) -> None:
    small = {"transformer": {"num_layers": 1, "num_single_layers": 1}, "vae": {"block_out_channels": (8, 8, 8, 8)}}
    state = torch.random.get_rng_state()
    first = build_tiny_flux(tmp_path / "a", corpus=corpus, config=small)
    assert torch.equal(torch.random.get_rng_state(), state)
    torch.manual_seed(1)
    second = build_tiny_flux(tmp_path / "b", corpus=corpus, config=small)
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    different = [name for name in names if (first / name).read_bytes() != (second / name).read_bytes()]
    assert different == []


def test_seed_changes_the_weights(tmp_path: Path, corpus: list[str]) -> None:
    small = {"transformer": {"num_layers": 1, "num_single_layers": 1}, "vae": {"block_out_channels": (8, 8, 8, 8)}}
    folders = [build_tiny_flux(tmp_path / str(seed), corpus=corpus, config=small, seed=seed) for seed in (0, 1)]
    first, second = (load_file(folder / "transformer/diffusion_pytorch_model.safetensors") for folder in folders)
    assert not torch.equal(first["x_embedder.weight"], second["x_embedder.weight"])


def test_merges_build_words_that_share_letters() -> None:
    words = ["banana", "ban", "nab", "an", "a", "aaaa", "aaa", "anna", "cat", "cats", "scat", "até"]
    tokenizer = clip_tokenizer(words, max_length=16)
    assert [len(tokenizer.tokenize(word)) for word in words] == [1] * len(words)
