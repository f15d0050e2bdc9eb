"""How the embedded generator got better with training, and where the curves point.

    python figures/learning_curve.py --checkpoint 72000=old/flux --checkpoint 256000=flux --cases 256 --write

Each checkpoint (pictures seen = embedded name or folder) draws the same validation cases. The law that is fitted is
miss = a * pictures ** -b, a line through few points, no promise. The miss of attribute accuracy is what it lacks to the
probe's own on true pictures of the cases passed through the autoencoder, that of leakage what exceeds the probe's
reading of those. `--write` stores docs/learning_curve.json and its plot, which also shows the training logs of
generator and autoencoder; it needs matplotlib: pip install '.[plots]'. Earlier checkpoints are not kept: `--stored`
draws the plot from the stored numbers.
"""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: JSON

import numpy as np
from ceilings import measure_ceiling
from numpy.typing import ArrayLike, NDArray
from validation import BENCHMARKS, METRICS, validation_scores

from likeness.core.jobs import always, run_jobs
from likeness.core.weights import embedded_folder

ROOT = Path(__file__).resolve().parent.parent
STORED, PLOT = ROOT / "docs" / "learning_curve.json", ROOT / "docs" / "pictures" / "learning_curve.png"


class Curve(NamedTuple):
    """A score that training should bring to `goal`: accuracy as a share of the ceiling, leakage as it stands."""

    benchmark: str
    metric: str
    goal: float


CURVES = (
    Curve("world-single", "attribute_accuracy", 0.97),
    Curve("world-multi", "attribute_accuracy", 0.95),
    Curve("world-multi", "leakage", 0.02),
)
AUTOENCODER_GOAL_DB = 32
PLAIN = "{x:.2g}"
"""Ticks of logarithmic axes as decimals."""


def measure(job: tuple[int, str, str, int, int, Path]) -> dict[str, Any]:
    """The row of one checkpoint on one benchmark."""
    from likeness.core.hashing import folder_sha256, short
    from likeness.core.weights import resolve_weights

    pictures, model, benchmark, limit, steps, out = job
    scores = validation_scores(benchmark, model=model, out=out / f"{pictures}-{benchmark}", limit=limit, steps=steps)
    row = {"pictures": pictures, "model": short(folder_sha256(resolve_weights(model))), "benchmark": benchmark}
    return row | scores


def _true_pictures(benchmark: str, *, out: Path, pictures: int) -> dict[str, float | None]:
    """What the probe reads, by metric, on the true pictures of the cases, which are those of every checkpoint."""
    cases = out / f"{pictures}-{benchmark}-cases" / "cases.jsonl"
    summary = measure_ceiling(cases, benchmark=benchmark, out=out / f"{benchmark}-ceiling")
    return {row["metric"]: row["mean"] for row in summary["rows"] if row["metric"] in METRICS}


def misses(values: ArrayLike, *, curve: Curve, true: float) -> NDArray[np.float64]:
    """The misses of values of a curve's metric; `true` is the value of true pictures."""
    given = np.asarray(values, np.float64)
    return given - true if curve.metric == "leakage" else 1 - given / true


def goal_miss(curve: Curve, *, true: float) -> float:
    """The miss at the goal; not above 0 where true pictures do not meet it either."""
    return curve.goal - true if curve.metric == "leakage" else 1 - curve.goal


def fit(pictures: Sequence[int], missed: NDArray[np.float64], *, goal: float) -> dict[str, float | None]:
    """a and b of the law, and the pictures at which the miss is `goal` (None: it does not fall, or never so low).

    Raises: ValueError for a miss of nothing, which has no logarithm.
    """
    if (missed <= 0).any():
        raise ValueError(f"misses: expected more than 0, got {missed.tolist()}; leave these checkpoints out.")
    slope, level = np.polyfit(np.log(pictures), np.log(missed), 1)
    at_goal = None if slope >= 0 or goal <= 0 else math.exp((math.log(goal) - level) / slope)
    return {"a": float(np.exp(level)), "b": float(-slope), "pictures_at_goal": at_goal}


