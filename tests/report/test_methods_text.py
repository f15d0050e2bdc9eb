"""A comparison in words: Markdown, LaTeX and CSV hold the numbers that it was given, hostile names included."""

import csv
import io
from typing import Any

from likeness.report.methods_text import csv_correlations, csv_table, latex, markdown, tex

LEVEL = {"ci_low": 0.4, "ci_high": 0.6, "n": 8, "n_subjects": 4, "missing": 0, "reason": ""}
MEANS: list[dict[str, Any]] = [
    {"method": "a_b", "mean": 0.5, **LEVEL, "is_best": False, "tied_with_best": True},
    {"method": "100% & more", "mean": 0.625, **LEVEL, "is_best": True, "tied_with_best": True},
    {"method": "none", "mean": None, **LEVEL, "missing": 8, "is_best": False, "tied_with_best": None},
]
APART: dict[str, Any] = {
    **{"mean": 0.125, "ci_low": -0.0625, "ci_high": 0.3125, "n": 8, "n_subjects": 4, "missing": 0, "reason": ""},
    **{"p": 0.25, "p_holm": 0.5, "effect": 0.75, "detectable": 0.2, "subjects_needed": 12},
}
FOUND: dict[str, Any] = {
    "notes": ["focus: 3 trainings | weak"],
    **{"benchmark": "world-multi", "num_cases": 8, "base": "a_b"},
    "methods": [{"name": row["method"]} for row in MEANS],
    "metrics": [
        {
            **{"metric": "leakage", "label": "Leaked", "column": "found_only", "higher_is_better": False},
            **{"floor": None, "ceiling": 0.0625, "means": MEANS},
            "differences": [
                {"method": "100% & more", **APART, "margin": 0.5, "ties": True},
                {"method": "none", **dict.fromkeys(APART), "n": 0, "n_subjects": 0, "missing": 8, "reason": "nothing"},
            ],
        }
    ],
}


def test_markdown_has_every_number_and_marks_the_best() -> None:
    text = markdown(FOUND)
    assert text.endswith("\n\nfocus: 3 trainings \\| weak\n")
    for line in (
        "| a_b | 0.500 ≈ [0.400, 0.600] |",
        "| 100% & more | **0.625** [0.400, 0.600] |",
        "| none | not measured |",
        "| ceiling | 0.062 |",
        "|  | Leaked, found only ↓ |",
        "| 100% & more | Leaked, found only | +0.1250 (ties within 0.5) | [-0.0625, +0.3125] | 0.2500 | 0.5000 "
        "| 0.2000 | 12 (of 4) | 8 |",
        "| none | Leaked, found only |  | nothing |  |  |  |  | 0 |",
    ):
        assert line in text.splitlines()
    assert "| floor |" not in text


def test_latex_is_a_booktabs_table_of_equal_rows() -> None:
    lines = latex(FOUND).splitlines()
    assert "\\begin{tabular}{lc}" in lines
    assert [line for line in lines if line.endswith("rule")] == ["\\toprule", "\\midrule", "\\midrule", "\\bottomrule"]
    rows = [line for line in lines if line.endswith("\\\\")]
    assert {line.replace("\\&", "").count("&") for line in rows} == {1}
    assert "a\\_b & \\underline{0.500} {\\scriptsize [0.400, 0.600]} \\\\" in rows
    assert "100\\% \\& more & \\textbf{0.625} {\\scriptsize [0.400, 0.600]} \\\\" in rows
    assert "none & -- \\\\" in rows
    assert "booktabs" in lines[0]


def test_no_name_is_a_command() -> None:
    assert tex("\\input{x}\n$1") == "\\textbackslash{}input\\{x\\} \\$1"


def test_csv_has_a_row_per_metric_and_method() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_table(FOUND))))
    assert [row["method"] for row in rows] == ["a_b", "100% & more", "none"]
    base, other, none = rows
    assert (base["mean"], base["difference_mean"], base["p"]) == ("0.5", "", "")
    assert (other["difference_mean"], other["difference_n"], other["p_holm"], other["ties"]) == (
        "0.125", "8", "0.5", "True",
    )  # fmt: skip
    assert (none["mean"], none["missing"], none["difference_reason"]) == ("", "8", "nothing")
    assert {row["trainings"] for row in rows} == {"1"}
    assert {row["ceiling"] for row in rows} == {"0.0625"}


def test_correlations_have_a_row_per_pair_of_metrics() -> None:
    matrices: dict[str, Any] = {
        "metrics": ["x", "y", "z"],
        **{key: [[1.0, 0.5, None]] * 3 for key in ("pearson", "spearman", "kendall")},
        **{"n": [[9, 8, 7]] * 3, "pearson_reason": [["", "", "all the same"]] * 3},
        **{"pearson_ci_low": [[1.0, 0.25, None]] * 3, "pearson_ci_high": [[1.0, 0.75, None]] * 3},
    }
    rows = list(csv.DictReader(io.StringIO(csv_correlations({"correlations": matrices}))))
    assert [(row["metric"], row["other"]) for row in rows] == [("x", "y"), ("x", "z"), ("y", "z")]
    keys = ("n", "pearson", "pearson_ci_low", "pearson_ci_high", "excludes_zero", "spearman", "pearson_reason")
    assert [rows[0][key] for key in keys] == ["8", "0.5", "0.25", "0.75", "True", "0.5", ""]
    assert [rows[1][key] for key in keys] == ["7", "", "", "", "False", "", "all the same"]
