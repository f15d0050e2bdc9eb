"""What a model scores on validation cases of a world benchmark: for choices that must not be made on test cases."""

from pathlib import Path
from typing import Any  # JSON

BENCHMARKS = ("world-single", "world-multi")
METRICS = ("attribute_accuracy", "leakage", "action_recognised")


def validation_scores(
    benchmark: str, *, model: str, out: Path, limit: int, **options: float
) -> dict[str, dict[str, Any]]:
    """By metric: mean, 95% interval and n of the first `limit` cases, drawn and measured in this process by one thread.

    The run goes to `out`, its cases beside it; `options` are the backbone's.
    """
    import torch

    from likeness.benchmarks import benchmark_cases
    from likeness.encoders import WORLD_ENCODERS
    from likeness.evaluate import evaluate_run, load_encoders
    from likeness.generate.run import generate_run

    torch.set_num_threads(1)
    cases = out.with_name(f"{out.name}-cases") / "cases.jsonl"
    found = benchmark_cases(benchmark, folder=cases.parent, limit=limit, split="validation")
    generate_run(found.cases, out=out, model=model, benchmark=benchmark, options=options)
    encoders = load_encoders({"probe": WORLD_ENCODERS["probe"]})
    summary = evaluate_run(out, benchmark=benchmark, cases=cases, encoders=encoders, bounds=False)
    rows = {row["metric"]: row for row in summary["rows"]}
    return {metric: {key: rows[metric][key] for key in ("mean", "ci_low", "ci_high", "n")} for metric in METRICS}
