"""tables.md: means and differences of the JSON files as a person reads them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
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
TITLES = {
    "": "",
    "ablations": "Ablations of FocusDPO, validation split: ",
    "why": "Why, validation split: ",
    "elsewhere": "Rejected pictures elsewhere: ",
}
"""Of each JSON file with results and differences; those without a name are two files."""
SHOWN = {
    "": (("focus_dpo", "dpo"), ("focus_dpo", "base"), ("dpo", "base"), ("sft", "base"), ("patch_dpo", "base")),
    "why": (
        ("focus_dpo", "dpo"),
        ("focus_dpo", "dpo_beta_125"),
        ("focus_dpo_beta_2000", "dpo"),
        ("dpo_elsewhere", "dpo"),
        ("focus_dpo_elsewhere", "focus_dpo"),
        ("focus_dpo_elsewhere", "dpo_elsewhere"),
        ("prior_only_elsewhere", "focus_dpo_elsewhere"),
    ),
    "elsewhere": (
        ("focus_dpo_elsewhere", "dpo_elsewhere"),
        ("focus_dpo_elsewhere", "base"),
        ("dpo_elsewhere", "base"),
        ("focus_dpo_elsewhere", "focus_dpo"),
        ("dpo_elsewhere", "dpo"),
    ),
}
"""Differences in the tables; of the ablations, each minus the full method."""

Row = Mapping[str, Any]


def write_tables(folder: Path) -> None:
    """`folder`/tables.md from the JSON files beside it."""
    results, differences = read_json(folder / "results.json"), read_json(folder / "differences.json")
    parts = ["# Tables\n\nWritten by `run.py --stage tables` from the JSON files beside it. Brackets: 95% intervals."]
    found = {"": {"results": results, "differences": differences}}
    found |= {
        name: read_json(folder / f"{name}.json") for name in TITLES if name and (folder / f"{name}.json").is_file()
    }
    for name, tables in found.items():
        methods = dict.fromkeys(row["method"] for row in tables["results"])
        to_full = (("full", "base"), *((method, "full") for method in methods if method not in ("base", "full")))
        shown = SHOWN.get(name, to_full)
        parts += _sections(tables["results"], tables["differences"], title=TITLES[name], shown=shown)
    atomic_write_text(folder / "tables.md", "\n\n".join(parts) + "\n")


def _sections(
    results: Sequence[Row], differences: Sequence[Row], *, title: str, shown: Sequence[tuple[str, str]]
) -> Iterator[str]:
    """Per benchmark the means and those differences between methods that are `shown`."""
    for benchmark in dict.fromkeys(row["benchmark"] for row in results):
        here = [row for row in results if row["benchmark"] == benchmark]
        n = max(row["n"] for row in here if row["method"] == "base")
        yield f"## {title}{benchmark}, {n} cases\n\n" + _table(here, line=lambda row: row["method"], cell=_level)
        between = [row for row in differences if row["benchmark"] == benchmark]
        kept = [row for pair in shown for row in between if (row["method_a"], row["method_b"]) == pair]
        yield _table(kept, line=lambda row: f"{row['method_a']} - {row['method_b']}", cell=_signed)


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
