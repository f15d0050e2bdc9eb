"""Which picture belongs to which case: run manifests, names, gaps, strangers and collisions."""

import json
from pathlib import Path

import pytest
from fixture_types import Maker
from PIL import Image

from likeness.core.errors import DataError
from likeness.core.records import Case
from likeness.evaluate.samples import find_samples

CASES = [Case(id="b", prompt="x"), Case(id="a", prompt="x"), Case(id="a-1", prompt="x")]


@pytest.fixture
def put(tmp_path: Path):
    def put(*names: str) -> Path:
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (4, 4)).save(path)
        return tmp_path

    return put


def test_names_give_case_and_number_in_case_order(put: Maker) -> None:
    found = find_samples(put("a-10.png", "a-2.jpg", "b.png", "a-1-3.webp"), cases=CASES)
    assert [sample.id for sample in found.samples] == ["b-0", "a-2", "a-10", "a-1-3"]
    assert found.missing == found.extra == ()


def test_a_whole_name_that_is_a_case_wins_over_a_number(put: Maker) -> None:
    found = find_samples(put("a-1.png"), cases=CASES)
    assert [(sample.case.id, sample.k) for sample in found.samples] == [("a-1", 0)]
    assert found.missing == ("b", "a")


def test_strangers_are_listed(put: Maker) -> None:
    found = find_samples(put("b.png", "c.png", "a.png", "a-1.png", "a-x.png"), cases=CASES)
    assert found.extra == ("a-x.png", "c.png")


def test_two_pictures_for_one_place_are_refused(put: Maker) -> None:
    with pytest.raises(DataError, match=r"b-0.*got b"):
        find_samples(put("b.png", "b-0.png"), cases=CASES)
    with pytest.raises(DataError, match="one picture for a-2"):
        find_samples(put("a-2.png", "a-2.jpg"), cases=CASES)


def write_manifest(folder: Path, *rows: object) -> None:
    (folder / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_manifest_is_followed_and_its_gaps_are_named(put: Maker) -> None:
    folder = put("images/one.png", "images/two.png", "images/loose.png")
    write_manifest(
        folder,
        {"case_id": "a", "k": 1, "image": "images/one.png", "id": "a-1"},
        {"case_id": "b", "image": "images/gone.png"},
        {"case_id": "zebra", "image": "images/two.png"},
    )
    found = find_samples(folder, cases=CASES)
    assert [(sample.case.id, sample.k, sample.image.name) for sample in found.samples] == [("a", 1, "one.png")]
    assert found.missing == ("b-0", "a-1")
    assert found.extra == ("images/loose.png", "images/two.png")


PLACE = {"case_id": "a", "image": "b.png"}
BAD_ROWS = [{"image": "x.png"}, {"case_id": "a"}, ["a", "x.png"], {"case_id": 1, "image": "x.png"}]


@pytest.mark.parametrize("row", [*BAD_ROWS, *({**PLACE, "k": k} for k in ("zero", "1", None, 1.5, True, -1))])
def test_a_malformed_manifest_row_is_named(put: Maker, row: object) -> None:
    folder = put("b.png")
    write_manifest(folder, row)
    with pytest.raises(DataError, match=r"manifest\.jsonl:1"):
        find_samples(folder, cases=CASES)


def test_an_absent_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        find_samples(tmp_path / "nowhere", cases=CASES)
