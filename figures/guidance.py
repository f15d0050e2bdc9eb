"""How strongly prompt and references should guide a model: attributes, leakage and action on validation cases.

    python figures/guidance.py --scales 2.5:2.5 --scales 2.5:3.5 --cases 128 --steps 8

Each pair is `cfg_scale:reference_cfg_scale`; every pair draws the same cases from the same seeds.
"""

import argparse
from pathlib import Path
from typing import Any  # JSON

from validation import BENCHMARKS, METRICS, validation_scores

from likeness.core.hashing import folder_sha256, short
from likeness.core.jobs import always, run_jobs
from likeness.core.weights import resolve_weights

ROOT = Path(__file__).resolve().parent.parent


def scale_pair(text: str) -> tuple[float, float]:
    """Both numbers of `cfg_scale:reference_cfg_scale`."""
    by_prompt, by_references = map(float, text.split(":"))
    return by_prompt, by_references


def measure(job: tuple[tuple[float, float], str, str, int, int, Path]) -> dict[str, dict[str, Any]]:
    """The scores of one pair on one benchmark."""
    (by_prompt, by_references), benchmark, model, cases, steps, out = job
    run = out / f"{benchmark}-{by_prompt:g}-{by_references:g}"
    settings = {"cfg_scale": by_prompt, "reference_cfg_scale": by_references}
    return validation_scores(benchmark, model=model, out=run, limit=cases, steps=steps, **settings)


def main() -> None:
    """Draws, measures, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scales", action="append", required=True, type=scale_pair, metavar="PROMPT:REFERENCES")
    parser.add_argument("--model", default="flux")
    parser.add_argument("--cases", type=int, default=128)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "guidance")
    options = parser.parse_args()
    made_by = f"{short(folder_sha256(resolve_weights(options.model)))}-{options.cases}-{options.steps}"
    out = options.out.resolve() / made_by
    jobs = [(s, name, options.model, options.cases, options.steps, out) for s in options.scales for name in BENCHMARKS]
    measured = run_jobs(jobs, load=always(measure), engine="processes", workers=options.workers, in_order=True)
    for (scales, benchmark, *_), scores in measured:
        shown = [f"{metric} {scores[metric]['mean']:.3f}" for metric in METRICS if scores[metric]["n"]]
        print(f"{scales[0]:g}:{scales[1]:<6g} {benchmark:12} {', '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
