"""tables.md: results.json, differences.json and ablations.json as a person reads them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any  # rows are JSON

from likeness.core.files import atomic_write_text, read_json

METRICS = {
    "attribute_accuracy": "attributes",
    "leakage": "leakage",
    "dino": "DINO",
    "clip_i": "CLIP-I",
    "clip_t": "CLIP-T",
    "action_recognised": "action",
    "scene_recognised": "scene",
}
SHOWN_DIFFERENCES = (
    ("focus_dpo", "dpo"), ("focus_dpo", "base"), ("dpo", "base"), ("sft", "base"), ("patch_dpo", "base"),
)  # fmt: skip
SHOWN_REASONS = (
    ("focus_dpo", "dpo"),
    ("focus_dpo", "dpo_beta_125"),
    ("focus_dpo_beta_2000", "dpo"),
    ("dpo_elsewhere", "dpo"),
    ("focus_dpo_elsewhere", "focus_dpo"),
    ("focus_dpo_elsewhere", "dpo_elsewhere"),
    ("prior_only_elsewhere", "focus_dpo_elsewhere"),
)

Row = Mapping[str, Any]


def write_tables(folder: Path) -> None:
    """`folder`/tables.md from the JSON files beside it."""
    results, differences = read_json(folder / "results.json"), read_json(folder / "differences.json")
    parts = ["# Tables\n\nWritten by `run.py --stage tables` from the JSON files beside it. Brackets: 95% intervals."]
    for benchmark in dict.fromkeys(row["benchmark"] for row in results):
        here = [row for row in results if row["benchmark"] == benchmark]
        n = max(row["n"] for row in here if row["method"] == "base")
        parts.append(f"## {benchmark}, {n} cases\n\n" + _table(here, line=lambda row: row["method"], cell=_level))
        parts.append(_difference_table(differences, benchmark, shown=SHOWN_DIFFERENCES))
    if (folder / "ablations.json").is_file():
        ablations = read_json(folder / "ablations.json")
        for benchmark in dict.fromkeys(row["benchmark"] for row in ablations):
            here = [row for row in ablations if row["benchmark"] == benchmark]
            title = f"## Ablations of FocusDPO, {benchmark}, validation split, {max(row['n'] for row in here)} cases"
            parts.append(f"{title}\n\n" + _table(here, line=lambda row: row["method"], cell=_level))
    if (folder / "why.json").is_file():
        found = read_json(folder / "why.json")
        for benchmark in dict.fromkeys(row["benchmark"] for row in found["results"]):
            here = [row for row in found["results"] if row["benchmark"] == benchmark]
            n = max(row["n"] for row in here if row["method"] == "base")
            title = f"## Why, {benchmark}, validation split, {n} cases"
            parts.append(f"{title}\n\n" + _table(here, line=lambda row: row["method"], cell=_level))
            parts.append(_difference_table(found["differences"], benchmark, shown=SHOWN_REASONS))
    atomic_write_text(folder / "tables.md", "\n\n".join(parts) + "\n")


def _difference_table(rows: Sequence[Row], benchmark: str, *, shown: Sequence[tuple[str, str]]) -> str:
    """The rows of `shown` pairs of methods, in that order."""
    found = {(row["method_a"], row["method_b"]): [] for row in rows}
    for row in rows:
        if row["benchmark"] == benchmark:
            found[row["method_a"], row["method_b"]].append(row)
    kept = [row for pair in shown for row in found.get(pair, [])]
    return _table(kept, line=lambda row: f"{row['method_a']} - {row['method_b']}", cell=_signed)


def _table(rows: Sequence[Row], *, line: Callable[[Row], str], cell: Callable[[Row], str]) -> str:
    cells = {(line(row), row["metric"]): cell(row) for row in rows}
    lines = [f"| | {' | '.join(METRICS.values())} |", "|---" * (len(METRICS) + 1) + "|"]
    for name in dict.fromkeys(line(row) for row in rows):
        lines.append(f"| {name} | {' | '.join(cells.get((name, metric), '') for metric in METRICS)} |")
    return "\n".join(lines)


def _level(row: Row) -> str:
    return _with_interval(row, "{:.3f}")


def _signed(row: Row) -> str:
    return _with_interval(row, "{:+.4f}")


def _with_interval(row: Row, form: str) -> str:
    if row["mean"] is None:
        return "not measured"
    if row["ci_low"] is None:
        return form.format(row["mean"])
    return f"{form.format(row['mean'])} [{form.format(row['ci_low'])}, {form.format(row['ci_high'])}]"
