"""Learnt words as what a run trains: a token for each subject, beginning as a known word, or in part as noise."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any  # Any: either SDXL; JSON

import torch

from likeness.backbones.sdxl.concept import save_words
from likeness.backbones.sdxl.words import ENCODERS
from likeness.core.rng import seed_for
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


def new_layered_word(
    backbone: Sdxl, token: str, *, initial_word: str, layers: int, seed: int
) -> dict[str, torch.nn.Parameter]:
    """The rows of a word of two vectors for each layer, as "token/encoder": noise, then that of the initial word.

    All layers begin alike; the noise is as large as the encoder's own embeddings.
    Source: Mix-of-Show (arXiv:2305.18292), 3.2: V_rand and V_class; its settings: deviation 0.013, that of CLIP's.
    Raises: ConfigError for an initial word of several tokens, WeightsError for a token that the model has already.
    """
    known, rows = backbone.words.rows_of(initial_word), dict[str, torch.Tensor]()
    for key, (_, encoder) in ENCODERS.items():
        table = backbone.parts.stored.get(encoder).get_input_embeddings().weight
        draw = torch.Generator().manual_seed(seed_for(seed, "word", key) % 2**63)
        noise = torch.randn(known[key].shape, generator=draw).to(known[key]) * table.detach().float().std()
        rows[key] = torch.cat([noise, known[key]]).repeat(layers, 1)
    return {f"{token}/{key}": each for key, each in backbone.learn_word(token, rows, layers=layers).items()}
