"""Generated parts of pages: what stands between <!-- name:begin --> and <!-- name:end -->."""

from pathlib import Path

from likeness.core.files import atomic_write_text


def fill_block(page: Path, name: str, text: str) -> None:
    """The page with the text between its marks of the name. Raises: ValueError unless each mark is there once."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    whole = page.read_text(encoding="utf-8")
    if whole.count(begin) != 1 or whole.count(end) != 1:
        raise ValueError(f"{page}: expected the marks of {name} once, got {whole.count(begin)} and {whole.count(end)}.")
    before, rest = whole.split(begin)
    atomic_write_text(page, f"{before}{begin}{text}{end}{rest.split(end)[1]}")
