"""Stops a run that diverges, before it overwrites a good checkpoint."""

import math
from pathlib import Path
from statistics import median

from likeness.core.errors import DivergenceError

WINDOW = 100
MIN_STEPS = 20
"""Steps seen before a spike can be told from the normal spread."""


class SpikeGuard:
    """Watches the loss and the gradient norm of each step.

    A spike is a value above `factor` times the larger of two medians, of the last 100 steps and of the first 20: a
    preference loss that has been learnt lies near 0, and one hard pair then is no divergence. `factor` 0 turns this
    off; numbers that are not finite always stop the run.
    """

    def __init__(self, *, factor: float) -> None:
        self.factor = factor
        self._first: dict[str, list[float]] = {}
        self._last: dict[str, list[float]] = {}

    def check(self, step: int, values: dict[str, float], *, checkpoint: str) -> None:
        """Raises: DivergenceError naming the step (counted from 1), the last good checkpoint and what to lower."""
        for name, value in values.items():
            limit = self._limit(name)
            if not math.isfinite(value) or value > limit:
                normal = "a finite number" if not math.isfinite(value) else f"at most {limit:.4g}"
                raise DivergenceError(
                    f"step {step}: expected {normal} as {name}, got {value:.4g}; the last good checkpoint is "
                    f"{checkpoint}, so lower train.learning_rate or objective.beta, or raise train.warmup, and start a "
                    "new run folder."
                )
        for name, value in values.items():
            first, last = self._first.setdefault(name, []), self._last.setdefault(name, [])
            if len(first) < MIN_STEPS:
                first.append(value)
            last.append(value)
            del last[:-WINDOW]

    def _limit(self, name: str) -> float:
        first = self._first.get(name, [])
        if self.factor == 0 or len(first) < MIN_STEPS:
            return math.inf
        return self.factor * max(median(first), median(self._last[name]))

    def state(self) -> dict[str, dict[str, list[float]]]:
        """What `restore` needs."""
        return {"first": self._first, "last": self._last}

    def restore(self, state: dict[str, dict[str, list[float]]]) -> None:
        """Goes on with the medians of a saved run."""
        self._first, self._last = state["first"], state["last"]


def checkpoint_text(state: Path, *, step: int) -> str:
    """How messages name a checkpoint."""
    return f"{state} (step {step})" if step else "none yet"
