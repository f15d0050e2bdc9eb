"""Case files: three formats in, usable cases and reasons out."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from likeness.core.errors import DataError
from likeness.core.files import canonical_json, write_jsonl
from likeness.core.records import Case, Labels, Layout, Subject, case_file, read_cases, write_cases
from likeness.core.rows import LeftOut


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
    case = Case(
        id="a-1.b_c", prompt="a dog", subjects=(subject,), seed=2**63 - 1, labels=Labels(action="sit", scene="park")
    )
    read = read_cases(written(folder, case.model_dump(mode="json")))
    assert read.left_out == ()
    [found] = read.cases
    assert found.subjects[0].reference_image == folder / "cat.png"
    assert found.subjects[0].measured_photos == (folder / "dog/00.png",)
    assert found.model_copy(update={"subjects": case.subjects}) == case


BOXES = ((0.0, 0.25, 0.5, 1.0), (0.5, 0.0, 1.0, 0.5))
LABELS = {"triplets": [["cat", "hug", "dog"]], "objects": ["sofa"], "predicate": "hug", "detectables": ["cat", "dog"]}


def test_a_case_without_further_labels_is_written_as_before_there_were_labels() -> None:
    row: dict[str, Any] = {"id": "a", "prompt": "a dog", "subjects": [], "seed": 3, "action": None, "scene": "park"}
    assert list(Case(**row).model_dump(mode="json").items()) == list(row.items())
    assert Case(**row) == Case(id="a", prompt="a dog", seed=3, labels=Labels(scene="park"))
    assert canonical_json(Case(**row).model_dump(mode="json", exclude={"subjects": True})) == (
        '{"action":null,"id":"a","prompt":"a dog","scene":"park","seed":3}'
    )
    assert Case(**row).model_dump(include={"id"}) == {"id": "a"}


@pytest.mark.parametrize("beside", [True, False])
def test_labels_and_layout_round_trip_wherever_action_and_scene_stand(folder: Path, beside: bool) -> None:
    named = {"action": "hug", "scene": "park"}
    given = {**named, "labels": LABELS} if beside else {"labels": {**named, **LABELS}}
    layout = {"boxes": BOXES, "phrases": ["a cat", "a dog"]}
    [case] = read_cases(written(folder, case_row(**given, layout=layout))).cases
    assert (case.action, case.scene) == ("hug", "park")
    assert case.labels.triplets == (("cat", "hug", "dog"),)
    assert (case.labels.objects, case.labels.predicate, case.labels.detectables) == (("sofa",), "hug", ("cat", "dog"))
    assert case.layout == Layout(boxes=BOXES, phrases=("a cat", "a dog"))
    row = case.model_dump(mode="json")
    assert (row["action"], row["scene"], row["labels"]) == ("hug", "park", LABELS)
    assert read_cases(written(folder, row)).cases == (case,)


def test_a_case_file_and_its_pictures_can_move_together(folder: Path) -> None:
    row = case_row(subjects=[{"id": "s", "class_name": "dog", "reference_image": "cat.png", "photos": ["dog/00.png"]}])
    cases = read_cases(written(folder, row)).cases
    write_cases(folder / "dog" / "deep" / "again.jsonl", cases)
    moved = folder.rename(folder.with_name(f"{folder.name}-moved"))
    [case] = read_cases(moved / "dog" / "deep" / "again.jsonl").cases
    [subject] = case.subjects
    assert subject.reference_image.resolve() == moved / "cat.png"
    assert [photo.resolve() for photo in subject.photos] == [moved / "dog" / "00.png"]


def test_the_cases_of_a_run_are_those_of_its_evaluation_if_it_has_its_own(folder: Path) -> None:
    assert case_file(folder) == folder / "cases.jsonl"
    write_cases(folder / "evaluation" / "cases.jsonl", [])
    assert case_file(folder) == folder / "evaluation" / "cases.jsonl"


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
    "no prompt": ({"id": "x"}, "prompt: expected a value, got none"),
    "empty prompt": (case_row(prompt=" \n"), "at least one word"),
    "null prompt": (case_row(prompt=None), "prompt"),
    "half a surrogate": ('{"id": "x", "prompt": "\\ud800"}', "surrogate"),
    "misspelt key": (case_row(sede=1), "sede: expected no such key"),
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
    "misspelt label": (case_row(labels={"acton": "hug"}), "labels.acton: expected no such key"),
    "labels as a list": (case_row(labels=["hug"], action="hug"), "labels: expected a JSON object"),
    "action in two places": (case_row(labels={"action": "hug"}, action="hug"), "each label once, got action"),
    "half a triplet": (case_row(labels={"triplets": [["cat", "hug"]]}), "labels.triplets.0.2: expected a value"),
    "box in px": (case_row(layout={"boxes": [[0, 0, 64, 64]], "phrases": ["a"]}), "divide px by the picture's width"),
    "box of a NaN": (case_row(layout={"boxes": [[math.nan, 0, 1, 1]], "phrases": ["a"]}), "left < right"),
    "box upside down": (case_row(layout={"boxes": [[0, 0.5, 1, 0.5]], "phrases": ["a"]}), "left < right"),
    "box of three": (case_row(layout={"boxes": [[0, 0, 1]], "phrases": ["a"]}), "layout.boxes.0.3: expected a value"),
    "box without phrase": (case_row(layout={"boxes": BOXES, "phrases": ["a"]}), "phrase for every box, got 2 boxes"),
    "blank phrase": (case_row(layout={"boxes": BOXES, "phrases": ["a", " "]}), "got 2 boxes and ['a', ' ']"),
    "empty layout": (case_row(layout={"boxes": [], "phrases": []}), "layout.boxes: expected at least 1, got []"),
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


@pytest.mark.parametrize("key", ["references", "image_paths"])
def test_one_path_as_text_and_paths_of_windows_are_read(tmp_path: Path, key: str) -> None:
    (tmp_path / "imgs").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "imgs" / "cat.png")
    write_jsonl(tmp_path / "cases.jsonl", [{"prompt": "a cat", key: "imgs/cat.png"}])
    write_jsonl(tmp_path / "windows.jsonl", [{"prompt": "a cat", key: ["imgs\\cat.png"]}])
    for name in ("cases.jsonl", "windows.jsonl"):
        (case,) = read_cases(tmp_path / name).cases
        assert [subject.reference_image for subject in case.subjects] == [tmp_path / "imgs" / "cat.png"]
