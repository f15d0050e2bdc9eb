"""`likeness train RUN.toml --plan`: what the run will take on cards of 16, 24, 48 and 80 GB, from configs alone."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, cast  # Any: JSON values, a condition of whichever backbone

import torch
from PIL import Image
from safetensors import safe_open

from likeness.backbones.base import Backbone
from likeness.backbones.lora import layer_shapes
from likeness.backbones.open import backbone_class
from likeness.core.devices import pick_device
from likeness.core.errors import ConfigError
from likeness.core.images import fit_reference
from likeness.core.pairs import PAIRS_NAME, PreferencePair, read_pairs
from likeness.core.weights import resolve_adapter, resolve_processing
from likeness.objectives.base import Objective
from likeness.train.config import TrainConfig, read_train_config
from likeness.train.pairs.task import DataTable
from likeness.train.plan import memory
from likeness.train.plan.memory import CARDS, Choice, Counts, caching_memory, training_memory
from likeness.train.plan.step import PairShape, StepCost, StepSettings, encoding_peak, pair_bytes, step_cost

ASSUMED_REFERENCES = 2
"""Square references that a pair is taken to have when the pair set is not there yet."""
ASSUMED_PAIRS = 10_000
PUBLISHED_RANKS = {"bytedance-research/UNO": 512}
"""Ranks of adapters that need not be downloaded for a plan. Source: note section 1.5."""


class _Pairs(NamedTuple):
    """The largest pair of the set, how many there are, and whether the set was there to be read."""

    shape: PairShape
    number: int
    found: bool


@dataclass(frozen=True, eq=False)
class Planner:
    """Everything found; numbers are counted when asked for, each once."""

    config: TrainConfig
    folder: Path
    precision: torch.dtype
    frozen_rank: int
    pairs: _Pairs
    token_px: int

    def sketch(self) -> Backbone[Any]:
        """A new backbone without weights."""
        return backbone_class(self.folder).sketch(self.folder, dtype=self.precision)

    def given(self) -> Choice:
        """The settings of the config."""
        table, model = self.config.train, self.config.generator
        return Choice(
            batch_size=table.batch_size,
            accumulation=table.accumulation,
            gradient_checkpointing=table.gradient_checkpointing,
            optimizer=table.optimizer,
            quantise=model.quantise,
            merge_lora=model.merge_lora,
        )

    def shape(self, choice: Choice) -> PairShape:
        """The pair at the side that the choice says."""
        shape = self.pairs.shape
        if choice.size is None:
            return shape
        return shape._replace(size=_fitted(shape.size, side=choice.size, multiple=self.token_px))

    def cost(self, choice: Choice) -> StepCost:
        """Of one micro-batch."""
        frozen = 0 if choice.merge_lora else self.frozen_rank
        return _cost(self, choice.batch_size, choice.gradient_checkpointing, frozen, self.shape(choice))

    def counts(self) -> Counts:
        """Numbers of parameters."""
        return _counts(self)

    def training(self, choice: Choice) -> dict[str, int]:
        """Bytes by component while steps are made."""
        parts: Any = {"precision": self.precision, "averages": self.averages}
        return training_memory(self.counts(), self.cost(choice), choice, **parts)

    @property
    def averages(self) -> int:
        """How many averages of the trained adapter are kept: train.ema's, and that of a reference policy that moves."""
        moving = cast(Objective, self.config.objective).moving_reference
        return (self.config.train.ema is not None) + (moving is not None)

    def caching(self, choice: Choice) -> dict[str, int]:
        """Bytes by component while pairs are encoded."""
        return _caching(self, self.shape(choice))

    def needs(self, choice: Choice) -> int:
        """The most bytes that the run takes at once."""
        return max(sum(self.training(choice).values()), sum(self.caching(choice).values()))


@lru_cache(maxsize=64)
def _cost(
    planner: Planner, batch_size: int, gradient_checkpointing: bool, frozen_rank: int, shape: PairShape
) -> StepCost:
    settings = StepSettings(
        objective=cast(Objective, planner.config.objective),
        rank=planner.config.generator.rank,
        frozen_rank=frozen_rank,
        precision=planner.precision,
        batch_size=batch_size,
        gradient_checkpointing=gradient_checkpointing,
    )
    return step_cost(planner.sketch, shape, settings)


