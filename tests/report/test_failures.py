"""The part of the page on failures where subjects touch: numbers, reasons, limits, and the worst with references."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from likeness.core.errors import DataError
from likeness.core.files import read_json, write_json
from likeness.report import build_report

RunMaker = Callable[..., Path]
ROW: dict[str, Any] = {
    "name": "no_contact",
    "label": "No <contact>",
    "metric": "contact_distance",
    "unit": "bodies",
    "limit": 0.25,
    "definition": "The joints are this far apart",
    "n": 4,
    "failed": 2,
    "share": 0.5,
    "ci_low": 0.15,
    "ci_high": 0.85,
    "not_measured": {"a subject was not found": 1},
    "not_applicable": {"the relation names no joints that touch": 3},
    "worst": [
        {"id": "case-00002-0", "case_id": "case-00002", "value": 1.25},
        {"id": "case-00000-0", "case_id": "case-00000", "value": 0.75},
        {"id": "case-00009-0", "case_id": "case-00009", "value": 0.5},
    ],
}
EMPTY = {**ROW, "name": "confusion", "n": 0, "failed": 0, "worst": [], **dict.fromkeys(("share", "ci_low", "ci_high"))}


def with_failures(run: Path, *rows: dict[str, Any]) -> Path:
    path = run / "evaluation" / "summary.json"
    write_json(path, {**read_json(path), "failures": list(rows)})
    return run


def part(run: Path) -> str:
    html = build_report(run).read_text(encoding="utf-8")
    found = re.search(r'<details class="fold" id="run1-failures">.*?</details>', html, flags=re.S)
    assert found is not None
    assert html.count('href="#run1-failures"') == 1
    return found[0]


def test_numbers_limits_and_reasons_stand_on_the_page(run_maker: RunMaker) -> None:
    html = part(with_failures(run_maker(num_cases=4), ROW, EMPTY))
    assert "No &lt;contact&gt;" in html
    assert "The joints are this far apart. A picture fails from 0.25 bodies on (contact_distance)." in html
    assert 'title="0.5">0.500</td><td data-label="95% interval">0.150 to 0.850</td>' in html
    assert "1 not measured: a subject was not found" in html
    assert "3 not counted: the relation names no joints that touch" in html
    assert "not measured</td><td></td>" in html, "a failure without a reading has no share"


def test_the_worst_come_first_with_their_references_and_a_link(run_maker: RunMaker) -> None:
    html = part(with_failures(run_maker(num_cases=4), ROW))
    assert re.findall(r'<h4><a href="#run1-(case-\d+)">', html) == ["case-00002", "case-00000"], "one is gone"
    assert re.findall(r"<figcaption>([\d.]+ bodies)", html) == ["1.250 bodies", "0.750 bodies"]
    assert html.count('alt="reference: cat"') == 2
    assert html.count("data:image/webp;base64,") == 4


def test_a_run_without_failures_has_no_such_part(run_maker: RunMaker) -> None:
    assert "-failures" not in build_report(run_maker()).read_text(encoding="utf-8")


def test_a_malformed_row_is_named(run_maker: RunMaker) -> None:
    run = with_failures(run_maker(), {**ROW, "n": "four"})
    with pytest.raises(DataError, match=r"summary\.json: expected a count as 'failures\.0\.n', got 'four'"):
        build_report(run)
