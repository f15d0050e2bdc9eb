"""Rows become records or reasons, and nothing is lost between the two."""

from pathlib import Path

import pytest
from pydantic import BaseModel

from likeness.core.errors import DataError
from likeness.core.rows import Frozen, existing_file, json_object, sift_rows


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


class Listed(Frozen):
    id: str
    references: tuple[str, ...] = ()
    seed: int = 0


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"id": "a", "references": 7}, "references: expected a list of paths, got 7."),
        ({"id": 7}, "id: expected a text, got 7."),
        ({}, "id: expected a value, got none."),
        ({"id": "a", "sede": 1}, "sede: expected no such key; correct or drop it."),
        ({"id": "a", "seed": "x"}, 'seed: expected a whole number, got "x".'),
        ([], "row: expected a JSON object, got []."),
        ({"id": "a", "seed": {"x": "y" * 99}}, f'seed: expected a whole number, got {{"x": "{"y" * 53} ....'),
    ],
)
def test_mistakes_speak_of_the_row_and_not_of_its_validator(row: object, said: str) -> None:
    with pytest.raises(DataError) as caught:
        Listed.of_row(row)
    assert str(caught.value) == said


def test_paths_are_read_with_either_separator(tmp_path: Path) -> None:
    (tmp_path / "imgs").mkdir()
    (tmp_path / "imgs" / "cat.png").touch()
    (tmp_path / "odd\\name.png").touch()
    for written, found in (("imgs\\cat.png", "imgs/cat.png"), ("odd\\name.png", "odd\\name.png")):
        assert existing_file(Path(written), folder=tmp_path, what="picture") == tmp_path / found


def test_a_number_of_thousands_of_digits_is_a_bad_line() -> None:
    with pytest.raises(DataError, match="expected one JSON object"):
        json_object('{"id": "a", "seed": ' + "9" * 5000 + "}")