@lru_cache(maxsize=8)
def _counts(planner: Planner) -> Counts:
    backbone = planner.sketch()
    base, in_blocks, largest = memory.count_base(backbone.network)
    layers = layer_shapes(backbone.network)
    tuned = [shape for name, shape in layers.items() if re.fullmatch(backbone.facts.adapter_targets, name)]
    rank = planner.config.generator.rank
    return Counts(
        base,
        in_blocks,
        largest,
        frozen=planner.frozen_rank * sum(out + into for out, into in tuned),
        trained=tuple(rank * side for shape in tuned for side in shape),
    )


@lru_cache(maxsize=8)
def _caching(planner: Planner, shape: PairShape) -> dict[str, int]:
    work = encoding_peak(planner.sketch(), shape)
    return caching_memory(planner.sketch().encoders(), work_space=work, precision=planner.precision)


# what there is -------------------------------------------------------------------------------------------------------


def find(config_path: Path | str, *, changes: Sequence[str] = ()) -> Planner:
    """What a plan needs of a config. Raises: ConfigError, DataError, WeightsError."""
    config = read_train_config(Path(config_path), changes=changes)
    if config.task != "pairs":
        raise ConfigError(f"--plan: expected a config whose task is pairs, got {config.task}; it knows no other yet.")
    folder = resolve_processing(config.model.base)
    precision = torch.float32 if config.train.precision == "fp32" else torch.bfloat16
    rank = 0 if config.frozen_lora is None else _rank_of(config.frozen_lora)
    opened = backbone_class(folder)
    sketch = opened.sketch(folder, dtype=precision)
    pairs = _pairs(cast(DataTable, config.data), backbone=sketch)
    return Planner(config, folder, precision, rank, pairs, sketch.facts.px_per_token)


def _rank_of(spec: str) -> int:
    """The rank of an adapter from the header of its file. Raises: WeightsError, ConfigError."""
    if spec in PUBLISHED_RANKS:
        return PUBLISHED_RANKS[spec]
    place = resolve_adapter(spec)
    paths = [place] if place.is_file() else sorted(place.glob("*.safetensors"))
    ranks: list[int] = []
    for path in paths:
        with safe_open(path, framework="pt") as file:
            sizes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 - not a dict
            ranks += [min(size) for size in sizes if len(size) == 2]
    if not ranks:
        raise ConfigError(f"model.lora: expected a LoRA with matrices, got none in {place}; name another.")
    return max(ranks)


def _pairs(table: DataTable, *, backbone: Backbone[Any]) -> _Pairs:
    """The largest pair of the set; without the set one with square references of the size that the model reads."""
    place = Path(table.pairs).expanduser()
    if not (place / PAIRS_NAME).is_file() and not place.is_file():
        side = table.size or cast(Any, backbone).settings.size
        size = _fitted((side, side), side=side, multiple=backbone.facts.px_per_token)
        assumed = PairShape(size, ((side, side),) * ASSUMED_REFERENCES)
        fitted = tuple(image.size for image in backbone.fit_references(assumed.images()))
        return _Pairs(PairShape(size, fitted), table.limit or ASSUMED_PAIRS, found=False)
    pairs = [pair for pair in read_pairs(place).pairs if pair.split == table.split][: table.limit]
    if not pairs:
        raise ConfigError(f"data.split: expected pairs of {table.split} in {place}, got none; choose another.")
    shapes = {_shape(pair, side=table.size, backbone=backbone) for pair in pairs}
    largest = max(sorted(shapes), key=_pixels)
    return _Pairs(largest, len(pairs), found=True)


def _shape(pair: PreferencePair, *, side: int | None, backbone: Backbone[Any]) -> PairShape:
    size = pair.size if side is None else _fitted(pair.size, side=side, multiple=backbone.facts.px_per_token)
    references = backbone.fit_references([Image.new("RGB", _size_of(each.image)) for each in pair.references])
    return PairShape(size, tuple(image.size for image in references))


