"""References with masks: the box around the subject on white, the same in training, its samples and generation."""

from pathlib import Path
from typing import Any

import numpy as np
import preference_runs as runs
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from likeness.backbones.cropping import around_subject, seen_reference
from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.backbones.sdxl.options import SdxlOptions
from likeness.core.errors import DataError, LikenessError
from likeness.core.files import read_jsonl, write_json
from likeness.core.pairs import read_pairs
from likeness.core.records import Case, Subject, read_cases
from likeness.generate.redraw import redraw
from likeness.generate.run import generate_run
from likeness.train.config import SamplesTable
from likeness.train.pairs.encode import EncodeSettings, encode_pair
from likeness.train.samples import prepare_samples, read_conditions

PROMPT = "a cat hugs a dog"
SETTINGS = EncodeSettings(None, "torch.float32", "kde32")


def save(pixels: NDArray[Any], path: Path) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def mask_of(*, height: int, width: int, rows: slice, columns: slice) -> NDArray[np.uint8]:
    """A block with a corner cut off, so that the box holds more than the mask."""
    mask = np.zeros((height, width), dtype=np.uint8)
    mask[rows, columns] = 255
    mask[rows.start, columns.start] = 0
    return mask


@pytest.fixture
def cat(tmp_path: Path) -> Subject:
    """A picture 56 px wide and 40 high whose subject covers rows 8 to 36 and columns 12 to 30."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    mask = mask_of(height=40, width=56, rows=slice(8, 36), columns=slice(12, 30))
    photo = save(pixels, tmp_path / "cat.png")
    return Subject(id="cat", class_name="cat", reference_image=photo, mask=save(mask, tmp_path / "cat-mask.png"))


def by_hand(subject: Subject) -> Image.Image:
    """Rows and columns that the mask of the fixture covers, in the middle of a white square."""
    pixels = np.asarray(Image.open(subject.reference_image))[8:36, 12:30]
    square = np.full((28, 28, 3), 255, dtype=np.uint8)
    square[:, 5:23] = pixels
    return Image.fromarray(square)


def whole(subject: Subject) -> Image.Image:
    return Image.open(subject.reference_image)


@pytest.mark.parametrize("seed", range(20))
def test_the_box_is_the_least_that_holds_the_mask(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (31, 45, 3), dtype=np.uint8)
    levels = np.where(rng.random((31, 45)) < 0.003 * (seed + 1), 128, 127).astype(np.uint8)
    levels[rng.integers(31), rng.integers(45)] = 255
    rows, columns = np.flatnonzero((levels >= 128).any(axis=1)), np.flatnonzero((levels >= 128).any(axis=0))
    expected = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    np.testing.assert_array_equal(around_subject(Image.fromarray(pixels), Image.fromarray(levels)), expected)


def test_without_a_mask_or_with_the_option_off_all_of_it_is_seen(sdxl: SdxlIpAdapter, cat: Subject) -> None:
    image = whole(cat)
    assert seen_reference(sdxl, image, mask=None) is image
    assert seen_reference(sdxl, image, mask=cat.mask, options=SdxlOptions(crop_references=False)) is image
    assert seen_reference(sdxl, image, mask=cat.mask).size == (18, 28)
    assert seen_reference("a model that crops nothing", image, mask=cat.mask) is image


def pair_with_masks(folder: Path, cat: Subject) -> Any:
    """The first pair of a set, whose reference is the cat with its mask."""
    place = runs.write_pairs(folder / "pairs", count=1)
    reference = {"image": str(cat.reference_image), "mask": str(cat.mask)}
    runs.edit_row(place, lambda row: row["references"][0].update(reference), number=0)
    return read_pairs(place).pairs[0]


def run(cases: list[Case], out: Path, folder: Path, **options: Any) -> Any:
    settings = {"steps": 1, **options}
    return generate_run(cases, out=out, model=str(folder), options=settings, device="cpu", dtype="float32")


def test_training_its_samples_and_generation_see_the_same(
    sdxl: SdxlIpAdapter, sdxl_folder: Path, cat: Subject, tmp_path: Path
) -> None:
    expected = sdxl.prepare(PROMPT, [by_hand(cat)])["reference0"]
    assert not torch.allclose(expected, sdxl.prepare(PROMPT, [whole(cat)])["reference0"], atol=1e-3)

    encoded = encode_pair(sdxl, pair_with_masks(tmp_path, cat), settings=SETTINGS)
    assert torch.equal(encoded["reference0"], expected)

    case = Case(id="one", prompt=PROMPT, subjects=(cat,), seed=3)
    prepare_samples(SamplesTable(every=1, limit=1), own=[case], run=tmp_path / "tuned", backbone=sdxl)
    assert torch.equal(read_conditions(tmp_path / "tuned")[0].row["reference0"], expected)

    run([case], tmp_path / "run", sdxl_folder)
    drawn = np.asarray(Image.open(tmp_path / "run" / "images" / "one-0.png"))
    np.testing.assert_array_equal(drawn, sdxl.generate(PROMPT, [by_hand(cat)], seed=3, options=SdxlOptions(steps=1)))
    uncropped = sdxl.generate(PROMPT, [whole(cat)], seed=3, options=SdxlOptions(steps=1))
    assert not np.array_equal(drawn, np.asarray(uncropped))
    run([case], tmp_path / "off", sdxl_folder, crop_references=False)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "off" / "images" / "one-0.png")), uncropped)


def test_the_folder_says_whether_references_are_cropped(sdxl: SdxlIpAdapter, cat: Subject, tmp_path: Path) -> None:
    write_json(tmp_path / "likeness.json", {"crop_references": False})
    assert not SdxlOptions().in_force(tmp_path)["crop_references"]
    assert SdxlOptions(crop_references=True).in_force(tmp_path)["crop_references"]
    write_json(tmp_path / "likeness.json", {})
    assert SdxlOptions().in_force(tmp_path)["crop_references"]


def test_a_run_holds_its_masks_and_can_be_drawn_again(sdxl_folder: Path, cat: Subject, tmp_path: Path) -> None:
    """A mask in the alpha channel alone is kept as a grey picture; another mask makes another picture."""
    assert cat.mask is not None
    mask = np.asarray(Image.open(cat.mask))
    Image.fromarray(np.dstack([np.zeros((*mask.shape, 3), np.uint8), mask]), "RGBA").save(cat.mask)
    case = Case(id="one", prompt=PROMPT, subjects=(cat,), seed=3)
    folder = tmp_path / "run"
    assert run([case], folder, sdxl_folder).num_made == 1
    kept = read_cases(folder / "cases.jsonl").cases[0].subjects[0]
    assert kept.mask is not None
    np.testing.assert_array_equal(np.asarray(Image.open(kept.mask)), mask)
    shown = read_jsonl(folder / "manifest.jsonl")[0]["references"][0]
    assert folder / shown["mask"] == kept.mask
    assert run([case], folder, sdxl_folder).num_made == 0
    assert redraw(folder, count=1, model=str(sdxl_folder)).pictures[0].same_bytes
    other = cat.model_copy(update={"mask": None})
    with pytest.raises(LikenessError):
        run([case.model_copy(update={"subjects": (other,)})], folder, sdxl_folder)


def test_a_mask_that_cannot_be_used_is_told(
    sdxl: SdxlIpAdapter, sdxl_folder: Path, cat: Subject, tmp_path: Path
) -> None:
    assert cat.mask is not None
    pair = pair_with_masks(tmp_path, cat)
    good = Case(id="good", prompt=PROMPT)
    bad = Case(id="bad", prompt=PROMPT, subjects=(cat,))
    save(np.zeros((40, 56), dtype=np.uint8), cat.mask)
    with pytest.raises(DataError, match=r"pair p0: reference mask .*cat-mask.png: .*got no pixel inside"):
        encode_pair(sdxl, pair, settings=SETTINGS)
    listed = run([good, bad], tmp_path / "run", sdxl_folder).left_out
    assert [row.where for row in listed] == ["bad-0"]
    assert "got no pixel inside" in listed[0].reason
    save(np.full((40, 55), 255, dtype=np.uint8), cat.mask)
    listed = run([good, bad], tmp_path / "other", sdxl_folder).left_out
    assert [row.where for row in listed] == ["bad"]
    assert "cat-mask.png: expected 56 x 40 px as its picture has, got 55 x 40" in listed[0].reason


def test_a_picture_is_not_its_own_mask(cat: Subject) -> None:
    with pytest.raises(DataError, match="expected as mask another picture"):
        Subject(id="cat", class_name="cat", reference_image=cat.reference_image, mask=cat.reference_image)


def test_subjects_without_masks_are_written_as_before(cat: Subject) -> None:
    plain = cat.model_copy(update={"mask": None}).model_dump(mode="json")
    assert plain.keys() == {"id", "class_name", "reference_image", "photos", "attributes"}
    assert cat.model_dump(mode="json").keys() == {*plain, "mask"}
