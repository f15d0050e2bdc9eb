"""Where on the picture the preference of a tuned adapter lies: inside the disrupted subjects or beside them.

    python experiments/focusdpo_world/margin.py dpo-seed42 focus_dpo-seed42

For pairs of the experiment with fresh noise and times: the margin of a token is what it adds to `inside` of the DPO
loss, -[(policy - ref) of preferred - (policy - ref) of rejected] squared velocity error. Printed and written to
margin.json: its share inside the prior (exact masks of the disrupted subjects), and what M^2 of FocusDPO keeps of it.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from likeness.backbones.flux_uno import FluxUno
from likeness.backbones.lora import adapter_off, load_adapter
from likeness.core.files import write_json
from likeness.core.pairs import read_pairs
from likeness.focus import FocusMaps
from likeness.train.preference.cache import CachedPair, PairCache
from likeness.train.preference.config import TrainConfig, read_train_config
from likeness.train.preference.draws import draw_pair
from likeness.train.preference.step import ADAPTER, Batch, autocast, collect_batch, maps_of

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
STRIDE, SIZE, SEED = 13, 8, 7  # every 13th pair, in batches of 8; the seed of noise and times is no training's
PRECISION = torch.bfloat16


def batches(
    cache: PairCache, *, count: int, backbone: FluxUno, config: TrainConfig, stride: int = STRIDE
) -> Iterator[Batch]:
    """Whole batches of every `stride`-th pair, of one number of references each."""
    groups: dict[int, list[CachedPair]] = {}
    for index in range(0, count, stride):
        groups.setdefault(len(cache[index].references), []).append(cache[index])
    stock = backbone.parts.scheduler.config
    shift = {name: stock[name] for name in ("base_image_seq_len", "max_image_seq_len", "base_shift", "max_shift")}
    for group in groups.values():
        for start in range(0, len(group) - SIZE + 1, SIZE):
            pairs = group[start : start + SIZE]
            draws = [
                draw_pair(seed=SEED, step=start, position=k, shape=p.preferred.shape, sampler="uno_shift", shift=shift)
                for k, p in enumerate(pairs)
            ]
            yield collect_batch(pairs, draws, backbone=backbone, guidance=config.train.guidance)


@torch.no_grad()
def margins(backbone: FluxUno, batch: Batch) -> Tensor:
    """(B, L): what each token adds to the preference."""
    preferred, rejected = (_change(backbone, batch, x0) for x0 in (batch.preferred, batch.rejected))
    return rejected - preferred


def _change(backbone: FluxUno, batch: Batch, x0: Tensor) -> Tensor:
    """(B, L): squared error of the policy minus that of its reference, mean over a token's latents."""
    x_t, target = backbone.noise(x0, batch.eps, batch.t), backbone.target(x0, batch.eps, batch.t).float()
    with autocast(backbone, PRECISION):
        policy = backbone.predict(x_t, batch.t, batch.condition)
        with adapter_off(backbone.transformer, ADAPTER):
            ref = backbone.predict(x_t, batch.t, batch.condition)
    change = (target - policy.float()).square() - (target - ref.float()).square()
    return functional.avg_pool2d(change.mean(1, keepdim=True), 2).flatten(1)


def row(name: str, measured: list[tuple[Tensor, FocusMaps]]) -> dict[str, str | int | float]:
    """Shares over all pairs of one adapter."""
    margin = torch.cat([tokens for tokens, _ in measured])
    prior = torch.cat([maps.prior for _, maps in measured])
    weight = torch.cat([maps.weight for _, maps in measured])
    whole = margin.sum()
    return {
        "adapter": name,
        "pairs": len(margin),
        "prior_covers": round(float(prior.float().mean()), 4),
        "margin_inside_prior": round(float((margin * prior).sum() / whole), 4),
        "margin_kept_by_focus": round(float((margin * weight.square()).sum() / whole), 4),
    }


def main() -> None:
    """Measures the adapters that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapters", nargs="+")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "focusdpo_world")
    parser.add_argument("--results", type=Path, default=HERE)
    arguments = parser.parse_args()
    count, rows = len(read_pairs(arguments.out / "pairs").pairs), []
    caches = sorted(path for path in (arguments.out / "pairs" / "cache").iterdir() if path.is_dir())
    for name in arguments.adapters:
        config = read_train_config(arguments.out / "adapters" / name / "config.toml")
        backbone = FluxUno.load(config.model.base, dtype=PRECISION)
        load_adapter(backbone.transformer, arguments.out / "adapters" / name / "lora", name=ADAPTER)
        cache = PairCache(caches[0], count=count)
        measured = [
            (
                margins(backbone, batch),
                maps_of(backbone, batch, focus=config.focus, precision=PRECISION)[0],
            )
            for batch in batches(cache, count=count, backbone=backbone, config=config)
        ]
        rows.append(row(name, measured))
        print(rows[-1], flush=True)
    write_json(arguments.results / "margin.json", rows)


if __name__ == "__main__":
    main()
