"""ED-LoRA: a word with embeddings for each layer, and a LoRA on text encoders and U-Net, for one subject.

Several subjects learnt so, each alone, are put together afterwards by `likeness loras fuse` (backbones/sdxl/fusion.py).
Source: Mix-of-Show (Gu et al., arXiv:2305.18292), 3.2, and its public settings: V_rand V_class, learning rates 1e-3 of
embeddings, 1e-5 of the text encoder and 1e-4 of the U-Net, rank 4 on the attention of both, 1,000 steps of 4 photos.
Differs: SDXL has two text encoders, in which a word has rows and which both get a LoRA; what a layer is stands in
backbones/sdxl/layered_text.py. Photos are called by textual inversion's templates instead of captions; no noise offset.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal  # Any: JSON

import torch
from pydantic import Field

from likeness.backbones.lora import adapter_parameters, add_adapter, save_adapters
from likeness.backbones.sdxl.concept import save_words
from likeness.backbones.sdxl.layered_text import text_layers
from likeness.backbones.sdxl.text_lora import text_targets
from likeness.backbones.sdxl.words import ENCODERS
from likeness.core.rng import seed_for
from likeness.core.spec import Spec
from likeness.train.config import BaseTable
from likeness.train.subjects.dreambooth import TARGETS
from likeness.train.subjects.textual_inversion import TemplateObjective, WordTask
from likeness.train.subjects.words import Sdxl, new_layered_word
from likeness.train.trainable.weights import TunedWeights

NAME = "ed_lora"


class EdLoraTable(BaseTable):
    """`initial_word`: the known word that the second vector begins as, else the class's. `rank`, `alpha`: of the LoRAs.

    `text_rate`, `unet_rate`: learning rates of the LoRAs as shares of the run's, which is that of the word.
    """

    initial_word: str | None = Field(default=None, min_length=1)
    rank: int = Field(default=4, ge=1, le=4096)
    alpha: float = Field(default=4.0, gt=0)
    text_rate: float = Field(default=0.01, gt=0)
    unet_rate: float = Field(default=0.1, gt=0)


class EdLora(TemplateObjective):
    """As a `TemplateObjective`."""

    kind: Literal["ed_lora"] = "ed_lora"


class EdLoraTask(WordTask):
    """One subject."""

    model: ClassVar[type[BaseTable]] = EdLoraTable
    objectives: ClassVar[Mapping[str, Callable[[], type[Spec]]]] = {"ed_lora": lambda: EdLora}
    label: ClassVar[str] = "ED-LoRA"

    def make_trainable(self, network: Sdxl, /) -> TunedWeights:
        """LoRAs that change nothing yet, then the rows of the word. Raises: ConfigError, WeightsError."""
        table, (subject,), seed = self.config.model, self.subjects, self.config.train.seed
        assert isinstance(table, EdLoraTable), "the table was checked"
        if self.config.train.gradient_checkpointing:
            network.network.enable_gradient_checkpointing()
        layers, initial = len(text_layers(network.network)), table.initial_word or subject.class_word
        rows = new_layered_word(network, subject.token, initial_word=initial, layers=layers, seed=seed)
        encoders = {name: network.parts.stored.get(name) for _, name in ENCODERS.values()}
        networks = {"unet": network.network, **encoders}
        shares, found = dict.fromkeys(rows, 1.0), dict[str, torch.nn.Parameter](rows)
        for prefix, part in networks.items():
            targets = TARGETS if prefix == "unet" else text_targets(part, part=prefix)
            facts = replace(network.facts, adapter_targets=targets)
            tuned: dict[str, Any] = {"rank": table.rank, "alpha": table.alpha, "name": NAME}
            add_adapter(part, facts=facts, init_seed=seed_for(seed, "adapter", prefix), **tuned)
            own = {f"{prefix}.{name}": each for name, each in adapter_parameters(part, NAME).items()}
            found |= own
            shares |= dict.fromkeys(own, table.unet_rate if prefix == "unet" else table.text_rate)

        def save(folder: Path, /, *, metadata: Mapping[str, Any]) -> None:
            save_words(folder, network.words.rows, metadata=metadata, layers=network.words.layers)
            save_adapters(networks, folder, name=NAME, metadata=metadata)

        return TunedWeights(found, save=save, rate_shares=shares)
