"""Pictures per second of the embedded generator at 25 steps with its default guidance, by 1 and by 2 workers.

    python benchmarks/perf/generation.py [PICTURES]

Runs `generate_run` on cases of world-multi (two references each), as `likeness generate` does. The clock starts when
half of the pictures are there, since workers load at different speeds. Prints one JSON object per figure.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

MODEL = "flux"
STEPS = 25
GOAL = 1.5  # pictures per second, on two cores
SPEED_UP_GOAL = 1.5  # two workers against one
PICTURES = 24


def require_weights() -> None:
    """The embedded generator is in the package, else the script ends here with the way to get it."""
    from likeness.core.weights import embedded_names

    if MODEL not in embedded_names():
        known = ", ".join(embedded_names()) or "none"
        sys.exit(
            f"generation.py: expected the embedded checkpoint {MODEL!r}, got {known}; reinstall likeness, or train it "
            "with `likeness world pretrain configs/world_cpu.toml`."
        )


def pictures_per_second(cases_file: Path, *, out: Path, workers: int) -> float:
    """The rate of the second half of the pictures."""
    from likeness.core.records import read_cases
    from likeness.generate.run import generate_run

    ready: list[float] = []

    def clock(done: int, _total: int) -> None:
        if done:
            ready.append(time.perf_counter())

    options = {"steps": STEPS}
    generate_run(read_cases(cases_file).cases, out=out, model=MODEL, options=options, workers=workers, progress=clock)
    half = len(ready) // 2
    return (len(ready) - half) / (ready[-1] - ready[half - 1])


def main(count: int) -> None:
    """Prints a line for people per measurement, then the figures."""
    require_weights()
    from likeness.benchmarks.world import build

    with tempfile.TemporaryDirectory() as folder:
        cases = build("world-multi", Path(folder) / "cases", limit=count)
        rates = {w: pictures_per_second(cases, out=Path(folder) / f"run{w}", workers=w) for w in (1, 2)}
    figures = [
        {
            "name": f"generation, {w} worker(s), pictures/s",
            "value": round(rate, 3),
            "goal": GOAL,
            "n": count - count // 2,
        }
        for w, rate in rates.items()
    ]
    speed_up = {"name": "generation, 2 workers against 1", "ratio": round(rates[2] / rates[1], 3)}
    for figure in [*figures, {**speed_up, "goal": SPEED_UP_GOAL, "n": count - count // 2}]:
        print(json.dumps({**figure, "better": "higher"}))


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) > 1 else str(PICTURES)
    if not wanted.isdigit() or int(wanted) < 4:
        sys.exit(f"generation.py: expected a number of pictures of at least 4, got {wanted!r}; try {PICTURES}.")
    main(int(wanted))
