"""A training run, read from its files: the log as columns, the focus maps, and means over stretches of steps.

Nothing is smoothed away here: a number that was not measured, or was not finite, is NaN in its column and is left out
of means, whose `n` says how many were used. Steps of a log are counted from 1.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from likeness.core.errors import DataError
from likeness.core.files import read_json, read_text
from likeness.core.runs import recorded_run
from likeness.core.stats.intervals import Interval, mean_interval, wilson
from likeness.report import check
from likeness.report.check import Json, read_object, require

Column = NDArray[np.float64]

NOT_COLUMNS = ("step", "seconds")  # numbers of a row that say nothing of what was learnt
NUM_DECILES = 10
MIN_STEPS = 20  # below this a run shows that it works, not how it learns
OLD_PREFERENCE = ("dpo", "focus_dpo")  # what compared pictures in runs whose run.json does not say so
NUM_RESAMPLES = 1000


class TrainingLog:
    """The rows of log.jsonl as columns; `by_t_sum` and `by_t_count` (steps, 10) hold A_focus per tenth of t."""

    def __init__(self, rows: Sequence[Json]) -> None:
        numbers, by_t = [_numbers(row) for row in rows], [row.get("focus_share_by_t") or {} for row in rows]
        names = dict.fromkeys(name for found in numbers for name in found)
        self.columns = {name: _column([found.get(name) for found in numbers]) for name in names}
        self.steps = np.array([row["step"] for row in rows], dtype=np.int64)
        self.pairs_seen = np.array([_seen(row) for row in rows], dtype=np.int64)
        self.by_t_sum, self.by_t_count = (_deciles([found.get(name) for found in by_t]) for name in ("sum", "count"))

    def __len__(self) -> int:
        """Steps logged."""
        return len(self.steps)

    def __getitem__(self, name: str) -> Column:
        """The column `name`, NaN where no row has it; "preferred" and "rejected" are errors of the policy minus
        the reference policy.
        """
        if name in ("preferred", "rejected"):
            return self[f"policy_{name}"] - self[f"ref_{name}"]
        return self.columns.get(name, np.full(len(self), np.nan))

    def has(self, name: str) -> bool:
        """Whether `name` was measured in any step."""
        return bool(np.isfinite(self[name]).any())

    @property
    def window(self) -> int:
        """Steps in the first and in the last stretch: a fifth of the run, at least MIN_STEPS, at most all."""
        return min(len(self), max(MIN_STEPS, len(self) // 5))

    def first(self, name: str) -> Interval:
        """Mean over the first stretch."""
        return _mean_of(self[name][: self.window])

    def last(self, name: str) -> Interval:
        """Mean over the last stretch."""
        return _mean_of(self[name][len(self) - self.window :])

    @property
    def last_accuracy(self) -> Interval:
        """Implicit accuracy of the pairs seen in the last stretch."""
        return wilson(self.last("accuracy").mean, self.pairs_in(len(self) - self.window, len(self)))

    def pairs_in(self, start: int, stop: int) -> int:
        """Pairs seen in rows start ... stop - 1."""
        before = self.pairs_seen[start - 1] if start else 0
        return int(self.pairs_seen[stop - 1] - before)


@dataclass(frozen=True)
class TrainingRun:
    """Everything the page says about one run.

    `steps_wanted` is train.steps of config.toml; `maps` are those of the first and the last step that has any.
    """

    folder: Path
    identity: Json
    steps_wanted: int | None
    log: TrainingLog
    maps: tuple[Json, ...]
    commands: Json

    @property
    def noun(self) -> str:
        """What a row of the data is called."""
        return "picture" if "num_pictures" in self.part("data") else "pair"

    @property
    def objective(self) -> str:
        """Name of the objective."""
        table = self.table("objective")
        return str(table.get("kind") or table.get("name") or "unknown objective")

    @property
    def label(self) -> str:
        """What pages call the objective; runs made before they said so are called by its name."""
        return str(self.part("objective").get("label", self.objective))

    @property
    def is_preference(self) -> bool:
        """Whether the loss compares two pictures under a reference policy."""
        return bool(self.part("objective").get("compares", self.objective in OLD_PREFERENCE))

    def setting(self, table: str, key: str) -> float | None:
        """A number of the config, None where it is not there."""
        value = self.table(table).get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    @property
    def matched_beta(self) -> float | None:
        """The beta at which DPO on these pairs has the mean |inside| of this run; None where that was not measured.

        |inside| is proportional to beta, so it is this run's beta times the ratio of both sums over the log.
        """
        beta, sizes = self.setting("objective", "beta"), (self.log["inside_size"], self.log["plain_inside_size"])
        measured = np.isfinite(sizes[0]) & np.isfinite(sizes[1])
        focused, plain = (float(size[measured].sum()) for size in sizes)
        return beta * focused / plain if beta is not None and focused > 0 and plain > 0 else None

    @property
    def mode(self) -> str:
        """focus.mode, empty where the objective has no focus."""
        return str(self.table("focus").get("mode", "")) if self.objective == "focus_dpo" else ""

    @property
    def has_fusion(self) -> bool:
        """Whether M_d may join the weight."""
        return self.mode in ("full", "no_prior")

    def part(self, name: str) -> Json:
        """An object of run.json, empty where there is none."""
        return self.identity.get(name) or {}

    def table(self, name: str) -> Json:
        """A table of the config; "focus" lies in the objective's, in runs made before beside it."""
        config = self.part("config")
        return (name == "focus" and (config.get("objective") or {}).get(name)) or config.get(name) or {}


