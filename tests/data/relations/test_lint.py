"""Every fault that lint knows, planted in a clean drawn set: it is found under its code, and only there."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from likeness.core.files import read_jsonl, write_jsonl
from likeness.data.relations.findings import CODES
from likeness.data.relations.lint import lint_relations

Rows = list[dict[str, Any]]
FIRST, SIDE = 0, 96


def swap(row: dict[str, Any], *keys: str) -> None:
    """Both subjects of a row give each other what stands under the keys."""
    one, other = row["subjects"]
    for key in keys:
        one[key], other[key] = other[key], one[key]


def save(folder: Path, name: str, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(folder / name)


def mask_of(folder: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(folder / name)) > 0


def box_of(mask: np.ndarray) -> list[float]:
    left, top, right, bottom = Image.fromarray(mask).getbbox() or (0, 0, 1, 1)
    return [left / SIDE, top / SIDE, right / SIDE, bottom / SIDE]


def shift(row: dict[str, Any], _: Path) -> None:
    """The box of subject 0 moves right by a tenth."""
    box = row["subjects"][0]["box"]
    box[0], box[2] = box[0] + 0.1, box[2] + 0.1


def shrink_mask(row: dict[str, Any], folder: Path) -> None:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[2:6, 2:6] = 255
    save(folder, row["subjects"][0]["mask"], mask)


def fill_mask(row: dict[str, Any], folder: Path) -> None:
    mask = np.full((SIDE, SIDE), 255, np.uint8)
    mask[0, 0] = 0
    subject = row["subjects"][0]["reference"]
    save(folder, subject["mask"], mask)
    subject["box"] = [0, 0, 1, 1]


def box_mask(row: dict[str, Any], folder: Path) -> None:
    """A rectangle instead of the silhouette, as in the published hug; keypoints within stay within."""
    subject = row["subjects"][0]["reference"]
    left, top, right, bottom = (round(edge * SIDE) for edge in subject["box"])
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[top:bottom, left:right] = 255
    save(folder, subject["mask"], mask)


def merge_masks(row: dict[str, Any], folder: Path) -> None:
    """Both subjects get the mask of both."""
    both = np.logical_or(*(mask_of(folder, subject["mask"]) for subject in row["subjects"]))
    for subject in row["subjects"]:
        save(folder, subject["mask"], both.astype(np.uint8) * 255)
        subject["box"] = box_of(both)


def copy_target(row: dict[str, Any], folder: Path) -> None:
    """Reference 0 becomes the target, with all that is known of it."""
    subject = row["subjects"][0]
    shutil.copy(folder / row["target"], folder / subject["reference"]["image"])
    shutil.copy(folder / subject["mask"], folder / subject["reference"]["mask"])
    subject["reference"] |= {"box": subject["box"], "keypoints": subject["keypoints"]}


def repeat_reference(row: dict[str, Any], _: Path) -> None:
    row["subjects"][1]["reference"] = row["subjects"][0]["reference"]


def shear_keypoints(row: dict[str, Any], _: Path) -> None:
    """One valid keypoint of subject 0 lies in the empty corner."""
    row["subjects"][0]["keypoints"]["points"][3] = [0.02, 0.02]


def leave_picture(row: dict[str, Any], _: Path) -> None:
    row["subjects"][0]["reference"]["keypoints"]["points"][7] = [1.2, 0.5]


def pile_keypoints(row: dict[str, Any], _: Path) -> None:
    points = row["subjects"][0]["reference"]["keypoints"]["points"]
    points[11] = points[12] = points[13] = points[3]


def set_valid(*places: str, value: bool, which: range) -> Callable[[dict[str, Any], Path], None]:
    def plant(row: dict[str, Any], _: Path) -> None:
        subject = row["subjects"][0]
        for place in places:
            keypoints = subject["keypoints"] if place == "target" else subject["reference"]["keypoints"]
            for index in which:
                keypoints["valid"][index] = value

    return plant


def swap_all(row: dict[str, Any], _: Path) -> None:
    swap(row, "keypoints")


def swap_masks(row: dict[str, Any], _: Path) -> None:
    swap(row, "mask", "box")


def swap_references(row: dict[str, Any], _: Path) -> None:
    swap(row, "reference")


def exchange_two(row: dict[str, Any], folder: Path) -> None:
    """One keypoint of each lies on the other, and all other votes are taken back: a narrow vote."""
    for subject, other in (row["subjects"], row["subjects"][::-1]):
        subject["keypoints"]["valid"] = [False] * 17
        index = next(i for i, (x, y) in enumerate(other["keypoints"]["points"]) if _votes(row, folder, other, x, y))
        subject["planted"] = [index, other["keypoints"]["points"][index]]
    for subject in row["subjects"]:
        index, point = subject.pop("planted")
        subject["keypoints"]["points"][index] = point
        subject["keypoints"]["valid"][index] = True


def _votes(row: dict[str, Any], folder: Path, subject: dict[str, Any], x: float, y: float) -> bool:
    held = [mask_of(folder, other["mask"])[int(y * SIDE), int(x * SIDE)] for other in row["subjects"]]
    return sum(held) == 1 and held[row["subjects"].index(subject)]


def darken(row: dict[str, Any], folder: Path) -> None:
    """The target in other colours, in which the subjects look a little like each other's references."""
    target = np.asarray(Image.open(folder / row["target"])).copy()
    for subject, other in (row["subjects"], row["subjects"][::-1]):
        picture = np.asarray(Image.open(folder / other["reference"]["image"]))
        colours = picture[mask_of(folder, other["reference"]["mask"])]
        mask = mask_of(folder, subject["mask"])
        drawn = np.random.default_rng(0).choice(len(colours), int(mask.sum()))
        target[mask] = colours[drawn]
    save(folder, row["target"], target)


