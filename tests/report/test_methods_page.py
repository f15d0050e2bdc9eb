"""The drawings of a comparison by their coordinates, and how many pictures a page takes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from likeness.report.curves import Ends
from likeness.report.methods_page import (
    MAX_PICTURES,
    WIDTH,
    Cell,
    Compared,
    MethodsPart,
    axis_of,
    cell_rows,
    correlation_rows,
    difference_svg,
    heat,
)
from likeness.report.pictures import album_of

ROW: dict[str, Any] = {"mean": 0.5, "ci_low": 0.25, "ci_high": 0.75}


def numbers(svg: str, *, css: str, name: str) -> list[float]:
    """An attribute of every element of a class."""
    found = re.findall(rf'<\w+ class="{css}"[^>]*? {name}="([-\d.]+)"', svg)
    return [float(value) for value in found]


def test_a_difference_lies_where_its_numbers_say() -> None:
    svg = str(difference_svg({**ROW, "margin": 0.25}, Ends(-1.0, 1.0), spoken="a minus b: +0.5"))
    half = (WIDTH - 16) / 2
    assert numbers(svg, css="zero", name="x1") == [WIDTH / 2]
    assert numbers(svg, css="dot", name="cx") == [WIDTH / 2 + half * 0.5]
    assert numbers(svg, css="whisker", name="x1") == [WIDTH / 2 + half * x for x in (0.25, 0.25, 0.75)]
    assert numbers(svg, css="margin", name="width") == [half * 0.5]
    assert 'aria-label="a minus b: +0.5"' in svg


def test_what_was_not_measured_is_not_drawn() -> None:
    alone = {**ROW, "ci_low": None, "ci_high": None}
    assert "whisker" not in difference_svg(alone, Ends(-1.0, 1.0), spoken="")
    assert "dot" not in difference_svg(dict.fromkeys(ROW), Ends(-1.0, 1.0), spoken="")


def test_an_axis_holds_every_interval_and_zero_in_its_middle() -> None:
    axis = axis_of([ROW, {"mean": -0.5, "ci_low": -1.0, "ci_high": 0.0}, dict.fromkeys(ROW)])
    assert (axis.low, axis.high) == pytest.approx((-1.1, 1.1))
    assert axis_of([dict.fromkeys(ROW)]) == Ends(-1.0, 1.0)
    assert axis_of([{"mean": 0.0, "ci_low": 0.0, "ci_high": 0.0}]) == Ends(-1.0, 1.0)


def test_heat_is_warm_above_zero_cold_below_and_absent_without_a_value() -> None:
    assert "var(--warm) 50%" in heat(1.0)
    assert "var(--cold) 25%" in heat(-0.5)
    assert "var(--warm) 50%" in heat(0.9, largest=0.5)
    assert heat(None) == ""


FOUND: dict[str, Any] = {"base": "a", "metrics": [{"metric": "dino", "label": "DINO", "column": "", "differences": []}]}


def part_of(runs: dict[str, Path], *, cases: list[str]) -> MethodsPart:
    """A comparison in which these cases differ most, b above a."""
    rows = [{"method": "b", "difference": 0.25, "metric": "dino", "case": case} for case in cases]
    metrics = [{**FOUND["metrics"][0], "floor": None, "ceiling": None, "shown_as": "number", "higher_is_better": True}]
    return MethodsPart(Compared({**FOUND, "metrics": metrics, "cases": rows}, runs))


def test_a_page_takes_no_more_pictures_than_it_may(run_maker: Callable[..., Path], tmp_path: Path) -> None:
    runs = {name: run_maker(name, num_cases=20) for name in ("a", "b")}
    part = part_of(runs, cases=[f"case-{number:05d}" for number in range(20)])
    # 10 cases of a reference, two results and a true picture
    assert (len(part.chosen), part.left_out, len(part.uses), MAX_PICTURES) == (10, 10, 40, 40)
    cards = part.place(album_of(part.uses, page=tmp_path / "page.html"))
    assert [card.case_id for card in cards] == ["case-00000", "case-00001", "case-00002"]
    assert len(part.others) == 7
    assert all(each.picture.uri.startswith("data:image/webp") for each in cards[0].results)
    assert (cards[0].why, cards[0].tone) == ("DINO: b 0.250 above a", "good")
    assert "furthest above a" in part.rule


def test_where_nothing_differs_the_first_cases_are_shown(run_maker: Callable[..., Path], tmp_path: Path) -> None:
    runs = {name: run_maker(name, num_cases=9) for name in ("a", "b")}
    part = part_of(runs, cases=["case-00004"])
    assert [each.case.id[-1] for each in part.chosen] == ["4", "0", "1", "2", "3", "5"]
    assert part.rule.endswith("then the first others.")
    part = part_of(runs, cases=[])
    assert [each.case.id[-1] for each in part.chosen] == ["0", "1", "2", "3", "4", "5"]
    assert part.rule == "The first cases in case order; nothing was picked."
    card, *_ = part.place(album_of(part.uses, page=tmp_path / "page.html"))
    assert (card.why, [each.caption for each in card.results]) == ("", ["a", "b"])


def test_correlations_say_their_interval_and_whether_it_excludes_0() -> None:
    """Of three pairs the first is above 0, the second holds it, the third has no interval."""
    matrices: dict[str, Any] = {
        "metrics": ["x", "y", "z"],
        "n": [[9, 8, 7], [8, 9, 6], [7, 6, 9]],
        "pearson": [[1.0, 0.5, 0.25], [0.5, 1.0, None], [0.25, None, 1.0]],
        "pearson_ci_low": [[1.0, 0.125, -0.25], [0.125, 1.0, None], [-0.25, None, 1.0]],
        "pearson_ci_high": [[1.0, 0.75, 0.625], [0.75, 1.0, None], [0.625, None, 1.0]],
        "pearson_reason": [["", "", ""], ["", "", "all the same"], ["", "all the same", ""]],
        "spearman": [[1.0, 0.4, 0.2], [0.4, 1.0, None], [0.2, None, 1.0]],
        "kendall": [[1.0, 0.3, 0.1], [0.3, 1.0, None], [0.1, None, 1.0]],
    }
    rows = {(row["metric"], row["other"]): row for row in correlation_rows({"correlations": matrices})}
    assert list(rows) == [("x", "x"), ("x", "y"), ("x", "z"), ("y", "y"), ("y", "z"), ("z", "z")]
    assert [row["excludes_zero"] for row in rows.values()] == [False, True, False, False, False, False]
    assert [rows["x", "y"][key] for key in ("pearson", "spearman", "kendall", "n")] == [0.5, 0.4, 0.3, 8]
    below = {**matrices, "pearson_ci_low": [[-0.9] * 3] * 3, "pearson_ci_high": [[-0.1] * 3] * 3}
    assert [row["excludes_zero"] for row in correlation_rows({"correlations": below})][1] is True
    told = {
        (row, column): cell for row, cells in cell_rows(matrices) for column, cell in zip("xyz", cells, strict=True)
    }
    assert told["x", "y"] == told["y", "x"] == Cell(0.5, "0.500, 95% interval 0.125 to 0.750, n = 8", True)
    assert told["y", "z"] == Cell(None, "all the same, n = 6", False)
    assert told["x", "x"] == Cell(1.0, "the metric itself, n = 9", False)
