"""RUN/maps/<step>.json: the focus maps of a few fixed pairs over noise levels, for the report and for the eye.

Schema (version 1). A grid is a list of rows of numbers; paths are relative to the run folder, with forward slashes.

    {"version": 1, "step": int, "objective": str, "mode": str, "tau": float, "gamma": float, "times": [0.95, ...],
     "pairs": [{"id": str, "prompt": str, "grid": [rows, columns],
                "preferred": path, "rejected": path, "references": [path, ...],
                "subjects": [str, ...],        phrase per reference, in the order of `references`
                "disrupted": [bool, ...],      per reference
                "prior": grid of 0/1,          M_prior: union of the disrupted subjects
                "complexity": grid in [0, 1],  M_d
                "levels": [{"t": float,
                            "scores": [grid, ...],        mean cosine with each reference, in [-1, 1]
                            "matched": [grid of 0/1, ...] M' per reference (none for undisrupted ones)
                            "field": grid of 0/1,         M_s
                            "weight": grid >= 0,          M, what the loss is multiplied by
                            "focus_share": float | null,  A_focus; null where the prior is empty
                            "fused": bool}, ...]}, ...]}   levels in the order of `times`

Pictures lie in RUN/maps/pictures, copies at their own size. Step 0 is the untuned model.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast  # Any: JSON values, a condition of whichever backbone

import torch
from torch import Tensor

from likeness.backbones.base import Backbone, TokenGrid
from likeness.core.files import atomic_write_text, canonical_json
from likeness.core.images import load_image, save_png
from likeness.core.pairs import PreferencePair
from likeness.core.rng import seed_for
from likeness.focus import FocusMaps
from likeness.objectives.base import Objective
from likeness.train.config import TrainConfig
from likeness.train.pairs.cache import CachedPair, PairCache
from likeness.train.pairs.step import collect_batch, focus_of, maps_of
from likeness.train.task import Draw

TIMES = (0.95, 0.8, 0.6, 0.4, 0.2, 0.05)
NUM_PAIRS = 4
DIGITS = 4


def maps_file(folder: Path, step: int) -> Path:
    """Where the maps of a step lie."""
    return folder / "maps" / f"{step:06d}.json"


def pick_pairs(pairs: Sequence[PreferencePair], *, seed: int, count: int | None = None) -> list[int]:
    """Up to `count` pairs, else NUM_PAIRS, by a hash of their ids, multi and single ones in turn while both last."""
    count = NUM_PAIRS if count is None else count
    order = sorted(range(len(pairs)), key=lambda i: seed_for(seed, "maps", pairs[i].id))
    multi = [i for i in order if pairs[i].subset == "multi"]
    single = [i for i in order if pairs[i].subset == "single"]
    turns = [group[k] for k in range(count) for group in (multi, single) if k < len(group)]
    return turns[:count]


def copy_pictures(pairs: Sequence[PreferencePair], folder: Path) -> None:
    """The pictures of the pairs lie in RUN/maps/pictures."""
    for pair in pairs:
        for name, source in _pictures(pair).items():
            target = folder / name
            if not target.is_file():
                save_png(load_image(source), target)


def _pictures(pair: PreferencePair) -> dict[str, Path]:
    """Every picture of a pair by its path in the run folder."""
    stem = f"maps/pictures/{pair.id}"
    found = {f"{stem}-preferred.png": pair.preferred, f"{stem}-rejected.png": pair.rejected}
    return found | {f"{stem}-reference{i}.png": r.image for i, r in enumerate(pair.references)}


def write_maps(
    folder: Path,
    *,
    step: int,
    pairs: Sequence[PreferencePair],
    indices: Sequence[int],
    cache: PairCache,
    backbone: Backbone[Any],
    config: TrainConfig,
    precision: torch.dtype,
) -> Path:
    """The maps of `pairs[i]` for i in `indices` under the present policy; noise depends on the pair alone."""
    rows = [_pair_row(pairs[i], entry=cache[i], backbone=backbone, config=config, precision=precision) for i in indices]
    objective = cast(Objective, config.objective)
    focus = focus_of(objective)
    head = {"version": 1, "step": step, "objective": objective.kind, "mode": focus.mode}
    facts = {**head, "tau": focus.tau, "gamma": focus.gamma, "times": list(TIMES), "pairs": rows}
    path = maps_file(folder, step)
    atomic_write_text(path, canonical_json(facts) + "\n")
    return path


def _pair_row(
    pair: PreferencePair, *, entry: CachedPair, backbone: Backbone[Any], config: TrainConfig, precision: torch.dtype
) -> dict[str, Any]:
    side, objective = backbone.facts.latents_per_token, cast(Objective, config.objective)
    grid = TokenGrid(entry.preferred.shape[-2] // side, entry.preferred.shape[-1] // side)
    generator = torch.Generator().manual_seed(seed_for(config.train.seed, "maps", pair.id))
    eps = torch.randn(entry.preferred.shape, generator=generator)
    found: list[tuple[FocusMaps, Tensor]] = []
    for t in TIMES:
        batch = collect_batch([entry], [Draw(eps, t)], backbone=backbone, guidance=config.train.guidance)
        found.append(maps_of(backbone, batch, focus=focus_of(objective), precision=precision))
    pictures = list(_pictures(pair))
    return {
        "id": pair.id,
        "prompt": pair.prompt,
        "grid": list(grid),
        "preferred": pictures[0],
        "rejected": pictures[1],
        "references": pictures[2:],
        "subjects": [reference.phrase for reference in pair.references],
        "disrupted": entry.disrupted.tolist(),
        "prior": _grid(found[0][0].prior[0], grid),
        "complexity": _grid(entry.complexity, grid),
        "levels": [_level(*each, t=t, grid=grid) for t, each in zip(TIMES, found, strict=True)],
    }


def _level(maps: FocusMaps, scores: Tensor, *, t: float, grid: TokenGrid) -> dict[str, Any]:
    share = float(maps.focus_share[0])
    return {
        "t": t,
        "scores": [_grid(row, grid) for row in scores[0]],
        "matched": [_grid(row, grid) for row in maps.matched[0]],
        "field": _grid(maps.field[0], grid),
        "weight": _grid(maps.weight[0], grid),
        "focus_share": None if share != share else round(share, DIGITS),  # NaN
        "fused": bool(maps.fused[0]),
    }


def _grid(values: Tensor, grid: TokenGrid) -> list[list[float]]:
    rows = values.reshape(*grid).cpu()
    if rows.dtype == torch.bool:
        return rows.int().tolist()
    return [[round(value, DIGITS) for value in row] for row in rows.tolist()]
