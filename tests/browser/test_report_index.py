"""The index of all cases in a browser: found, sorted and turned by keyboard, large without being slow."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any  # playwright may be absent, so its types are not named

import pytest
from browser_views import NARROW, OFF_SCREEN, opened
from scripts import ROOT, child_environment

from likeness.core.files import read_jsonl

pytestmark = pytest.mark.browser
PER_PAGE = 96


@pytest.fixture
def index(pages: dict[str, Path]) -> Callable[[Any], Any]:
    """Opens the index of a view."""

    def open_index(view: Any) -> Any:
        view.locator("[data-index] > summary").focus()
        view.keyboard.press("Enter")
        view.locator(".grid li").first.wait_for()
        return view.locator(".grid li")

    return open_index


def scores(page: Path, metric: str) -> dict[str, float]:
    """Case -> its value, from the file that the page was made of."""
    rows = read_jsonl(page.parent / "evaluation" / "scores.jsonl")
    return {row["case_id"]: row["values"][metric]["value"] for row in rows}


def ids(cells: Any) -> list[str]:
    return cells.evaluate_all("(all) => all.map((one) => one.id.replace('run1-', ''))")


def test_cases_are_turned_by_pages_and_sorted_by_a_metric(
    chromium: Any, pages: dict[str, Path], index: Callable[[Any], Any]
) -> None:
    values = scores(pages["many"], "clip_t")
    with opened(chromium, pages["many"]) as view:
        cells = index(view)
        assert ids(cells) == list(values)[:PER_PAGE]
        assert view.locator(".count").inner_text() == "200 of 200 cases, 1 to 96 shown"
        assert view.get_by_role("button", name="Previous").is_disabled()
        view.get_by_role("button", name="Next").press("Enter")
        assert ids(cells) == list(values)[PER_PAGE : 2 * PER_PAGE]
        view.locator(".pager input").fill("3")
        view.keyboard.press("Enter")
        assert ids(cells) == list(values)[2 * PER_PAGE :]
        for label, sign in (("best", -1), ("worst", 1)):
            view.get_by_label("Sort").select_option(label=f"Prompt fidelity (CLIP-T): {label} first")
            wanted = sorted(values, key=lambda case, sign=sign: sign * float(f"{values[case]:.6g}"))
            assert ids(cells) == wanted[:PER_PAGE]
        assert cells.first.locator("small").first.text_content() == f"{min(values.values()):.3f}"


def test_cases_are_found_by_words_and_by_what_is_wrong_with_them(
    chromium: Any, pages: dict[str, Path], index: Callable[[Any], Any]
) -> None:
    low = [scores(pages["many"], metric) for metric in ("dino", "clip_t")]
    below = [case for case in low[0] if low[0][case] < 0.25 or low[1][case] < 0.15]
    with opened(chromium, pages["many"]) as view:
        cells = index(view)
        find, mark = view.get_by_label("Find"), view.get_by_label("Show")
        find.fill("SNOW cat-1")  # subjects 1, 10 to 19, of which every fifth case is in the snow
        by_hand = [f"case-{k:05d}" for k in range(200) if k % 5 == 1 and str(k % 64).startswith("1")]
        assert ids(cells) == by_hand
        find.fill("case-00123")
        assert ids(cells) == ["case-00123"]
        find.fill("nobody")
        assert (ids(cells), view.locator(".count").inner_text()) == ([], "0 of 200 cases")
        find.fill("")
        assert mark.locator("option").all_inner_texts() == ["all", f"below floor ({len(below)})"]
        mark.select_option(index=1)
        assert ids(cells) == below
        assert "below floor" in cells.first.text_content()  # not inner_text: what is not on screen is not laid out


def test_the_zoom_opens_from_the_index_and_goes_through_what_was_found(
    chromium: Any, pages: dict[str, Path], index: Callable[[Any], Any]
) -> None:
    with opened(chromium, pages["many"]) as view:
        cells, zoom = index(view), view.locator("#zoom")
        view.get_by_label("Find").fill("snow")
        view.get_by_label("Sort").select_option(label="Subject fidelity (DINO): worst first")
        button = cells.first.get_by_role("button")
        button.press("Enter")
        found = ids(cells)
        assert zoom.locator("figcaption").all_inner_texts() == ["reference: cat", "generated"]
        assert ".512.webp" in zoom.locator("img").last.get_attribute("src")
        assert found[0] in zoom.locator(".told").inner_text()
        view.keyboard.press("ArrowRight")
        assert found[1] in zoom.locator(".told").inner_text()
        zoom.get_by_role("button", name="Previous case").click()
        view.keyboard.press("ArrowLeft")
        assert found[-1] in zoom.locator(".told").inner_text()
        view.keyboard.press("Escape")
        assert not zoom.is_visible()
        assert button.evaluate("(one) => one === document.activeElement")


def test_a_link_to_a_case_on_another_page_shows_it(
    chromium: Any, pages: dict[str, Path], index: Callable[[Any], Any]
) -> None:
    with opened(chromium, pages["many"]) as view:
        index(view)
        view.get_by_label("Find").fill("nobody")
        view.evaluate("() => { location.hash = 'run1-case-00150'; }")
        cell = view.locator("[id='run1-case-00150']")
        cell.wait_for(state="visible", timeout=5000)
        assert cell.get_attribute("class") == "found"


def test_on_a_phone_the_open_index_is_all_on_screen(
    chromium: Any, pages: dict[str, Path], index: Callable[[Any], Any]
) -> None:
    with opened(chromium, pages["many"], size=NARROW) as view:
        index(view)
        assert view.evaluate(OFF_SCREEN) == []
        assert view.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_without_scripts_the_index_is_a_plain_list_with_pictures(chromium: Any, pages: dict[str, Path]) -> None:
    context = chromium.new_context(java_script_enabled=False)
    view = context.new_page()
    view.goto(pages["many"].as_uri())
    view.locator("[data-index] > summary").click()
    assert view.locator(".plain li").count() == 200
    item = view.locator("[id='run1-case-00003']")
    assert item.is_visible()
    assert item.locator("img").count() == 2
    assert view.locator(".tools").is_hidden()
    context.close()


@pytest.mark.slow
def test_a_report_of_4096_pictures_reaches_its_goals() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "perf" / "report.py"), "4096"]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}
    assert {"bytes of the page", "bytes of a single file", "paint_s at 1280 px", "off_screen_px at 390 px"} <= set(
        found
    )
    assert [row for row in found.values() if "goal" in row and row["value"] > row["goal"]] == []