def set_key(key: str, value: Any) -> Callable[[dict[str, Any], Path], None]:
    def plant(row: dict[str, Any], _: Path) -> None:
        row[key] = value

    return plant


def phrase(row: dict[str, Any], _: Path) -> None:
    row["subjects"][1]["phrase"] = "zebra"


def enlarge(row: dict[str, Any], _: Path) -> None:
    row["size"] = [SIDE, SIDE + 8]


def drop_file(row: dict[str, Any], folder: Path) -> None:
    (folder / row["subjects"][0]["mask"]).unlink()


def damage(row: dict[str, Any], folder: Path) -> None:
    path = folder / row["target"]
    path.write_bytes(path.read_bytes()[:-200])


def repaint(row: dict[str, Any], folder: Path) -> None:
    """A pixel in the corner is another."""
    pixels = np.asarray(Image.open(folder / row["target"])).copy()
    pixels[0, 0] = 255 - pixels[0, 0]
    save(folder, row["target"], pixels)


PLANTED: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "bad_row": drop_file,
    "changed_file": repaint,
    "unreadable_picture": damage,
    "wrong_size": enlarge,
    "predicate_not_in_prompt": set_key("predicate", "dancing with"),
    "no_predicate": set_key("predicate", None),
    "phrase_not_in_prompt": phrase,
    "small_mask": shrink_mask,
    "large_mask": fill_mask,
    "box_off_mask": shift,
    "overlapping_masks": merge_masks,
    "rectangle_mask": box_mask,
    "swapped_subjects": swap_all,
    "doubtful_order": exchange_two,
    "swapped_references": swap_references,
    "doubtful_references": darken,
    "keypoint_outside": leave_picture,
    "keypoint_off_mask": shear_keypoints,
    "invalid_on_mask": set_valid("target", value=False, which=range(5)),
    "piled_keypoints": pile_keypoints,
    "few_keypoints": set_valid("target", "reference", value=False, which=range(2, 17)),
    "no_limb": set_valid("target", "reference", value=False, which=range(5, 17, 3)),
    "self_reference": copy_target,
    "repeated_reference": repeat_reference,
}
ALSO = {
    "few_keypoints": {"invalid_on_mask"},
    "no_limb": {"invalid_on_mask"},
    "doubtful_order": {"invalid_on_mask", "few_keypoints", "keypoint_off_mask"},
    "repeated_reference": {"doubtful_references", "swapped_references"},
    "self_reference": {"doubtful_references", "swapped_references"},
    "swapped_subjects": {"no_limb"},
}
"""What a planted fault brings with it."""


