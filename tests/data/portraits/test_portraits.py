"""Stellar's selection on a folder of planted faces: every rule, balance, seed, and that the source stays as it is."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from planted_portraits import PlantedFaces, Row, people, write_celeba

from likeness.benchmarks import benchmark_cases
from likeness.core.errors import DataError, OutputError
from likeness.core.files import read_json, read_jsonl
from likeness.data.portraits.celeba import Photo, read_celeba, read_mask
from likeness.data.portraits.copied import copy_portraits
from likeness.data.portraits.selection import SeenFace, face_fault, select

TEST, VALIDATION, TRAIN = 190_000, 170_000, 100


def digests(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def faces() -> PlantedFaces:
    return PlantedFaces()


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    """Twelve people who pass in each split, and one of every kind that does not."""
    odd = [
        *[Row(TEST, 900, 1, 1), Row(TEST, 900, -1, 1)],  # both values of Male
        *[Row(TEST, 901, 1, 1), Row(TEST, 901, 1, 1, area=0.15)],  # one photo left
        *[Row(TEST, 902, 1, 1, score=0.9), Row(TEST, 902, 1, 1, area=-1.0)],  # unsure, no face
        *[Row(TEST, 903, 1, 1, masks=()), Row(TEST, 903, 1, 1)],  # no masks
        *[Row(TRAIN, 904, 1, 1)] * 2,
    ]
    rows = [*people(10, each=3, original=TEST), *odd, *people(500, each=3, original=VALIDATION, photos=2)]
    return write_celeba(tmp_path / "celeba", rows)


def test_people_are_balanced_numbered_and_copied_byte_for_byte(celeba: Path, faces: Any, tmp_path: Path) -> None:
    before = digests(celeba)
    made = copy_portraits(celeba, tmp_path / "out", faces=faces, people=8, seed=1)
    assert digests(celeba) == before
    rows = read_jsonl(tmp_path / "out" / "selected.jsonl")
    assert [row["person"] for row in rows] == [f"{first + k:03d}" for first in (0, 200) for k in range(8)]
    for split in (rows[:8], rows[8:]):
        assert Counter((row["Male"][0], row["Young"][0]) for row in split) == dict.fromkeys(
            [(male, young) for male in (-1, 1) for young in (-1, 1)], 2
        )
        identities = [row["identity"] for row in split]
        assert identities == sorted(identities)
    assert {row["identity"] for row in rows[:8]} <= set(range(10, 22))
    for row in rows:
        assert len(set(row["photos"])) == 2
        for k, number in enumerate(row["photos"]):
            home = tmp_path / "out" / row["person"]
            assert (home / f"{k}.jpg").read_bytes() == (celeba / "CelebA-HQ-img" / f"{number}.jpg").read_bytes()
            facts = read_json(home / f"{k}_attributes.json")
            assert facts["identity"] == row["identity"]
            assert facts["original_filename"] == f"{number}.jpg"
            assert facts["attributes"] == {"Male": row["Male"][k], "Young": row["Young"][k], "Big_Nose": -1}
    assert made.summary["splits"]["test"]["passed"] == 12


def test_everybody_who_is_refused_is_listed_with_the_reason(celeba: Path, faces: Any, tmp_path: Path) -> None:
    copy_portraits(celeba, tmp_path / "out", faces=faces, people=4)
    reasons = [row["reason"] for row in read_jsonl(tmp_path / "out" / "refused.jsonl")]
    image = f"{celeba / 'CelebA-HQ-img'}/"
    assert reasons == [
        f"{image}39.jpg: expected a face of at least 20% of the picture, got 14.9%.",
        f"{image}40.jpg: expected a face found with a score of at least 0.99, got 0.902.",
        f"{image}41.jpg: expected a face, found none.",
        f"{image}42.jpg: expected masks of its parts in CelebAMask-HQ-mask-anno, got none; get the masks again.",
        "identity 900: expected one value of Male in all photos, got both.",
        "identity 901: expected 2 photos or more that pass, got 1.",
        "identity 903: expected 2 photos or more that pass, got 1.",
    ]


def test_equal_seeds_give_equal_folders(celeba: Path, faces: Any, tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        copy_portraits(celeba, tmp_path / name, faces=faces, people=4, seed=seed)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    chosen = [(tmp_path / name / "selected.jsonl").read_text() for name in "ac"]
    assert chosen[0] != chosen[1]


def test_the_benchmark_reads_the_folder_with_prompts(celeba: Path, faces: Any, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    prompts.mkdir()
    lists = {"prompts": ["{} skiing"], "detectables": [["skis"]], "categories": [["sports"]]}
    lists |= {"relations": [[["person", "skiing on", "skis"]]]}
    numbers = [*range(4), *range(200, 204)]
    (prompts / "stellar_t.json").write_text(json.dumps({f"{k:03d}": lists for k in numbers}))
    (prompts / "stellar_h.json").write_text(json.dumps({"000": {"prompts": ["{} laughs"]}}))
    (prompts / "objects.txt").write_text("skis\n")
    copy_portraits(celeba, tmp_path / "out", faces=faces, people=4, prompts=prompts)
    cases = benchmark_cases("stellar", folder=tmp_path / "never", data=tmp_path / "out").cases
    assert len(cases) == 4 * 2 + 2
    assert [case.prompt for case in cases[:2]] == ["a person skiing", "a person laughs"]
    assert cases[0].labels.triplets == (("person", "skiing on", "skis"),)
    assert {value for case in cases for value in (case.subjects[0].attributes or {}).values()} == {"yes", "no"}
    assert len(benchmark_cases("stellar", folder=tmp_path / "n", data=tmp_path / "out", split="validation").cases) == 8
    with pytest.raises(DataError, match="expected prompts for 004"):
        copy_portraits(celeba, tmp_path / "more", faces=faces, people=8, prompts=prompts)
    assert not (tmp_path / "more").exists()


def test_a_mask_has_a_class_for_every_part_and_0_for_the_background(celeba: Path, faces: Any, tmp_path: Path) -> None:
    copy_portraits(celeba, tmp_path / "out", faces=faces, people=4)
    mask = Image.open(tmp_path / "out" / "000" / "0_bg.png")
    assert (mask.mode, mask.size) == ("P", (20, 20))
    expected = np.zeros((20, 20), np.uint8)
    expected[:8, 4:16] = 1  # skin
    expected[5:13, 4:16] = 13  # hair, above it
    assert np.array_equal(np.asarray(mask), expected)
    assert not np.asarray(mask.convert("RGB"))[expected == 0].any()
    assert np.asarray(mask.convert("RGB"))[expected > 0].all()


def test_a_part_of_another_name_or_size_is_told(celeba: Path) -> None:
    photo = read_celeba(celeba)[0]
    Image.new("L", (9, 9), 255).save(celeba / "odd.png")
    with pytest.raises(DataError, match="got wing"):
        read_mask(photo._replace(parts=photo.parts | {"wing": celeba / "odd.png"}))
    with pytest.raises(DataError, match=r"expected a mask of \(20, 20\)"):
        read_mask(photo._replace(parts=photo.parts | {"hat": celeba / "odd.png"}))


@pytest.mark.parametrize(
    ("face", "told"),
    [
        (None, "found none"),
        (SeenFace(0.5, 0.98), "score of at least 0.99, got 0.980"),
        (SeenFace(0.199, 1.0), "at least 20% of the picture, got 19.9%"),
        (SeenFace(0.2, 0.99), ""),
    ],
)
def test_a_face_passes_at_the_limits(face: SeenFace | None, told: str) -> None:
    found = face_fault(face, least_area=0.2, least_score=0.99)
    assert found.endswith(told) if told else found == ""


def photo(number: int, identity: int, *, male: int = 1, young: int = 1) -> Photo:
    facts = {"Male": male, "Young": young}
    return Photo(number, Path(f"{number}.jpg"), "test", identity, facts, None, {})


def test_filters_of_photos_come_before_those_of_people() -> None:
    """The photo with another value of Male is refused for its face, so that the person passes."""
    rows = [photo(k, k // 2, male=kind[0], young=kind[1]) for k, kind in enumerate(
        kind for kind in [(-1, -1), (-1, 1), (1, -1), (1, 1)] for _ in range(2)
    )]  # fmt: skip
    rows.append(photo(8, 0, male=1))
    found = select(rows, faults={8: "no face"}, people=4, split="test", seed=0)
    assert [who.identity for who in found.people] == [0, 1, 2, 3]
    assert [row.reason for row in found.refused] == ["8.jpg: no face."]
    with pytest.raises(DataError, match="Male no, Young no: 0"):
        select(rows, faults={}, people=4, split="test", seed=0)
    assert select(rows[::-1], faults={8: "no face"}, people=4, split="test", seed=0) == found


def test_young_is_what_most_photos_say() -> None:
    rows = [photo(k, k // 3, male=-1 if k < 6 else 1, young=1 if k // 3 % 2 else -1) for k in range(12)]
    rows[0] = rows[0]._replace(attributes={"Male": -1, "Young": 1})  # one of three
    assert select(rows, faults={}, people=4, split="test", seed=0).cells == {
        "Male no, Young no": 1,
        "Male no, Young yes": 1,
        "Male yes, Young no": 1,
        "Male yes, Young yes": 1,
    }


@pytest.mark.parametrize(("people", "told"), [(6, "multiple of 4, got 6"), (16, "at most 12 people")])
def test_numbers_that_cannot_be_balanced_are_refused(
    celeba: Path, faces: Any, tmp_path: Path, people: int, told: str
) -> None:
    with pytest.raises(DataError, match=told):
        copy_portraits(celeba, tmp_path / "out", faces=faces, people=people)
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_into_the_source_or_over_anything(celeba: Path, faces: Any, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    for out, told in ((tmp_path / "full", "a new or empty folder"), (celeba / "out", "a folder outside")):
        with pytest.raises(OutputError, match=told):
            copy_portraits(celeba, out, faces=faces, people=4)
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_stellar_s_own_list_of_splits_is_read_where_it_is(celeba: Path) -> None:
    usual = {photo.number: photo.split for photo in read_celeba(celeba)}
    assert Counter(usual.values()) == {"test": 12 * 3 + 8, "validation": 24}
    (celeba / "celebahq_ids.txt").write_text("file,split\n0.jpg,val\n1.jpg,test\n2.jpg,train\n")
    assert {photo.number: photo.split for photo in read_celeba(celeba)} == {0: "validation", 1: "test"}
    (celeba / "celebahq_ids.txt").write_text("file,split\n0.jpg,other\n")
    with pytest.raises(DataError, match=r"celebahq_ids.txt:2: expected N.jpg,test"):
        read_celeba(celeba)


def test_grades_are_kept_where_they_are_stated(celeba: Path) -> None:
    (celeba / "combined_annotation_hq.txt").write_text("Bangs\tSmiling\n0.jpg\t3\t5\n")
    first, second, *_ = read_celeba(celeba)
    assert (first.grades, second.grades) == ({"Bangs": 3, "Smiling": 5}, None)


@pytest.mark.parametrize(
    ("file", "content", "told"),
    [
        ("identity_CelebA-HQ.txt", "0.jpg 3\n", "expected a line for 1.jpg"),
        ("identity_CelebA-HQ.txt", "0.jpg x\n", "expected whole numbers"),
        ("CelebAMask-HQ-attribute-anno.txt", "1\nMale Young\n0.jpg 1\n", "expected 2 numbers for 0.jpg"),
        ("CelebAMask-HQ-attribute-anno.txt", "0.jpg 1\n", "a line of names"),
        ("CelebA-HQ-to-CelebA-mapping.txt", "idx\n", "a line per photo"),
    ],
)
def test_damaged_lists_are_told(celeba: Path, file: str, content: str, told: str) -> None:
    (celeba / file).write_text(content)
    with pytest.raises(DataError, match=told):
        read_celeba(celeba)


def test_another_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="CelebA-HQ-img"):
        read_celeba(tmp_path)
