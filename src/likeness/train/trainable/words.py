"""Mappers that make words of pictures, and a LoRA on the attention of the U-Net, as what a run changes."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any  # a condition of whichever backbone; JSON

import torch

from likeness.backbones.base import Backbone
from likeness.backbones.lora import adapter_parameters, add_adapter, layers_off, save_adapter, tuned_layers
from likeness.backbones.sdxl.picture_words import InversionFacts, PictureWords
from likeness.core.rng import seed_for

NAME = "stellarnet"
TARGETS = r".*attn[12]\.(to_[qkv]|to_out\.0)"
"""Attention with the picture itself and with the text: 560 layers of SDXL; adapters for references stay as they are."""


class WordsAndLora:
    """Fresh mappers, and a LoRA that changes nothing yet.

    `rate_shares`: learning rates of parameters as shares of the run's, by name: `mapper_share` and `lora_share`.
    """

    def __init__(
        self,
        backbone: Backbone[Any],
        facts: InversionFacts,
        *,
        rank: int,
        alpha: float,
        seed: int,
        mapper_share: float,
        lora_share: float,
    ) -> None:
        self._network, self._facts = backbone.network, replace(backbone.facts, adapter_targets=TARGETS)
        seeds = {name: seed_for(seed, name) for name in ("adapter", "words")}
        tuned: Any = {"rank": rank, "alpha": alpha, "name": NAME, "init_seed": seeds["adapter"]}
        add_adapter(self._network, facts=self._facts, **tuned)
        self._layers = tuned_layers(self._network)
        self.words = PictureWords.fresh(facts, init_seed=seeds["words"]).to(backbone.device)
        lora = adapter_parameters(self._network, NAME)
        mappers = {f"words.{name}": parameter for name, parameter in self.words.named_parameters()}
        self.named: list[tuple[str, torch.nn.Parameter]] = [*mappers.items(), *lora.items()]
        self.rate_shares = dict.fromkeys(mappers, mapper_share) | dict.fromkeys(lora, lora_share)

    def off(self) -> AbstractContextManager[None]:
        """Within it the U-Net answers as if there were no LoRA; words are part of what it is told."""
        return layers_off(self._layers, NAME)

    def save(self, folder: Path, *, metadata: Mapping[str, Any]) -> None:
        """`folder` holds the mappers and the LoRA; see backbones/sdxl/picture_words.py. Raises: OutputError."""
        folder.mkdir(parents=True, exist_ok=True)
        self.words.save(folder, metadata=metadata)
        save_adapter(self._network, folder, facts=self._facts, name=NAME, metadata=metadata)
