"""Pictures drawn again: the same bytes here, and every change of picture, weights or record is named."""

from pathlib import Path
from typing import Any

import fake_maker
import numpy as np
import pytest
from PIL import Image

from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.files import read_json, write_json
from likeness.core.images import load_image, png_text, save_png
from likeness.core.records import Case, Subject
from likeness.generate.redraw import redraw
from likeness.generate.run import generate_run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "model.txt").write_text("weights")
    return tmp_path / "tiny"


@pytest.fixture
def run(tmp_path: Path, model: Path) -> Path:
    Image.new("RGB", (20, 10), "red").save(tmp_path / "red.png")
    red = Subject(id="red", class_name="cat", reference_image=tmp_path / "red.png")
    cases = [
        Case(id=f"case-{k}", prompt=f"a cat and {k} dogs", subjects=(red,) if k % 2 else (), seed=k) for k in range(3)
    ]
    options: dict[str, Any] = {"num_images": 2, "device": "cpu", "dtype": "float32", "maker": "fake_maker:load"}
    return generate_run(cases, out=tmp_path / "run", model=str(model), options={"steps": 4}, **options).folder


def test_all_pictures_have_the_same_bytes_and_the_run_is_left_alone(run: Path, model: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    found = redraw(run, count=99, model=str(model))
    assert [each.id for each in found.pictures] == [f"case-{i}-{k}" for i in range(3) for k in range(2)]
    assert all(each.same_bytes and each.largest == 0 for each in found.pictures)
    assert found.elsewhere == found.differing == ()
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_the_seed_chooses_the_pictures(run: Path, model: Path) -> None:
    chosen = {tuple(p.id for p in redraw(run, count=2, seed=s, model=str(model)).pictures) for s in range(6)}
    assert len(chosen) > 1
    assert all(len(names) == 2 for names in chosen)


def test_a_changed_pixel_is_measured(run: Path, model: Path) -> None:
    path = run / "images" / "case-1-0.png"
    image, text = load_image(path), png_text(path)
    pixels = np.asarray(image).copy()
    pixels[5, 6, 1] = pixels[5, 6, 1] - 9 if pixels[5, 6, 1] > 100 else pixels[5, 6, 1] + 9
    save_png(Image.fromarray(pixels), path, text=text)
    save_png(load_image(run / "images" / "case-0-0.png"), run / "images" / "case-0-0.png")  # without its proof
    (run / "images" / "case-2-1.png").unlink()
    save_png(Image.new("RGB", (8, 8)), run / "images" / "case-2-0.png")
    found = {each.id: each for each in redraw(run, count=6, model=str(model)).differing}
    assert found["case-1-0"].largest == 9
    assert found["case-1-0"].reason == "1 px differ, by at most 9 of 255"
    assert found["case-0-0"].reason == "equal pixels in a file with other bytes"
    assert "cannot be read" in found["case-2-1"].reason
    assert found["case-2-0"].reason == "other sizes: 8 x 8 and 24 x 24 px"
    assert len(found) == 4


def test_on_another_machine_a_difference_is_told_and_no_fault(
    run: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = read_json(run / "run.json")
    assert record["processor"]
    write_json(run / "run.json", {**record, "processor": "abacus", "versions": {**record["versions"], "torch": "1.0"}})
    found = redraw(run, count=1, model=str(model))
    assert [line.partition(" when")[0] for line in found.elsewhere] == ["processor abacus", "torch 1.0"]
    assert found.differing == ()
    monkeypatch.setattr(fake_maker, "KNOWN", {"a"})  # other notes: other bytes, equal pixels
    found = redraw(run, count=1, model=str(model))
    assert found.pictures[0].reason == "equal pixels in a file with other bytes"
    assert found.differing == ()


def test_a_changed_reference_cannot_be_drawn_from(run: Path, model: Path) -> None:
    (path,) = (run / "references").iterdir()
    Image.new("RGB", (20, 10), "blue").save(path)
    found = {each.id: each.reason for each in redraw(run, count=6, model=str(model)).differing}
    assert set(found) == {"case-1-0", "case-1-1"}
    assert all("it cannot be drawn: " in reason for reason in found.values())


def test_other_weights_are_refused(run: Path, model: Path) -> None:
    (model / "model.txt").write_text("other weights")
    with pytest.raises(WeightsError, match=r"tiny: expected weights with SHA-256 .*, got .*--model"):
        redraw(run, count=1, model=str(model))
    with pytest.raises(WeightsError, match="expected an embedded name"):
        redraw(run, count=1)
    with pytest.raises(ConfigError, match=r"--lora: expected as many as the run has \(0\), got 1"):
        redraw(run, count=1, model=str(model), loras=["a"])


def test_what_generate_did_not_make_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"run\.json: expected the record of `likeness generate`, got another or none"):
        redraw(tmp_path, count=1)
    with pytest.raises(ConfigError, match="--redraw: expected at least 1"):
        redraw(tmp_path, count=0)
