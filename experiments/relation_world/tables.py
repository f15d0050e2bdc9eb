"""results.json and tables.md, from the committed scores alone."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any  # TOML and JSON

from analysis import Measured, Row, results
from cases import case_facts
from lab import Lab

from likeness.core.files import atomic_write_text, write_json
from likeness.metrics import METRICS

HEAD = "# Tables\n\nWritten by `run.py --phase tables` from scores/. Brackets: 95% intervals by subject and relation."
OVERLAP = "leakage where boxes overlap"


def write_tables(lab: Lab) -> None:
    """Everything that the scores allow so far, beside them."""
    facts = case_facts(lab.cases("test"))
    found = {name: lab.scores(name, "test") for name in lab.plan["rows"]}
    rows = {name: Measured(scores, facts) for name, scores in found.items() if scores is not None}
    told = results(rows, lab.plan)
    write_json(lab.results / "results.json", told)
    atomic_write_text(lab.results / "tables.md", "\n\n".join([HEAD, *sections(told, lab.plan)]) + "\n")


def sections(told: Mapping[str, Sequence[Row]], plan: Mapping[str, Any]) -> Iterator[str]:
    """A table of means for each question, the claims, and relation by relation."""
    for title, names in plan["tables"].items():
        if drawn := [name for name in names if any(row["row"] == name for row in told["means"])]:
            yield f"## {title}\n\n{_means(told['means'], drawn, plan)}"
    if told["claims"]:
        yield f"## Claims\n\n{_claims(told['claims'], plan)}"
    if told["relations"]:
        yield f"## {_short(plan['search']['metric'])} by relation\n\n{_by_relation(told['relations'], plan)}"


def _means(rows: Sequence[Row], names: Sequence[str], plan: Mapping[str, Any]) -> str:
    cells = {(row["row"], row["metric"], row["overlap"]): _told(row, "{:.3f}") for row in rows}
    columns = [
        *((metric, False) for metric in plan["metrics"]),
        *((m, True) for m in plan["metrics"] if m == "leakage"),
    ]
    titles = [OVERLAP if overlap else _short(metric) for metric, overlap in columns]
    lines = [[plan["rows"][name]["label"], *(cells[name, *column] for column in columns)] for name in names]
    return _table(["", *titles], lines)


def _claims(rows: Sequence[Row], plan: Mapping[str, Any]) -> str:
    labels = {name: row["label"] for name, row in plan["rows"].items()}
    lines = [
        [
            f"{labels[row['later']]} - {labels[row['earlier']]}",
            OVERLAP if row["overlap"] else _short(row["metric"]),
            _told(row, "{:+.4f}"),
            str(row["n"] - row["missing"]),
            "" if row["p_holm"] is None else f"{row['p_holm']:.4f}",
            "" if row["detectable"] is None else f"{row['detectable']:.3f}",
            row["verdict"],
        ]
        for row in rows
    ]
    return _table(["difference", "metric", "mean", "pairs", "p, Holm", "detectable", "verdict"], lines)


def _by_relation(rows: Sequence[Row], plan: Mapping[str, Any]) -> str:
    names, relations = (list(dict.fromkeys(row[key] for row in rows)) for key in ("row", "relation"))
    cells = {(row["row"], row["relation"]): "" if row["mean"] is None else f"{row['mean']:.2f}" for row in rows}
    lines = [[plan["rows"][name]["label"], *(cells[name, relation] for relation in relations)] for name in names]
    return _table(["", *(relation.replace("_", " ") for relation in relations)], lines)


def _short(metric: str) -> str:
    facts = METRICS[metric].facts
    return f"{facts.short} {'up' if facts.higher_is_better else 'down'}"


def _told(row: Mapping[str, Any], form: str) -> str:
    if row["mean"] is None:
        return "not measured"
    if row["ci_low"] is None:
        return form.format(row["mean"])
    return f"{form.format(row['mean'])} [{form.format(row['ci_low'])}, {form.format(row['ci_high'])}]"


def _table(titles: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    rule = "|" + "---|" * len(titles)
    return "\n".join([f"| {' | '.join(titles)} |", rule, *(f"| {' | '.join(line)} |" for line in lines)])
