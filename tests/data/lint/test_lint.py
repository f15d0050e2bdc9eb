"""Lint finds every planted fault by its name and says nothing about clean pairs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation, distance_transform_cdt
from scripts import load_script

from likeness.core.files import read_jsonl, write_jsonl
from likeness.data.lint.findings import CODES, HELD, LintReport
from likeness.data.lint.mask_evidence import best_shift, changes_outside, held_shares, moved
from likeness.data.lint.run import lint_pairs

calibration: Any = load_script("figures/lint_calibration.py")
full_prior, other_subjects_mask = calibration.full_prior, calibration.mask_of_the_other
unchanged_loser, cut_mask = calibration.unchanged_loser, calibration.cut_mask
Row = dict[str, Any]
Plant = Callable[[Row, Path, np.random.Generator], bool]


# -- planting --------------------------------------------------------------------------------------------------
def pixels(folder: Path, path: str) -> NDArray[np.uint8]:
    with Image.open(folder / path) as image:
        return np.asarray(image)


def write(folder: Path, row: Row, name: str, array: NDArray[Any]) -> str:
    path = f"planted/{row['id']}-{name}.png"
    (folder / "planted").mkdir(exist_ok=True)
    Image.fromarray(array.astype(np.uint8)).save(folder / path)
    return path


def random_shift(rng: np.random.Generator) -> tuple[int, int]:
    while True:
        rows, columns = (int(v) for v in rng.integers(-12, 13, 2))
        if max(abs(rows), abs(columns)) >= 4:
            return rows, columns


def shift_file(row: Row, folder: Path, path: str, name: str, shift: tuple[int, int]) -> str:
    return write(folder, row, name, moved(pixels(folder, path) > 127, rows=shift[0], columns=shift[1]) * 255)


def shifted_prior(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    row["prior_mask"] = shift_file(row, folder, row["prior_mask"], "prior", random_shift(rng))
    return True


def shifted_everything(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """Masks, prior and boxes agree with each other, but not with the picture."""
    shift = random_shift(rng)
    row["prior_mask"] = shift_file(row, folder, row["prior_mask"], "prior", shift)
    for index, subject in enumerate(row["subjects"]):
        subject["mask"] = shift_file(row, folder, subject["mask"], f"subject-{index}", shift)
        mask = pixels(folder, subject["mask"]) > 127
        if mask.sum() < 200:
            return False
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        edges = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        subject["box"] = [float(edge) / len(mask) for edge in edges]
    return True


def leaked_patch(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """A few pixels of the background, away from what else differs, a little brighter or darker."""
    loser = pixels(folder, row["rejected"]).copy()
    differs = (loser != pixels(folder, row["preferred"])).any(-1) | (pixels(folder, row["prior_mask"]) > 127)
    free = ~np.asarray(binary_dilation(differs, iterations=4, structure=np.ones((3, 3))), bool)
    side = int(rng.integers(2, 9))
    places = np.argwhere(free[:-side, :-side] & free[side:, side:] & free[:-side, side:] & free[side:, :-side])
    if not len(places):
        return False
    top, left = places[rng.integers(len(places))]
    patch = loser[top : top + side, left : left + side]
    loser[top : top + side, left : left + side] = np.where(patch > 127, patch - 6, patch + 6)
    row["rejected"] = write(folder, row, "leak", loser)
    return True


def leaked_everywhere(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """What a round trip through an autoencoder does: one grey level here and there, which is noise and no leak."""
    loser = pixels(folder, row["rejected"]).astype(int)
    outside = (pixels(folder, row["prior_mask"]) <= 127)[..., None]
    loser = np.where(outside, np.clip(loser + rng.integers(-1, 2, loser.shape), 0, 255), loser)
    row["rejected"] = write(folder, row, "leak", loser)
    return True


def swapped_files(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    row["preferred"], row["rejected"] = row["rejected"], row["preferred"]
    return True


def swapped_with_judgement(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    if "qa" in row:
        row["qa"] = {"preferred": row["qa"]["rejected"], "rejected": row["qa"]["preferred"]}
    return swapped_files(row, folder, rng)


def swapped_references(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    """The pictures only: ids, phrases and indices still say the right thing."""
    if len(row["references"]) < 2:
        return False
    first, second = row["references"][:2]
    for key in ("image", "mask"):
        first[key], second[key] = second[key], first[key]
    return True


def swapped_indices(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    if len(row["subjects"]) < 2:
        return False
    first, second = row["subjects"][:2]
    first["reference_index"], second["reference_index"] = second["reference_index"], first["reference_index"]
    return True


def swapped_indices_without_names(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    for item in (*row["references"], *row["subjects"]):
        item |= {"id": "", "phrase": "somebody"}
    return swapped_indices(row, folder, rng)


def emptied_prior(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    row["prior_mask"] = write(folder, row, "prior", np.zeros_like(pixels(folder, row["prior_mask"])))
    return True


def shrunken_prior(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    mask = np.zeros_like(pixels(folder, row["prior_mask"]))
    mask[60:64, 60:64] = 255
    row["prior_mask"] = write(folder, row, "prior", mask)
    return True


def missing_file(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    row["rejected"] = "planted/nowhere.png"
    return True


def damaged_file(row: Row, folder: Path, rng: np.random.Generator) -> bool:
    path = write(folder, row, "damaged", pixels(folder, row["preferred"]))
    (folder / path).write_bytes((folder / path).read_bytes()[:400])
    row["preferred"] = path
    return True


FAULTS: dict[str, tuple[Plant, str]] = {
    "shifted prior": (shifted_prior, "shifted_mask"),
    "shifted everything": (shifted_everything, "shifted_mask"),
    "leaked patch": (leaked_patch, "leaked_background"),
    "leaked everywhere": (leaked_everywhere, "recompressed"),
    "swapped files": (swapped_files, "swapped_winner"),
    "swapped with judgement": (swapped_with_judgement, "swapped_winner"),
    "swapped references": (swapped_references, "wrong_subject_order"),
    "swapped indices": (swapped_indices, "wrong_subject_order"),
    "swapped indices, no names": (swapped_indices_without_names, "wrong_subject_order"),
    "empty prior": (emptied_prior, "empty_prior"),
    "tiny prior": (shrunken_prior, "tiny_prior"),
    "full prior": (full_prior, "large_prior"),
    "mask of the other": (other_subjects_mask, "prior_not_union"),
    "identical pictures": (unchanged_loser, "identical_pictures"),
    "cut mask": (cut_mask, "wrong_size"),
    "missing file": (missing_file, "bad_row"),
    "damaged file": (damaged_file, "unreadable_picture"),
}


def plant(clean: Path, folder: Path, *, every: int, seed: int = 0) -> dict[str, str]:
    """`folder` is the clean set in which every `every`-th pair has one fault; returns pair id -> fault."""
    shutil.copytree(clean, folder)
    rng, faults = np.random.default_rng(seed), list(FAULTS)
    rows, planted = read_jsonl(folder / "pairs.jsonl"), dict[str, str]()
    turn = 0
    for place in range(0, len(rows), every):
        for step in range(len(faults)):  # the next fault that this pair can have
            fault = faults[(turn + step) % len(faults)]
            row = json.loads(json.dumps(rows[place]))
            if FAULTS[fault][0](row, folder, rng):
                rows[place], planted[row["id"]] = row, fault
                faults.append(faults.pop(faults.index(fault)))
                break
    clean_places = [place for place, row in enumerate(rows) if row["id"] not in planted]
    for copies, place in enumerate(clean_places[:: max(len(clean_places) // 4, 1)]):
        twin = json.loads(json.dumps(rows[place])) | {"id": f"twin-{copies}"}
        for key in ("preferred", "rejected"):
            twin[key] = write(folder, twin, key, pixels(folder, twin[key]))
        rows.append(twin)
        planted[twin["id"]] = "duplicate"
    write_jsonl(folder / "pairs.jsonl", rows)
    return planted


def assert_found_and_nothing_else(report: LintReport, planted: dict[str, str]) -> None:
    codes: dict[str, set[str]] = {pair: set() for pair in planted}
    for found in report.findings:
        if found.pair in planted:
            codes[found.pair].add(found.code)
    false_alarms = [found for found in report.findings if found.pair is not None and found.pair not in planted]
    assert not false_alarms
    wanted = {fault: {code} for fault, (_, code) in FAULTS.items()} | {"duplicate": {"duplicate_pair"}}
    wanted["shifted prior"] |= {"prior_not_union"}
    wanted["shifted everything"] |= {"leaked_background"}
    missed = {pair: (fault, codes[pair]) for pair, fault in planted.items() if not wanted[fault] & codes[pair]}
    assert not missed


@pytest.fixture(scope="module")
def sixty(tmp_path_factory: pytest.TempPathFactory, write_set: Callable[..., Path]) -> Path:
    return write_set(tmp_path_factory.mktemp("sixty"), 60, seed=3)


@pytest.fixture(scope="module")
def planted_report(sixty: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[LintReport, dict[str, str]]:
    folder = tmp_path_factory.mktemp("planted") / "set"
    planted = plant(sixty, folder, every=2)
    return lint_pairs(folder), planted


def test_clean_pairs_give_no_findings(clean_set: Path) -> None:
    report = lint_pairs(clean_set)
    assert report.findings == ()
    assert report.num_pairs == 12
    assert report.counts["subset"] == {"single": 6, "multi": 6}


def test_all_planted_faults_are_found_by_name_without_false_alarms(
    planted_report: tuple[LintReport, dict[str, str]],
) -> None:
    report, planted = planted_report
    assert set(planted.values()) == {*FAULTS, "duplicate"}
    assert_found_and_nothing_else(report, planted)


def test_every_finding_carries_its_numbers_and_a_known_code(planted_report: tuple[LintReport, dict[str, str]]) -> None:
    report, _ = planted_report
    for found in report.findings:
        assert CODES[found.code].severity == found.severity
        assert found.what
        if found.code in {"shifted_mask", "leaked_background", "prior_not_union", "tiny_prior"}:
            assert found.evidence


def test_the_report_says_it_in_text_and_json(planted_report: tuple[LintReport, dict[str, str]]) -> None:
    report, planted = planted_report
    facts = json.loads(json.dumps(report.facts()))
    assert (
        facts["num_errors"]
        == report.num_errors
        == sum(count for code, count in facts["by_code"].items() if CODES[code].severity == "error")
    )
    text = report.text(limit=1)
    for code in facts["by_code"]:
        assert f"{code} ({facts['by_code'][code]}): {CODES[code].meaning}" in text
    only_warned = {"leaked everywhere", "shifted everything"}
    erroneous = {found.pair for found in report.findings if found.severity == "error" and found.pair}
    assert erroneous <= set(planted)
    assert {planted[pair] for pair in set(planted) - erroneous} <= only_warned


@pytest.mark.slow
def test_a_thousand_pairs_of_the_recipe(tmp_path: Path) -> None:
    """The issue's figure: all planted faults found, no false alarm on 1,000 clean pairs."""
    from likeness.data.pairs.dip import make_pairs

    make_pairs(1000, out=tmp_path / "clean", seed=1)
    assert lint_pairs(tmp_path / "clean").num_errors == 0
    planted = plant(tmp_path / "clean", tmp_path / "planted", every=3)
    assert set(planted.values()) == {*FAULTS, "duplicate"}
    assert_found_and_nothing_else(lint_pairs(tmp_path / "planted"), planted)


