"""A sentence encoder without weights: a text is the sum of random vectors of its words."""

import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from jaxtyping import Float


class WordSums:
    """Sums of random vectors of the words, of unit length; counts the texts that it was asked for."""

    def __init__(self, width: int = 12) -> None:
        self.id, self.width, self.num_read = f"sums of {width}", width, 0

    def read(self, texts: Sequence[str]) -> Float[np.ndarray, "N D"]:
        self.num_read += len(texts)
        rows = np.stack([sum((self._word(word) for word in text.split()), np.zeros(self.width)) for text in texts])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    def _word(self, word: str) -> Float[np.ndarray, " D"]:
        return np.random.default_rng(zlib.crc32(word.encode())).normal(size=self.width)


@pytest.fixture
def sums() -> WordSums:
    return WordSums()