def is_training_run(folder: Path) -> bool:
    """Whether run.json of the folder says that it is a training run."""
    return recorded_run(folder).get("kind") == "train"


def read_training_run(folder: Path) -> TrainingRun:
    """The run in `folder`, finished or not.

    Raises: DataError when it is no training run, or a file in it is malformed.
    """
    if not is_training_run(folder):
        raise DataError(f"{folder}: expected a training run, got no run.json of one; name the --out of likeness train.")
    recipe = _read_config(folder / "config.toml")
    require(recipe, check.RECIPE if recipe else check.table, where=folder / "config.toml")
    identity = recorded_run(folder)
    require(identity, check.TRAINING, where=folder / "run.json")
    maps = sorted((folder / "maps").glob("*.json"))
    return TrainingRun(
        folder=folder,
        identity=identity,
        steps_wanted=recipe["train"]["steps"] if recipe else None,
        log=read_log(folder / "log.jsonl"),
        maps=tuple(read_json(path) for path in (*maps[:1], *maps[1:][-1:])),
        commands=read_object(folder / "commands.json", check.COMMANDS),
    )


def _read_config(path: Path) -> Json:
    try:
        return tomllib.loads(read_text(path)) if path.is_file() else {}
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{path}: expected TOML, got {error}; restore the file.") from None


def read_log(path: Path) -> TrainingLog:
    """The log at `path`, empty where there is none; a last line cut short by a kill is left out.

    Raises: DataError for any other line that is no row.
    """
    lines = read_text(path).split("\n") if path.is_file() else []
    return TrainingLog([_row(line, where=f"{path}:{i + 1}") for i, line in enumerate(lines[:-1]) if line.strip()])


def _numbers(row: Json) -> Json:
    """What was measured in a step: numbers by name, those of "errors" by their own, of other groups as "group/name"."""
    found: Json = {}
    for name, value in row.items():
        if isinstance(value, dict) and not name.endswith("_by_t"):
            found |= {inner if name == "errors" else f"{name}/{inner}": number for inner, number in value.items()}
        elif isinstance(value, int | float) and name not in NOT_COLUMNS and not name.startswith("num_"):
            found[name] = value
    return found


def _seen(row: Json) -> int:
    """Rows of the data seen so far, whatever the task calls them."""
    return next((row[name] for name in row if name.startswith("num_") and name.endswith("_seen")), 0)


def _row(line: str, *, where: str) -> Json:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{where}: expected a row of the log, got no JSON ({error.msg}); restore the file.") from None
    except RecursionError:
        raise DataError(f"{where}: expected a row of the log, got nesting too deep; restore the file.") from None
    if not isinstance(row, dict) or not isinstance(row.get("step"), int):
        raise DataError(f"{where}: expected a row with its step, got {line[:60]!r}; restore the file.")
    require(row, check.log_row, where=where)
    return row


def _column(values: Sequence[Any]) -> Column:
    """Floats; what is null, no number or not finite is NaN."""
    found = np.array([value if isinstance(value, int | float) else math.nan for value in values], dtype=np.float64)
    return np.where(np.isfinite(found), found, math.nan)


def _deciles(rows: Sequence[Sequence[float] | None]) -> NDArray[np.float64]:
    filled = [row if row is not None and len(row) == NUM_DECILES else [0.0] * NUM_DECILES for row in rows]
    return np.nan_to_num(np.array(filled, dtype=np.float64).reshape(-1, NUM_DECILES))


# means ---------------------------------------------------------------------------------------------------------------


def _mean_of(values: Column) -> Interval:
    """Mean of the measured steps with an interval by step."""
    return mean_interval(values, range(len(values)))


def ratio_means(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> list[Interval]:
    """For each column, sum / count over all rows, with an interval resampled by row; NaN where nothing was counted.

    `sums` and `counts` are (rows, columns); each `n` is a count.
    """
    totals = counts.sum(axis=0)
    columns = zip(_ratios(sums.sum(axis=0), totals), _resampled_ratios(sums, counts).T, totals, strict=True)
    return [_interval(ratio, resampled, n=n) for ratio, resampled, n in columns]


def ratio_difference(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> Interval:
    """First minus second of two such ratios, resampled together; NaN where either has no count."""
    totals = counts.sum(axis=0)
    first, second = _ratios(sums.sum(axis=0), totals)
    resampled = _resampled_ratios(sums, counts)
    return _interval(first - second, resampled[:, 0] - resampled[:, 1], n=totals.sum() if totals.all() else 0)


def _interval(mean: float, resampled: Column, *, n: float) -> Interval:
    low, high = np.nanquantile(resampled, [0.025, 0.975]) if n else (math.nan, math.nan)
    return Interval(float(mean), float(low), float(high), int(n), int(n))


def _resampled_ratios(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """(NUM_RESAMPLES, columns); NaN where a resample holds no count."""
    rng, rows = np.random.default_rng(0), len(sums)
    drawn = (np.bincount(rng.integers(rows, size=rows), minlength=rows).astype(float) for _ in range(NUM_RESAMPLES))
    return np.array([_ratios(weight @ sums, weight @ counts) for weight in drawn])


def _ratios(sums: Column, counts: Column) -> Column:
    return np.where(counts > 0, sums / np.maximum(counts, 1e-12), math.nan)
