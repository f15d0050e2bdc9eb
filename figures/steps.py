"""How few denoising steps lose nothing: paired differences from the largest number of steps, on validation cases.

    python figures/steps.py --steps 25 8 6 5 4 --cases 256

Every number of steps draws the same cases from the same seeds; the interval is of the difference per sample, resampled
by subject.
"""

import argparse
from pathlib import Path
from typing import Any  # JSON

from validation import BENCHMARKS

from likeness.core.hashing import folder_sha256, short
from likeness.core.jobs import always, run_jobs
from likeness.core.weights import resolve_weights

ROOT = Path(__file__).resolve().parent.parent


def draw(job: tuple[str, str, int, int, Path]) -> Path:
    """The evaluated run of one benchmark with one number of steps, by one thread."""
    import torch

    from likeness.benchmarks import benchmark_cases
    from likeness.encoders import WORLD_ENCODERS
    from likeness.evaluate import evaluate_run, load_encoders
    from likeness.generate.run import generate_run

    benchmark, model, steps, cases, out = job
    torch.set_num_threads(1)
    folder = out / f"{benchmark}-{steps}-cases"
    found = benchmark_cases(benchmark, folder=folder, limit=cases, split="validation")
    run = out / f"{benchmark}-{steps}"
    generate_run(found.cases, out=run, model=model, benchmark=benchmark, options={"steps": steps})
    encoders = load_encoders(WORLD_ENCODERS)
    evaluate_run(run, benchmark=benchmark, cases=folder / "cases.jsonl", encoders=encoders, bounds=False)
    return run


def row_text(row: dict[str, Any]) -> str:
    """A difference with its interval."""
    found = row["difference"]
    if found["ci_low"] is None:
        return f"{row['metric']} not measured"
    return f"{row['metric']} {found['mean']:+.4f} [{found['ci_low']:+.4f}, {found['ci_high']:+.4f}]"


def main() -> None:
    """Draws, measures, compares, prints."""
    from likeness.evaluate.compare import compare_runs

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", nargs="+", required=True, type=int)
    parser.add_argument("--model", default="flux")
    parser.add_argument("--cases", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "steps")
    options = parser.parse_args()
    out = options.out.resolve() / f"{short(folder_sha256(resolve_weights(options.model)))}-{options.cases}"
    numbers = sorted(set(options.steps))
    jobs = [(name, options.model, steps, options.cases, out) for steps in numbers for name in BENCHMARKS]
    runs = {(job[0], job[2]): run for job, run in run_jobs(jobs, load=always(draw), engine="processes",
                                                           workers=options.workers)}  # fmt: skip
    for steps in numbers[:-1]:
        before, after = ([runs[name, each] for name in BENCHMARKS] for each in (numbers[-1], steps))
        rows = compare_runs(before, after, out=out / f"{steps}.json")["rows"]
        for benchmark in BENCHMARKS:
            shown = ", ".join(row_text(row) for row in rows if row["benchmark"] == benchmark)
            print(f"{steps} - {numbers[-1]} steps, {benchmark}: {shown}", flush=True)


if __name__ == "__main__":
    main()
