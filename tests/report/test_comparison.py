"""Before and after on one page: paired differences against a loop, cards by the stated rule."""

from collections.abc import Callable
from pathlib import Path

import pytest

from likeness.core.errors import DataError
from likeness.core.files import read_jsonl, write_jsonl
from likeness.report import Tuned, build_index
from likeness.report.comparison import ALL, Pair, compare
from likeness.report.tables import read_run

RunMaker = Callable[..., Path]


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


def test_the_difference_is_the_mean_of_paired_differences(pair: Pair) -> None:
    rows = {row.metric: row for row in compare([pair], note="").rows}
    accuracy = rows["attribute_accuracy"]
    assert accuracy.before == pytest.approx(sum(1 - k / 8 for k in range(8)) / 8)
    assert accuracy.difference.mean == pytest.approx((0.25 - 0.125) / 8)
    assert accuracy.after - accuracy.before == pytest.approx(accuracy.difference.mean)
    assert (accuracy.difference.n, accuracy.difference.n_subjects) == (8, 8)
    assert accuracy.tone == "plain"  # the interval includes 0
    assert rows["leakage"].difference.mean == 0
    assert "clip_t" not in rows  # measured on neither side


def test_a_clear_change_is_called_better_or_worse_by_the_direction_of_the_metric(run_maker: RunMaker) -> None:
    before = read_run(run_maker("before", num_cases=8))
    everywhere = {f"case-{k:05d}": 0.1 + 0.01 * k for k in range(8)}
    after = read_run(raised(run_maker("after", num_cases=8), by=everywhere))
    assert compare([Pair(before, after)], note="").rows[0].tone == "good"
    assert compare([Pair(after, before)], note="").rows[0].tone == "poor"


def test_several_benchmarks_come_together_first(pair: Pair) -> None:
    rows = [row for row in compare([pair, pair], note="").rows if row.metric == "attribute_accuracy"]
    assert [row.benchmark for row in rows] == [ALL, "world-multi", "world-multi"]
    assert [row.difference.n for row in rows] == [16, 8, 8]
    assert rows[0].difference.n_subjects == 8  # the same subjects twice


def test_cards_are_the_most_changed_cases_then_the_first_others(pair: Pair) -> None:
    ((_, cards),) = compare([pair], note="").cards
    assert [card.prompt.rpartition(" ")[2] for card in cards] == ["7", "1", "0", "2", "3", "4"]
    assert cards[0].change == "Attributes right: 12% before, 38% after"
    assert [card.tone for card in cards[:3]] == ["good", "poor", "plain"]


def test_runs_of_other_cases_are_refused(run_maker: RunMaker) -> None:
    pair = Pair(read_run(run_maker("before", num_cases=3)), read_run(run_maker("after", num_cases=4)))
    with pytest.raises(DataError, match="draw the same cases with both models"):
        compare([pair], note="")


def test_the_page_starts_with_before_and_after(run_maker: RunMaker, tmp_path: Path) -> None:
    before, after = run_maker("before", num_cases=4), raised(run_maker("after", num_cases=4), by={"case-00003": 0.5})
    page = build_index([before], out=tmp_path / "page.html", tuned=Tuned((after,), "After <b>7</b> steps."))
    html = page.read_text(encoding="utf-8")
    assert html.index("Before and after tuning") < html.index('id="run1"')
    assert "After &lt;b&gt;7&lt;/b&gt; steps." in html
    assert "+0.125" in html
    assert html.count("<figcaption>after</figcaption>") == 4
