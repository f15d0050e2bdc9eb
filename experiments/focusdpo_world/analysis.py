"""The two tables of the experiment, means per method and paired differences, computed as `likeness compare` does.

Every training seed draws the same cases. Intervals are for new subjects and prompts, and where a method has several
seeds for another training, too (`likeness.core.stats.trainings`).
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any  # rows are JSON

from likeness.core.stats.intervals import Interval
from likeness.evaluate.scored import Method, read_scored

METRICS = ("attribute_accuracy", "leakage", "action_recognised", "scene_recognised", "dino", "clip_i", "clip_t")


def method_of(name: str, folders: Sequence[Path]) -> Method:
    """A method with a measured run folder per training seed."""
    return Method(name, [read_scored(folder) for folder in folders])


def result_rows(
    runs: Mapping[str, Sequence[Path]], *, backbone: str, benchmark: str, metrics: Sequence[str] = METRICS
) -> list[dict[str, Any]]:
    """One row per method and metric; `runs` holds a measured run folder per seed."""
    rows: list[dict[str, Any]] = []
    for method in (method_of(name, folders) for name, folders in runs.items()):
        for metric in metrics:
            values = method.values(metric)
            if values.by_picture:
                place = {"backbone": backbone, "benchmark": benchmark, "metric": metric, "method": method.name}
                rows.append({**place, "seeds": len(method.runs), **_numbers(values.interval)})
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
    methods = [method_of(name, folders) for name, folders in runs.items()]
    for metric in metrics:
        for index, later in enumerate(methods):
            for earlier in (one for one in methods[:index] if against is None or one.name in against):
                found = later.minus(earlier, metric).interval
                if found.n:
                    place = {"backbone": backbone, "benchmark": benchmark, "metric": metric}
                    names = {"method_a": later.name, "method_b": earlier.name}
                    rows.append({**place, **names, **_numbers(found)})
    return rows


def _numbers(found: Interval) -> dict[str, float | int | None]:
    numbers = {name: getattr(found, name) for name in ("mean", "ci_low", "ci_high")}
    return {"n": found.n, **{name: None if math.isnan(value) else round(value, 5) for name, value in numbers.items()}}
