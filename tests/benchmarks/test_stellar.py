"""Stellar's own layout: real and mock forms, the order of cases, and damaged folders."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from likeness.benchmarks import benchmark_cases
from likeness.core.errors import DataError, LikenessError
from likeness.core.records import Case
from likeness.data.formats.stellar_files import MethodRow, filled, picture_name

ATTRIBUTES: dict[str, Any] = {"attributes": {"Young": 1, "Male": -1}, "identity": 7, "original_filename": "12.jpg"}
PROMPTS_T: dict[str, Any] = {
    "prompts": ["{} as a clown skiing", "{} holding a cup"],
    "detectables": [["clown", "skis"], ["cup"]],
    "categories": [["sports"], ["everyday"]],
}
PROMPTS_H: dict[str, Any] = {"prompts": ["{} laughs at the café"]}


def put(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def person(root: Path, name: str, *, mock: bool = False, **replaced: Any) -> Path:
    """A folder of the published form, or of the older mock's."""
    home = root / name
    home.mkdir(parents=True)
    for k in (0, 1):
        Image.new("RGB", (8, 8), (int(name) % 256, 40 * k, 9)).save(home / f"{k}.jpg")
        Image.new("RGB" if mock else "P", (8, 8)).save(home / f"{k}_bg.png")
        put(home / f"{k}_attributes.json", ATTRIBUTES)
    for file, value in {"prompts_t": PROMPTS_T, "prompts_h": None if mock else PROMPTS_H, **replaced}.items():
        if value is not None:
            put(home / (f"{file}.json" if not mock else "prompt.json"), value)
    return home


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two people of the test split and one of the validation split, which has no free prompts."""
    for name in ("000", "007"):
        person(tmp_path / "data", name)
    person(tmp_path / "data", "200", prompts_h=None)
    (tmp_path / "data" / "objects.txt").write_text("cup\n")
    return tmp_path / "data"


def cases_of(root: Path, **options: Any) -> tuple[Case, ...]:
    return benchmark_cases("stellar", folder=root / "never", data=root, **options).cases


def test_the_flat_index_is_person_photo_prompt_with_templates_first(root: Path) -> None:
    cases, people, texts = cases_of(root), ("000", "007"), [*PROMPTS_T["prompts"], *PROMPTS_H["prompts"]]
    assert len(cases) == 2 * 2 * 3
    for index, case in enumerate(cases):
        image, per_person = index // 3, 3
        name, prompt = people[image // 2], texts[((image // 2) * per_person + index % per_person) % 3]
        assert case.id == f"{name}-{image % 2}-{index % 3:02d}"
        assert case.prompt == prompt.replace("{}", "a person")
        (subject,) = case.subjects
        assert (subject.id, subject.class_name) == (name, "person")
        assert subject.reference_image == root / name / f"{image % 2}.jpg"
        assert subject.photos == (root / name / "0.jpg", root / name / "1.jpg")
        assert subject.attributes == {"Young": "yes", "Male": "no"}
        assert case.labels.detectables == tuple([["clown", "skis"], ["cup"], []][index % 3])
    assert not (root / "never").exists()


def test_splits_go_by_number(root: Path) -> None:
    assert {case.subjects[0].id for case in cases_of(root, split="validation")} == {"200"}
    assert len(cases_of(root, split="validation")) == 4
    with pytest.raises(DataError, match=r"the test or validation split, got .* and train"):
        cases_of(root, split="train")


def test_a_limit_is_balanced_and_begins_a_larger_one(root: Path) -> None:
    few, more = cases_of(root, limit=2), cases_of(root, limit=6)
    assert {case.subjects[0].id for case in few} == {"000", "007"}
    assert more[:2] == few


def test_the_mocks_older_form_is_read(tmp_path: Path) -> None:
    """One prompt.json, RGB masks, two different people in one folder, no grades."""
    home = person(tmp_path, "199", mock=True)
    put(home / "1_attributes.json", {"attributes": {"Young": -1, "Male": 1}, "identity": 3})
    first, *_, last = cases_of(tmp_path)
    assert (first.id, last.id) == ("199-0-00", "199-1-01")
    assert first.subjects[0].attributes == {"Young": "yes", "Male": "no"}
    assert last.subjects[0].attributes == {"Young": "no", "Male": "yes"}


def test_what_may_be_absent(root: Path) -> None:
    """Masks, attributes, detectables; grades and keys of others are not looked at; relations are a field of ours."""
    home = root / "000"
    for k in (0, 1):
        (home / f"{k}_bg.png").unlink()
    (home / "0_attributes.json").unlink()
    put(home / "1_attributes.json", {**ATTRIBUTES, "finegrained_attributes": {"Smiling": 4}, "x": None})
    put(home / "prompts_t.json", {"prompts": PROMPTS_T["prompts"], "relations": [[], [["person", "holding", "cup"]]]})
    first, second, *_ = cases_of(root)
    assert first.subjects[0].attributes is None
    assert first.labels.triplets == ()
    assert second.labels.triplets == (("person", "holding", "cup"),)
    (root / "notes").mkdir()
    assert len(cases_of(root)) == 12


Damage = Callable[[Path], object]


def without(name: str) -> Damage:
    return lambda home: (home / name).unlink()


def text(name: str, content: str) -> Damage:
    return lambda home: (home / name).write_text(content)


def raw(name: str, content: bytes) -> Damage:
    return lambda home: (home / name).write_bytes(content)


def t(**changes: Any) -> Damage:
    return lambda home: put(home / "prompts_t.json", PROMPTS_T | changes)


def h(value: Any) -> Damage:
    return lambda home: put(home / "prompts_h.json", value)


def a(value: Any) -> Damage:
    return lambda home: put(home / "0_attributes.json", value)


def of(**attributes: Any) -> Damage:
    return a({"attributes": attributes})


def folder_in_place_of(name: str) -> Damage:
    def damage(home: Path) -> None:
        (home / name).unlink()
        (home / name).mkdir()

    return damage


T, H, A = "prompts_t.json", "prompts_h.json", "0_attributes.json"
DAMAGES: list[tuple[Damage, str]] = [
    (without("0.jpg"), r"0\.jpg: expected the person's photos"),
    (folder_in_place_of("1.jpg"), r"1\.jpg: expected the person's photos"),
    (lambda home: (home / "1.jpg").rename(home / "2.jpg"), r"1\.jpg: expected the person's photos"),
    (lambda home: [(home / f"{k}.jpg").unlink() for k in (0, 1)], r"0\.jpg"),
    (lambda home: [(home / name).unlink() for name in (T, H)], r"expected prompts_t\.json"),
    (text(T, ""), T),
    (text(T, "{"), rf"{T}:1"),
    (text(T, '{"prompts": ["{} a"]'), T),
    (text(T, "null"), T),
    (text(T, "[]"), T),
    (text(T, '"prompts"'), T),
    (text(T, "[" * 50_000), "nesting too deep"),
    (text(T, '{"prompts": ' + "9" * 5000 + "}"), "thousands of digits"),
    (raw(T, b"\xff\xfe{"), "expected UTF-8"),
    (raw(T, b"\x00" * 9), T),
    (t(prompts=[]), "prompts: expected at least 1"),
    (t(prompts=None), "prompts"),
    (t(prompts="{} a"), "prompts: expected a list"),
    (t(prompts=["{} a", 3]), r"prompts\.1: expected a text, got 3"),
    (t(prompts=["{} a", None]), r"prompts\.1"),
    (t(prompts=["{} a", ""]), r"prompts\.1"),
    (t(prompts=["{} a", "a person"]), r"with \{\} once .* got 'a person'"),
    (t(prompts=["{} a", "{} and {}"]), r"with \{\} once"),
    (t(prompts=["{} a", "{}"]), r"further words, got '\{\}'"),
    (t(prompts=["{} a", "  {} "]), "further words"),
    (t(prompts=["{} a", "{} \ud800"]), r"prompts\.1: expected Unicode text"),
    (t(prompts=["{} a"]), "expected 1 lists in detectables, one per prompt, got 2"),
    (t(prompts=["{} a"] * 3), "expected 3 lists in detectables, one per prompt, got 2"),
    (t(detectables=[["clown"]]), "expected 2 lists in detectables, one per prompt, got 1"),
    (t(detectables=[]), "expected 2 lists in detectables, one per prompt, got 0"),
    (t(detectables=["clown", "cup"]), r"detectables\.0: expected a list"),
    (t(detectables=[["clown"], [1]]), r"detectables\.1\.0: expected a text, got 1"),
    (t(detectables=[["clown"], [math.nan]]), r"detectables\.1\.0"),
    (t(detectables=[["clown"], None]), r"detectables\.1"),
    (t(detectables=[["clown"], [""]]), r"detectables\.1\.0"),
    (t(detectables=[["clown"], ["\udfff"]]), r"detectables\.1\.0: expected Unicode text"),
    (t(categories=[["sports"]] * 3), "expected 2 lists in categories, one per prompt, got 3"),
    (t(categories={"sports": 1}), "categories: expected a list"),
    (t(relations=[[["person", "holding", "cup"]]]), "expected 2 lists in relations, one per prompt, got 1"),
    (t(relations=[[["person", "cup"]], []]), r"relations\.0\.0: expected at least 3"),
    (t(relations=[[["person", "holding", "a", "cup"]], []]), r"relations\.0\.0"),
    (t(relations=[[["person", "holding", 7]], []]), r"relations\.0\.0\.2: expected a text"),
    (h({}), "prompts: expected a value, got none"),
    (h({"prompts": {"0": "{} a"}}), "prompts: expected a list"),
    (h({"prompts": [["{} a"]]}), r"prompts\.0: expected a text"),
    (a([]), A),
    (a({}), "attributes: expected a value, got none"),
    (a({"attributes": ["Young"]}), "attributes: expected a JSON object"),
    (of(Young=0), r"attributes\.Young: expected -1 or 1, got 0"),
    (of(Young=2), r"attributes\.Young: expected -1 or 1, got 2"),
    (of(Young=True), r"attributes\.Young: expected a whole number, got true"),
    (of(Young="1"), r"attributes\.Young: expected a whole number"),
    (of(Young=1.0), r"attributes\.Young: expected a whole number"),
    (of(Young=math.nan), r"attributes\.Young: expected a whole number"),
    (of(Young=math.inf), r"attributes\.Young"),
    (of(Young=None), r"attributes\.Young: expected a whole number, got null"),
    (text(A, "{]"), A),
    (lambda home: home.rename(home.with_name("400")), "400: expected numbers 000 to 199"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=[str(number) for number in range(len(DAMAGES))])
def test_a_damaged_folder_is_one_error_that_names_the_file(root: Path, damage: Damage, message: str) -> None:
    damage(root / "007")
    with pytest.raises(DataError, match=message) as caught:
        cases_of(root)
    assert any(name in str(caught.value) for name in ("007", "400"))
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["nowhere", "000", "000/0.jpg"])
def test_a_root_without_people_is_named(root: Path, name: str) -> None:
    with pytest.raises(LikenessError, match="expected folders 000, 001"):
        cases_of(root / name)


def test_a_root_without_people_of_the_split_is_named(tmp_path: Path) -> None:
    person(tmp_path, "200")
    with pytest.raises(DataError, match=r"people of the test split \(000 to 199\), found none"):
        cases_of(tmp_path)


@pytest.mark.parametrize(
    ("stem", "wanted"),
    [
        ("000-0-00", ("000", 0, "00")),
        ("001-0-100", ("001", 0, "100")),  # where prompts are counted through the split
        ("stellar-world-v1-012-1-05", ("012", 1, "05")),
        ("000-0-0", None),
        ("00-0-00", None),
        ("0000-0-00", None),
        ("000-0-00-x", None),
        ("\u0660\u0660\u0660-0-00", None),
    ],
)
def test_names_of_pictures(stem: str, wanted: tuple[str, int, str] | None) -> None:
    assert picture_name(stem) == wanted


@pytest.mark.parametrize("path", ["000/1.jpg", "/somewhere/else/000/1.jpg", "C:\\data\\000\\1.jpg", "../000//1.png"])
def test_only_the_last_two_parts_of_a_photos_path_count(path: str) -> None:
    assert MethodRow(prompt="{} a", image_path=path).photo == ("000", "1")


def test_only_the_first_slot_is_filled() -> None:
    assert filled("{} and {}") == "a person and {}"
