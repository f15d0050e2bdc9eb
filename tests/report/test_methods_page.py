"""The drawings of a comparison by their coordinates, and how many pictures a page takes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from likeness.report.curves import Ends
from likeness.report.methods_page import MAX_PICTURES, WIDTH, axis_of, cards_of, difference_svg, heat
from likeness.report.tables import read_run

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


def test_a_page_takes_no_more_pictures_than_it_may(run_maker: Callable[..., Path]) -> None:
    runs = {name: read_run(run_maker(name, num_cases=20)) for name in ("a", "b")}
    case = {"method": "b", "difference": 0.25, "metric": "dino"}
    found: dict[str, Any] = {
        **{"base": "a", "metrics": [{"metric": "dino", "label": "DINO", "shown_as": "number"}]},
        "cases": [{**case, "case": f"case-{number:05d}"} for number in range(20)],
    }
    cards, left = cards_of(found, runs)
    assert sum(card.num_pictures for card in cards) == 39  # 13 cases of a reference and two results; 42 are too many
    assert (len(cards), left, MAX_PICTURES) == (13, 7, 40)
    assert all(each.picture.uri.startswith("data:image/webp") for each in cards[0].results)
    assert cards[0].why == "DINO: b 0.250 above a"
