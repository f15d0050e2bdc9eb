"""Where on the picture the preference of a tuned adapter lies: inside the disrupted subjects or beside them.

    python experiments/focusdpo_world/run.py --stage maps

For pairs of the experiment with fresh noise and times: the margin of a token is what it adds to `inside` of the DPO
loss, -[(policy - ref) of preferred - (policy - ref) of rejected] squared velocity error. Printed and written to
margin.json: its share inside the prior (exact masks of the disrupted subjects in the preferred picture), its share
where the pictures differ at all (impostors reach beyond those masks), and what M^2 of FocusDPO keeps of it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any  # the condition of whichever backbone

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional

from likeness.backbones.base import Backbone
from likeness.backbones.lora import adapter_off, load_adapter
from likeness.backbones.open import open_backbone
from likeness.core.files import write_json
from likeness.core.images import load_image
from likeness.core.pairs import PreferencePair, read_pairs
from likeness.focus import FocusMaps
from likeness.objectives.base import Objective
from likeness.train.config import TrainConfig, read_train_config
from likeness.train.draws import draw_row
from likeness.train.pairs.cache import PairCache
from likeness.train.pairs.step import Batch, autocast, collect_batch, focus_of, maps_of
from likeness.train.trainable.lora import ADAPTER

STRIDE, SIZE, SEED = 13, 8, 7  # every 13th pair, in batches of 8; the seed of noise and times is no training's
PRECISION = torch.bfloat16


def batches(
    cache: PairCache, *, count: int, backbone: Any, config: TrainConfig, stride: int = STRIDE
) -> Iterator[tuple[list[int], Batch]]:
    """Whole batches of every `stride`-th pair, of one number of references each, with the indices of their pairs."""
    groups: dict[int, list[int]] = {}
    for index in range(0, count, stride):
        groups.setdefault(len(cache[index].reference_masks), []).append(index)
    for group in groups.values():
        for start in range(0, len(group) - SIZE + 1, SIZE):
            chosen = group[start : start + SIZE]
            pairs = [cache[index] for index in chosen]
            draws = [
                draw_row(backbone, seed=SEED, step=start, position=k, shape=tuple(p.preferred.shape), law="uno_shift")
                for k, p in enumerate(pairs)
            ]
            yield chosen, collect_batch(pairs, draws, backbone=backbone, guidance=config.train.guidance)


def changed_tokens(pair: PreferencePair, *, tokens: int) -> Bool[Tensor, " L"]:
    """Tokens of a square grid in which any pixel of the two pictures differs."""
    preferred, rejected = (np.asarray(load_image(path)) for path in (pair.preferred, pair.rejected))
    differs = torch.from_numpy((preferred != rejected).any(axis=2))[None].float()
    side = round(tokens**0.5)
    return functional.adaptive_max_pool2d(differs, (side, side)).flatten() > 0


@torch.no_grad()
def margins(backbone: Backbone[Any], batch: Batch) -> Tensor:
    """(B, L): what each token adds to the preference."""
    preferred, rejected = (_change(backbone, batch, x0) for x0 in (batch.preferred, batch.rejected))
    return rejected - preferred


def _change(backbone: Backbone[Any], batch: Batch, x0: Tensor) -> Tensor:
    """(B, L): squared error of the policy minus that of its reference, mean over a token's latents."""
    x_t, target = backbone.noise(x0, batch.eps, batch.t), backbone.target(x0, batch.eps, batch.t).float()
    with autocast(backbone, PRECISION):
        policy = backbone.predict(x_t, batch.t, batch.condition)
        with adapter_off(backbone.network, ADAPTER):
            ref = backbone.predict(x_t, batch.t, batch.condition)
    change = (target - policy.float()).square() - (target - ref.float()).square()
    return functional.avg_pool2d(change.mean(1, keepdim=True), 2).flatten(1)


def row(name: str, measured: list[tuple[Tensor, FocusMaps, Tensor]]) -> dict[str, str | int | float]:
    """Shares over all pairs of one adapter; a batch has the margins, the maps and the changed tokens."""
    margin = torch.cat([tokens for tokens, _, _ in measured])
    prior = torch.cat([maps.prior for _, maps, _ in measured])
    weight = torch.cat([maps.weight for _, maps, _ in measured])
    changed = torch.cat([tokens for _, _, tokens in measured])
    whole = margin.sum()
    return {
        "adapter": name,
        "pairs": len(margin),
        "prior_covers": round(float(prior.float().mean()), 4),
        "changed_covers": round(float(changed.float().mean()), 4),
        "margin_inside_prior": round(float((margin * prior).sum() / whole), 4),
        "margin_inside_changed": round(float((margin * changed).sum() / whole), 4),
        "margin_kept_by_focus": round(float((margin * weight.square()).sum() / whole), 4),
    }


def measure_margins(names: Sequence[str], *, out: Path, results: Path) -> None:
    """margin.json: one row per adapter of `out`/adapters."""
    listed, rows = read_pairs(out / "pairs").pairs, []
    for name in names:
        config = read_train_config(out / "adapters" / name / "config.toml")
        assert isinstance(config.objective, Objective)
        backbone = open_backbone(config.model.base, device="cpu", dtype=PRECISION)
        load_adapter(backbone, out / "adapters" / name / "lora", name=ADAPTER)
        cache = open_cache(out / "pairs", count=len(listed))
        measured: list[tuple[Tensor, FocusMaps, Tensor]] = []
        for chosen, batch in batches(cache, count=len(listed), backbone=backbone, config=config):
            maps, _ = maps_of(backbone, batch, focus=focus_of(config.objective), precision=PRECISION)
            changed = [changed_tokens(listed[index], tokens=maps.prior.shape[1]) for index in chosen]
            measured.append((margins(backbone, batch), maps, torch.stack(changed)))
        rows.append(row(name, measured))
        print(rows[-1], flush=True)
    write_json(results / "margin.json", rows)


def open_cache(pairs: Path, *, count: int) -> PairCache:
    """The pairs as training has encoded them. A set has a cache per encoder of patches; the rest is equal in all."""
    caches = sorted(path for path in (pairs / "cache").iterdir() if path.is_dir())
    return PairCache(caches[0], count=count)
