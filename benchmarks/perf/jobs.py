"""Jobs per second through the three engines of the pool, in one process run: `python benchmarks/perf/jobs.py [JOBS]`.

A job keeps a core busy for about 2 ms. "here" runs first; processes and Ray have two workers each, and the clock starts
when a tenth of the jobs are done, since workers need seconds to start. Prints a line for people, then one JSON object
per figure, each a ratio to "here".
"""

import json
import sys
import time

from likeness.core.jobs import Engine, always, run_jobs

JOBS = 2000
WORKERS = 2
MILLISECONDS = 2.0


def busy(number: int) -> int:
    """The number, after about two milliseconds of a core."""
    end = time.process_time() + MILLISECONDS / 1e3
    while time.process_time() < end:
        pass
    return number


def jobs_per_second(engine: Engine, *, n: int) -> float:
    """The rate from the first tenth on. Raises: AssertionError when a job is lost or comes twice."""
    workers, seen, began = 1 if engine == "here" else WORKERS, list[int](), 0.0
    for number, _ in run_jobs(range(n), load=always(busy), engine=engine, workers=workers, ahead=4):
        seen.append(number)
        if len(seen) == n // 10:
            began = time.perf_counter()
    rate = (n - n // 10) / (time.perf_counter() - began)
    assert sorted(seen) == list(range(n))
    return rate


def main(n: int) -> None:
    """Prints a line for people, then the figures."""
    rates = {engine: jobs_per_second(engine, n=n) for engine in ("here", "processes", "ray")}
    print(", ".join(f"{engine}: {rate:.0f} jobs/s" for engine, rate in rates.items()))
    for engine in ("processes", "ray"):
        name = f"jobs/s of {engine} with {WORKERS} workers against here"
        figure = {"name": name, "ratio": round(rates[engine] / rates["here"], 2), "goal": 1.5}
        print(json.dumps({**figure, "better": "higher", "n": n}))


if __name__ == "__main__":
    wanted = sys.argv[1] if len(sys.argv) > 1 else str(JOBS)
    if not wanted.isdigit() or int(wanted) < 100:
        sys.exit(f"jobs.py: expected a number of jobs of at least 100, got {wanted!r}; try {JOBS}.")
    main(int(wanted))