def laws(rows: list[dict[str, Any]], *, true: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """One row per curve: what it is, its goal, and the law of the checkpoints' means."""
    found: list[dict[str, Any]] = []
    for curve in CURVES:
        here = [row for row in rows if row["benchmark"] == curve.benchmark]
        means = [row[curve.metric]["mean"] for row in here]
        reading = true[curve.benchmark][curve.metric]
        missed, goal = misses(means, curve=curve, true=reading), goal_miss(curve, true=reading)
        found.append(curve._asdict() | fit([row["pictures"] for row in here], missed, goal=goal))
    return found


def draw(rows: list[dict[str, Any]], *, true: dict[str, dict[str, Any]], out: Path) -> None:
    """The scores with their laws, and the training logs of generator and autoencoder."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ((attributes, leakage), (generator, autoencoder)) = plt.subplots(2, 2, figsize=(11, 8))
    for color, curve, law in zip(("C0", "C1", "C1"), CURVES, laws(rows, true=true), strict=True):
        axes = leakage if curve.metric == "leakage" else attributes
        here = [row for row in rows if row["benchmark"] == curve.benchmark]
        numbers = [[row[curve.metric][key] for key in ("mean", "ci_low", "ci_high")] for row in here]
        reading = true[curve.benchmark][curve.metric]
        unit = 1 if curve.metric == "leakage" else reading  # accuracy is shown as a share of the ceiling
        mean, low, high = (np.array(numbers) / unit).T
        x = np.array([row["pictures"] for row in here])
        axes.errorbar(x, mean, yerr=[mean - low, high - mean], fmt="o", color=color, label=curve.benchmark)
        more = np.geomspace(x.min(), 16 * x.max(), 50)
        missed = law["a"] * more ** -law["b"]
        axes.plot(more, reading + missed if axes is leakage else 1 - missed, color=color, linewidth=1)
        axes.axhline(curve.goal, color=color, linestyle=":", linewidth=1, label=f"goal of {curve.benchmark}")
        if axes is leakage:
            axes.axhline(reading, color="grey", linestyle="--", linewidth=1, label="true pictures")
    attributes.set(xlabel="pictures seen", ylabel="attribute accuracy / ceiling", xscale="log")
    leakage.set(xlabel="pictures seen", ylabel="leakage", xscale="log")
    _draw_logs(generator, autoencoder)
    generator.yaxis.set_major_formatter(PLAIN)
    generator.yaxis.set_minor_formatter(PLAIN)
    generator.xaxis.set_minor_formatter("")
    for axes in (attributes, leakage, autoencoder):
        axes.legend()
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    plt.close(figure)


def _draw_logs(generator: Any, autoencoder: Any) -> None:  # Any: matplotlib's Axes
    log = _log("transformer")
    generator.plot([r["num_images_seen"] for r in log], [r["validation_loss"] for r in log])
    generator.set(xlabel="pictures seen", ylabel="velocity error, test pictures", xscale="log", yscale="log")
    before = 0
    for stage in ("autoencoder", "decoder"):
        log = _log(stage)
        trained = [r for r in log if "train_psnr_db" in r]
        autoencoder.plot(
            [before + r["num_images_seen"] for r in trained], [r["train_psnr_db"] for r in trained], label=stage
        )
        before += log[-1]["num_images_seen"]
        autoencoder.plot(before, log[-1]["validation_psnr_db"], "ko", label=f"{stage}, held out")
    autoencoder.axhline(AUTOENCODER_GOAL_DB, linestyle=":", linewidth=1, label="goal")
    autoencoder.set(xlabel="pictures seen", ylabel="PSNR, dB")


def _log(stage: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (embedded_folder() / "logs" / f"{stage}.jsonl").read_text().splitlines()]


def main() -> None:
    """Draws, measures, prints, stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", action="append", metavar="PICTURES=MODEL")
    parser.add_argument("--cases", type=int, default=256)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "learning_curve")
    parser.add_argument("--write", action="store_true", help="store docs/learning_curve.json and its plot")
    parser.add_argument("--stored", action="store_true", help="draw the plot from docs/learning_curve.json and end")
    options = parser.parse_args()
    if options.stored:
        stored = json.loads(STORED.read_text())
        return draw(stored["rows"], true=stored["true_pictures"], out=PLOT)
    if not options.checkpoint:
        parser.error("--checkpoint: expected one or more, got none; or draw what is stored with --stored")
    given = [(int(count), model) for count, _, model in (text.partition("=") for text in options.checkpoint)]
    jobs = [
        (n, m, name, options.cases, options.steps, options.out.resolve())
        for n, m in sorted(given)
        for name in BENCHMARKS
    ]
    measured = run_jobs(jobs, load=always(measure), engine="processes", workers=options.workers, in_order=True)
    rows = [row for _, row in measured]
    true = {n: _true_pictures(n, out=options.out.resolve(), pictures=min(given)[0]) for n in BENCHMARKS}
    stored = {
        "split": "validation",
        "steps": options.steps,
        "true_pictures": true,
        "rows": rows,
        "laws": laws(rows, true=true),
    }
    print(json.dumps(stored, indent=1))
    if options.write:
        STORED.write_text(json.dumps(stored, indent=1) + "\n")
        draw(rows, true=true, out=PLOT)
    return None


if __name__ == "__main__":
    main()
