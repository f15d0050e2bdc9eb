"""A comparison of several methods as Markdown, LaTeX with booktabs, and CSV: the numbers of its JSON, in words."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from likeness.report.methods_page import correlation_rows, told_label
from likeness.report.tables import Json, number

ARROWS = {True: ("↑", r"$\uparrow$"), False: ("↓", r"$\downarrow$")}
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
PER_ROW = (
    *("metric", "method", "mean", "ci_low", "ci_high", "n", "n_subjects", "missing", "reason", "is_best"),
    *("tied_with_best", "floor", "ceiling", "trainings", "trainings_deviation"),
)
PER_CORRELATION = (
    *("metric", "other", "n", "pearson", "pearson_ci_low", "pearson_ci_high", "pearson_reason", "excludes_zero"),
    *("spearman", "kendall"),
)
PER_DIFFERENCE = ("p", "p_holm", "effect", "detectable", "subjects_needed", "margin", "ties")


def markdown(found: Json) -> str:
    """Two tables: methods by metrics, and the differences from the base."""
    metrics, base = found["metrics"], found["base"]
    head = ["", *(f"{told_label(metric)} {ARROWS[metric['higher_is_better']][0]}" for metric in metrics)]
    names = [method["name"] for method in found["methods"]]
    lines = [[_md(name), *(_cell(metric, name) for metric in metrics)] for name in names]
    bounds = [[kind, *(_or_blank(metric[kind]) for metric in metrics)] for kind in ("floor", "ceiling")]
    rows = [_difference_line(metric, row) for metric in metrics for row in metric["differences"]]
    columns = ["", "metric", "difference", "95% interval", "p", "p (Holm)", "detectable", "subjects needed", "n"]
    parts = [
        f"# {found['benchmark']}: {_md(' and '.join(names))}",
        f"{found['num_cases']} cases. **Bold**: best mean; ≈: not distinguishable from it. Brackets: 95% intervals.",
        _table([head, *lines, *(line for line in bounds if any(line[1:]))]),
        f"Paired differences from {_md(base)}; p by exchanging methods within subjects, Holm over all rows.",
        _table([columns, *rows]),
        *(_md(note) for note in found["notes"]),
    ]
    return "\n\n".join(parts) + "\n"


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def _md(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*").replace("\n", " ")


def _or_blank(value: float | None) -> str:
    return "" if value is None else number(value)


def _cell(metric: Json, method: str) -> str:
    row = mean_of(metric, method)
    if row["mean"] is None:
        return "not measured"
    value = f"**{number(row['mean'])}**" if row["is_best"] else number(row["mean"])
    mark = " ≈" if row["tied_with_best"] and not row["is_best"] else ""
    return f"{value}{mark}{_brackets(row)}"


def mean_of(metric: Json, method: str) -> Json:
    """The row of a method among the means of a metric."""
    return next(row for row in metric["means"] if row["method"] == method)


def _brackets(row: Json) -> str:
    low, high = row["ci_low"], row["ci_high"]
    return "" if low is None or high is None else f" [{number(low)}, {number(high)}]"


def _difference_line(metric: Json, row: Json) -> list[str]:
    known = row["ci_low"] is not None and row["ci_high"] is not None
    ends = f"[{row['ci_low']:+.4f}, {row['ci_high']:+.4f}]" if known else row["reason"] or "none"
    tie = "" if "ties" not in row else f" ({'ties' if row['ties'] else 'no tie shown'} within {row['margin']:g})"
    numbers = [_form(row[name], form) for name, form in (("p", ".4f"), ("p_holm", ".4f"), ("detectable", ".4f"))]
    needed = "" if row["subjects_needed"] is None else f"{row['subjects_needed']} (of {row['n_subjects']})"
    mean = _form(row["mean"], "+.4f") + tie
    return [_md(row["method"]), told_label(metric), mean, ends, *numbers, needed, str(row["n"])]


def _form(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def latex(found: Json) -> str:
    r"""A tabular with booktabs: methods by metrics, best bold, not distinguishable from it underlined."""
    metrics = found["metrics"]
    head = " & ".join(["", *(f"{tex(told_label(m))} {ARROWS[m['higher_is_better']][1]}" for m in metrics)])
    lines = [
        " & ".join([tex(method["name"]), *(_tex_cell(mean_of(metric, method["name"])) for metric in metrics)])
        for method in found["methods"]
    ]
    bounds = [[kind, *(_or_blank(metric[kind]) for metric in metrics)] for kind in ("floor", "ceiling")]
    told = [" & ".join(line) for line in bounds if any(line[1:])]
    body = [*(f"{line} \\\\" for line in lines), *(["\\midrule"] if told else []), *(f"{line} \\\\" for line in told)]
    return "\n".join(
        [
            f"% {found['benchmark']}, {found['num_cases']} cases; needs \\usepackage{{booktabs}}".replace("\n", " "),
            "% bold: best mean; underlined: the paired 95% interval of the best minus this one holds 0",
            *(f"% {note}".replace("\n", " ") for note in found["notes"]),
            f"\\begin{{tabular}}{{l{'c' * len(metrics)}}}",
            *("\\toprule", f"{head} \\\\", "\\midrule", *body, "\\bottomrule", "\\end{tabular}", ""),
        ]
    )


def tex(text: str) -> str:
    """Text in which no character is a command."""
    return "".join(LATEX.get(letter, letter) for letter in text.replace("\n", " "))


def _tex_cell(row: Json) -> str:
    if row["mean"] is None:
        return "--"
    value = number(row["mean"])
    if row["is_best"]:
        value = f"\\textbf{{{value}}}"
    elif row["tied_with_best"]:
        value = f"\\underline{{{value}}}"
    return value + (f" {{\\scriptsize {_brackets(row).strip()}}}" if _brackets(row) else "")


def csv_table(found: Json) -> str:
    """One row per metric and method: its mean, and its difference from the base in the columns `difference_...`.

    `trainings_deviation` is the standard deviation of the means of its trainings.
    """
    differs = [f"difference_{name}" for name in ("mean", "ci_low", "ci_high", "n", "missing", "reason")]
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, [*PER_ROW, *differs, *PER_DIFFERENCE], lineterminator="\n", restval="")
    writer.writeheader()
    for metric in found["metrics"]:
        apart = {row["method"]: row for row in metric["differences"]}
        bounds = {name: metric[name] for name in ("metric", "floor", "ceiling")}
        for row in metric["means"]:
            more = apart.get(row["method"], {})
            numbers = {name: more[name.removeprefix("difference_")] for name in differs if more}
            several = row.get("trainings") or {"means": [row["mean"]], "deviation": ""}
            spread = {"trainings": len(several["means"]), "trainings_deviation": several["deviation"]}
            told = {**row, **bounds, **numbers, **spread}
            writer.writerow({**told, **{name: more.get(name, "") for name in PER_DIFFERENCE}})
    return buffer.getvalue()


def csv_correlations(found: Json) -> str:
    """One row per pair of different metrics: Pearson's correlation with its interval, Spearman's and Kendall's."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, PER_CORRELATION, lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for row in correlation_rows(found) if row["metric"] != row["other"])
    return buffer.getvalue()
