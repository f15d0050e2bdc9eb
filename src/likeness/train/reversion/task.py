"""Relation inversion: a word for a relation, from pictures of it, and nothing else of the model changes.

Source: ReVersion (arXiv:2303.13495) and its public code (design note dreamrelation.md, 6): the word begins as "and";
3,000 steps of 2 x 4 pictures at 2e-3; steering weight 0.01, temperature 0.07, 4 prepositions a picture; noisy steps are
drawn more often (`draw_focal_time`).
Differs: for SDXL the word has a row in each text encoder, and the steering losses of both are averaged.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, cast  # Any: identities are JSON

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from likeness.core.errors import ConfigError, DataError
from likeness.core.records import Case
from likeness.core.rng import seed_for
from likeness.core.spec import Spec
from likeness.train.config import BaseTable, TrainConfig
from likeness.train.reversion.exemplars import SLOT, Exemplar, ExemplarTable, facts, find_exemplars
from likeness.train.reversion.steering import Lexicon, Steered, entity_words, steering
from likeness.train.subjects.task import Noised, noise_errors, open_sdxl, picture_latents, require_no_samples
from likeness.train.subjects.words import Sdxl, words_alone
from likeness.train.task import Draw, Progress, Step, Trainable
from likeness.train.trainable.weights import TunedWeights


class RelationWordTable(BaseTable):
    """`initial_word`: the known word, one token, that the relation's begins as."""

    initial_word: str = Field(default="and", min_length=1)


class Reversion(Spec):
    """`steering_weight` of the steering loss (0: none) with its `temperature`, and `num_prepositions` a picture."""

    kind: Literal["reversion"] = "reversion"
    steering_weight: float = Field(default=0.01, ge=0)
    temperature: float = Field(default=0.07, gt=0)
    num_prepositions: int = Field(default=4, ge=1)


class ReversionBatch(NamedTuple):
    """Exemplars with noise, times and prompts; `steered` is None without a steering loss."""

    exemplars: Noised
    steered: Steered | None


