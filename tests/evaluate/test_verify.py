"""`verify_run` on tiny encoders: a run as it was made is equal, and every planted fault is found and named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import read_json, read_jsonl, write_json, write_jsonl
from likeness.core.hashing import file_sha256
from likeness.core.images import load_image
from likeness.encoders import load_encoder
from likeness.evaluate.differences import Check, Fault
from likeness.evaluate.recorded import find_encoders
from likeness.evaluate.verify import Verified, choose, verify_run


@pytest.fixture
def run(evaluated: Path) -> Path:
    """An evaluated run of this test's own."""
    return evaluated


def edit_rows(run: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    path = run / "evaluation" / "scores.jsonl"
    rows = read_jsonl(path)
    change(rows)
    write_jsonl(path, rows)


def edit_summary(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = run / "evaluation" / "summary.json"
    summary = read_json(path)
    change(summary)
    write_json(path, summary)


def by_what(found: Verified) -> dict[str, Check]:
    return {check.what: check for check in found.checks}


def test_a_run_as_it_was_made_is_equal_in_every_column(run: Path, weights: dict[str, str]) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    found = verify_run(run, sample=3, seed=5, tolerance=0, encoders=weights)
    assert found.faults == []
    assert found.is_complete
    assert found.notes == []
    assert len(found.sample) == 3
    checks = by_what(found)
    assert checks["picture"].exact == 12
    assert checks["encoder"].exact == 3
    assert checks["inputs"].exact == 1
    cases = {name.rpartition("-")[0] for name in found.sample}
    for key in read_json(run / "evaluation" / "summary.json")["metrics"]:
        assert checks[key].checked == 3 + 2 * len(cases), key  # with floor and ceiling
        assert checks[key].differ == checks[key].unchecked == 0
    assert checks["mean"].checked == len(read_json(run / "evaluation" / "summary.json")["rows"])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_nothing_is_read_from_the_users_store(
    run: Path, weights: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features of the first evaluation are poisoned: what is recomputed does not change."""
    from likeness.evaluate import features

    def poisoned() -> Path:
        raise AssertionError("the store of the user was asked for")

    monkeypatch.setattr(features, "user_features", poisoned)
    monkeypatch.setattr("likeness.evaluate.run.user_features", poisoned)
    assert verify_run(run, sample=1, encoders=weights).faults == []


def test_a_changed_pixel_is_named_with_both_hashes(run: Path, weights: dict[str, str]) -> None:
    path = run / "images" / "case-2-1.png"
    old = file_sha256(path)
    image = load_image(path)
    image.putpixel((3, 4), tuple(255 - value for value in image.getpixel((3, 4))))  # pyright: ignore
    image.save(path)
    found = verify_run(run, sample=1, seed=0, encoders=weights)
    assert "case-2-1" not in found.sample  # hashes are compared of all pictures
    assert Fault("case-2-1", "sha256", old, file_sha256(path)) in found.faults
    assert {fault.where for fault in found.faults} == {"case-2-1", "cases, pictures, photos and true pictures together"}
    found = verify_run(run, sample=12, encoders=weights)
    columns = {fault.column for fault in found.faults if fault.where == "case-2-1"}
    assert {"sha256", "clip_t.value", "dino.value"} <= columns


def test_a_changed_score_is_named_with_both_values(run: Path, weights: dict[str, str]) -> None:
    old = {row["id"]: row for row in read_jsonl(run / "evaluation" / "scores.jsonl")}["case-3-0"]["values"]["dino"]
    edit_rows(run, lambda rows: rows[6]["values"]["dino"].update(value=old["value"] + 1e-3))
    found = verify_run(run, sample=12, encoders=weights)
    first = found.faults[0]
    assert (first.where, first.column) == ("case-3-0", "dino.value")
    assert first.recorded == pytest.approx(old["value"] + 1e-3)
    assert first.found == old["value"]
    assert by_what(found)["dino"].largest == pytest.approx(1e-3)
    # the mean over subjects does not follow from the changed row either
    assert any(fault.where == "summary.json, generated dino all_photos" for fault in found.faults)
    assert by_what(found)["clip_t"].differ == 0


def test_a_change_below_the_tolerance_is_close_and_not_exact(run: Path, weights: dict[str, str]) -> None:
    edit_rows(run, lambda rows: rows[6]["values"]["dino"].update(value=rows[6]["values"]["dino"]["value"] + 1e-7))
    found = verify_run(run, sample=12, encoders=weights)
    assert found.faults == []
    check = by_what(found)["dino"]
    assert (check.close, check.exact) == (1, 12 + 2 * 6 - 1)
    assert check.largest == pytest.approx(1e-7, rel=1e-3)
    assert verify_run(run, sample=12, tolerance=0, encoders=weights).faults[0].where == "case-3-0"


def test_a_changed_mean_is_named_though_its_rows_are_right(run: Path, weights: dict[str, str]) -> None:
    def change(summary: dict[str, Any]) -> None:
        row = next(r for r in summary["rows"] if (r["row"], r["metric"]) == ("generated", "clip_t"))
        row["mean"] += 0.01

    rows = read_jsonl(run / "evaluation" / "scores.jsonl")
    edit_summary(run, change)
    found = verify_run(run, sample=1, encoders=weights)
    (fault,) = found.faults
    assert (fault.where, fault.column) == ("summary.json, generated clip_t", "mean")
    groups: dict[str, list[float]] = {}
    for row in rows:  # by hand: the mean over groups of the mean over their pictures
        groups.setdefault(row["group"], []).append(row["values"]["clip_t"]["value"])
    assert fault.found == pytest.approx(np.mean([np.mean(values) for values in groups.values()]))


def test_a_changed_interval_and_count_are_named(run: Path, weights: dict[str, str]) -> None:
    def change(summary: dict[str, Any]) -> None:
        row = next(r for r in summary["rows"] if (r["row"], r["metric"]) == ("floor", "dino"))
        row["ci_low"], row["n"] = row["ci_low"] - 0.1, row["n"] + 1

    edit_summary(run, change)
    columns = [fault.column for fault in verify_run(run, sample=1, encoders=weights).faults]
    assert columns == ["ci_low", "n"]


def test_changed_encoder_weights_are_named_and_their_columns_not_compared(
    run: Path, weights: dict[str, str], tmp_path: Path
) -> None:
    import tiny_encoders as tiny

    other = tiny.write_clip(tmp_path / "other" / "clip", seed=9)
    found = verify_run(run, sample=2, encoders=weights | {"clip": str(other)})
    (fault,) = found.faults
    assert (fault.where, fault.column) == ("encoder clip", "id")
    assert fault.recorded == read_json(run / "evaluation" / "summary.json")["encoders"]["clip"]
    assert fault.found == load_encoder("clip", str(other)).id != fault.recorded
    checks = by_what(found)
    assert checks["clip_t"].unchecked
    assert list(checks["clip_t"].reasons) == ["the encoder clip is another than the recorded one"]
    assert checks["dino"].checked
    assert not checks["dino"].unchecked


def test_a_changed_hash_of_an_encoder_in_the_record_is_named(run: Path, weights: dict[str, str]) -> None:
    edit_summary(run, lambda s: s["encoders"].update(dino=s["encoders"]["dino"].replace("@", "@0")))
    where = [fault.where for fault in verify_run(run, sample=1, encoders=weights).faults]
    assert where == ["cases, pictures, photos and true pictures together", "encoder dino"]


def test_two_swapped_rows_are_both_named(run: Path, weights: dict[str, str]) -> None:
    def swap(rows: list[dict[str, Any]]) -> None:
        rows[2]["id"], rows[3]["id"] = rows[3]["id"], rows[2]["id"]  # case-1-0 and case-1-1: one case, one subject

    edit_rows(run, swap)
    found = verify_run(run, sample=1, encoders=weights)
    assert {fault.where for fault in found.faults if fault.column == "sha256"} == {"case-1-0", "case-1-1"}
    found = verify_run(run, sample=12, encoders=weights)
    assert {fault.where for fault in found.faults if fault.column == "dino.value"} == {"case-1-0", "case-1-1"}


def test_a_row_of_another_case_is_named(run: Path, weights: dict[str, str]) -> None:
    edit_rows(run, lambda rows: rows[0].update(prompt="a dog"))
    found = verify_run(run, sample=12, encoders=weights)
    assert Fault("case-0-0", "row.prompt", "a dog", "a cat 0") in found.faults


def test_removed_pictures_and_rows_are_named(run: Path, weights: dict[str, str]) -> None:
    (run / "images" / "case-4-0.png").unlink()
    (run / "images" / "case-5-0.png").write_bytes(b"no picture")
    edit_rows(run, lambda rows: rows.pop(0))
    found = verify_run(run, sample=12, encoders=weights)
    told = by_what(found)["picture"].faults
    assert [(fault.where, fault.found) for fault in told if fault.where != "case-5-0"] == [
        ("case-4-0", "no such picture"),
        ("case-0-0", "a picture"),
    ]
    assert "expected a picture, got a file of another kind" in next(f.found for f in told if f.where == "case-5-0")


def test_a_changed_photo_shows_in_the_inputs_and_in_the_manifest(run: Path, weights: dict[str, str]) -> None:
    from likeness.core.hashing import pixels_sha256

    photo = run / "photos" / "0-0.png"
    mask = run / "photos" / "mask.png"
    Image.new("L", (48, 48), 255).save(mask)
    reference = {"subject_id": "cat-0", "file": "photos/0-0.png", "sha256": pixels_sha256(load_image(photo))}
    shown = [{**reference, "mask": "photos/mask.png", "mask_sha256": pixels_sha256(Image.open(mask))}]
    write_json(run / "run.json", {"kind": "generate"})
    ids = [f"case-{i}-{k}" for i in range(6) for k in range(2)]
    rows = [
        {"id": name, "case_id": name[:6], "k": int(name[-1]), "image": f"images/{name}.png", "references": shown}
        for name in ids
    ]
    write_jsonl(run / "manifest.jsonl", rows)
    assert by_what(verify_run(run, sample=1, encoders=weights))["photo"].exact == 2
    Image.new("RGB", (48, 48), "red").save(photo)
    Image.new("L", (48, 48), 0).save(mask)
    found = verify_run(run, sample=1, encoders=weights)
    assert [fault.where for fault in by_what(found)["photo"].faults] == ["photos/0-0.png", "photos/mask.png"]
    assert by_what(found)["inputs"].differ == 1


def test_weights_that_are_nowhere_leave_their_columns_unchecked(run: Path, weights: dict[str, str]) -> None:
    named = {name: spec for name, spec in weights.items() if name != "dino"} | {"dino": "/nowhere"}
    found = verify_run(run, sample=2, encoders=named)
    assert found.faults == []
    assert not found.is_complete
    checks = by_what(found)
    assert checks["dino"].checked == 0
    assert "got '/nowhere'" in next(iter(checks["dino"].reasons))
    assert checks["encoder"].unchecked == 1


def test_what_older_evaluations_did_not_record_is_told(run: Path, weights: dict[str, str]) -> None:
    edit_rows(run, lambda rows: [row.pop("sha256") for row in rows])
    edit_summary(run, lambda s: s["versions"].update(torch="1.0"))
    found = verify_run(run, sample=1, encoders=weights)
    assert by_what(found)["picture"].unchecked == 12
    assert "its hash was not recorded" in next(iter(by_what(found)["picture"].reasons))
    assert [note.split(" here")[0].partition(",")[0] for note in found.notes] == ["torch 1.0 when it was evaluated"]
    assert by_what(found)["inputs"].differ == 1  # versions are part of what was hashed


def test_every_subset_is_chosen_equally_often() -> None:
    ids = list("abcde")
    counts = [0] * 5
    for seed in range(2000):
        for name in choose(ids, count=2, seed=seed):
            counts[ids.index(name)] += 1
    assert sum(counts) == 4000
    assert stats.chisquare(counts).pvalue > 1e-3
    assert choose(ids, count=9, seed=1) == ids
    assert choose(ids, count=3, seed=4) == choose(ids, count=3, seed=4)


def test_what_is_wrong_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--sample: expected at least 1"):
        verify_run(run, sample=0)
    with pytest.raises(ConfigError, match="--tolerance: expected 0 or more, got nan"):
        verify_run(run, tolerance=float("nan"))
    with pytest.raises(DataError, match=r"summary\.json: expected the facts of its metrics, got none"):
        verify_run(tmp_path)


def test_embedded_encoders_are_found_by_their_ids() -> None:
    made = {"probe": load_encoder("probe", "probe").id, "nothing": "nothing"}
    found = find_encoders(made, named={}, device="cpu")
    assert list(found.same) == ["probe"]
    assert found.absent == {"nothing": "this version of likeness has no encoder nothing"}
    other = find_encoders({"probe": made["probe"].replace("@", "@0")}, named={}, device="cpu")
    assert other.other == {"probe": made["probe"]}
    local = find_encoders({"dino": "vit my-dino@0123; 8 px"}, named={}, device="cpu")
    assert "add --encoder dino=FOLDER" in local.absent["dino"]


@pytest.mark.parametrize(
    ("recorded", "found", "counts"),
    [
        ({"a": [1.0, None]}, {"a": [1.0, None]}, (1, 0, 0)),
        ({"a": 1.0}, {"a": 1.05}, (0, 1, 0)),
        ({"a": 1.0}, {"a": 1.2}, (0, 0, 1)),
        ({"a": 1.0}, {"a": None}, (0, 0, 1)),
        ({"a": 1.0}, {}, (0, 0, 1)),
        ({"a": True}, {"a": 1}, (0, 0, 1)),
        ([1], [1, 2], (0, 0, 1)),
        ({"a": float("nan")}, {"a": 0.0}, (0, 0, 1)),
        ("x", "y", (0, 0, 1)),
    ],
)
def test_equal_close_and_different(recorded: Any, found: Any, counts: tuple[int, int, int]) -> None:
    check = Check("it")
    check.compare("here", recorded, found, tolerance=0.1)
    assert (check.exact, check.close, check.differ) == counts
