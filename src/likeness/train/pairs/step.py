"""One micro-batch of a training step: noise, the passes of reference policy and policy, and the loss.

Source: note section 10.1; FocusDPO (arXiv:2509.01181) algorithm 1, Diffusion-DPO (arXiv:2311.12908) eq. 14.
The reference pass comes first and without gradients, so that turning the adapter off cannot disturb checkpointing.

Shapes: B pairs, C latent channels, h x w latent grid, L target tokens, R references.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any  # keyword arguments of several types

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likeness.backbones.flux.condition import FluxCondition, FluxText
from likeness.backbones.flux.uno import FluxUno
from likeness.backbones.lora import adapter_off
from likeness.core.errors import DataError
from likeness.focus import FieldCollector, FocusMaps, focus_maps, needs_scores
from likeness.objectives import OBJECTIVES
from likeness.objectives.dpo import dpo_loss
from likeness.objectives.focus_dpo import focus_dpo_loss
from likeness.objectives.pair import PairPredictions, PreferenceLoss, velocity_errors
from likeness.objectives.patch_dpo import PatchWeights, patch_dpo_loss
from likeness.objectives.sft import sft_loss
from likeness.train.config import FocusTable, ObjectiveTable
from likeness.train.draws import Draw
from likeness.train.pairs.cache import CachedPair

__all__ = ["ADAPTER", "Batch", "StepOutcome", "autocast", "collect_batch", "compute_step", "maps_of"]

ADAPTER = "focus"
"""Name of the trained adapter."""


@dataclass(frozen=True)
class Batch:
    """B pairs of one shape on the device of the backbone, with their noise `eps` and times `t`."""

    preferred: Float[Tensor, "B C h w"]
    rejected: Float[Tensor, "B C h w"]
    eps: Float[Tensor, "B C h w"]
    t: Float[Tensor, " B"]
    condition: FluxCondition
    reference_masks: tuple[Bool[Tensor, "B _"], ...]
    subject_masks: Bool[Tensor, "B R L"]
    disrupted: Bool[Tensor, "B R"]
    complexity: Float[Tensor, "B L"]
    patch_preferred: Float[Tensor, "B L"] | None = None
    patch_rejected: Float[Tensor, "B L"] | None = None

    @property
    def size(self) -> int:
        """B."""
        return len(self.t)


@dataclass(frozen=True)
class StepOutcome:
    """`loss` is the objective's, the mean over pairs, and `anchor` what `sft_anchor` adds to it; `total` is minimised.

    Everything else is for the log, one number per pair. `errors` are plain mean squared velocity errors, whatever
    weights the loss uses, so that objectives can be compared; those of passes that the objective does not need are
    absent. `inside` is the argument of the log-sigmoid.
    """

    loss: Float[Tensor, ""]
    errors: dict[str, Float[Tensor, " B"]]
    anchor: Float[Tensor, ""] | None = None
    inside: Float[Tensor, " B"] | None = None
    maps: FocusMaps | None = None

    @property
    def total(self) -> Float[Tensor, ""]:
        """What is minimised."""
        return self.loss if self.anchor is None else self.loss + self.anchor


def collect_batch(pairs: Sequence[CachedPair], draws: Sequence[Draw], *, backbone: FluxUno, guidance: float) -> Batch:
    """The pairs, which agree in shape, stacked on the backbone's device."""
    device = _device(backbone)

    def stacked(tensors: Sequence[Tensor]) -> Tensor:
        return torch.stack(list(tensors)).to(device)

    def optional(tensors: Sequence[Tensor | None]) -> Tensor | None:
        present = [tensor for tensor in tensors if tensor is not None]
        return stacked(present) if present else None

    text = FluxText(stacked([pair.embeds for pair in pairs]), stacked([pair.pooled for pair in pairs]))
    references = [stacked(slot) for slot in zip(*(pair.references for pair in pairs), strict=True)]
    masks = zip(*(pair.reference_masks for pair in pairs), strict=True)
    return Batch(
        preferred=stacked([pair.preferred for pair in pairs]),
        rejected=stacked([pair.rejected for pair in pairs]),
        eps=stacked([draw.eps for draw in draws]),
        t=torch.tensor([draw.t for draw in draws], device=device),
        condition=backbone.assemble(text, references, guidance=guidance),
        reference_masks=tuple(stacked(slot) for slot in masks),
        subject_masks=stacked([pair.subject_masks for pair in pairs]),
        disrupted=stacked([pair.disrupted for pair in pairs]),
        complexity=stacked([pair.complexity for pair in pairs]),
        patch_preferred=optional([pair.patch_preferred for pair in pairs]),
        patch_rejected=optional([pair.patch_rejected for pair in pairs]),
    )


