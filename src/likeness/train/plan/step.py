"""What one step of pairs costs, counted by running the step itself on tensors without values.

The passes are those of the run (reference policy, policy, loss, backward). A network of equal blocks is run with a few
of each kind and the rest is added: every further block costs the same. FocusDPO is counted as DPO: its maps and scores
are small beside the passes.

Shapes: B pairs, C latent channels, h x w latent grid, L target tokens, R references.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, NamedTuple  # Any: a condition of whichever backbone

import torch
from PIL import Image
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from likeness.backbones.base import Backbone
from likeness.backbones.lora import add_adapter
from likeness.objectives import objective_of
from likeness.objectives.base import Objective
from likeness.train.pairs.cache import CachedPair
from likeness.train.pairs.step import collect_batch, compute_step
from likeness.train.plan.ledger import Ledger, without_values
from likeness.train.task import Draw
from likeness.train.trainable.lora import LoraAdapter

KEPT_BLOCKS = 2
"""Blocks of each kind that are run; one more of each tells what a further one costs."""
FROZEN = "uno"


class PairShape(NamedTuple):
    """(width, height) in px of the pictures as they are trained on, and of the references as they are given."""

    size: tuple[int, int]
    references: tuple[tuple[int, int], ...]

    def images(self) -> list[Image.Image]:
        """Empty pictures of the references' sizes."""
        return [Image.new("RGB", size) for size in self.references]


class StepCost(NamedTuple):
    """Of one micro-batch: bytes that the policy's pass leaves for the backward pass, the most bytes alive at once
    (gradients of the adapter not counted), floating-point operations."""

    saved: int
    peak: int
    flops: int


@dataclass(frozen=True)
class StepSettings:
    """What decides the cost of a step. `frozen_rank`: rank of a frozen adapter on the layers of ours, 0 for none."""

    objective: Objective
    rank: int
    frozen_rank: int
    precision: torch.dtype
    batch_size: int
    gradient_checkpointing: bool


