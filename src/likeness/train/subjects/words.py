"""Learnt words as what a run trains: a token for each subject, beginning as a known word."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any  # Any: either SDXL; JSON

import torch

from likeness.backbones.sdxl.concept import save_words
from likeness.train.trainable.weights import TunedWeights

Sdxl = Any
"""Either backbone over SDXL: a `Backbone` that is an `SdxlBackbone`, two classes that no type says at once."""


def new_words(
    backbone: Sdxl, tokens: Sequence[str], *, initial_words: Sequence[str], num_vectors: int
) -> dict[str, torch.nn.Parameter]:
    """The rows of every token by "token/encoder"; all vectors of a word begin as that of its initial word.

    Raises: ConfigError for an initial word of several tokens, WeightsError for a token that the model has already.
    """
    found: dict[str, torch.nn.Parameter] = {}
    for token, initial in zip(tokens, initial_words, strict=True):
        rows = {key: row.repeat(num_vectors, 1) for key, row in backbone.words.rows_of(initial).items()}
        found |= {f"{token}/{key}": parameter for key, parameter in backbone.words.add(token, rows).items()}
    return found


def words_alone(
    backbone: Sdxl, tokens: Sequence[str], *, initial_words: Sequence[str], num_vectors: int
) -> TunedWeights:
    """`new_words` as all that a run trains; they are saved as `save_words` does it. Raises: as `new_words`."""
    rows = new_words(backbone, tokens, initial_words=initial_words, num_vectors=num_vectors)

    def save(folder: Path, /, *, metadata: Mapping[str, Any]) -> None:
        save_words(folder, backbone.words.rows, metadata=metadata)

    return TunedWeights(rows, save=save)
