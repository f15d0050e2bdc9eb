"""A folder of a method in Stellar's layout: JSON decides, names do not, and every picture without a place says why."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from likeness.core.records import Case, Subject, write_cases
from likeness.encoders import PHOTO_ENCODERS, WORLD_ENCODERS
from likeness.evaluate.folder import choose_encoders
from likeness.evaluate.samples import Found, find_samples

CASES = [
    Case(id=f"{person}-{photo}-{number:02d}", prompt=f"a person {doing}")
    for person in ("000", "001")
    for photo in (0, 1)
    for number, doing in enumerate(("skiing", "asleep"))
]


def put(folder: Path, stem: str, *, prompt: Any = "{} skiing", image_path: Any = None, suffix: str = ".png") -> Path:
    Image.new("RGB", (4, 4)).save(folder / f"{stem}{suffix}")
    person, photo, _ = stem.split("-")
    row = {
        "index": 0,
        "prompt": prompt,
        "image_path": image_path or f"/data/{person}/{photo}.jpg",
        "is_stellar_t": True,
    }
    (folder / f"{stem}.json").write_text(json.dumps(row))
    return folder / f"{stem}.json"


def places(found: Found) -> dict[str, str]:
    return {sample.image.name: sample.case.id for sample in found.samples}


def test_json_decides_and_the_number_of_the_prompt_means_nothing(tmp_path: Path) -> None:
    put(tmp_path, "000-0-00", prompt="{} asleep")
    put(tmp_path, "000-0-01")
    put(tmp_path, "001-1-103", image_path="D:\\stellar\\001\\1.jpg")  # prompts counted through the split
    found = find_samples(tmp_path, cases=CASES)
    assert places(found) == {"000-0-00.png": "000-0-01", "000-0-01.png": "000-0-00", "001-1-103.png": "001-1-00"}
    assert [sample.case.id for sample in found.samples] == ["000-0-00", "000-0-01", "001-1-00"]
    assert found.missing == ("000-1-00", "000-1-01", "001-0-00", "001-0-01", "001-1-01")
    assert found.extra == ()


def test_cases_of_stellar_world_are_found_by_the_end_of_their_ids(tmp_path: Path) -> None:
    put(tmp_path, "001-0-07", prompt="{} asleep")
    cases = [case.model_copy(update={"id": f"stellar-world-v1-{case.id}"}) for case in CASES]
    assert places(find_samples(tmp_path, cases=cases)) == {"001-0-07.png": "stellar-world-v1-001-0-01"}


def test_a_prompt_that_a_person_has_twice_takes_pictures_in_the_order_of_names(tmp_path: Path) -> None:
    twice = [Case(id=f"000-0-0{number}", prompt="a person skiing") for number in range(2)]
    for stem in ("000-0-10", "000-0-09", "000-0-11"):
        put(tmp_path, stem)
    found = find_samples(tmp_path, cases=twice)
    assert places(found) == {"000-0-09.png": "000-0-00", "000-0-10.png": "000-0-01"}
    assert found.extra == ("000-0-11.png",)
    assert "without a picture yet" in found.left_out()[0].reason


def test_without_json_or_without_such_cases_names_decide(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "000-1-01.png")
    assert places(find_samples(tmp_path, cases=CASES)) == {"000-1-01.png": "000-1-01"}
    (tmp_path / "000-1-01.json").write_text('{"made": "elsewhere"}')
    other = [Case(id="000-1", prompt="a person skiing")]
    assert places(find_samples(tmp_path, cases=other)) == {"000-1-01.png": "000-1"}  # picture 1 of the case 000-1


def test_other_names_and_pictures_without_json_are_listed(tmp_path: Path) -> None:
    put(tmp_path, "000-0-00")
    for name in ("000-0-01.png", "sheet.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    found = find_samples(tmp_path, cases=CASES)
    assert found.extra == ("000-0-01.png", "sheet.png")
    reasons = {row.where: row.reason for row in found.left_out() if row.where in found.extra}
    assert reasons["000-0-01.png"] == "000-0-01.png: expected 000-0-01.json beside it, found none; copy it too."
    assert "expected the name NNN-I-PP" in reasons["sheet.png"]


def changed(**values: Any) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def text(content: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(content)


DAMAGES: list[tuple[Callable[[Path], object], str]] = [
    (text(""), "001-1-00.json"),
    (text("{"), "001-1-00.json:1"),
    (text("[]"), "001-1-00.json"),
    (text("null"), "001-1-00.json"),
    (text("{}"), "prompt: expected a value, got none"),
    (text("[" * 50_000), "nesting too deep"),
    (lambda path: path.write_bytes(b"\xff\xfe"), "expected UTF-8"),
    (changed(prompt=None), "prompt: expected a text, got null"),
    (changed(prompt=7), "prompt: expected a text, got 7"),
    (changed(prompt=math.nan), "prompt: expected a text"),
    (changed(prompt=["{} skiing"]), "prompt: expected a text"),
    (changed(prompt=""), "prompt: expected at least one word, got"),
    (changed(prompt="{} flying"), "without a picture yet, got '{} flying'"),
    (changed(prompt="{}"), "without a picture yet"),
    (changed(image_path=None), "image_path: expected a text, got null"),
    (changed(image_path=3), "image_path: expected a text, got 3"),
    (changed(image_path=""), "image_path: expected at least one word, got"),
    (changed(image_path="1.jpg"), "expected a path that ends in NNN/i.jpg, got '1.jpg'"),
    (changed(image_path="/etc/passwd"), "expected a path that ends in NNN/i.jpg"),
    (changed(image_path="../../001/.."), "expected a path that ends in NNN/i.jpg"),
    (changed(image_path="001/1"), "expected a path that ends in NNN/i.jpg"),
    (changed(image_path="001/" + "9" * 5000 + ".jpg"), "expected a path that ends in NNN/i.jpg"),
    (changed(image_path="000/1.jpg"), "expected photo 001/1 as the name says, got 000/1"),
    (changed(image_path="001/0.jpg"), "expected photo 001/1 as the name says, got 001/0"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES, ids=[str(number) for number in range(len(DAMAGES))])
def test_a_damaged_json_costs_its_own_picture_and_says_why(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    put(tmp_path, "000-0-00")
    damage(put(tmp_path, "001-1-00"))
    found = find_samples(tmp_path, cases=CASES)
    assert places(found) == {"000-0-00.png": "000-0-00"}
    assert found.extra == ("001-1-00.png",)
    (reason,) = [row.reason for row in found.left_out() if row.where == "001-1-00.png"]
    assert message in reason
    assert len(reason) < 600


@pytest.mark.parametrize(
    ("attributes", "is_world"), [({"Young": "yes", "Male": "no"}, False), ({"Young": "yes", "age": "child"}, True)]
)
def test_attributes_of_photographed_faces_are_no_labels_of_the_drawn_world(
    tmp_path: Path, attributes: dict[str, str], is_world: bool
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "0.jpg")
    person = Subject(id="000", class_name="person", reference_image=tmp_path / "0.jpg", attributes=attributes)
    write_cases(tmp_path / "cases.jsonl", [CASES[0].model_copy(update={"subjects": (person,)})])
    chosen = choose_encoders(None, cases=tmp_path / "cases.jsonl", is_embedded=False)
    assert chosen == (WORLD_ENCODERS if is_world else PHOTO_ENCODERS)