def cached_pair(backbone: Backbone[Any], shape: PairShape) -> CachedPair:
    """A pair as it is kept encoded, of empty tensors."""
    row = backbone.blank(shape.size, shape.images())
    latents = row.pop("latents")
    px, num = backbone.facts.px_per_token, len(shape.references)
    num_tokens = (shape.size[0] // px) * (shape.size[1] // px)
    fitted = [image.size for image in backbone.fit_references(shape.images())]
    each = backbone.facts.tokens_per_reference
    lengths = [(w // px) * (h // px) if each is None else each for w, h in fitted]
    weights = torch.zeros(num_tokens)
    return CachedPair(
        preferred=latents,
        rejected=latents.clone(),
        condition=row,
        reference_masks=tuple(torch.ones(length, dtype=torch.bool) for length in lengths),
        subject_shares=torch.ones(num, num_tokens),
        disrupted=torch.ones(num, dtype=torch.bool),
        complexity=weights,
        patch_preferred=weights,
        patch_rejected=weights,
    )


def pair_bytes(backbone: Backbone[Any], shape: PairShape) -> int:
    """Bytes of a pair in the cache, when it shares nothing with others."""
    pair = cached_pair(backbone, shape)
    own = [pair.preferred, pair.rejected, pair.subject_shares, pair.disrupted, pair.complexity, *pair.reference_masks]
    return sum(tensor.nbytes for tensor in [*own, *pair.condition.values()])


def step_cost(sketch: Callable[[], Backbone[Any]], shape: PairShape, settings: StepSettings) -> StepCost:
    """The cost of a micro-batch on the network that `sketch` makes anew at each call, without weights."""
    lengths = {name: len(blocks) for name, blocks in _equal_blocks(sketch().network).items()}
    few = {name: min(length, KEPT_BLOCKS) for name, length in lengths.items()}
    base = _run(sketch(), shape, settings, depths=few)
    saved, flops, above = base.saved, base.flops, base.peak - base.saved
    for name, length in lengths.items():
        if length > few[name]:
            deeper = _run(sketch(), shape, settings, depths={**few, name: few[name] + 1})
            saved += (length - few[name]) * (deeper.saved - base.saved)
            flops += (length - few[name]) * (deeper.flops - base.flops)
            above = max(above, deeper.peak - deeper.saved)
    return StepCost(saved, saved + above, flops)


def _equal_blocks(network: nn.Module) -> dict[str, nn.ModuleList]:
    """The network's lists of blocks that differ in nothing but their numbers."""
    lists = {name: child for name, child in network.named_children() if isinstance(child, nn.ModuleList)}
    return {name: blocks for name, blocks in lists.items() if len({_form(block) for block in blocks}) == 1}


def _form(block: nn.Module) -> tuple[Any, ...]:
    return (type(block), *((name, tuple(parameter.shape)) for name, parameter in block.named_parameters()))


def _run(backbone: Backbone[Any], shape: PairShape, settings: StepSettings, *, depths: dict[str, int]) -> StepCost:
    """One forward and backward pass with so many blocks of each kind."""
    network: Any = backbone.network
    for name, depth in depths.items():
        setattr(network, name, getattr(network, name)[:depth])
    trainable = _with_adapters(backbone, settings)
    if settings.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    objective = settings.objective if settings.objective.weights != "focus" else _as_dpo()
    fake = FakeTensorMode(allow_non_fake_inputs=True)  # tables of a scheduler have values
    with fake:
        without_values(network)
    pair = cached_pair(backbone, shape)
    draws = [Draw(torch.empty_like(pair.preferred), 0.5)] * settings.batch_size
    batch = _of_shape(collect_batch([pair] * settings.batch_size, draws, backbone=backbone, guidance=1.0), fake)
    with fake:
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        ledger = Ledger(_owned(network))
        for parameter in trained:
            parameter.register_post_accumulate_grad_hook(ledger.give_up_gradient)
        with ledger:
            step, _ = compute_step(
                backbone, batch, objective=objective, trainable=trainable, precision=settings.precision
            )
            saved = ledger.live
            step.loss.backward()
    return StepCost(saved, ledger.peak, ledger.flops)


# Any: batches and conditions of whichever backbone
def _of_shape(value: Any, fake: FakeTensorMode) -> Any:
    """The same tuples and dataclasses with tensors that have no values."""
    if isinstance(value, Tensor):
        return fake.from_tensor(value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: _of_shape(getattr(value, field.name), fake) for field in fields(value)})
    if isinstance(value, tuple):
        parts = [_of_shape(part, fake) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _owned(network: nn.Module) -> Sequence[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _with_adapters(backbone: Backbone[Any], settings: StepSettings) -> LoraAdapter:
    """The network carries the frozen adapter in its own precision, and ours."""
    if settings.frozen_rank:
        rank = settings.frozen_rank
        add_adapter(backbone.network, facts=backbone.facts, rank=rank, alpha=float(rank), name=FROZEN)
        for name, parameter in backbone.network.named_parameters():
            if f".{FROZEN}." in name:
                parameter.data = parameter.data.to(settings.precision)
    return LoraAdapter(backbone, rank=settings.rank, alpha=float(settings.rank), init_seed=0)


def _as_dpo() -> Objective:
    return objective_of("dpo").model_validate({"kind": "dpo", "beta": 1.0})


def encoding_peak(backbone: Backbone[Any], shape: PairShape) -> int:
    """The most bytes alive while the autoencoder encodes the largest picture of a pair in fp32, without its weights."""
    fitted = [image.size for image in backbone.fit_references(shape.images())]
    width, height = max([shape.size, *fitted], key=lambda size: size[0] * size[1])
    backbone.encode_exactly()
    autoencoder = backbone.encoders().get("vae")
    if autoencoder is None:
        return 0
    with FakeTensorMode():
        without_values(autoencoder)
        ledger = Ledger(_owned(autoencoder))
        with ledger:
            backbone.encode(torch.empty(1, 3, height, width))
    return ledger.peak
