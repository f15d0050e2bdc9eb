"""Does the attention field find who is meant? The world's exact masks as oracle, for every choice of features.

    python experiments/focusdpo_world/run.py --stage maps

For pairs of the experiment with two subjects, fixed times and the base model: of the K tokens most like a reference
(K as many as its subject covers), how many lie on that subject (recall) and on the other one; how large the field is
(A_focus); and whether it lies where there is something to learn: in M_s over the rest of the subjects, the model's
error on the preferred picture, and the difference between the latents of both pictures. Printed and written to
field.json with 95% intervals over pairs.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any  # the condition of whichever backbone

import torch
from margin import PRECISION, batches, open_cache
from torch import Tensor
from torch.nn import functional

from likeness.backbones.base import Backbone
from likeness.backbones.open import open_backbone
from likeness.core.files import write_json
from likeness.core.pairs import read_pairs
from likeness.core.stats.intervals import mean_interval
from likeness.focus import FieldCollector, covered_tokens, resolve_overlaps
from likeness.focus.fusion import attention_field, matched_tokens
from likeness.train.config import read_train_config
from likeness.train.pairs.step import Batch, autocast

TIMES = (0.95, 0.8, 0.6, 0.4, 0.2)
FEATURES = ("attention_input", "block_output", "attention_output", "query", "key")
MEASURES = ("recall", "on_other", "chance", "focus_share", "error_ratio", "difference_ratio")
STRIDE = 5  # odd: singles and pairs of subjects take turns


@torch.no_grad()
def watched(backbone: Backbone[Any], batch: Batch, *, features: str, center: bool) -> tuple[Tensor, Tensor]:
    """(B, R, L) scores of the preferred pictures and (B, L) the model's squared error there."""
    watch = FieldCollector(batch.size, batch.reference_masks, center=center, features=features)
    x_t = backbone.noise(batch.preferred, batch.eps, batch.t)
    with autocast(backbone, PRECISION):
        velocity = backbone.predict(x_t, batch.t, batch.condition, watch)
    error = (backbone.target(batch.preferred, batch.eps, batch.t).float() - velocity.float()).square()
    return watch.scores(), by_token(error)


def by_token(values: Tensor) -> Tensor:
    """(B, C, h, w) of latents to (B, L): means over channels and 2 x 2 cells."""
    return functional.avg_pool2d(values.float().mean(1, keepdim=True), 2).flatten(1)


def measure(
    scores: Tensor, subjects: Tensor, disrupted: Tensor, *, error: Tensor, difference: Tensor
) -> Iterator[dict[str, float]]:
    """Per pair: MEASURES, means over its two subjects; `subjects` (B, 2, L) do not overlap, `disrupted` is (B, 2)."""
    matched = matched_tokens(scores, subjects.sum(dim=-1))
    field = attention_field(subjects, matched)
    struck = (subjects & disrupted[..., None]).any(1)
    for mine, found, missed, here, loss, change in zip(
        subjects, matched, field, struck, error, difference, strict=True
    ):
        counts, prior = mine.sum(1), mine.any(0)
        if not counts.all():  # hidden behind the other one
            continue
        yield {
            "recall": float(((mine & found).sum(1) / counts).mean()),
            "on_other": float(((mine.flip(0) & found).sum(1) / counts).mean()),
            "chance": float((counts / mine.shape[1]).mean()),
            "focus_share": float(missed.sum() / prior.sum()),
            "error_ratio": ratio(loss, missed, prior & ~missed),
            "difference_ratio": ratio(change, missed & here, ~missed & here),
        }


def ratio(values: Tensor, first: Tensor, second: Tensor) -> float:
    """Mean of the one over mean of the other, NaN where either is empty."""
    return float(values[first].mean() / values[second].mean()) if first.any() and second.any() else torch.nan


def row(settings: Mapping[str, object], found: list[dict[str, float]]) -> dict[str, object]:
    """Every measure with its interval over pairs."""
    pairs = [str(number) for number in range(len(found))]
    cells: dict[str, object] = {}
    for name in MEASURES:
        interval = mean_interval([one[name] for one in found], pairs)
        cells[name] = {
            "mean": round(interval.mean, 4),
            "ci_low": round(interval.ci_low, 4),
            "ci_high": round(interval.ci_high, 4),
            "n": interval.n,
        }
    return {**settings, **cells}


def measure_field(adapter: str, *, out: Path, results: Path) -> None:
    """field.json: every choice of features, plain and centred, under the settings of `adapter` but without it."""
    config = read_train_config(out / "adapters" / adapter / "config.toml")
    backbone = open_backbone(config.model.base, device="cpu", dtype=PRECISION)
    count = len(read_pairs(out / "pairs").pairs)
    cache = open_cache(out / "pairs", count=count)
    found: dict[tuple[str, bool, float], list[dict[str, float]]] = defaultdict(list)
    for _, batch in batches(cache, count=count, backbone=backbone, config=config, stride=STRIDE):
        if batch.subject_shares.shape[1] != 2:
            continue
        subjects = resolve_overlaps(covered_tokens(batch.subject_shares))
        difference = by_token((batch.preferred - batch.rejected).square())
        for features, center, t in product(FEATURES, (False, True), TIMES):
            moved = replace(batch, t=torch.full_like(batch.t, t))
            scores, error = watched(backbone, moved, features=features, center=center)
            found[features, center, t] += measure(scores, subjects, batch.disrupted, error=error, difference=difference)
    rows = [row({"features": f, "center": c, "t": t}, pairs) for (f, c, t), pairs in found.items()]
    for one in rows:
        print(*(f"{key} {value['mean'] if isinstance(value, dict) else value}" for key, value in one.items()))
    write_json(results / "field.json", rows)
