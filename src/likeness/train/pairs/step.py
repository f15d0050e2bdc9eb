"""One micro-batch of a training step: noise, the passes of reference policy and policy, and the loss.

Source: note section 10.1; FocusDPO (arXiv:2509.01181) algorithm 1, Diffusion-DPO (arXiv:2311.12908) eq. 14.
The reference pass comes first and without gradients, so that turning the adapter off cannot disturb checkpointing.

Shapes: B pairs, C latent channels, h x w latent grid, L target tokens, R references.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any  # a condition of whichever backbone

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from likeness.backbones.base import Backbone
from likeness.focus import (
    FieldCollector,
    FocusMaps,
    FocusOptions,
    covered_tokens,
    dilated,
    focus_maps,
    needs_scores,
)
from likeness.objectives.base import Objective, PairSeen, PatchWeights
from likeness.objectives.dpo import PreferenceOptions
from likeness.objectives.focus_dpo import FocusDpo
from likeness.objectives.pair import denoising_errors, implicit_accuracy
from likeness.train.pairs.cache import OWN, CachedPair
from likeness.train.task import Draw, Step, Trainable


@dataclass(frozen=True)
class Batch:
    """B pairs of one shape on the device of the backbone, with their noise `eps`, times `t` and condition."""

    preferred: Float[Tensor, "B C h w"]
    rejected: Float[Tensor, "B C h w"]
    eps: Float[Tensor, "B C h w"]
    t: Float[Tensor, " B"]
    condition: Any
    reference_masks: tuple[Bool[Tensor, "B _"], ...]
    subject_shares: Float[Tensor, "B R L"]
    disrupted: Bool[Tensor, "B R"]
    complexity: Float[Tensor, "B L"]
    patch_preferred: Float[Tensor, "B L"] | None = None
    patch_rejected: Float[Tensor, "B L"] | None = None

    @property
    def size(self) -> int:
        """B."""
        return len(self.t)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of target tokens."""
        height, width = self.preferred.shape[-2:]
        cells = math.isqrt(height * width // self.complexity.shape[-1])  # latent cells along a token's side
        return height // cells, width // cells


def focus_of(objective: Objective) -> FocusOptions:
    """The focus options of an objective that has them, else the usual ones, by which maps are shown all the same."""
    return objective.focus if isinstance(objective, FocusDpo) else FocusOptions()


def collect_batch(
    pairs: Sequence[CachedPair], draws: Sequence[Draw], *, backbone: Backbone[Any], guidance: float
) -> Batch:
    """The pairs, which agree in shape, stacked on the backbone's device."""
    device = _device(backbone)

    def stacked(tensors: Iterable[Tensor]) -> Tensor:
        return torch.stack(list(tensors)).to(device)

    masks = zip(*(pair.reference_masks for pair in pairs), strict=True)
    own = [name for name in OWN if getattr(pairs[0], name) is not None]
    return Batch(
        **{name: stacked(getattr(pair, name) for pair in pairs) for name in own},
        eps=stacked(draw.eps for draw in draws),
        t=torch.tensor([draw.t for draw in draws], device=device),
        condition=backbone.collate([pair.condition for pair in pairs], guidance=guidance),
        reference_masks=tuple(stacked(slot) for slot in masks),
    )


def compute_step(
    backbone: Backbone[Any], batch: Batch, *, objective: Objective, trainable: Trainable, precision: torch.dtype
) -> tuple[Step, FocusMaps | None]:
    """The loss of one micro-batch under the objective, and the maps it was measured under.

    `precision` bfloat16 runs the passes under autocast. Logged errors are plain mean squared errors of predictions,
    whatever weights the loss uses, so that objectives can be compared; what the objective does not have is absent.
    """
    focus, t = focus_of(objective), batch.t
    watch = collector(backbone, batch, focus) if objective.weights == "focus" and needs_scores(focus.mode) else None
    x0, eps, times, condition = batch.preferred, batch.eps, t, batch.condition
    if objective.needs_rejected:  # preferred rows first, then rejected ones: a pair shares noise and time
        x0, eps, times = torch.cat([x0, batch.rejected]), eps.repeat(2, 1, 1, 1), t.repeat(2)
        condition = condition.select([*range(batch.size)] * 2)
    x_t, target = backbone.noise(x0, eps, times), backbone.target(x0, eps, times)
    by_policy, ref = focus.source == "policy", None
    with autocast(backbone, precision):
        if objective.needs_ref_policy:
            with torch.no_grad(), trainable.off():
                ref = backbone.predict(x_t, times, condition, None if by_policy else watch)
        policy = backbone.predict(x_t, times, condition, watch if by_policy else None)
    maps = _maps(batch, watch, focus) if objective.weights == "focus" else None
    seen = _seen(batch, {"policy": policy, "ref": ref, "target": target}, maps=maps)
    if isinstance(objective, PreferenceOptions):
        seen = seen._replace(weight=backbone.error_weight(t, objective.weighting))
    found = objective.loss(seen)
    loss = found.loss.mean()
    columns = {"loss": loss.detach().expand(batch.size), "t": t, **_errors(seen)}
    if found.anchor is not None:
        columns["anchor"] = found.anchor.detach().expand(batch.size)
    if found.inside is not None:
        columns |= {"inside": found.inside.detach(), "accuracy": implicit_accuracy(found.inside)}
    if maps is not None:
        columns |= {"focus_share": maps.focus_share, "fused": maps.fused, "valid": maps.valid}
    total = loss if found.anchor is None else loss + found.anchor
    return Step(total, columns | (found.logged or {})), maps


def _seen(batch: Batch, passes: Mapping[str, Tensor | None], *, maps: FocusMaps | None) -> PairSeen:
    """The passes taken apart: preferred rows and, where there are any, rejected ones."""
    halves = {
        f"{name}_{picture}": half
        for name, rows in passes.items()
        if rows is not None
        for picture, half in zip(("preferred", "rejected"), rows.split(batch.size), strict=False)
    }
    patches = None
    if batch.patch_preferred is not None and batch.patch_rejected is not None:
        patches = PatchWeights(batch.patch_preferred, batch.patch_rejected)
    return PairSeen(batch.t, **halves, focus=None if maps is None else maps.weight, patches=patches)


def autocast(backbone: Backbone[Any], precision: torch.dtype) -> AbstractContextManager[object]:
    """Within it, passes run in `precision`; nothing changes for fp32."""
    if precision == torch.float32:
        return nullcontext()
    return torch.autocast(_device(backbone).type, precision)


def _device(backbone: Backbone[Any]) -> torch.device:
    """Where the first weights lie; diffusers' own `device` walks through all modules, milliseconds each time."""
    return next(backbone.network.parameters()).device


@torch.no_grad()
def _errors(seen: PairSeen) -> dict[str, Float[Tensor, " B"]]:
    """The plain errors of the passes there are, by column of the log."""
    return {
        f"errors/{model}_{picture}": denoising_errors(prediction, getattr(seen, f"target_{picture}"))
        for model in ("policy", "ref")
        for picture in ("preferred", "rejected")
        if (prediction := getattr(seen, f"{model}_{picture}")) is not None
    }


def collector(backbone: Backbone[Any], batch: Batch, focus: FocusOptions) -> FieldCollector:
    """A watch on the preferred rows of a pass over the batch, with scores on the picture's tokens."""
    options = focus.model_dump(include={"center", "layers", "similarity"})
    options |= {"features": focus.features or backbone.features[0], "grid": batch.grid}
    return FieldCollector(batch.size, batch.reference_masks, **options)


def _maps(batch: Batch, watch: FieldCollector | None, focus: FocusOptions) -> FocusMaps:
    scores = None if watch is None else watch.scores()
    options = focus.model_dump(include={"mode", "tau", "gamma", "k", "per_subject", "exclusive"})
    shares = dilated(batch.subject_shares, grid=batch.grid, tokens=focus.dilation)
    masks = covered_tokens(shares, coverage=focus.coverage)
    if focus.coverage == "soft":
        options["shares"] = shares
    options["num_reference_tokens"] = torch.stack([mask.sum(dim=-1) for mask in batch.reference_masks], dim=1)
    return focus_maps(scores, masks, batch.disrupted, batch.complexity, **options)


@torch.no_grad()
def maps_of(
    backbone: Backbone[Any], batch: Batch, *, focus: FocusOptions, precision: torch.dtype
) -> tuple[FocusMaps, Float[Tensor, "B R L"]]:
    """The maps of the preferred pictures under the present policy, and the scores behind them."""
    watch = collector(backbone, batch, focus)
    x_t = backbone.noise(batch.preferred, batch.eps, batch.t)
    with autocast(backbone, precision):
        backbone.predict(x_t, batch.t, batch.condition, watch)
    return _maps(batch, watch, focus), watch.scores()
