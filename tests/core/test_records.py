"""Case files: three formats in, usable cases and reasons out."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from likeness.core.errors import DataError
from likeness.core.records import Case, LeftOut, Subject, read_cases


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "dog").mkdir()
    for name in ("dog/00.png", "cat.png"):
        (tmp_path / name).write_bytes(b"any file: pictures are decoded later")
    return tmp_path


def written(folder: Path, *lines: object) -> Path:
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (folder / "cases.jsonl").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return folder / "cases.jsonl"


def case_row(**changes: Any) -> dict[str, Any]:
    return {"id": "a", "prompt": "a dog", "subjects": [], "seed": 3, **changes}


def test_full_row_round_trips_through_json(folder: Path) -> None:
    subject = Subject(
        id="s", class_name="dog", reference_image=Path("cat.png"), photos=(Path("dog/00.png"),), attributes={"a": "b"}
    )
    case = Case(id="a-1.b_c", prompt="a dog", subjects=(subject,), seed=2**63 - 1, action="sit", scene="park")
    read = read_cases(written(folder, case.model_dump(mode="json")))
    assert read.left_out == ()
    [found] = read.cases
    assert found.subjects[0].reference_image == folder / "cat.png"
    assert found.subjects[0].measured_photos == (folder / "dog/00.png",)
    assert found.model_copy(update={"subjects": case.subjects}) == case


def test_no_photos_means_the_reference_image(folder: Path) -> None:
    assert Subject(id="s", class_name="", reference_image=Path("x")).measured_photos == (Path("x"),)


def test_short_rows_are_called_after_line_and_path(folder: Path) -> None:
    path = written(folder, {"prompt": "p", "references": ["dog/00.png", "cat.png"], "seed": 5}, "", {"prompt": "q"})
    first, second = read_cases(path).cases
    assert (first.id, first.seed, second.id, second.subjects) == ("case-00001", 5, "case-00003", ())
    assert [subject.id for subject in first.subjects] == ["dog/00.png", "cat.png"]
    assert first.subjects[0].reference_image == folder / "dog" / "00.png"


def test_uno_list(folder: Path) -> None:
    rows = [{"prompt": "p", "image_paths": ["./cat.png"], "image_tgt_path": "x"}, {"prompt": "q", "image_paths": []}]
    (folder / "uno.json").write_text(json.dumps(rows, indent=1))
    read = read_cases(folder / "uno.json")
    assert [case.id for case in read.cases] == ["case-00001", "case-00002"]
    assert read.cases[0].subjects[0].reference_image == folder / "cat.png"


BAD_ROWS: dict[str, tuple[Any, str]] = {
    "broken json": ('{"prompt": ', "expected one JSON object"),
    "deep json": ('{"a":' * 100_000, "nesting"),
    "a number": ("7", "got int"),
    "no prompt": ({"id": "x"}, "prompt: Field required"),
    "empty prompt": (case_row(prompt=" \n"), "at least one word"),
    "null prompt": (case_row(prompt=None), "prompt"),
    "half a surrogate": ('{"id": "x", "prompt": "\\ud800"}', "surrogate"),
    "misspelt key": (case_row(sede=1), "sede: Extra inputs"),
    "misspelt short key": ({"prompt": "p", "references": [], "sede": 1}, "sede"),
    "five subjects": ({"prompt": "p", "references": ["cat.png"] * 5}, "at most 4, got 5"),
    "missing file": ({"prompt": "p", "references": ["none.png"]}, "none.png"),
    "folder as file": ({"prompt": "p", "references": ["dog"]}, "got nothing at"),
    "endless name": ({"prompt": "p", "references": ["x" * 5000]}, "got nothing at"),
    "NUL name": ({"prompt": "p", "references": ["a\0b"]}, "reference image"),
    "path in id": (case_row(id="../x"), "case id"),
    "long id": (case_row(id="x" * 121), "1 to 120"),
    "negative seed": (case_row(seed=-1), "seed"),
    "huge seed": (case_row(seed=2**63), "seed"),
    "text seed": (case_row(seed="1"), "seed"),
    "duplicate id": (case_row(id="GOOD"), "each id once"),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_bad_rows_are_rejected_with_file_line_and_reason(folder: Path, kind: str) -> None:
    row, message = BAD_ROWS[kind]
    path = written(folder, case_row(id="good"), row, case_row(id="after"))
    read = read_cases(path)
    assert [case.id for case in read.cases] == ["good", "after"]
    [rejected] = read.left_out
    assert rejected.where == f"{path}:2"
    assert rejected.reason.startswith(f"{path}:2: ")
    assert message in rejected.reason


def test_only_bad_rows_is_an_error_with_the_first_reason(folder: Path) -> None:
    with pytest.raises(DataError, match=r"2 bad rows; first: .*cases\.jsonl:1: .*at least one word"):
        read_cases(written(folder, case_row(prompt=""), "{"))


@pytest.mark.parametrize("content", [b"", b"\n \n", b"[]", b"\xff\xfe", b"[{"])
def test_files_without_cases_are_errors(folder: Path, content: bytes) -> None:
    (folder / "x.json").write_bytes(content)
    with pytest.raises(DataError, match=r"x\.json"):
        read_cases(folder / "x.json")


def test_missing_file_is_an_error(folder: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        read_cases(folder / "none.jsonl")


def test_long_prompt_is_kept_whole(folder: Path) -> None:
    prompt = "word " * 10_000
    assert read_cases(written(folder, case_row(prompt=prompt))).cases[0].prompt == prompt


def test_records_are_frozen_and_python_errors_are_data_errors() -> None:
    record = LeftOut(where="a", reason="b")
    with pytest.raises(ValidationError, match="frozen"):
        record.where = "c"  # type: ignore[misc]
    with pytest.raises(DataError, match="prompt"):
        Case(id="a", prompt="")
