"""tables.md and results.json, from the committed scores alone."""

import math
from collections.abc import Mapping, Sequence
from typing import Any  # JSON

from analysis import (
    EXCLUDED,
    GROUPS,
    STABILITY,
    Measured,
    block_means,
    claim_rows,
    correlation_map,
    cost_row,
    drawn,
    gain_rows,
    mean_row,
    unstable,
)
from failures import rate_rows
from lab import Lab

from likeness.core.errors import MeasurementError
from likeness.core.files import atomic_write_text, write_json
from likeness.metrics import METRICS

Row = dict[str, Any]
NOT_HERE = {
    "image to image": "Aesthetic, DreamSim",
    "text to image": "HPS v1, HPS v2, ImageReward, PickScore",
}
"""Columns of Stellar's Table 8 that need published weights."""


def write_tables(lab: Lab) -> None:
    """Both files beside the scores. Raises: MeasurementError where SIS lies above IPS."""
    methods = drawn(lab)
    if faults := [fault for one in methods.values() for fault in unstable(one)]:
        raise MeasurementError(f"expected SIS <= IPS in every picture, got {len(faults)} above; first: {faults[0]}.")
    found = {
        "means": [mean_row(one, metric) for one in methods.values() for metric in one.metrics],
        "claims": claim_rows(methods, lab.plan),
        "gains": gain_rows(methods, lab.plan),
        "costs": [cost_row(one) for one in methods.values()],
        "failures": rate_rows(lab),
    }
    correlations = correlation_map(methods)
    map_rows = [{"metric": a, "other": b, **row} for (a, b), row in correlations.items()]
    write_json(lab.results / "results.json", _nulls({**found, "correlations": map_rows}))
    titles = {name: table["title"] for name, table in lab.plan["methods"].items()} | {
        "truth": "true pictures",
        "planted": "planted failures",
    }
    parts = [
        "# Tables\n\nWritten by `run.py --phase tables` from scores/. Brackets: 95% intervals.",
        _main(methods, found["means"], titles=titles, planned=list(lab.plan["methods"])),
        _checked(methods),
        "## Claims\n\n" + _differences(found["claims"], titles=titles),
        "## Tuned methods above the untrained model, for their own person\n\n"
        + _differences(found["gains"], titles=titles),
        "## What one more person costs\n\n" + _costs(found["costs"], titles=titles) + _machines(methods, titles=titles),
        "## Failures\n\n" + _failures(found["failures"], titles=titles),
        "## Which metrics say the same\n\n" + _map(correlations),
        "## Means of blocks of that map\n\n" + _blocks(correlations),
        "## Who measured\n\n" + _encoders(methods),
    ]
    atomic_write_text(lab.results / "tables.md", "\n\n".join(parts) + "\n")


# -- the main table --------------------------------------------------------------------------------------------
def _main(
    methods: Mapping[str, Measured], means: Sequence[Row], *, titles: Mapping[str, str], planned: Sequence[str]
) -> str:
    """Metrics by group down, methods across; the best mean of a line is bold."""
    cells = {(row["method"], row["metric"]): row for row in means}
    names = list(methods)
    lines: list[list[str]] = []
    for group, metrics in GROUPS.items():
        for metric in metrics:
            rows = {name: cells[name, metric] for name in names if (name, metric) in cells}
            known = [row["mean"] for row in rows.values() if row["mean"] is not None]
            best = max(known, default=math.nan)
            lines.append([group, label(metric), *(_mean(rows.get(name), best=best) for name in names)])
    shares = {name: cells.get((name, "ips_excluding")) for name in names}
    found = {name: cells.get((name, "face_found")) for name in names}
    lines.append(["", "pictures that the rule excludes", *(_share(shares[name], "excluded") for name in names)])
    lines.append(["", "pictures with a face", *(_share(found[name], "mean") for name in names)])
    lines.append(["", "pictures", *(str(len(methods[name].scores.rows)) for name in names)])
    head = ["", "", *(titles[name] for name in names)]
    absent = ", ".join(titles[name] for name in planned if name not in methods)
    missing = "; ".join(f"{group}: {columns}" for group, columns in NOT_HERE.items())
    rest = f"Not measured, since they need published weights: {missing}."
    return f"## Table\n\n{_table(head, lines)}\n\n{rest}\nNot drawn yet: {absent or 'none'}."


def label(metric: str) -> str:
    """The metric's short name and its column."""
    facts = METRICS[metric].facts
    return f"{facts.short} ({facts.column})" if facts.column else facts.short


