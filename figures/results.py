"""The numbers of docs/results.md and the README: draws and measures every world benchmark, prints and stores one table.

Numbers of a benchmark are those under its protocol card (docs/cards.md), in the version that pins the encoders.

    python figures/results.py --cases 256 --workers 2 --out runs/figures

Ratios of attribute accuracy are to the probe's accuracy on true pictures of the same cases passed through the same
autoencoder, a line of its own. Interrupted? Run the same command again to continue. `--write` also fills both pages;
`--stored` fills them from docs/results.json without drawing. `--model sdxl` does the same for the embedded SDXL, whose
numbers are docs/results_sdxl.json and a table on its page.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple  # Any: JSON

from blocks import fill_block
from ceilings import measure_ceiling

from likeness.core.weights import embedded_folder

ROOT = Path(__file__).resolve().parent.parent
STORED = {"flux": ROOT / "docs" / "results.json", "sdxl": ROOT / "docs" / "results_sdxl.json"}
SDXL_PAGE = ROOT / "docs" / "backbones" / "sdxl-ip-adapter.md"
CARDS = {
    "world-single": "world/single",
    "world-multi": "world/multi",
    "world-hard": "world/hard",
    "world-relationbench": "world/relationbench",
}
"""Benchmark -> the protocol card whose columns the table shows."""
HEADLINE = (
    "world-single: attribute accuracy / ceiling",
    "world-multi: attribute accuracy / ceiling",
    "world-multi: leakage",
    "world-multi: leakage of true pictures",
    "world-multi: action recognised",
    "world-hard: attribute accuracy",
    "world-hard: attribute accuracy of true pictures",
)
"""Lines of the table that the README shows."""


class Figure(NamedTuple):
    """One line of the table; `goal` as the issue words it."""

    name: str
    mean: float | None
    ci_low: float | None
    ci_high: float | None
    n: int
    goal: str
    source: str


def _run(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "likeness", *arguments], check=True, cwd=ROOT)


def draw_and_measure(name: str, *, model: str, cases: int, workers: int, out: Path) -> dict[str, Any]:
    """The evaluation summary of a benchmark's first `cases` cases, drawn by an embedded model."""
    run = out / name
    asked = ("--benchmark", name, "--limit", str(cases), "--model", model, "--workers", str(workers))
    _run("generate", *asked, "--out", str(run))
    _run("evaluate", str(run))
    _run("report", str(run))
    return json.loads((run / "evaluation" / "summary.json").read_text())


def card_row(summary: dict[str, Any], name: str, column: str) -> dict[str, Any]:
    """A column of the protocol card of a benchmark, under the version that the run is scored under.

    Raises: ValueError where the run is not scored under the card.
    """
    found = [card for key, card in summary["cards"].items() if key.partition("@")[0] == CARDS[name]]
    if len(found) != 1:
        raise ValueError(f"{name}: expected numbers under one version of {CARDS[name]}, got {list(summary['cards'])}.")
    return next(row for row in found[0]["rows"] if row["column"] == column)


def _figure(label: str, row: dict[str, Any], *, goal: str, source: str, over: float = 1.0) -> Figure:
    numbers = [None if row[key] is None else row[key] / over for key in ("mean", "ci_low", "ci_high")]
    return Figure(label, numbers[0], numbers[1], numbers[2], row["n"], goal, source)


def benchmark_figures(name: str, summary: dict[str, Any], ceiling: dict[str, Any]) -> list[Figure]:
    """The lines of one benchmark; `ceiling` is the summary of true pictures, autoencoded."""
    goals = {
        "world-single": ("97% of ceiling", "", "92%", ""),
        "world-multi": ("95% of ceiling", "at most 2%", "90%", "97%"),
        "world-hard": ("50% to 85% (not a ratio)", "", "", ""),
        "world-relationbench": ("", "", "all 25 recognisable", ""),
    }[name]
    best = card_row(ceiling, name, "Attributes")
    over = 1.0 if name == "world-hard" else best["mean"]
    label = "attribute accuracy" if name == "world-hard" else "attribute accuracy / ceiling"
    figures = [
        _figure(f"{name}: {label}", card_row(summary, name, "Attributes"), goal=goals[0], source=name, over=over),
        _figure(f"{name}: attribute accuracy of true pictures", best, goal="", source=name),
        _figure(f"{name}: leakage", card_row(summary, name, "Leakage"), goal=goals[1], source=name),
        _figure(f"{name}: leakage of true pictures", card_row(ceiling, name, "Leakage"), goal="", source=name),
        _figure(f"{name}: action recognised", card_row(summary, name, "Action"), goal=goals[2], source=name),
        _figure(f"{name}: scene recognised", card_row(summary, name, "Scene"), goal=goals[3], source=name),
    ]
    for metric, column in (("dino", "DINO"), ("clip_i", "CLIP-I"), ("clip_t", "CLIP-T")):
        figures.append(_figure(f"{name}: {metric}", card_row(summary, name, column), goal="", source=name))
    return [f for f in figures if f.mean is not None]


