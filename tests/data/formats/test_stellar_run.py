"""A run of `generate` in Stellar's layout of a method, and back again."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from likeness.cli import app
from likeness.core.errors import DataError, LikenessError, OutputError
from likeness.core.files import read_json
from likeness.data.formats.stellar_run import KEYS, export_run

WRITTEN = 1_700_000_000  # 2023-11-14 22:13:20 UTC
IDS = ("stellar-world-v1-000-0-00", "stellar-world-v1-001-1-05")


def lines(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def manifest_row(case_id: str, **changes: Any) -> dict[str, Any]:
    row = {"id": f"{case_id}-0", "case_id": case_id, "k": 0, "image": f"images/{case_id}-0.png", "seed": 5}
    settings = {"steps": 4, "guidance": 1.0, "cfg_scale": 2.5}
    return row | {"model": {"id": "flux"}, "settings": {"steps": None}, "settings_in_force": settings} | changes


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two pictures of two people."""
    folder = tmp_path / "run"
    (folder / "images").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(folder / "photo.png")
    cases: list[dict[str, Any]] = []
    for case_id in IDS:
        image = folder / "images" / f"{case_id}-0.png"
        Image.new("RGB", (8, 8), "red").save(image)
        os.utime(image, (WRITTEN, WRITTEN))
        attributes = {"species": "person", "Young": "yes", "Bearded": "no"}
        subject = {"id": "p", "class_name": "person", "reference_image": "photo.png", "attributes": attributes}
        labels = {"detectables": ["stove"]}
        cases.append({"id": case_id, "prompt": "a person cooking lunch.", "subjects": [subject], "labels": labels})
    lines(folder / "cases.jsonl", cases)
    lines(folder / "manifest.jsonl", [manifest_row(case_id) for case_id in IDS])
    return folder


def test_every_key_of_the_layout_is_written(run: Path, tmp_path: Path) -> None:
    done = export_run(run, tmp_path / "out")
    assert (done.num_pictures, done.left_out) == (2, ())
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["000-0-00.json", "000-0-00.png", "001-1-05.json", "001-1-05.png"]
    row = read_json(tmp_path / "out" / "001-1-05.json")
    assert tuple(row) == KEYS
    settings = {"steps": 4, "guidance": 1.0, "cfg_scale": 2.5}
    assert row == {
        "index": 1,
        "generation_datetime": "20231114_221320",
        "prompt": "{} cooking lunch.",
        "attributes": {"Young": 1, "Bearded": -1},
        "detectables": ["stove"],
        "image_path": "001/1.jpg",
        "save_name": "001-1-05",
        "model_name": "flux",
        "steps": 4,
        "guidance_scale": 2.5,
        "model_seed": 5,
        "aux_metadata": settings,
    }
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    export_run(run, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert before["000-0-00.png"] == (run / "images" / f"{IDS[0]}-0.png").read_bytes()


def test_distilled_guidance_is_told_where_there_is_no_other(run: Path, tmp_path: Path) -> None:
    lines(run / "manifest.jsonl", [manifest_row(IDS[0], settings_in_force={"guidance": 4.0, "cfg_scale": 1.0})])
    export_run(run, tmp_path / "out")
    assert read_json(tmp_path / "out" / "000-0-00.json")["guidance_scale"] == 4


def test_the_command_says_what_it_did_and_its_pictures_answer_the_same_cases(run: Path, tmp_path: Path) -> None:
    from likeness.core.records import read_cases
    from likeness.evaluate.samples import find_samples

    out = tmp_path / "out"
    result = CliRunner().invoke(app, ["data", "export", str(run), "--to", "stellar", "--out", str(out)])
    assert result.exit_code == 0, result.stderr
    assert f"2 pictures in {out}" in " ".join(result.stdout.split())
    found = find_samples(out, cases=read_cases(run / "cases.jsonl").cases)
    assert [(sample.case.id, sample.image.name) for sample in found.samples] == [
        (IDS[0], "000-0-00.png"),
        (IDS[1], "001-1-05.png"),
    ]
    assert found.missing == found.extra == ()


REFUSED: list[tuple[Any, str]] = [
    (manifest_row("my-case"), "whose id ends in NNN-I-PP, got my-case"),
    (manifest_row("stellar-world-v1-007-0-00"), "whose id ends in NNN-I-PP, got stellar-world-v1-007-0-00"),
    (manifest_row(IDS[1], k=1), "one picture per case, got picture 1"),
    (manifest_row(IDS[1], image="../elsewhere.png"), "expected a file of the run"),
    (manifest_row(IDS[1], image="images/lost.png"), "lost.png"),
    (manifest_row(IDS[1], image="manifest.jsonl"), "manifest.jsonl: expected a picture"),
    (manifest_row(IDS[1], seed="5"), "seed: expected a whole number"),
    (manifest_row(IDS[1], k=-1), "k: expected"),
    (manifest_row(IDS[1], model=None), "model: expected a JSON object"),
    ({"id": "x"}, "case_id: expected a value, got none"),
    ([], "row: expected a JSON object"),
    (None, "row: expected a JSON object"),
]


@pytest.mark.parametrize(("row", "message"), REFUSED)
def test_a_picture_without_a_place_is_listed_and_the_others_go_on(
    run: Path, tmp_path: Path, row: Any, message: str
) -> None:
    lines(run / "manifest.jsonl", [manifest_row(IDS[0]), row])
    done = export_run(run, tmp_path / "out")
    assert done.num_pictures == 1
    (left_out,) = done.left_out
    assert message in left_out.reason
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["000-0-00.json", "000-0-00.png"]
    lines(run / "manifest.jsonl", [row])
    with pytest.raises(DataError, match="expected pictures of stellar or stellar-world, got none"):
        export_run(run, tmp_path / "none")


def test_a_prompt_without_a_person_has_no_slot(run: Path, tmp_path: Path) -> None:
    case = json.loads((run / "cases.jsonl").read_text().splitlines()[0]) | {"prompt": "a cat cooking lunch"}
    lines(run / "cases.jsonl", [case])
    with pytest.raises(DataError, match="expected the words 'a person' for the slot, got 'a cat cooking lunch'"):
        export_run(run, tmp_path / "out")


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        (lambda run, out: (run / "manifest.jsonl").unlink(), DataError),
        (lambda run, out: (run / "cases.jsonl").unlink(), DataError),
        (lambda run, out: (run / "manifest.jsonl").write_text(""), DataError),
        (lambda run, out: (run / "manifest.jsonl").write_text("{"), DataError),
        (lambda run, out: out.write_text("mine"), OutputError),
        (lambda run, out: (out.mkdir(), (out / "notes.txt").write_text("mine")), OutputError),
    ],
)
def test_what_is_no_run_and_what_is_in_the_way_is_one_error(
    run: Path, tmp_path: Path, damage: Callable[[Path, Path], object], error: type[LikenessError]
) -> None:
    damage(run, tmp_path / "out")
    with pytest.raises(error):
        export_run(run, tmp_path / "out")