def _mean(row: Row | None, *, best: float) -> str:
    if row is None or row["mean"] is None:
        return "not measured"
    text = f"**{row['mean']:.3f}**" if row["mean"] == best else f"{row['mean']:.3f}"
    ends = "" if row["ci_low"] is None else f" [{row['ci_low']:.3f}, {row['ci_high']:.3f}]"
    return text + ends + (f", n {row['n']}" if row["missing"] else "")


def _share(row: Row | None, key: str) -> str:
    return "not measured" if row is None or row[key] is None else f"{row[key]:.1%}"


def _checked(methods: Mapping[str, Measured]) -> str:
    pairs = ", ".join(f"{label(a)} <= {label(b)}" for a, b in STABILITY)
    count = sum(len(one.scores.rows) for one in methods.values())
    return f"Checked in each of {count} pictures: {pairs}. A picture that is {EXCLUDED} counts 0."


# -- the others ------------------------------------------------------------------------------------------------
def _differences(rows: Sequence[Row], *, titles: Mapping[str, str]) -> str:
    lines = [
        [
            f"{titles[row['later']]} - {titles[row['earlier']]}",
            label(row["metric"]),
            _signed(row),
            "" if math.isnan(row["p_holm"]) else f"{row['p_holm']:.4f}",
            f"{row['n']} of {row['n_subjects']} people",
            row["verdict"],
        ]
        for row in rows
    ]
    return _table(["difference", "metric", "mean", "p, Holm", "pictures", "verdict"], lines)


def _costs(rows: Sequence[Row], *, titles: Mapping[str, str]) -> str:
    def cells(row: Row, when: str) -> list[str]:
        keys = [f"{key}_{when}" for key in ("seconds", "steps", "megabytes")]
        return [f"{row[key]:,.1f}" if key in row else "0" for key in keys]

    lines = [[titles[row["method"]], *cells(row, "each"), *cells(row, "once")] for row in rows]
    head = ["method", "s a person", "steps a person", "MB a person", "s once", "steps once", "MB once"]
    return _table(head, lines) + "\n\nSeconds of one processor thread; drawing is not counted."


def _machines(methods: Mapping[str, Measured], *, titles: Mapping[str, str]) -> str:
    """Whose seconds are of which processor: those of two do not compare."""
    by_machine: dict[str, list[str]] = {}
    for name, one in methods.items():
        by_machine.setdefault(one.scores.meta.get("processor", "not recorded"), []).append(titles[name])
    return " " + "; ".join(f"{machine}: {', '.join(names)}" for machine, names in by_machine.items()) + "."


def _failures(rows: Sequence[Row], *, titles: Mapping[str, str]) -> str:
    def cell(row: Row) -> str:
        if not row["n"]:
            return f"not measured ({row['unmeasured']} cases)"
        rest = f", {row['unmeasured']} not measured" if row["unmeasured"] else ""
        return f"{row['mean']:.1%} [{row['ci_low']:.1%}, {row['ci_high']:.1%}] of {row['n']}{rest}"

    names = list(dict.fromkeys(row["method"] for row in rows))
    kinds = list(dict.fromkeys(row["category"] for row in rows))
    cells = {(row["method"], row["category"]): cell(row) for row in rows}
    lines = [[titles[name], *(cells[name, kind] for kind in kinds)] for name in names]
    return (
        _table(["", *kinds], lines)
        + "\n\nDefinitions: failures.py. Wilson's intervals, as if pictures were independent."
    )


def _map(found: Mapping[tuple[str, str], Row]) -> str:
    names = list(dict.fromkeys(name for name, _ in found))
    lines = [[label(a), *(_plain(found[a, b]["mean"]) for b in names)] for a in names]
    return _table(["", *map(label, names)], lines)


def _blocks(found: Mapping[tuple[str, str], Row]) -> str:
    means = block_means(found)
    lines = [[a, *(_plain(means.get((a, b), math.nan)) for b in GROUPS)] for a in GROUPS]
    return _table(["", *GROUPS], lines)


def _encoders(methods: Mapping[str, Measured]) -> str:
    found = {f"- {name}: {each}" for one in methods.values() for name, each in one.scores.meta["encoders"].items()}
    return "\n".join(sorted(found))


def _table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = "|" + "---|" * len(titles)
    return "\n".join([f"| {' | '.join(titles)} |", rule, *(f"| {' | '.join(line)} |" for line in lines)])


def _signed(row: Row) -> str:
    if row["mean"] is None:
        return "not measured"
    ends = "" if row["ci_low"] is None else f" [{row['ci_low']:+.3f}, {row['ci_high']:+.3f}]"
    return f"{row['mean']:+.3f}{ends}"


def _plain(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"


def _nulls(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _nulls(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_nulls(each) for each in value]
    return None if isinstance(value, float) and math.isnan(value) else value