# -- single rules ----------------------------------------------------------------------------------------------
def changed_copy(clean: Path, folder: Path, change: Callable[[list[Row]], None], *, keep: int = 4) -> Path:
    shutil.copytree(clean, folder)
    rows = read_jsonl(folder / "pairs.jsonl")[:keep]
    change(rows)
    write_jsonl(folder / "pairs.jsonl", rows)
    return folder


def codes(report: LintReport) -> list[tuple[str | None, str]]:
    return [(found.pair, found.code) for found in report.findings]


def test_a_repeated_id_is_no_other_bad_row(clean_set: Path, tmp_path: Path) -> None:
    folder = changed_copy(
        clean_set, tmp_path / "set", lambda rows: rows.append(rows[0] | {"preferred": rows[1]["preferred"]})
    )
    assert codes(lint_pairs(folder)) == [(read_jsonl(folder / "pairs.jsonl")[0]["id"], "duplicate_id")]


def test_pictures_in_exchanged_roles_are_duplicates_too(clean_set: Path, tmp_path: Path) -> None:
    def add(rows: list[Row]) -> None:
        rows.append(rows[0] | {"id": "twin", "preferred": rows[0]["rejected"], "rejected": rows[0]["preferred"]})

    assert ("twin", "duplicate_pair") in codes(lint_pairs(changed_copy(clean_set, tmp_path / "set", add)))


