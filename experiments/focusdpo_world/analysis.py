"""From scores to the two tables: means per method and paired differences, resampled by subject and by training seed.

A cell is the mean over the pictures of one subject (or one combination of subjects) under one training seed. Subjects
and seeds are resampled independently, since every seed draws the same cases (crossed, not nested).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: rows are JSON

import numpy as np
from numpy.typing import NDArray

from likeness.core.files import read_jsonl

METRICS = ("attribute_accuracy", "leakage", "action_recognised", "scene_recognised", "dino", "clip_i", "clip_t")
NUM_RESAMPLES = 2000


class Estimate(NamedTuple):
    """A mean over subjects and seeds with its 95% interval; `n` pictures were measured."""

    mean: float
    ci_low: float
    ci_high: float
    n: int


Scores = Mapping[str, tuple[str, float]]
"""Sample id -> (what is resampled as one, value); NaN where it could not be measured."""


def read_scores(run: Path, metric: str) -> dict[str, tuple[str, float]]:
    """The scores of a measured run folder."""
    rows = read_jsonl(run / "evaluation" / "scores.jsonl")
    found = {row["id"]: (row["group"], row["values"][metric]["value"]) for row in rows if metric in row["values"]}
    return {name: (group, np.nan if value is None else float(value)) for name, (group, value) in found.items()}


def estimate(seeds: Sequence[Scores]) -> Estimate:
    """Of one method's training seeds."""
    return _bootstrap(_cells(seeds), n=_count(seeds))


def difference(a: Sequence[Scores], b: Sequence[Scores]) -> Estimate:
    """The mean of a - b over pictures both have, seed by seed; a method without seeds (base) meets every seed."""
    pairs = [_paired(a[i % len(a)], b[i % len(b)]) for i in range(max(len(a), len(b)))]
    return _bootstrap(_cells(pairs), n=_count(pairs))


def _paired(a: Scores, b: Scores) -> dict[str, tuple[str, float]]:
    return {name: (a[name][0], a[name][1] - b[name][1]) for name in sorted(a.keys() & b.keys())}


def _count(seeds: Sequence[Scores]) -> int:
    return sum(not np.isnan(value) for scores in seeds for _, value in scores.values())


def _cells(seeds: Sequence[Scores]) -> NDArray[np.float64]:
    """(seeds, subjects): means over the pictures of a subject that could be measured, NaN where none could."""
    groups = sorted({group for scores in seeds for group, _ in scores.values()})
    cells = np.full((len(seeds), len(groups)), np.nan)
    for row, scores in enumerate(seeds):
        values: dict[str, list[float]] = {}
        for group, value in scores.values():
            if not np.isnan(value):
                values.setdefault(group, []).append(value)
        for column, group in enumerate(groups):
            if group in values:
                cells[row, column] = np.mean(values[group])
    return cells[:, ~np.isnan(cells).all(0)]


def _bootstrap(cells: NDArray[np.float64], *, n: int) -> Estimate:
    if cells.shape[1] < 2:
        return Estimate(float(np.nanmean(cells)) if cells.size else np.nan, np.nan, np.nan, n)
    rng, valid = np.random.default_rng(0), ~np.isnan(cells)
    rows, columns = (
        rng.multinomial(size, np.full(size, 1 / size), size=NUM_RESAMPLES).astype(np.float64) for size in cells.shape
    )
    sums = ((rows @ np.where(valid, cells, 0)) * columns).sum(1)  # how often each cell was drawn, times its value
    means = sums / ((rows @ valid) * columns).sum(1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(np.nanmean(cells)), float(low), float(high), n)


def result_rows(
    runs: Mapping[str, Sequence[Path]], *, backbone: str, benchmark: str, metrics: Sequence[str] = METRICS
) -> list[dict[str, Any]]:
    """One row per method and metric; `runs` holds a measured run folder per seed."""
    rows: list[dict[str, Any]] = []
    for method, folders in runs.items():
        for metric in metrics:
            found = [scores for folder in folders if (scores := read_scores(folder, metric))]
            if found:
                numbers = _numbers(estimate(found))
                place = {"backbone": backbone, "benchmark": benchmark, "metric": metric, "method": method}
                rows.append({**place, "seeds": len(found), **numbers})
    return rows


def difference_rows(
    runs: Mapping[str, Sequence[Path]],
    *,
    backbone: str,
    benchmark: str,
    metrics: Sequence[str] = METRICS,
    against: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """One row per pair of methods and metric: method_a - method_b, the later method in `runs` minus the earlier.

    `against` names the earlier ones that are wanted, None all.
    """
    rows: list[dict[str, Any]] = []
    methods = list(runs)
    for metric in metrics:
        scores = {method: [read_scores(folder, metric) for folder in runs[method]] for method in methods}
        for index, later in enumerate(methods):
            for earlier in (name for name in methods[:index] if against is None or name in against):
                found = difference(scores[later], scores[earlier])
                if found.n:
                    place = {"backbone": backbone, "benchmark": benchmark, "metric": metric}
                    rows.append({**place, "method_a": later, "method_b": earlier, **_numbers(found)})
    return rows


def _numbers(found: Estimate) -> dict[str, float | int | None]:
    numbers = {name: getattr(found, name) for name in ("mean", "ci_low", "ci_high")}
    return {"n": found.n, **{name: None if np.isnan(value) else round(value, 5) for name, value in numbers.items()}}
