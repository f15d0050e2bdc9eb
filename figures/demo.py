"""The numbers of the README's demo: runs `likeness demo` and tells its comparison before and after tuning.

    python figures/demo.py --out runs/demo --write
    python figures/demo.py --stored     # the README again from docs/demo.json

The differences are those of comparison.json, which `likeness.evaluate.compare` writes.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any  # JSON

from blocks import fill_block

from likeness.core.files import read_json, write_json

ROOT = Path(__file__).resolve().parent.parent
STORED = ROOT / "docs" / "demo.json"


def told(stored: dict[str, Any]) -> str:
    """The rows as a table; what was not stored is left blank."""
    lines = ["| | before | after | difference | 95% interval |", "|---|---|---|---|---|"]
    for row in stored["rows"]:
        before, after = ("" if row[side] is None else f"{row[side]:.3f}" for side in ("before", "after"))
        found = row["difference"]
        ends = "" if found["ci_low"] is None else f"{found['ci_low']:+.3f} to {found['ci_high']:+.3f}"
        lines.append(f"| {row['label']} | {before} | {after} | {found['mean']:+.3f} | {ends} |")
    return "\n".join(lines) + "\n"


def rows_of(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """A row per metric of a comparison of "before" and "after"; metrics without a difference are left out."""
    rows: list[dict[str, Any]] = []
    for metric in comparison["metrics"]:
        means = {row["method"]: row["mean"] for row in metric["means"]}
        (difference,) = metric["differences"]
        kept = ("mean", "ci_low", "ci_high", "n", "n_subjects", "missing", "reason")
        if difference["mean"] is not None:
            row = {"metric": metric["metric"], "label": metric["label"], **means}
            rows.append({**row, "difference": {key: difference[key] for key in kept}})
    return rows


def main() -> None:
    """Runs the demo, prints its table; with --write also docs/demo.json and the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "demo")
    parser.add_argument("--cases", type=int, default=128)
    parser.add_argument("--tuning-steps", type=int, default=60)
    parser.add_argument("--write", action="store_true", help="store docs/demo.json and fill the README")
    parser.add_argument("--stored", action="store_true", help="fill the README from docs/demo.json and end")
    options = parser.parse_args()
    if not options.stored:
        sizes = ["--cases", str(options.cases), "--tuning-steps", str(options.tuning_steps)]
        command = [sys.executable, "-m", "likeness", "demo", "--out", str(options.out), *sizes]
        subprocess.run(command, check=True, cwd=ROOT)
        comparison = read_json(options.out / f"tuned-{options.tuning_steps}" / "comparison.json")
        stored = {"command": f"likeness demo --out demo {' '.join(sizes)}", "rows": rows_of(comparison)}
        print(told(stored))
        if not options.write:
            return
        write_json(STORED, stored)
    fill_block(ROOT / "README.md", "demo", told(read_json(STORED)))


if __name__ == "__main__":
    main()
