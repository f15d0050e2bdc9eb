"""Tokenizers of the tiny FLUX: stock CLIP and T5 classes whose vocabulary is the words of a corpus.

Every corpus word is one token; any other word falls back to bytes (CLIP) or single characters (T5).
"""

from __future__ import annotations

import re
import string
import struct
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import CLIPTokenizer, T5Tokenizer

_START, _END = "<|startoftext|>", "<|endoftext|>"
_WORD_SCORE, _SPACE_SCORE, _CHARACTER_SCORE = -1.0, -5.0, -10.0  # one word beats any split, characters come last


def corpus_words(corpus: Iterable[str]) -> list[str]:
    """The distinct lower-case words of the corpus, sorted; digits are single symbols, so they are not words."""
    return sorted({word for text in corpus for word in re.findall(r"[^\W\d_]+", text.lower())})


def lowercase_charsmap() -> bytes:
    """A SentencePiece character map that turns A-Z into a-z and leaves everything else.

    Stock T5 tokenizers rebuild their normaliser on loading and keep nothing of it but this map; a
    `normalizers.Lowercase` would be lost. Format: size of a double-array trie, the trie (darts-clone units), then
    null-terminated replacements. Every key is one byte: root -> 256 + byte -> leaf at 512 + byte.
    """
    units = [0] * 1024
    units[0] = 256 << 10
    for index, letter in enumerate(string.ascii_uppercase.encode()):
        units[256 + letter] = (768 << 10) | (1 << 8) | letter  # (256 + c) ^ 768 = 512 + c for c < 256
        units[512 + letter] = (1 << 31) | (2 * index)
    trie = struct.pack("<1024I", *units)
    return struct.pack("<I", len(trie)) + trie + b"".join(c.encode() + b"\0" for c in string.ascii_lowercase)


def t5_tokenizer(corpus: Iterable[str], *, max_length: int) -> T5Tokenizer:
    """A T5 tokenizer with <pad>=0, </s>=1, <unk>=2, lower-casing, and each corpus word one piece, spaced or not.

    Source: transformers 5.23 `T5Tokenizer` (Unigram after whitespace split and metaspace).
    """
    from transformers import T5Tokenizer

    texts = list(corpus)
    words = corpus_words(texts)
    symbols = set(string.printable.lower()) | {c for text in texts for c in text.lower()}
    characters = sorted(c for c in symbols if not c.isspace())
    pieces = dict.fromkeys(characters, _CHARACTER_SCORE) | {"▁": _SPACE_SCORE}
    for word in words:
        pieces |= {f"▁{word}": _WORD_SCORE, word: pieces.get(word, _WORD_SCORE)}
    vocab = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *pieces.items()]
    return T5Tokenizer(
        vocab=vocab, _spm_precompiled_charsmap=lowercase_charsmap(), extra_ids=0, model_max_length=max_length
    )


def _joined(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """The symbols with every occurrence of the pair, from the left, made one."""
    result: list[str] = []
    for symbol in symbols:
        if result and (result[-1], symbol) == pair:
            result[-1] += symbol
        else:
            result.append(symbol)
    return result


def _clip_merges(words: list[str]) -> list[tuple[str, str]]:
    """BPE merges that build every word; learnt to the end, so that replaying them cannot miss one.

    Differs: not `tokenizers.BpeTrainer`, which breaks ties in another order on each call (measured: 10 different
    lists in 30 calls); here the first pair of the alphabet wins.
    """
    from tokenizers import pre_tokenizers

    to_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    spelt = [list(to_bytes.pre_tokenize_str(word)[0][0]) for word in words]
    spelt = [[*symbols[:-1], symbols[-1] + "</w>"] for symbols in spelt]
    merges: list[tuple[str, str]] = []
    while counts := Counter(pair for symbols in spelt for pair in pairwise(symbols)):
        merges.append(min(counts, key=lambda pair: (-counts[pair], pair)))
        spelt = [_joined(symbols, merges[-1]) if len(symbols) > 1 else symbols for symbols in spelt]
    return merges


def clip_tokenizer(corpus: Iterable[str], *, max_length: int) -> CLIPTokenizer:
    """A CLIP tokenizer, byte-level and lower-case, in which each corpus word is one token and no text is unknown.

    All 256 bytes exist bare and as word ends: an unknown piece would become <|endoftext|>, where CLIP pools.
    """
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    merges = _clip_merges(corpus_words(corpus))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols = [*alphabet, *(f"{c}</w>" for c in alphabet), *(a + b for a, b in merges), _START, _END]
    vocab = {symbol: index for index, symbol in enumerate(dict.fromkeys(symbols))}
    pairs: Any = merges  # annotated as strings, needed as pairs
    return CLIPTokenizer(vocab=vocab, merges=pairs, model_max_length=max_length)
