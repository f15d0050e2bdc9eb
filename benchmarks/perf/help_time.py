"""Seconds until `likeness --help` has answered, each time in a fresh process.

    python benchmarks/perf/help_time.py [TIMES]

Prints one JSON object: the median.
"""

import json
import statistics
import subprocess
import sys
import time

GOAL = 1.0  # seconds
TIMES = 9


def seconds() -> float:
    """One call, from start to exit."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "likeness", "--help"], check=True, capture_output=True)
    return time.perf_counter() - start


def main(times: int) -> None:
    """The first call only warms the file cache."""
    seconds()
    value = statistics.median(seconds() for _ in range(times))
    figure = {"name": "likeness --help, seconds", "value": round(value, 3), "goal": GOAL, "better": "lower"}
    print(json.dumps({**figure, "n": times}))


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) > 1 else str(TIMES)
    if not wanted.isdigit() or int(wanted) < 1:
        sys.exit(f"help_time.py: expected a number of calls of at least 1, got {wanted!r}; try {TIMES}.")
    main(int(wanted))
