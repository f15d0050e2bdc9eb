"""A LoRA as what a run changes: the base stays frozen, and without the adapter it is the reference policy."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any  # a condition of whichever backbone; JSON

from likeness.backbones.base import Backbone
from likeness.backbones.lora import adapter_parameters, add_adapter, layers_off, save_adapter, tuned_layers

ADAPTER = "focus"
"""Name of the trained adapter."""


class LoraAdapter:
    """A new adapter of a backbone's network, drawn from `init_seed`, that does not change its output yet.

    `targets` matches in full the names of its layers; None for those among the backbone's facts.
    """

    def __init__(
        self, backbone: Backbone[Any], *, rank: int, alpha: float, init_seed: int, targets: str | None = None
    ) -> None:
        facts = backbone.facts
        self._network, self._facts = backbone.network, replace(facts, adapter_targets=targets or facts.adapter_targets)
        add_adapter(self._network, facts=self._facts, rank=rank, alpha=alpha, name=ADAPTER, init_seed=init_seed)
        self._layers = tuned_layers(self._network)
        self.named = list(adapter_parameters(self._network, ADAPTER).items())

    def off(self) -> AbstractContextManager[None]:
        """Within it the network answers as if the adapter were not there."""
        return layers_off(self._layers, ADAPTER)

    def save(self, folder: Path, *, metadata: Mapping[str, Any]) -> None:
        """`folder` holds the adapter in diffusers' layout. Raises: OutputError."""
        save_adapter(self._network, folder, facts=self._facts, name=ADAPTER, metadata=metadata)
