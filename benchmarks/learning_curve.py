"""How the embedded generator got better with training, and where the curve points.

    python benchmarks/learning_curve.py --checkpoint 72000=old/flux --checkpoint 256000=flux --cases 256 --write

Each checkpoint (pictures seen = embedded name or folder) draws the same validation cases. The law that is fitted is
miss = a * pictures ** -b, the miss being what attribute accuracy lacks to the probe's own on true pictures of the cases
passed through the autoencoder; a line through few points, no promise. `--write` stores docs/learning_curve.json and its
plot.
"""

import argparse
import json
import math
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any  # JSON

import numpy as np
from ceilings import measure_ceiling
from validation import validation_scores

ROOT = Path(__file__).resolve().parent.parent
EMBEDDED = ROOT / "src" / "likeness" / "assets" / "embedded"
LOG = EMBEDDED / "logs" / "transformer.jsonl"
GOALS = {"world-single": 0.97, "world-multi": 0.95}
"""Of attribute accuracy, as shares of the ceiling."""


def measure(job: tuple[int, str, str, int, int, Path]) -> dict[str, Any]:
    """The row of one checkpoint on one benchmark."""
    from likeness.core.hashing import folder_sha256, short
    from likeness.core.weights import resolve_weights

    pictures, model, benchmark, limit, steps, out = job
    scores = validation_scores(benchmark, model=model, out=out / f"{pictures}-{benchmark}", limit=limit, steps=steps)
    row = {"pictures": pictures, "model": short(folder_sha256(resolve_weights(model))), "benchmark": benchmark}
    return row | scores


def _ceiling(benchmark: str, *, out: Path, pictures: int) -> float:
    """Attribute accuracy of the true pictures of the cases, which are those of every checkpoint."""
    cases = out / f"{pictures}-{benchmark}-cases" / "cases.jsonl"
    summary = measure_ceiling(cases, benchmark=benchmark, out=out / f"{benchmark}-ceiling")
    return next(row["mean"] for row in summary["rows"] if row["metric"] == "attribute_accuracy")


def fit(rows: list[dict[str, Any]], *, ceiling: float) -> dict[str, float | None]:
    """a and b of the law, and the pictures at which it meets the goal (None: it does not fall)."""
    benchmark = rows[0]["benchmark"]
    misses = [1 - row["attribute_accuracy"]["mean"] / ceiling for row in rows]
    slope, level = np.polyfit(np.log([row["pictures"] for row in rows]), np.log(misses), 1)
    goal = None if slope >= 0 else math.exp((math.log(1 - GOALS[benchmark]) - level) / slope)
    return {"a": float(np.exp(level)), "b": float(-slope), "pictures_at_goal": goal}


def draw(rows: list[dict[str, Any]], *, ceilings: dict[str, float], out: Path) -> None:
    """Validation error by pictures seen, and attribute accuracy over the ceiling with the fitted law."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    log = [json.loads(line) for line in LOG.read_text().splitlines()]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4))
    left.plot([r["num_images_seen"] for r in log], [r["validation_loss"] for r in log])
    left.set(xlabel="pictures seen", ylabel="velocity error, test pictures", xscale="log", yscale="log")
    for color, benchmark in zip(("C0", "C1"), GOALS, strict=True):
        here = [row for row in rows if row["benchmark"] == benchmark]
        numbers = np.array([[row["attribute_accuracy"][k] for k in ("mean", "ci_low", "ci_high")] for row in here])
        x, (mean, low, high) = [row["pictures"] for row in here], (numbers / ceilings[benchmark]).T
        right.errorbar(x, mean, yerr=[mean - low, high - mean], fmt="o", color=color, label=benchmark)
        law, more = fit(here, ceiling=ceilings[benchmark]), np.geomspace(min(x), 16 * max(x), 50)
        right.plot(more, 1 - law["a"] * more ** -law["b"], color=color, linewidth=1)  # pyright: ignore[reportOperatorIssue]
        right.axhline(GOALS[benchmark], color=color, linestyle=":", linewidth=1)
    right.set(xlabel="pictures seen", ylabel="attribute accuracy / ceiling", xscale="log")
    right.legend()
    figure.tight_layout()
    figure.savefig(out, dpi=110)


def main() -> None:
    """Draws, measures, prints, stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", action="append", required=True, metavar="PICTURES=MODEL")
    parser.add_argument("--cases", type=int, default=256)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "learning_curve")
    parser.add_argument("--write", action="store_true", help="store docs/learning_curve.json and its plot")
    options = parser.parse_args()
    given = [(int(count), model) for count, _, model in (text.partition("=") for text in options.checkpoint)]
    jobs = [
        (n, m, name, options.cases, options.steps, options.out.resolve()) for n, m in sorted(given) for name in GOALS
    ]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        rows = list(pool.map(measure, jobs))
    ceilings = {name: _ceiling(name, out=options.out.resolve(), pictures=min(given)[0]) for name in GOALS}
    laws = {name: fit([row for row in rows if row["benchmark"] == name], ceiling=ceilings[name]) for name in GOALS}
    stored = {"ceilings": ceilings, "split": "validation", "steps": options.steps, "rows": rows, "laws": laws}
    print(json.dumps(stored, indent=1))
    if options.write:
        (ROOT / "docs" / "learning_curve.json").write_text(json.dumps(stored, indent=1) + "\n")
        draw(rows, ceilings=ceilings, out=ROOT / "docs" / "pictures" / "learning_curve.png")


if __name__ == "__main__":
    main()
