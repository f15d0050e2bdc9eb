"""Pictures of pages: the report of a run and parts of a training report, from the folder of `likeness demo`.

    python figures/screens.py runs/demo

Needs the extra `browser` and a chromium. The pages of docs/reading-a-run.md speak of what its pictures show: read them
again when these were made anew.
"""

import argparse
from pathlib import Path
from typing import Any  # playwright types nothing that pyright reads without the extra

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "pictures"
CHROMIUM = "/usr/bin/chromium"
WIDTH, HEIGHT = 1216, 900
PARTS = {
    "run_errors.png": "xpath=//figure[.//figcaption/b[contains(., 'rror')]][1]",
    "run_focus_by_t.png": "xpath=//h3[@id='levels']/following-sibling::*[1]",
    "run_maps.png": "xpath=//h3[@id='maps']/following-sibling::*[.//figure][1]",
}
"""Picture -> the part of a training report that it shows."""


def opened(browser: Any, page: Path, *, width: int = WIDTH) -> Any:
    """A page in a light view."""
    view = browser.new_page(viewport={"width": width, "height": HEIGHT}, color_scheme="light")
    view.goto(page.resolve().as_uri())
    return view


def main() -> None:
    """Opens both pages and takes the pictures."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("demo", type=Path, help="folder of `likeness demo`")
    folder = parser.parse_args().demo
    (training,) = folder.glob("tuned-*/training/report.html")
    OUT.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened(browser, folder / "world-multi" / "report.html", width=960).screenshot(path=str(OUT / "report.png"))
        view = opened(browser, training)
        for name, part in PARTS.items():
            view.locator(part).first.screenshot(path=str(OUT / name))
        browser.close()


if __name__ == "__main__":
    main()
