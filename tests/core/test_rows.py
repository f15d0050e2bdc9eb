"""Rows become records or reasons, and nothing is lost between the two."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from likeness.core.errors import DataError
from likeness.core.rows import existing_file, json_object, sift_rows


class Named(BaseModel):
    id: str


def named(number: int, row: str) -> Named:
    if row == "bad":
        raise DataError(f"row {number} is bad")
    return Named(id=row)


def test_every_row_is_kept_or_rejected_at_its_place() -> None:
    rows = [(2, "a"), (3, "bad"), (7, "A"), (9, "b")]
    kept, rejected = sift_rows(rows, named, path=Path("x.jsonl"), what="thing")
    assert [record.id for record in kept] == ["a", "b"]
    assert [row.where for row in rejected] == ["x.jsonl:3", "x.jsonl:7"]
    assert rejected[0].reason == "x.jsonl:3: row 3 is bad"
    assert "thing id: expected each id once (case is ignored), got 'A' again" in rejected[1].reason


@pytest.mark.parametrize(
    ("rows", "said"), [([], "the file holds no rows"), ([(1, "bad")], r"got 1 bad rows; first: x\.jsonl:1: row 1")]
)
def test_nothing_usable_is_an_error(rows: list[tuple[int, str]], said: str) -> None:
    with pytest.raises(DataError, match=said):
        sift_rows(rows, named, path=Path("x.jsonl"), what="thing")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"id": ', "at column 8"),
        ("[1]", "got list"),
        ("7", "got int"),
        ("[" * 100_000, "nesting too deep"),
    ],
)
def test_a_line_that_is_no_object_is_named(line: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        json_object(line)


def test_object_of_a_line() -> None:
    assert json_object('{"id": "ä", "n": [1]}') == {"id": "ä", "n": [1]}


@pytest.mark.parametrize("name", ["none.png", "n\0ul.png", "x" * 5000, "."])
def test_a_path_that_is_no_file_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="mask: expected a file, got nothing"):
        existing_file(Path(name), folder=tmp_path, what="mask")


def test_a_file_is_found_below_its_folder(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert existing_file(Path("a.png"), folder=tmp_path, what="mask") == tmp_path / "a.png"