def compute_step(
    backbone: FluxUno, batch: Batch, *, objective: ObjectiveTable, focus: FocusTable, precision: torch.dtype
) -> StepOutcome:
    """The loss of one micro-batch under the objective; `precision` bfloat16 runs the passes under autocast."""
    step = _Step(backbone, batch, objective=objective, focus=focus, precision=precision)
    facts = OBJECTIVES[objective.name]
    if facts.needs_ref_policy:
        return step.preference(is_focused=facts.focus == "focus")
    return step.patches() if facts.focus == "patch" else step.regression()


class _Step:
    def __init__(
        self, backbone: FluxUno, batch: Batch, *, objective: ObjectiveTable, focus: FocusTable, precision: torch.dtype
    ) -> None:
        self.backbone, self.batch, self.objective, self.focus = backbone, batch, objective, focus
        self.precision = precision

    def preference(self, *, is_focused: bool) -> StepOutcome:
        """DPO and FocusDPO: preferred rows first, then rejected ones, through the reference policy and the policy."""
        x_t, t, condition, target = self._rows()
        watch = _collector(self.batch, self.focus) if is_focused and needs_scores(self.focus.mode) else None
        by_policy = self.focus.source == "policy"
        with torch.no_grad(), adapter_off(self.backbone.network, ADAPTER):
            ref = self._predict(x_t, t, condition, watch=None if by_policy else watch)
        policy = self._predict(x_t, t, condition, watch=watch if by_policy else None)
        maps = _maps(self.batch, watch, self.focus) if is_focused else None
        predictions = PairPredictions(*policy.chunk(2), *ref.chunk(2), *target.chunk(2))
        found = self._loss(predictions, maps)
        return StepOutcome(
            loss=found.loss.mean(),
            anchor=self._anchor(predictions),
            errors=_errors(predictions),
            inside=found.inside.detach(),
            maps=maps,
        )

    def _loss(self, predictions: PairPredictions, maps: FocusMaps | None) -> PreferenceLoss:
        table, t = self.objective, self.batch.t
        options: dict[str, Any] = {"t": t, "beta": table.beta, "weighting": table.weighting}
        options["reduction"] = table.reduction
        if maps is None:
            return dpo_loss(predictions, **options)
        return focus_dpo_loss(predictions, maps.weight, **options, weight_power=self.focus.weight_power)

    def _anchor(self, predictions: PairPredictions) -> Tensor | None:
        """sft_anchor times the policy's mean error on the preferred rows."""
        share = self.objective.sft_anchor
        if share == 0:
            return None
        return share * sft_loss(predictions.policy_preferred, predictions.target_preferred).mean()

    def regression(self) -> StepOutcome:
        """SFT: the preferred pictures alone, without a reference policy."""
        batch = self.batch
        x_t = self.backbone.noise(batch.preferred, batch.eps, batch.t)
        target = self.backbone.target(batch.preferred, batch.eps, batch.t)
        policy = self._predict(x_t, batch.t, batch.condition)
        loss = sft_loss(policy, target, reduction=self.objective.reduction)
        return StepOutcome(loss=loss.mean(), errors={"policy_preferred": velocity_errors(policy.detach(), target)})

    def patches(self) -> StepOutcome:
        """PatchDPO: both pictures regressed on, region by region, without a reference policy."""
        batch = self.batch
        if batch.patch_preferred is None or batch.patch_rejected is None:
            raise DataError("PatchDPO: expected patch weights in the cache, got none; encode the pairs with them.")
        x_t, t, condition, target = self._rows()
        preferred, rejected = self._predict(x_t, t, condition).chunk(2)
        target_preferred, target_rejected = target.chunk(2)
        loss = patch_dpo_loss(
            prediction_preferred=preferred,
            target_preferred=target_preferred,
            prediction_rejected=rejected,
            target_rejected=target_rejected,
            weights=PatchWeights(batch.patch_preferred, batch.patch_rejected),
        )
        errors = {
            "policy_preferred": velocity_errors(preferred.detach(), target_preferred),
            "policy_rejected": velocity_errors(rejected.detach(), target_rejected),
        }
        return StepOutcome(loss=loss.mean(), errors=errors)

    def _rows(self) -> tuple[Tensor, Tensor, FluxCondition, Tensor]:
        """x_t, t, condition and target of 2B rows: a pair shares noise and time."""
        batch = self.batch
        x0, eps, t = torch.cat([batch.preferred, batch.rejected]), batch.eps.repeat(2, 1, 1, 1), batch.t.repeat(2)
        condition = batch.condition.select([*range(batch.size)] * 2)
        return self.backbone.noise(x0, eps, t), t, condition, self.backbone.target(x0, eps, t)

    def _predict(
        self, x_t: Tensor, t: Tensor, condition: FluxCondition, *, watch: FieldCollector | None = None
    ) -> Tensor:
        with autocast(self.backbone, self.precision):
            return self.backbone.predict(x_t, t, condition, watch)


