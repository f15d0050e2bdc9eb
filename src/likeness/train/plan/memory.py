"""Where the memory of a run goes, and which settings make it fit a card."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import nn

from likeness.backbones.fitting import block_layers
from likeness.train.optimizer import state_bytes
from likeness.train.plan.step import StepCost

GIB = 2**30
BYTES_PER_WEIGHT = {"nf4": 0.5 + 1 / 64 + 4 / (64 * 256), "int8": 1.0, "fp8": 1.0}
"""Of linear layers in the blocks of a quantised base. NF4: 4 bits, a byte of scale for each 64, a float for each 256 of
those (QLoRA, arXiv:2305.14314). The other two: one scale a row, which is not counted."""


class Card(NamedTuple):
    """A size of memory in GiB, a common card of it, and dense bf16 TFLOP/s that its maker states."""

    gib: int
    name: str
    tflops: float


CARDS = (
    Card(16, "RTX 4080", 97.5),
    Card(24, "RTX 4090", 165.2),
    Card(48, "L40S", 362.0),
    Card(80, "H100 SXM", 989.4),
)
SMALLER_SIDES = (768, 512, 384)
"""Sides in px that are proposed, the largest first."""
UTILISATION = 0.4
"""Share of the stated rate that is assumed; 0.3 to 0.5 are usual for transformers of this size."""
CONTEXT, KEPT_FREE = 0.5 * GIB, 0.04
"""CUDA's own memory, and the share of a card that fragmentation takes: assumed, not measured."""


def usable(card: Card) -> int:
    """Bytes of the card that a run may plan with."""
    return int(card.gib * GIB * (1 - KEPT_FREE) - CONTEXT)


@dataclass(frozen=True)
class Choice:
    """The settings on which memory depends; `changed` says what differs from the config, as `--set` takes it."""

    batch_size: int
    accumulation: int
    gradient_checkpointing: bool
    optimizer: str
    quantise: str = "none"
    merge_lora: bool = False
    size: int | None = None
    changed: dict[str, str] = field(default_factory=dict[str, str])

    def arguments(self) -> str:
        """The changes for the command line."""
        return " ".join(f"--set {key}={value}" for key, value in self.changed.items())


class Counts(NamedTuple):
    """Numbers of parameters: the base, its linear layers in blocks, the frozen adapter, each trained matrix."""

    base: int
    in_blocks: int
    largest_layer: int
    frozen: int
    trained: tuple[int, ...]


def count_base(network: nn.Module) -> tuple[int, int, int]:
    """Parameters of the network, of the linear layers within its numbered blocks, and of the largest of those."""
    linear = [layer.weight.numel() for _, layer in block_layers(network)]
    return sum(parameter.numel() for parameter in network.parameters()), sum(linear), max(linear, default=0)


def training_memory(
    counts: Counts, cost: StepCost, choice: Choice, *, precision: torch.dtype, averages: int
) -> dict[str, int]:
    """Bytes by component while steps are made; `averages` of the trained adapter are kept."""
    width, trained = precision.itemsize, sum(counts.trained)
    quantised = choice.quantise != "none"
    per_weight = BYTES_PER_WEIGHT.get(choice.quantise, float(width))
    return {
        "base weights": int((counts.base - counts.in_blocks) * width + counts.in_blocks * per_weight),
        "frozen adapter": 0 if choice.merge_lora else counts.frozen * width,
        "trained adapter": 4 * trained,
        "gradients": 4 * trained,
        "optimizer states": state_bytes(choice.optimizer, counts.trained),
        "averages": 4 * trained * averages,
        "saved activations": cost.saved,
        "work space": cost.peak - cost.saved + (counts.largest_layer * width if quantised else 0),
    }


def caching_memory(encoders: Mapping[str, nn.Module], *, work_space: int, precision: torch.dtype) -> dict[str, int]:
    """Bytes by component while pairs are encoded, before the base is read: the autoencoder computes in fp32."""
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in encoders.items()}
    found = {name: count * (4 if name == "vae" else precision.itemsize) for name, count in counts.items()}
    return {**found, "work space": work_space}


def changes_in_order(given: Choice, *, has_frozen_adapter: bool, size: int) -> list[dict[str, str]]:
    """Settings that save memory and are not in force yet, those that cost least first."""
    found: list[dict[str, str]] = []
    if not given.gradient_checkpointing:
        found.append({"train.gradient_checkpointing": "true"})
    if given.optimizer == "adamw":
        found.append({"train.optimizer": "adamw_8bit"})
    if given.batch_size > 1:
        found.append({"train.batch_size": "1", "train.accumulation": str(given.accumulation * given.batch_size)})
    if given.quantise == "none":
        found += [{"model.quantise": "int8"}, {"model.quantise": "nf4"}]
    if has_frozen_adapter and not given.merge_lora:
        found.append({"model.merge_lora": "true"})
    return found + [{"data.size": str(side)} for side in SMALLER_SIDES if side < size]


def changed(given: Choice, changes: Sequence[dict[str, str]]) -> Choice:
    """The settings after the changes; a later one replaces an earlier one of the same key."""
    said = {key: value for change in changes for key, value in change.items()}
    quantise = said.get("model.quantise", given.quantise)
    return Choice(
        batch_size=int(said.get("train.batch_size", given.batch_size)),
        accumulation=int(said.get("train.accumulation", given.accumulation)),
        gradient_checkpointing=given.gradient_checkpointing or "train.gradient_checkpointing" in said,
        optimizer=said.get("train.optimizer", given.optimizer),
        quantise=quantise,
        merge_lora=given.merge_lora or "model.merge_lora" in said,
        size=int(said["data.size"]) if "data.size" in said else given.size,
        changed=said,
    )


def what_fits(
    room: int, given: Choice, changes: Sequence[dict[str, str]], *, needs: Callable[[Choice], int]
) -> Choice | None:
    """The settings with the fewest changes, taken in order, that need at most `room` bytes; None when none do.

    A change that turned out to be needless is taken back.
    """
    taken: list[dict[str, str]] = []
    for change in [{}, *changes]:
        taken.append(change)
        if needs(changed(given, taken)) <= room:
            break
    else:
        return None
    for change in list(taken):
        fewer = [other for other in taken if other is not change]
        if needs(changed(given, fewer)) <= room:
            taken = fewer
    return changed(given, taken)
