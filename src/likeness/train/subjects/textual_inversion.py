"""Textual inversion: a new word for one subject, and nothing else of the model changes.

Source: Gal et al. (arXiv:2208.01618): equation 2, templates of its appendix, learning rate 0.005 (scaled by batch and
GPUs to 0.04), 5,000 steps of 4 photos. For SDXL the word has rows in both text encoders, as in diffusers' script.
Differs: photos are not flipped.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Literal

import torch
from pydantic import Field

from likeness.core.rng import seed_for
from likeness.core.spec import Spec
from likeness.train.config import BaseTable, TrainConfig
from likeness.train.subjects.photos import LearntSubject, PhotoTable
from likeness.train.subjects.task import SubjectObjective, SubjectTask, require_one
from likeness.train.subjects.words import Sdxl, words_alone
from likeness.train.trainable.weights import TunedWeights

TEMPLATES = (
    *("a photo of a {}", "a rendering of a {}", "a cropped photo of the {}", "the photo of a {}"),
    *("a photo of a clean {}", "a photo of a dirty {}", "a dark photo of the {}", "a photo of my {}"),
    *("a photo of the cool {}", "a close-up photo of a {}", "a bright photo of the {}", "a cropped photo of a {}"),
    *("a photo of the {}", "a good photo of the {}", "a photo of one {}", "a close-up photo of the {}"),
    *("a rendition of the {}", "a photo of the clean {}", "a rendition of a {}", "a photo of a nice {}"),
    *("a good photo of a {}", "a photo of the nice {}", "a photo of the small {}", "a photo of the weird {}"),
    *("a photo of the large {}", "a photo of a cool {}", "a photo of a small {}"),
)
"""The paper's neutral texts, from those of CLIP for ImageNet."""


class WordTable(BaseTable):
    """`num_vectors`: rows of the word. `initial_word`: the known word that all of them begin as, else the class's."""

    num_vectors: int = Field(default=1, ge=1, le=32)
    initial_word: str | None = Field(default=None, min_length=1)


class TemplateObjective(SubjectObjective):
    """`templates`: texts in which {} is the word, one drawn for each photo of a step; none: the paper's 27."""

    templates: list[str] = Field(default_factory=list[str])


class TextualInversion(TemplateObjective):
    """As a `TemplateObjective`."""

    kind: Literal["textual_inversion"] = "textual_inversion"


class WordTask(SubjectTask):
    """One subject, called by a word in drawn templates."""

    data: ClassVar[type[Spec]] = PhotoTable

    def __init__(self, config: TrainConfig, *, model: Path, precision: torch.dtype) -> None:
        super().__init__(config, model=model, precision=precision)
        require_one(self.subjects)
        assert isinstance(config.objective, TemplateObjective), "the table was checked"
        self._templates = tuple(config.objective.templates) or TEMPLATES

    def prompt(self, subject: LearntSubject, *, seed: int) -> str:
        """One of the templates with the word."""
        return self._templates[seed_for("template", seed) % len(self._templates)].format(subject.token)


class TextualInversionTask(WordTask):
    """One subject."""

    model: ClassVar[type[BaseTable]] = WordTable
    objectives: ClassVar[Mapping[str, Callable[[], type[Spec]]]] = {"textual_inversion": lambda: TextualInversion}
    label: ClassVar[str] = "Textual inversion"

    def make_trainable(self, network: Sdxl, /) -> TunedWeights:
        """The rows of the word. Raises: ConfigError, WeightsError."""
        table, (subject,) = self.config.model, self.subjects
        assert isinstance(table, WordTable), "the table was checked"
        if self.config.train.gradient_checkpointing:
            network.network.enable_gradient_checkpointing()
        initial = table.initial_word or subject.class_word
        return words_alone(network, [subject.token], initial_words=[initial], num_vectors=table.num_vectors)
