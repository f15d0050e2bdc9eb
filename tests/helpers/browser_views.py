"""Pages opened in a browser, wide and narrow, light and dark; what of them lies off-screen."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any  # playwright may be absent, so its types are not named

WIDE, NARROW = (1280, 800), (390, 844)
OFF_SCREEN = """() => [...document.querySelectorAll("main *, nav *")].filter((one) => {
  const box = one.getBoundingClientRect(), inside = one.closest(".links, pre, svg, .scroll > *");
  return !inside && box.width > 1 && (box.right > innerWidth + 1 || box.left < -1);
}).map((one) => one.outerHTML.slice(0, 90))"""


@contextmanager
def opened(chromium: Any, file: Path, *, size: tuple[int, int] = WIDE, theme: str = "light") -> Generator[Any]:
    """The page in a view of its own; whatever the console says is an error of the test."""
    view = chromium.new_page(
        viewport={"width": size[0], "height": size[1]}, color_scheme=theme, reduced_motion="reduce"
    )
    said: list[str] = []
    view.on("console", lambda message: said.append(message.text))
    view.on("pageerror", lambda error: said.append(str(error)))
    view.goto(file.as_uri())
    try:
        yield view
    finally:
        view.close()
    assert said == []
