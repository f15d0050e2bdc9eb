"""The pictures of the experiment, drawn from the committed tables. Needs matplotlib: pip install '.[plots]'"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any  # rows are JSON

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from likeness.core.files import read_json, read_jsonl

SHOWN = ("attribute_accuracy", "leakage", "dino", "clip_t")


def draw_plots(results: Path, *, logs: Sequence[Path]) -> None:
    """differences.png (each method minus base), focus_share.png (A_focus by t) and trade.png, beside the tables."""
    draw_differences(read_json(results / "differences.json"), out=results / "differences.png")
    if (results / "why.json").is_file():
        draw_trade(read_json(results / "why.json")["differences"], out=results / "trade.png")
    draw_focus_share(logs, out=results / "focus_share.png")


def draw_differences(rows: Sequence[dict[str, Any]], *, out: Path) -> None:
    """One panel per metric, one line per method and benchmark: mean and 95% interval of method minus base."""
    to_base = [row for row in rows if row["method_b"] == "base" and row["metric"] in SHOWN]
    figure, axes = plt.subplots(1, len(SHOWN), figsize=(4 * len(SHOWN), 4.5), sharey=True)
    labels = sorted({(row["benchmark"], row["method_a"]) for row in to_base})
    for axis, metric in zip(axes, SHOWN, strict=True):
        axis.axvline(0, color="0.6", linewidth=1)
        for row in (row for row in to_base if row["metric"] == metric and row["ci_low"] is not None):
            place = labels.index((row["benchmark"], row["method_a"]))
            axis.plot([row["ci_low"], row["ci_high"]], [place, place], color="C0", linewidth=2)
            axis.plot(row["mean"], place, "o", color="C0")
        axis.set_title(f"{metric}\nminus base")
        axis.set_yticks(range(len(labels)), [f"{method}, {benchmark}" for benchmark, method in labels])
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    plt.close(figure)


def draw_trade(rows: Sequence[dict[str, Any]], *, out: Path) -> None:
    """DINO gained against CLIP-T lost, each variant minus base with both 95% intervals."""
    to_base = {(row["method_a"], row["metric"]): row for row in rows if row["method_b"] == "base"}
    figure, axis = plt.subplots(figsize=(6.5, 5))
    for name in dict.fromkeys(method for method, _ in to_base):
        x, y = to_base[name, "clip_t"], to_base[name, "dino"]
        color = "C1" if name.startswith("dpo") else "C0"
        axis.plot([x["ci_low"], x["ci_high"]], [y["mean"]] * 2, color=color, alpha=0.4)
        axis.plot([x["mean"]] * 2, [y["ci_low"], y["ci_high"]], color=color, alpha=0.4)
        axis.plot(x["mean"], y["mean"], "o", color=color)
        axis.annotate(name, (x["mean"], y["mean"]), xytext=(5, 5), textcoords="offset points", fontsize=8)
    axis.axhline(0, color="0.6", linewidth=1)
    axis.axvline(0, color="0.6", linewidth=1)
    axis.set_xlabel("CLIP-T minus base")
    axis.set_ylabel("DINO minus base")
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    plt.close(figure)


def draw_focus_share(logs: Sequence[Path], *, out: Path) -> None:
    """Mean A_focus per tenth of t over whole runs, one line per training seed."""
    figure, axis = plt.subplots(figsize=(6, 4))
    for log in logs:
        share = focus_share_by_decile(read_jsonl(log))
        axis.plot([(d + 0.5) / 10 for d in share], list(share.values()), marker="o", label=log.parent.name)
    axis.set_xlabel("t (1 = noise)")
    axis.set_ylabel("A_focus = |M_s| / |M_prior|")
    axis.legend()
    figure.tight_layout()
    figure.savefig(out, dpi=110)
    plt.close(figure)


def focus_share_by_decile(rows: Sequence[dict[str, Any]]) -> dict[int, float]:
    """Tenth of t -> mean A_focus over all pairs of all steps."""
    sums: dict[int, float] = defaultdict(float)
    counts: dict[int, float] = defaultdict(float)
    for table in (row["focus_share_by_t"] for row in rows if row["focus_share_by_t"]):
        for tenth, (total, count) in enumerate(zip(table["sum"], table["count"], strict=True)):
            sums[tenth] += total
            counts[tenth] += count
    return {tenth: sums[tenth] / counts[tenth] for tenth in sorted(counts) if counts[tenth]}
