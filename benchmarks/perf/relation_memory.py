"""Whether memory stays flat while a LoRA for a relation is trained: the resident size every 50 steps, and its slope.

    python benchmarks/perf/relation_memory.py [STEPS] [EVERY]

One process, the embedded SDXL, drawn examples at 128 px, one in each step as in the published code, joints and the
predicate's attention in every step. The published code keeps the attention maps of every step (ten layers of the large
grid), so that it grows without end. The first EVERY steps warm up: optimizer, caches and the allocator's pools are made
there. The slope is the mean of the increases between readings, with Student's 95% interval: unlike a fitted line it
stays honest where one increase moves all later readings. Half as many steps more, each of which leaks LEAK bytes on
purpose, show that a leak would be seen. Prints each reading to stderr and one JSON object per figure.
"""

import gc
import json
import math
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from relations_step import EXAMPLES, LEFT_BEHIND, MODEL, SIZE, prepare, resident_bytes

STEPS, EVERY = 500, 50
LEAK = 100_000
LIMIT = LEFT_BEHIND["resident"]
"""Most bytes a step, as in relations_step.py."""


class Slope(NamedTuple):
    """Bytes a step with a 95% interval; `n` increases stand behind it."""

    mean: float
    low: float
    high: float
    n: int

    def verdict(self, limit: float) -> str:
        """ "flat" when the whole interval is at most the limit, "grows" when it is above, else "undecided"."""
        if self.high <= limit:
            return "flat"
        return "grows" if self.low > limit else "undecided"


def slope(readings: Sequence[int], *, every: int) -> Slope:
    """Of resident sizes in bytes, read every `every` steps. Raises: ValueError for fewer than three readings."""
    from scipy import stats

    if len(readings) < 3:
        raise ValueError(f"readings: expected 3 or more, got {len(readings)}; run more steps.")
    rises = [(after - before) / every for before, after in pairwise(readings)]
    mean, n = statistics.fmean(rises), len(rises)
    half = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(rises) / math.sqrt(n)
    return Slope(mean, mean - half, mean + half, n)


def read_while(step: Callable[[], object], *, steps: int, every: int, what: str) -> list[int]:
    """The resident size after each `every` steps, the first time after the warm-up."""
    readings: list[int] = []
    for number in range(1, steps + 1):
        step()
        if number % every == 0:
            gc.collect()
            readings.append(resident_bytes())
            print(f"{what}: step {number}, {readings[-1] / 1e6:.1f} MB", file=sys.stderr, flush=True)
    return readings


def leaking(step: Callable[[], object]) -> Callable[[], None]:
    """The step, each of which leaves LEAK bytes behind."""
    import torch

    kept: list[Any] = []

    def leak() -> None:
        step()
        kept.append(torch.ones(LEAK, dtype=torch.uint8))

    return leak


def main(steps: int, every: int) -> None:
    """Prints the figures."""
    import torch

    from likeness.backbones.open import open_backbone
    from likeness.data.relations.world import make_world_relations
    from likeness.train.trainable.lora import LoraAdapter

    torch.set_num_threads(1)
    backbone: Any = open_backbone(MODEL, device="cpu", dtype="float32")
    shared = {"backbone": backbone, "trainable": LoraAdapter(backbone, rank=4, alpha=4.0, init_seed=0)}
    with tempfile.TemporaryDirectory() as folder:
        examples = Path(folder) / "relations"
        make_world_relations(EXAMPLES, out=examples, actions=["hug"], size=SIZE)
        step = prepare(examples, keypoint_weight=0.1, attention_weight=0.001, shared=shared, batch_size=1)
        readings = {"relation step": read_while(step, steps=steps, every=every, what="relation step")}
        control = f"the same with {LEAK} bytes leaked"
        readings[control] = read_while(leaking(step), steps=steps // 2, every=every, what="control")
    for name, sizes in readings.items():
        found = slope(sizes, every=every)
        told = {"low": round(found.low), "high": round(found.high), "n": found.n, "verdict": found.verdict(LIMIT)}
        row = {"name": f"bytes left behind by a step, {name}", "value": round(found.mean), "goal": LIMIT}
        print(json.dumps({**row, "better": "lower", **told, "first": sizes[0], "last": sizes[-1]}))


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    main(*given, *(STEPS, EVERY)[len(given) :])