def calibration_figures() -> list[Figure]:
    """Lines about the embedded checkpoints."""

    def card(name: str) -> dict[str, Any]:
        return json.loads((embedded_folder() / name / "calibration.json").read_text())

    vae, probe, dino, clip = card("flux/vae"), card("probe"), card("dino"), card("clip")
    lines = [_figure("autoencoder: PSNR, dB", vae["psnr_db"], goal="32", source="calibration")]
    for kind, goal in (("rendered", "97%"), ("autoencoded", "96%")):
        worst = min((n for n in probe["attributes"]), key=lambda n: probe[kind][n]["mean"] or 0.0)
        lines.append(_figure(f"probe, {kind}: all attributes", probe[kind]["all"], goal="", source="calibration"))
        lines.append(_figure(f"probe, {kind}: worst ({worst})", probe[kind][worst], goal=goal, source="calibration"))
        lines.append(_figure(f"probe, {kind}: action", probe[kind]["action"], goal="", source="calibration"))
        lines.append(_figure(f"probe, {kind}: scene", probe[kind]["scene"], goal="", source="calibration"))
    for name, data in (("DINO", dino), ("CLIP-I", clip)):
        found = data["identity"]
        lines.append(
            _figure(f"{name}: AUC, own against hardest", found["auc_hardest"], goal="0.95", source="calibration")
        )
        lines.append(_figure(f"{name}: AUC, own against any other", found["auc"], goal="", source="calibration"))
    lines.append(
        _figure("CLIP: retrieval@1 of 256 prompts", clip["text"]["retrieval_at_1"], goal="", source="calibration")
    )
    return lines


def table(figures: list[Figure]) -> str:
    """The Markdown table."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}" if value > 1.5 else f"{value:.3f}"

    head = "| figure | value | 95% interval | n | goal |\n|---|---|---|---|---|\n"
    rows = [
        f"| {f.name} | {number(f.mean)} | "
        f"{'' if f.ci_low is None else f'{number(f.ci_low)} to {number(f.ci_high)}'} | {f.n} | {f.goal} |"
        for f in figures
    ]
    return head + "\n".join(rows) + "\n"


def fill_pages(model: str) -> None:
    """The tables of the model's pages, from what is stored of it; of flux also the headline in README.md."""
    stored = json.loads(STORED[model].read_text())
    figures = [Figure(**figure) for figure in stored["figures"]]
    by = f"Printed by `{stored['command']}`.\n"
    page = SDXL_PAGE if model == "sdxl" else ROOT / "docs" / "results.md"
    fill_block(page, "numbers", f"{table(figures)}\n{by}")
    if model == "flux":
        fill_block(ROOT / "README.md", "headline", table([figure for figure in figures if figure.name in HEADLINE]))


def main() -> None:
    """Draws, measures, prints, stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=tuple(STORED), default="flux", help="an embedded model")
    parser.add_argument("--cases", type=int, default=256)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "figures")
    parser.add_argument("--write", action="store_true", help="store the numbers and fill the model's pages")
    parser.add_argument("--stored", action="store_true", help="fill the pages from what is stored and end")
    options = parser.parse_args()
    if options.stored:
        return fill_pages(options.model)
    figures = calibration_figures() if options.model == "flux" else []
    out = options.out.resolve()
    for name in CARDS:
        summary = draw_and_measure(name, model=options.model, cases=options.cases, workers=options.workers, out=out)
        ceiling = measure_ceiling(out / name / "cases.jsonl", benchmark=name, out=out / f"{name}-ceiling")
        found = benchmark_figures(name, summary, ceiling)
        figures += found if options.model == "flux" else [figure._replace(goal="") for figure in found]
    print(table(figures))
    if options.write:
        of = "" if options.model == "flux" else f" --model {options.model}"
        command = f"python figures/results.py{of} --cases {options.cases} --workers {options.workers} --write"
        stored = {"command": command, "figures": [f._asdict() for f in figures]}
        STORED[options.model].write_text(json.dumps(stored, indent=1) + "\n")
        fill_pages(options.model)


if __name__ == "__main__":
    main()