def test_one_winner_with_two_losers_is_a_warning(clean_set: Path, tmp_path: Path) -> None:
    folder = changed_copy(clean_set, tmp_path / "set", lambda rows: None)
    rows = read_jsonl(folder / "pairs.jsonl")
    loser = pixels(folder, rows[0]["rejected"]).copy()
    mask = pixels(folder, rows[0]["prior_mask"]) > 127
    loser[mask] = 255 - pixels(folder, rows[0]["preferred"])[mask]
    write_jsonl(
        folder / "pairs.jsonl", [*rows, rows[0] | {"id": "twin", "rejected": write(folder, rows[0], "other", loser)}]
    )
    report = lint_pairs(folder)
    assert codes(report) == [("twin", "repeated_picture")]
    assert report.num_errors == 0


def test_subjects_of_a_benchmark_are_known_by_id_and_by_picture(clean_set: Path, tmp_path: Path) -> None:
    rows = read_jsonl(clean_set / "pairs.jsonl")
    by_id, by_picture = rows[0]["references"][0], rows[2]["references"][0]
    shutil.copy(clean_set / rows[4]["references"][0]["image"], tmp_path / "unknown.png")
    # the same pixels in another file format and under another name
    Image.open(clean_set / by_picture["image"]).save(tmp_path / "renamed.bmp")
    subjects = [
        {"id": by_id["id"], "class_name": "x", "reference_image": "unknown.png"},
        {"id": "somebody", "class_name": "x", "reference_image": "renamed.bmp"},
    ]
    case = {"id": "bench-1", "prompt": "x", "subjects": subjects}
    write_jsonl(tmp_path / "cases.jsonl", [case])
    report = lint_pairs(clean_set, benchmarks=[tmp_path / "cases.jsonl"])
    overlapping = [found.pair for found in report.findings if found.code == "benchmark_overlap"]
    assert overlapping == [rows[0]["id"], rows[2]["id"], rows[4]["id"]]
    assert all("bench-1" in found.what for found in report.findings)


