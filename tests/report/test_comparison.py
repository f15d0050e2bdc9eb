"""Before and after on one page: rows of a comparison file as they stand there, cards by the stated rule."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from likeness.core.files import read_json, read_jsonl, write_json, write_jsonl
from likeness.report import Tuned, build_index
from likeness.report.comparison import Comparison, Pair, read_comparison
from likeness.report.tables import read_run

RunMaker = Callable[..., Path]
ROW: dict[str, Any] = {
    **{"metric": "leakage", "label": "Leaked from another subject", "benchmark": "world-multi"},
    **{"before": 0.5, "after": 0.625},
}
DIFFERENCE = {
    **{"mean": 0.125, "ci_low": 0.0625, "ci_high": 0.1875},
    **{"n": 8, "n_subjects": 7, "missing": 0, "reason": ""},
}
ALONE: dict[str, Any] = {"ci_low": None, "ci_high": None, "reason": "one subject: an interval needs at least two"}


def row(*, higher_is_better: bool = False, **changes: Any) -> dict[str, Any]:
    """A row of the file with another difference."""
    return {**ROW, "higher_is_better": higher_is_better, "difference": {**DIFFERENCE, **changes}}


def raised(run: Path, *, by: dict[str, float]) -> Path:
    """The run with the attribute accuracy of some cases raised."""
    path = run / "evaluation/scores.jsonl"
    rows = read_jsonl(path)
    for row in rows:
        row["values"]["attribute_accuracy"]["value"] += by.get(row["case_id"], 0.0)
    write_jsonl(path, rows)
    return run


@pytest.fixture
def pair(run_maker: RunMaker) -> Pair:
    """Eight cases with accuracy 1, 7/8, ... 1/8; case 7 gains a quarter, case 1 loses an eighth."""
    after = raised(run_maker("after", num_cases=8), by={"case-00007": 0.25, "case-00001": -0.125})
    return Pair(read_run(run_maker("before", num_cases=8)), read_run(after))


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Comparison]:
    """The comparison of some pairs whose file holds some rows."""

    def read_rows(*pairs: Pair, rows: tuple[dict[str, Any], ...] = ()) -> Comparison:
        write_json(tmp_path / "comparison.json", {"runs": [], "rows": list(rows)})
        return read_comparison(tmp_path / "comparison.json", pairs=pairs, note="")

    return read_rows


@pytest.mark.parametrize(
    ("changes", "tone"),
    [
        ({}, "poor"),
        ({"higher_is_better": True}, "good"),
        ({"ci_low": -0.25, "ci_high": -0.125}, "good"),
        ({"ci_low": 0.0}, "plain"),
        (ALONE, "plain"),
    ],
)
def test_a_change_is_called_better_or_worse_by_the_direction_of_the_metric(
    pair: Pair, read: Callable[..., Comparison], changes: dict[str, Any], tone: str
) -> None:
    assert read(pair, rows=(row(**changes),)).rows[0]["tone"] == tone


def test_cards_are_the_most_changed_cases_then_the_first_others(pair: Pair, read: Callable[..., Comparison]) -> None:
    found = read(pair)
    ((_, cards),) = found.cards
    assert [card.prompt.rpartition(" ")[2] for card in cards] == ["7", "1", "0", "2", "3", "4"]
    assert cards[0].change == "Attributes right: 12% before, 38% after"
    assert [card.tone for card in cards[:3]] == ["good", "poor", "plain"]
    assert found.rule == (
        "per benchmark the 4 cases whose attributes right changed most, for better or worse, and the first 2 others"
    )


def test_the_metric_that_ranks_first_in_any_run_chooses_the_cards(
    pair: Pair, run_maker: RunMaker, read: Callable[..., Comparison]
) -> None:
    plain = Pair(*(read_run(run_maker(name, num_cases=8, evaluated=False)) for name in ("early", "late")))
    found = read(pair, plain)
    assert "whose attributes right changed most" in found.rule
    assert [[card.change == "" for card in cards] for _, cards in found.cards] == [[False] * 6, [True] * 6]
    found = read(plain)
    assert found.rule == "per benchmark the first 6 cases"
    assert [card.prompt.rpartition(" ")[2] for card in found.cards[0][1]] == ["0", "1", "2", "3", "4", "5"]


def test_less_of_a_metric_may_be_better_on_a_card(run_maker: RunMaker, read: Callable[..., Comparison]) -> None:
    runs = [run_maker("before", num_cases=8), raised(run_maker("after", num_cases=8), by={"case-00007": 0.25})]
    for run in runs:
        summary = read_json(run / "evaluation/summary.json")
        summary["metrics"]["attribute_accuracy"] |= {"higher_is_better": False, "shown_as": "number"}
        write_json(run / "evaluation/summary.json", summary)
    ((_, cards),) = read(Pair(*map(read_run, runs))).cards
    assert (cards[0].change, cards[0].tone) == ("Attributes right: 0.125 before, 0.375 after", "poor")


def test_the_page_starts_with_before_and_after(run_maker: RunMaker, tmp_path: Path) -> None:
    before, after = run_maker("before", num_cases=4), raised(run_maker("after", num_cases=4), by={"case-00003": 0.5})
    write_json(tmp_path / "comparison.json", {"runs": [], "rows": [row(), row(**ALONE)]})
    tuned = Tuned((after,), tmp_path / "comparison.json", "After <b>7</b> steps.")
    html = build_index([before], out=tmp_path / "page.html", tuned=tuned).read_text(encoding="utf-8")
    assert html.index("Before and after tuning") < html.index('id="run1"')
    assert "After &lt;b&gt;7&lt;/b&gt; steps." in html
    assert '<td data-label="Difference" title="0.125">+0.125 <span class="poor-text">worse</span></td>' in html
    assert '<td data-label="95% interval">+0.062 to +0.188</td>' in html
    assert '<td data-label="95% interval">one subject: an interval needs at least two</td>' in html
    assert '<td class="num" data-label="n">8</td><td class="num" data-label="Subjects">7</td>' in html
    assert html.count("<figcaption>after</figcaption>") == 4