class ReversionTask:
    """One relation."""

    model: ClassVar[type[BaseTable]] = RelationWordTable
    data: ClassVar[type[Spec]] = ExemplarTable
    objectives: ClassVar[Mapping[str, Callable[[], type[Spec]]]] = {"reversion": lambda: Reversion}
    noun: ClassVar[str] = "exemplars"
    time_laws: ClassVar[tuple[str, ...]] = ("relation_focal", "uniform")
    added: ClassVar[Sequence[str]] = ()
    by_t: ClassVar[Sequence[str]] = ()
    columns: Sequence[str] = ("loss", "error", "steering", "t")
    reference_decay: float | None = None
    product: str = "lora"

    def __init__(self, config: TrainConfig, *, model: Path, precision: torch.dtype) -> None:
        self.config, self.precision = config, precision
        self.table, self.objective = cast(ExemplarTable, config.data), cast(Reversion, config.objective)
        require_no_samples(config)
        self.exemplars: tuple[Exemplar, ...] = find_exemplars(self.table)
        _require_new(self.table.token, self.exemplars)
        if self.objective.steering_weight:
            _require_entities(self.exemplars)
        self._latents: list[Float[Tensor, "C h w"]] = []
        self._lexicon: Lexicon | None = None

    @classmethod
    def find(cls, config: TrainConfig, *, model: Path, precision: torch.dtype) -> "ReversionTask":
        """The exemplars of a config. Raises: ConfigError, DataError."""
        return cls(config, model=model, precision=precision)

    # rows ------------------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.exemplars)

    def identity(self) -> dict[str, Any]:
        """The exemplars by their pixels and texts, and what pages say of the method."""
        told = {"label": "ReVersion", "compares": False, "loss": "noise error, and the word's place among prepositions"}
        return {"data": {**facts(self.table, self.exemplars), "num_exemplars": len(self)}, "objective": told}

    def open_network(self, folder: Path, *, device: str, precision: torch.dtype) -> Sdxl:
        """The frozen SDXL of the folder. Raises: ConfigError for another model, or a size that it cannot draw."""
        return open_sdxl(folder, size=self.table.size, device=device, precision=precision)

    def make_trainable(self, network: Sdxl, /) -> TunedWeights:
        """The word's row in each text encoder. Raises: ConfigError, WeightsError."""
        if self.config.train.gradient_checkpointing:
            network.network.enable_gradient_checkpointing()
        word = cast(RelationWordTable, self.config.model).initial_word
        return words_alone(network, [self.table.token], initial_words=[word], num_vectors=1)

    def prepare(self, backbone: Sdxl, *, is_main: bool, wait: Callable[[], None], progress: Progress) -> None:
        """Every process encodes all pictures.

        Raises: ConfigError for too few prepositions, DataError for texts that are not read to their end.
        """
        if self.objective.steering_weight:
            self._lexicon = Lexicon.of(backbone, at_least=self.objective.num_prepositions)
        initial = cast(RelationWordTable, self.config.model).initial_word
        for exemplar in self.exemplars:
            for text in exemplar.texts:
                if backbone.prompt_is_truncated(text.replace(SLOT, initial)):
                    wanted = f"{exemplar.id}: expected texts that both text encoders read to their end"
                    raise DataError(f"{wanted}, got {text!r}; shorten it.")
            self._latents.append(picture_latents(backbone, exemplar.image))

    def cases(self, limit: int) -> Sequence[Case]:
        """The first exemplars' texts with the word, without a reference."""
        seed = self.config.train.seed
        return [
            Case(
                id=f"relation-{number}",
                prompt=self._prompt(exemplar.texts[0]),
                seed=seed_for(seed, "samples", number),
            )
            for number, exemplar in enumerate(self.exemplars[:limit])
        ]

    @property
    def shapes(self) -> Sequence[tuple[tuple[int, ...], ...]]:
        """Of the latents, which agree."""
        return [(tuple(latents.shape),) for latents in self._latents]

    def _prompt(self, text: str) -> str:
        return text.replace(SLOT, self.table.token)

    # a step ----------------------------------------------------------------------------------------------------------

    def batch(self, rows: Sequence[int], draws: Sequence[Draw], *, backbone: Sdxl) -> ReversionBatch:
        """The exemplars with noise and times, one of their texts each, and what the word is steered by."""
        chosen, device = [self.exemplars[row] for row in rows], backbone.device
        texts = [
            exemplar.texts[seed_for("template", draw.seed) % len(exemplar.texts)]
            for exemplar, draw in zip(chosen, draws, strict=True)
        ]
        exemplars = Noised(
            torch.stack([self._latents[row] for row in rows]).to(device),
            torch.stack([draw.eps for draw in draws]).to(device),
            torch.tensor([draw.t for draw in draws], device=device),
            tuple(self._prompt(text) for text in texts),
        )
        if self._lexicon is None:
            return ReversionBatch(exemplars, None)
        seeds, count = [draw.seed for draw in draws], self.objective.num_prepositions
        return ReversionBatch(exemplars, self._lexicon.steered(texts, seeds=seeds, count=count, device=device))

    def step(self, batch: ReversionBatch, *, backbone: Sdxl, trainable: Trainable) -> Step:
        """The noise error of the exemplars, plus steering_weight x the steering loss, which is one for the batch."""
        error = noise_errors(batch.exemplars, backbone=backbone, precision=self.precision)
        loss, logged = error, {"error": error.detach(), "t": batch.exemplars.t}
        if batch.steered is not None:
            wanted = self.objective
            steered = steering(backbone, self.table.token, batch.steered, temperature=wanted.temperature)
            loss = error + wanted.steering_weight * steered
            logged["steering"] = steered.detach().expand_as(error)
        return Step(loss.mean(), {"loss": loss.detach(), **logged})

    def show(self, folder: Path, *, step: int, backbone: Sdxl) -> None:
        """Nothing: the numbers of the log and the pictures say what there is."""


def _require_new(token: str, exemplars: Sequence[Exemplar]) -> None:
    """Raises: ConfigError for a token that a text holds already, where it would be the relation as well."""
    for exemplar in exemplars:
        for text in exemplar.texts:
            if token.lower() in text.lower():
                wanted = f"data.token: expected a word that no text holds, got {token!r}, which {exemplar.id} has"
                raise ConfigError(f"{wanted} in {text!r}; choose another.")


def _require_entities(exemplars: Sequence[Exemplar]) -> None:
    """Raises: DataError for a text that names nothing which the word could be steered away from."""
    for exemplar in exemplars:
        for text in exemplar.texts:
            if not entity_words(text):
                wanted = f"{exemplar.id}: expected texts that name what is related"
                raise DataError(f"{wanted}, got {text!r}; name it, or set objective.steering_weight to 0.")