def autocast(backbone: FluxUno, precision: torch.dtype) -> AbstractContextManager[object]:
    """Within it, passes run in `precision`; nothing changes for fp32."""
    if precision == torch.float32:
        return nullcontext()
    return torch.autocast(_device(backbone).type, precision)


def _device(backbone: FluxUno) -> torch.device:
    """Where the first weights lie; diffusers' own `device` walks through all modules, milliseconds each time."""
    return next(backbone.network.parameters()).device


@torch.no_grad()
def _errors(predictions: PairPredictions) -> dict[str, Float[Tensor, " B"]]:
    """The four plain errors by name."""
    p = predictions
    return {
        "policy_preferred": velocity_errors(p.policy_preferred, p.target_preferred),
        "policy_rejected": velocity_errors(p.policy_rejected, p.target_rejected),
        "ref_preferred": velocity_errors(p.ref_preferred, p.target_preferred),
        "ref_rejected": velocity_errors(p.ref_rejected, p.target_rejected),
    }


def _collector(batch: Batch, focus: FocusTable) -> FieldCollector:
    return FieldCollector(
        batch.size, batch.reference_masks, center=focus.center, layers=focus.layers, features=focus.features
    )


def _maps(batch: Batch, watch: FieldCollector | None, focus: FocusTable) -> FocusMaps:
    return focus_maps(
        None if watch is None else watch.scores(),
        batch.subject_masks,
        batch.disrupted,
        batch.complexity,
        mode=focus.mode,
        tau=focus.tau,
        gamma=focus.gamma,
        per_subject=focus.per_subject,
        exclusive=focus.exclusive,
    )


@torch.no_grad()
def maps_of(
    backbone: FluxUno, batch: Batch, *, focus: FocusTable, precision: torch.dtype
) -> tuple[FocusMaps, Float[Tensor, "B R L"]]:
    """The maps of the preferred pictures under the present policy, and the scores behind them."""
    watch = _collector(batch, focus)
    x_t = backbone.noise(batch.preferred, batch.eps, batch.t)
    with autocast(backbone, precision):
        backbone.predict(x_t, batch.t, batch.condition, watch)
    return _maps(batch, watch, focus), watch.scores()
