"""Which rows of the tables of both text encoders a relation's word is steered to, and which away from.

Words are read one by one, without padding: tokenizer_2 of the published SDXL pads with "!", an ordinary token, which
must stand neither here nor there.
"""

import random
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast  # Any: stock tokenizers

import torch
from jaxtyping import Float, Int
from torch import Tensor

from likeness.backbones.sdxl.words import ENCODERS
from likeness.core.errors import ConfigError
from likeness.core.rng import seed_for
from likeness.objectives.steering import steering_loss
from likeness.train.reversion.lexicon import PREPOSITIONS, STOP_WORDS
from likeness.train.subjects.words import Sdxl

Ids = dict[str, list[int]]
"""Token ids by the keys of ENCODERS."""


class Steered(NamedTuple):
    """Ids of the prepositions and of the entity words of a batch, by the keys of ENCODERS."""

    prepositions: Mapping[str, Int[Tensor, " P"]]
    entities: Mapping[str, Int[Tensor, " N"]]


def entity_words(text: str) -> list[str]:
    """The words of a text, in lower case, that may name a thing: no stop words, prepositions, numbers or signs."""
    words = re.findall(r"[^\W\d_]+", text.lower())
    return [word for word in words if word not in STOP_WORDS and word not in PREPOSITIONS]


class Lexicon:
    """The prepositions that both tokenizers have as one token; a word that is cut up would steer by its letters.

    Raises: ConfigError for fewer than `at_least`.
    """

    def __init__(self, tokenizers: Mapping[str, Any], *, at_least: int) -> None:
        self._tokenizers = tokenizers
        self.prepositions = tuple(
            word for word in PREPOSITIONS if all(len(ids) == 1 for ids in self._ids([word]).values())
        )
        if len(self.prepositions) < at_least:
            wanted = (
                f"objective.num_prepositions: expected at most the {len(self.prepositions)} that the model has as one"
            )
            raise ConfigError(f"{wanted} token, got {at_least}; lower it, or set objective.steering_weight to 0.")

    @classmethod
    def of(cls, backbone: Sdxl, *, at_least: int) -> "Lexicon":
        """By the tokenizers of an SDXL."""
        parts = {key: getattr(backbone.parts, tokenizer) for key, (tokenizer, _) in ENCODERS.items()}
        return cls(parts, at_least=at_least)

    def _ids(self, words: Iterable[str]) -> Ids:
        return {
            key: [number for word in words for number in tokenizer(word, add_special_tokens=False).input_ids]
            for key, tokenizer in self._tokenizers.items()
        }

    def steered(self, texts: Sequence[str], *, seeds: Sequence[int], count: int, device: torch.device) -> Steered:
        """`count` prepositions for each seed, and the entity words of all texts, in which SLOT is no word."""
        drawn = [
            word
            for seed in seeds
            for word in random.Random(seed_for("prepositions", seed)).sample(self.prepositions, count)
        ]
        entities = [word for text in texts for word in entity_words(text)]
        return Steered(*(self._tensors(words, device=device) for words in (drawn, entities)))

    def _tensors(self, words: Sequence[str], *, device: torch.device) -> dict[str, Tensor]:
        return {key: torch.tensor(ids, dtype=torch.long, device=device) for key, ids in self._ids(words).items()}


def steering(backbone: Sdxl, token: str, steered: Steered, *, temperature: float) -> Float[Tensor, ""]:
    """The `steering_loss` of the word in the table of each text encoder, and of those the mean.

    Differs: ReVersion has one text encoder.
    """
    losses: list[Tensor] = []
    for key, (_, encoder) in ENCODERS.items():
        table = cast(Tensor, backbone.parts.stored.get(encoder).get_input_embeddings().weight)
        (row,) = backbone.words.rows[token][key]
        rows: Any = {name: table[getattr(steered, name)[key]] for name in Steered._fields}
        losses.append(steering_loss(row, temperature=temperature, **rows))
    return torch.stack(losses).mean()
