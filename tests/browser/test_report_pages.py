"""Pages in a browser, wide and narrow, light and dark: nothing off-screen, links work, no violation, keys suffice."""

from itertools import product
from pathlib import Path
from typing import Any  # playwright may be absent, so its types are not named

import pytest
from browser_views import NARROW, OFF_SCREEN, WIDE, opened

pytestmark = pytest.mark.browser
NAMES = ("one", "compared", "several", "methods", "many")
SLOW = {(WIDE, "dark"), (NARROW, "light")}
VIEWS = [
    pytest.param(*view, id=f"{view[0][0]}-{view[1]}", marks=[pytest.mark.slow] if view in SLOW else [])
    for view in product((WIDE, NARROW), ("light", "dark"))
]
UNFOLD = "() => document.querySelectorAll('details').forEach((one) => { one.open = true; })"


@pytest.mark.parametrize(("size", "theme"), VIEWS)
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_off_screen_and_no_rule_of_access_is_broken(
    chromium: Any, pages: dict[str, Path], name: str, size: tuple[int, int], theme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra `browser`").Axe()
    with opened(chromium, pages[name], size=size, theme=theme) as view:
        for state in ("folded", "unfolded"):
            width, seen = view.evaluate("[document.documentElement.scrollWidth, innerWidth]")
            assert width <= seen, state
            assert view.evaluate(OFF_SCREEN) == [], state
            assert view.locator("#theme").is_visible()
            assert _serious(axe.run(view).response["violations"]) == []
            view.evaluate(UNFOLD)


def _serious(violations: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """Rule and first element of each violation that keeps somebody from reading the page."""
    worst = [one for one in violations if one["impact"] in ("serious", "critical")]
    return [(one["id"], one["nodes"][0]["html"]) for one in worst]


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_what_is_then_visible_and_pictures_load(chromium: Any, pages: dict[str, Path], name: str) -> None:
    with opened(chromium, pages[name]) as view:
        links = view.eval_on_selector_all("a", "(all) => all.map((one) => one.getAttribute('href'))")
        assert links
        for link in dict.fromkeys(links):
            assert link.startswith("#"), link
            view.evaluate("(link) => { location.hash = link; }", link)
            view.locator(f"[id='{link[1:]}']").wait_for(state="visible", timeout=5000)
        view.evaluate(UNFOLD)
        view.evaluate("() => document.querySelectorAll('img').forEach((one) => { one.loading = 'eager'; })")
        view.wait_for_function(
            "[...document.querySelectorAll('main img')].every((one) => one.complete)", timeout=20_000
        )
        assert view.eval_on_selector_all("main img", "(all) => all.filter((one) => !one.naturalWidth).length") == 0


@pytest.mark.parametrize(("name", "most"), [("one", 2), ("compared", 4), ("several", 4)])
def test_a_folded_page_is_short_and_its_first_screen_answers(
    chromium: Any, pages: dict[str, Path], name: str, most: int
) -> None:
    with opened(chromium, pages[name]) as view:
        assert view.evaluate("document.documentElement.scrollHeight / innerHeight") <= most
        first = view.locator(".hero article").first
        box = first.bounding_box()
        assert box["y"] + box["height"] <= WIDE[1]
        assert first.locator(".refs img").count() >= 1
        if name != "several":
            assert view.locator("header .tiles dd").first.is_visible()


def test_the_zoom_shows_references_truth_and_result_and_works_by_keyboard(
    chromium: Any, pages: dict[str, Path]
) -> None:
    with opened(chromium, pages["one"]) as view:
        zoom, captions = view.locator("#zoom"), view.locator("#zoom figcaption")
        opener = view.locator(".hero .results button").first
        opener.focus()
        view.keyboard.press("Enter")
        assert zoom.is_visible()
        assert captions.all_inner_texts() == ["reference: cat", "generated", "true picture"]
        said = zoom.locator(".said").inner_text()
        view.keyboard.press("ArrowRight")
        assert zoom.locator(".said").inner_text() != said
        assert captions.all_inner_texts() == ["reference: cat", "generated", "true picture"]
        view.keyboard.press("ArrowLeft")
        assert zoom.locator(".said").inner_text() == said
        view.keyboard.press("Escape")
        assert not zoom.is_visible()
        assert opener.evaluate("(one) => one === document.activeElement")


def test_the_theme_button_changes_the_colours(chromium: Any, pages: dict[str, Path]) -> None:
    with opened(chromium, pages["one"], size=NARROW) as view:
        paper = "getComputedStyle(document.body).backgroundColor"
        light = view.evaluate(paper)
        view.locator("#theme").click()
        assert view.evaluate(paper) != light


def test_the_rules_of_access_are_asked(chromium: Any, tmp_path: Path) -> None:
    """A page with planted faults is refused, so that silence on our pages means something."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs the extra `browser`").Axe()
    (tmp_path / "bad.html").write_text('<html lang="en"><title>x</title><img src="data:,"><button></button></html>')
    view = chromium.new_page()
    view.goto((tmp_path / "bad.html").as_uri())
    assert {name for name, _ in _serious(axe.run(view).response["violations"])} >= {"image-alt", "button-name"}
    view.close()
