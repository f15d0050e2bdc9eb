"""The page of prompts and the task page: every number of the JSON stands there, users' text is escaped."""

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from likeness.report.prompt_form import FormRules, build_prompt_form
from likeness.report.prompts_page import build_prompts_page, scatter

COUNTS = {
    name: {"total": 4321 + k, "per_prompt": 1.25 + k, "per_person": 17.5 + k}
    for k, name in enumerate(("tokens", "nouns", "verbs", "adjectives", "adpositions"))
}
FACTS: dict[str, Any] = {
    "seed": 0,
    "sets": [
        {"name": "h", "num_prompts": 100, "num_different": 90, "num_people": None, "counts": copy.deepcopy(COUNTS)},
        {"name": "<t>", "num_prompts": 50, "num_different": 50, "num_people": 5, "counts": COUNTS},
    ],
    "coverage": [{"set": "h", "vocabulary": "coco", "share": 0.375, "named": 0.5, "num_words": 8, "num_entries": 80}],
    "encoder": "sums",
    "mixture": {
        "fitted_to": "h",
        "best": {"size": 3, "covariance": "diag", "bic": -12.5},
        "tried": [{"size": 3, "covariance": "diag", "bic": -12.5}],
        "likelihood": [{"set": "h", "mean": 1869.25, "n": 100}, {"set": "<t>", "mean": -3.5, "n": 50}],
    },
    "map": {"h": [[0.0, 0.0], [10.0, 5.0]], "<t>": [[5.0, 10.0], [2.0, 2.0]]},
    "neighbours": {"<t>": [{"prompt": "a person & a dog", "found": [{"prompt": "<b>near</b>", "cosine": 0.8765}]}]},
}
FACTS["sets"][0]["counts"]["nouns"]["per_person"] = None


def test_every_number_stands_on_the_page(tmp_path: Path) -> None:
    html = build_prompts_page(FACTS, out=tmp_path / "page.html").read_text()
    for told in (
        "4,321",
        "1.25",
        "17.50",
        "90 different",
        "37.5%",
        "50.0%",
        "1,869.2",
        "-3.50",
        "0.876",
        "3 components",
    ):
        assert told in html, told
    assert html.count("not known") == 2  # nouns of a person, and prompts of one
    assert "&lt;t&gt;" in html
    assert "a person &amp; a dog" in html
    assert "<t>" not in html
    assert "<b>near" not in html
    assert build_prompts_page(FACTS, out=tmp_path / "again.html").read_text() == html


def test_what_was_not_measured_has_no_section(tmp_path: Path) -> None:
    nothing = FACTS | {"coverage": [], "encoder": None, "mixture": None, "map": None, "neighbours": None}
    html = build_prompts_page(nothing, out=tmp_path / "page.html").read_text()
    assert "The sentence space was not asked for." in html
    assert not re.search('id="(coverage|density|map|near)"', html)


def test_the_map_keeps_proportions_and_fills_the_square() -> None:
    svg = scatter(FACTS["map"], {"h": "#000000", "<t>": "#ffffff"})
    dots = re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="2.2" fill="(#\w+)"', svg)
    assert [colour for *_, colour in dots] == ["#000000"] * 2 + ["#ffffff"] * 2
    assert [(float(x), float(y)) for x, y, _ in dots] == [(10, 550), (550, 280), (280, 10), (118, 442)]
    one = scatter({"h": [[3.0, 3.0]]}, {"h": "#000000"})
    assert 'cx="10.0" cy="550.0"' in one


@pytest.mark.parametrize("field", ["worker", "task", "photo", "prompt_1", "prompt_2"])
def test_the_task_page_has_every_field_and_rule(tmp_path: Path, field: str) -> None:
    rules = FormRules(["Be <kind>.", "Be brief."], ("worker", "task", "photo", "prompt_1", "prompt_2"), 2, "{}", 300)
    html = build_prompt_form(rules, out=tmp_path / "task.html").read_text()
    assert html.count(f'name="{field}"') == 1
    assert "<li>Be &lt;kind&gt;.</li>" in html
    assert 'maxlength="300"' in html
    assert not re.search(r'(src|href)="http', html), "the page needs nothing from elsewhere"
    assert 'slot = "{}"' in html