def test_balance_is_judged_from_thirty_pairs(sixty: Path, tmp_path: Path) -> None:
    single = [row for row in read_jsonl(sixty / "pairs.jsonl") if row["subset"] == "single"]
    multi = [row for row in read_jsonl(sixty / "pairs.jsonl") if row["subset"] == "multi"]

    def findings_of(rows: list[Row]) -> list[str]:
        shutil.rmtree(tmp_path / "set", ignore_errors=True)
        folder = changed_copy(sixty, tmp_path / "set", lambda kept: kept.__setitem__(slice(None), rows))
        return [found.what for found in lint_pairs(folder).findings if found.what.startswith("pairs per subset")]

    assert findings_of([*single[:25], *multi[:5]]) == ["pairs per subset: single 25, multi 5"]
    assert findings_of([*single[:24], *multi[:5]]) == []
    assert findings_of(single[:30]) == []


def test_low_scores_and_scores_in_the_wrong_order(clean_set: Path, tmp_path: Path) -> None:
    def score(yes: int, subjects: int) -> dict[str, Any]:
        return {"judge": [[True] * yes + [False] * (10 - yes)] * subjects}

    def judge(rows: list[Row]) -> None:
        for row, (preferred, rejected) in zip(rows, ((10, 3), (8, 3), (9, 7), (2, 9)), strict=True):
            count = len(row["subjects"])
            row["qa"] = {"preferred": score(preferred, count), "rejected": score(rejected, count)}

    found = codes(lint_pairs(changed_copy(clean_set, tmp_path / "set", judge)))
    names = [row["id"] for row in read_jsonl(clean_set / "pairs.jsonl")[:4]]
    assert found == [(names[1], "gate_failed"), (names[2], "gate_failed"), (names[3], "swapped_winner")]