def planted(source: Path, folder: Path, change: Callable[[Rows, Path], None]) -> dict[str, int]:
    """Codes found in a copy of the set after `change`; hashes are those of the changed files but for their own test."""
    copy = Path(shutil.copytree(source, folder / "set"))
    rows = read_jsonl(copy / "relations.jsonl")
    change(rows, copy)
    write_jsonl(copy / "relations.jsonl", rows)
    return dict(lint_relations(copy).by_code)


def test_a_clean_set_has_no_findings(relation_set: Path) -> None:
    report = lint_relations(relation_set)
    assert report.findings == ()
    assert report.counts == {"carrying": 1, "hugging": 2, "shakes hands with": 2}
    assert report.keypoints.num == 5 * 2 * 2 * 17
    assert "5 examples, 0 errors, 0 warnings" in report.text()


@pytest.mark.parametrize("code", PLANTED)
def test_a_planted_fault_is_found(code: str, relation_set: Path, tmp_path: Path) -> None:
    def change(rows: Rows, folder: Path) -> None:
        PLANTED[code](rows[FIRST], folder)
        if code != "changed_file":
            rows[FIRST]["sha256"] = {}

    found = planted(relation_set, tmp_path, change)
    assert code in found
    assert found.keys() - {code} <= ALSO.get(code, set())


def test_masks_of_the_other_subject_are_found_as_well(relation_set: Path, tmp_path: Path) -> None:
    found = planted(relation_set, tmp_path, lambda rows, folder: swap_masks(rows[1], folder))
    assert found["swapped_subjects"] == 1


def test_what_an_earlier_example_has_is_found(relation_set: Path, tmp_path: Path) -> None:
    def repeat(rows: Rows, _: Path) -> None:
        rows.append(rows[0])
        rows.append(rows[1] | {"id": "again"})

    found = planted(relation_set, tmp_path, repeat)
    assert found == {"duplicate_id": 1, "duplicate_target": 1}


def test_subjects_of_a_benchmark_are_found(relation_set: Path, tmp_path: Path) -> None:
    row = read_jsonl(relation_set / "relations.jsonl")[0]
    subject, target = row["subjects"][1], str(relation_set / row["target"])
    case = {
        "id": "c",
        "prompt": "a cat",
        "subjects": [{"id": subject["id"], "class_name": "x", "reference_image": target}],
    }
    (tmp_path / "cases.jsonl").write_text(json.dumps(case) + "\n")
    report = lint_relations(relation_set, benchmarks=[tmp_path / "cases.jsonl"])
    assert report.by_code == {"benchmark_overlap": 2}
    assert sorted(finding.what.split(" also")[0] for finding in report.findings) == ["reference 1", "the target"]


def test_every_code_has_a_planted_fault() -> None:
    assert set(PLANTED) | {"duplicate_id", "duplicate_target", "benchmark_overlap"} == set(CODES)


def test_the_report_is_json_and_text(relation_set: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(relation_set, tmp_path / "set"))
    rows = read_jsonl(copy / "relations.jsonl")
    for row in rows:
        row["predicate"] = None
    write_jsonl(copy / "relations.jsonl", rows)
    report = lint_relations(copy)
    facts = json.loads(json.dumps(report.facts()))
    assert (facts["num_errors"], facts["by_code"], facts["num_examples"]) == (0, {"no_predicate": 5}, 5)
    assert facts["findings"][0]["example"] == rows[0]["id"]
    text = report.text(limit=2)
    assert "warning no_predicate (5): nobody knows the predicate" in text
    assert "... and 3 more" in text