@lru_cache(maxsize=100_000)
def _size_of(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def _fitted(size: tuple[int, int], *, side: int, multiple: int) -> tuple[int, int]:
    return fit_reference(Image.new("1", size), long_side=side, multiple=multiple).size


def _pixels(shape: PairShape) -> int:
    """Of the picture and its references together: what the number of tokens goes by."""
    return sum(width * height for width, height in (shape.size, *shape.references))


# the plan ------------------------------------------------------------------------------------------------------------


def plan(config_path: Path | str, *, changes: Sequence[str] = (), device: str = "auto") -> dict[str, Any]:
    """Parameters, memory by component, step time, disk, and what fits which card; numbers are bytes and seconds.

    No weights are read, and of a hub id only configs are downloaded. Raises: ConfigError, DataError, WeightsError.
    """
    planner = find(config_path, changes=changes)
    given, counts = planner.given(), planner.counts()
    by_checkpointing = {on: planner.cost(_with(given, on)) for on in (False, True)}
    rate = machine_rate(pick_device(device), precision=planner.precision)
    flops = planner.cost(given).flops * given.accumulation
    encoders = planner.sketch().encoders()
    return {
        "model": {"id": planner.config.model.base, "precision": str(planner.precision).removeprefix("torch.")},
        "pair": {**planner.pairs.shape._asdict(), "num_pairs": planner.pairs.number, "found": planner.pairs.found},
        "parameters": {
            "base": counts.base,
            "frozen adapter": counts.frozen,
            "trained adapter": sum(counts.trained),
            **{name: sum(p.numel() for p in part.parameters()) for name, part in encoders.items()},
        },
        "memory": {"training": planner.training(given), "caching": planner.caching(given)},
        "saved_activations": {"plain": by_checkpointing[False].saved, "checkpointed": by_checkpointing[True].saved},
        "step": {"flops": flops, "machine_flops_per_second": rate, "machine_seconds": flops / rate},
        "disk": _disk(planner, given),
        "cards": [_card(card, planner, given) for card in CARDS],
    }


def _with(given: Choice, gradient_checkpointing: bool) -> Choice:
    return replace(given, gradient_checkpointing=gradient_checkpointing)


def _disk(planner: Planner, given: Choice) -> dict[str, int]:
    """Bytes of the cache, of the saved state and of the adapter; a state is beside the old one while it is written."""
    counts = planner.counts()
    adapter = 4 * sum(counts.trained)
    state = adapter * (1 + planner.averages) + memory.state_bytes(given.optimizer, counts.trained)
    cache = planner.pairs.number * pair_bytes(planner.sketch(), planner.pairs.shape)
    return {"cache": cache, "state": 2 * state, "adapter": adapter}


def _card(card: memory.Card, planner: Planner, given: Choice) -> dict[str, Any]:
    room = memory.usable(card)
    changes = memory.changes_in_order(
        given, has_frozen_adapter=planner.frozen_rank > 0, size=max(planner.pairs.shape.size)
    )
    choice = memory.what_fits(room, given, changes, needs=planner.needs)
    shown = given if choice is None else choice
    flops = planner.cost(shown).flops * shown.accumulation
    return {
        **{"gib": card.gib, "name": card.name, "usable": room, "fits": planner.needs(given) <= room},
        "settings": None if choice is None else choice.arguments(),
        "needs": None if choice is None else planner.needs(choice),
        "seconds": None if choice is None else flops / (card.tflops * 1e12 * memory.UTILISATION),
    }


def machine_rate(device: str, *, precision: torch.dtype) -> float:
    """Floating-point operations per second of products of matrices on this device, the best of three."""
    side = 1024 if device == "cpu" else 8192
    a = torch.ones(side, side, device=device, dtype=precision)
    times: list[float] = []
    for _ in range(3):
        began = time.perf_counter()
        float((a @ a)[0, 0])  # waits for the device
        times.append(time.perf_counter() - began)
    return 2 * side**3 / min(times)