def test_tolerance_forgives_what_lossy_files_change(clean_set: Path, tmp_path: Path) -> None:
    folder = changed_copy(clean_set, tmp_path / "set", lambda rows: None, keep=1)
    (row,) = read_jsonl(folder / "pairs.jsonl")
    leaked_everywhere(row, folder, np.random.default_rng(0))
    write_jsonl(folder / "pairs.jsonl", [row])
    assert [code for _, code in codes(lint_pairs(folder))] == ["recompressed"]
    assert codes(lint_pairs(folder, tolerance=1)) == []


def test_an_encoder_decides_in_place_of_colours(clean_set: Path) -> None:
    """Features that never differ leave every question open; features against the colours find every pair swapped."""
    asked: list[Image.Image] = []

    def blind(images: list[Image.Image]) -> NDArray[np.float64]:
        asked.extend(images)
        return np.ones((len(images), 1))

    assert lint_pairs(clean_set, encode=blind).findings == ()
    assert asked
    assert all(image.width == image.height for image in asked)
    single = [row["id"] for row in read_jsonl(clean_set / "pairs.jsonl") if row["subset"] == "single"]
    # preferred, reference, rejected, reference: only the rejected one matches
    answers = iter([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]] * 1000)

    def swapped(images: list[Image.Image]) -> NDArray[np.float64]:
        return np.array([next(answers) for _ in images])

    rows = [row for row in read_jsonl(clean_set / "pairs.jsonl") if row["id"] in single]
    assert rows
    found = [name for name, code in codes(lint_of(clean_set, rows, swapped)) if code == "swapped_winner"]
    assert found == single


def lint_of(clean: Path, rows: list[Row], encode: Any) -> LintReport:
    """The report on some rows of a set, whose files stay where they are."""
    path = clean / "some.jsonl"
    write_jsonl(path, rows)
    try:
        return lint_pairs(path, encode=encode)
    finally:
        path.unlink()


# -- evidence --------------------------------------------------------------------------------------------------
def square(top: int, left: int, side: int = 24) -> NDArray[np.bool_]:
    mask = np.zeros((96, 96), bool)
    mask[top : top + side, left : left + side] = True
    return mask


@pytest.mark.parametrize(("rows", "columns"), [(6, 0), (-5, 4), (0, -9), (3, 3)])
def test_best_shift_is_the_way_back(rows: int, columns: int) -> None:
    mask = square(40, 30)
    picture = np.where(mask[..., None], 200, 60).astype(np.uint8).repeat(3, axis=2)[..., :3]
    shift = best_shift(picture, moved(mask, rows=rows, columns=columns))
    assert shift is not None
    assert (shift.rows, shift.columns, round(shift.there, 3)) == (-rows, -columns, 1.0)
    assert shift.gain > 2
    in_place = best_shift(picture, mask)
    assert in_place is not None
    assert in_place.here == pytest.approx(1.0)
    assert in_place.gain < 1


def test_a_mask_without_outline_has_no_shift() -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    assert best_shift(picture, np.ones((32, 32), bool)) is None


def test_moved_masks_lose_what_leaves_the_picture() -> None:
    mask = np.arange(12).reshape(3, 4) % 5 == 0
    for rows in (-4, -2, 0, 1, 3):
        for columns in (-5, -1, 0, 2):
            expected = np.zeros_like(mask)
            for r, c in np.argwhere(mask):
                if 0 <= r + rows < 3 and 0 <= c + columns < 4:
                    expected[r + rows, c + columns] = True
            assert (moved(mask, rows=rows, columns=columns) == expected).all()


