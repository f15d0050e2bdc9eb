"""Labelled pictures per second of one core at 64 px: `python benchmarks/perf/world_render.py`.

Counts processor time of this process, so that other work on the machine changes the number little. The last line of
the output is one JSON object.
"""

import json
import time

from likeness.world.render import render
from likeness.world.scenario import sample_scenario

NUM_WARM_UP, NUM_PICTURES, SIZE = 50, 600, 64
GOAL = 300.0


def pictures_per_second(*, n: int = NUM_PICTURES, size: int = SIZE) -> float:
    """Pictures with all labels per second of processor time, sampling of the scenario included."""
    for seed in range(NUM_WARM_UP):
        render(sample_scenario(1_000_000 + seed, split="train"), size=size)
    began = time.process_time()
    for seed in range(n):
        render(sample_scenario(seed, split="train"), size=size)
    return n / (time.process_time() - began)


if __name__ == "__main__":
    row = {
        "name": "world_render_64px_per_core",
        "value": round(pictures_per_second(), 1),
        "goal": GOAL,
        "better": "higher",
        "n": NUM_PICTURES,
    }
    print(json.dumps(row))
