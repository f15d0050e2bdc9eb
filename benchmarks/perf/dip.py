"""Accepted pairs per second of the DIP recipe at 128 px, by two workers: `python benchmarks/perf/dip.py [PAIRS]`.

The clock starts when a fifth of the pairs are there, since workers load torch at different speeds. Also prints the
processor milliseconds per accepted pair of one process, which other work on the machine changes little. The last lines
of the output are one JSON object per figure.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

GOAL = 60.0  # accepted pairs per second, on two cores
PAIRS = 960


def pairs_per_second(*, n: int, folder: Path) -> float:
    """The rate of two workers, from the first fifth on."""
    from likeness.data.pairs.dip import make_pairs

    marks: list[tuple[int, float]] = []
    make_pairs(n, out=folder, workers=2, progress=lambda done, _: marks.append((done, time.perf_counter())))
    first, began = next(mark for mark in marks if mark[0] * 5 >= n)
    last, ended = marks[-1]
    return (last - first) / (ended - began)


def milliseconds_per_pair(*, n: int, folder: Path) -> float:
    """Processor time of one process, loading and the first chunk left out; and the share of attempts kept."""
    from likeness.data.pairs.dip import make_pairs

    marks: list[tuple[int, float]] = []
    made = make_pairs(n, out=folder, progress=lambda done, _: marks.append((done, time.process_time())))
    (first, began), (last, ended) = marks[1], marks[-1]
    print(f"{made.acceptance:.1%} of {made.num_attempts} attempts kept; refused for {made.reasons}")
    return (ended - began) / (last - first) * 1e3


def main(n: int) -> None:
    """Prints a line for people, then the figures."""
    with tempfile.TemporaryDirectory() as folder:
        milliseconds = milliseconds_per_pair(n=max(n // 4, 96), folder=Path(folder) / "one")
        rate = pairs_per_second(n=n, folder=Path(folder) / "two")
    cpu = {"name": "dip, processor ms per accepted pair", "ratio": round(milliseconds, 1)}
    print(json.dumps({**cpu, "goal": round(2000 / GOAL, 1), "better": "lower", "n": max(n // 4, 96)}))
    wall = {"name": "dip, accepted pairs/s, 2 workers", "ratio": round(rate, 1), "goal": GOAL}
    print(json.dumps({**wall, "better": "higher", "n": n}))


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) > 1 else str(PAIRS)
    if not wanted.isdigit() or int(wanted) < 96:
        sys.exit(f"dip.py: expected a number of pairs of at least 96, got {wanted!r}; try {PAIRS}.")
    main(int(wanted))