def test_changes_outside_by_brute_force() -> None:
    rng = np.random.default_rng(1)
    mask = square(30, 30, 30)
    for _ in range(20):
        changed = rng.random(mask.shape) < 0.002
        got = changes_outside(changed, mask, reach=5)
        inside = np.argwhere(mask)
        distances = {tuple(p): int(np.abs(inside - p).max(1).min()) for p in np.argwhere(changed)}
        assert got.far == sum(distance > 5 for distance in distances.values())
        outside = [distance for distance in distances.values() if distance]
        assert got.farthest == max(outside, default=0)


def test_changes_touch_the_mask_across_one_pixel_but_not_across_four() -> None:
    mask = square(30, 30)
    for gap, apart in ((0, 0), (1, 0), (2, 0), (4, 9)):
        changed = np.zeros_like(mask)
        changed[30:33, 54 + gap : 57 + gap] = True
        assert changes_outside(changed, mask, reach=20).apart == apart, gap


def test_a_patch_beyond_an_occluder_is_allowed_when_it_was_recorded(clean_set: Path, tmp_path: Path) -> None:
    """A loser asleep shows below the hammock too, where its mask does not reach."""
    folder = changed_copy(clean_set, tmp_path / "patch", lambda rows: None, keep=1)
    (row,) = read_jsonl(folder / "pairs.jsonl")
    rejected, prior = pixels(folder, row["rejected"]).copy(), pixels(folder, row["prior_mask"]) > 127
    distance = np.asarray(distance_transform_cdt(~prior, metric="chessboard"))
    top, left = (int(v) for v in np.argwhere(distance[:-2, :-2] == distance[:-2, :-2].max())[0])
    rejected[top : top + 3, left : left + 3] ^= 128
    row["rejected"] = write(folder, row, "rejected", rejected)
    for apart, expected in ((9, []), (8, ["leaked_background"])):
        for subject in row["subjects"]:
            if subject["disrupted"]:
                subject["disruption"] = {"reach": int(distance.max()), "apart": apart}
        write_jsonl(folder / "pairs.jsonl", [row])
        assert [code for _, code in codes(lint_pairs(folder)) if code == "leaked_background"] == expected


def test_what_the_prior_holds_of_the_difference_by_hand() -> None:
    """32 x 32 px in 4 x 4 tokens; the mask covers token 5 and a column of token 6; the change goes further."""
    preferred = np.zeros((32, 32, 3), dtype=np.uint8)
    rejected, mask = preferred.copy(), np.zeros((32, 32), dtype=bool)
    mask[8:16, 8:17] = True
    rejected[8:16, 8:16] = 10  # 64 px of token 5
    rejected[8:16, 16:18] = 10  # 16 px of token 6, 8 of them masked
    rejected[16:24, 8:16] = 5  # 64 px of token 9, a neighbour
    rejected[24:32, 24:32] = 10  # 64 px of token 15, far away
    total = 64 * 10 + 16 * 10 + 64 * 5 + 64 * 10
    held = held_shares(preferred, rejected, mask, token=8)
    assert held is not None
    assert {name: round(share * total) for name, share in held.items()} == {
        "mask": 64 * 10 + 8 * 10,
        "half": 64 * 10,
        "any": 64 * 10 + 16 * 10,
        "half_dilated": 64 * 10 + 16 * 10 + 64 * 5,
        "any_dilated": 64 * 10 + 16 * 10 + 64 * 5,
    }
    assert held_shares(preferred, preferred, mask, token=8) is None


def test_the_report_says_what_the_prior_holds(clean_set: Path) -> None:
    report = lint_pairs(clean_set)
    assert list(report.held) == list(HELD)
    assert 0.5 < report.held["half"] < report.held["any"] <= report.held["any_dilated"] <= 1
    line = next(line for line in report.text().splitlines() if "holds of the difference" in line)
    assert f"{report.held['half']:.1%} tokens covered by half" in line
