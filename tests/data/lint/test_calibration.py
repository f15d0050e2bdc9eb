"""Lint on photographs: no error on clean composites, stored exactly or as JPEG, and every planted fault found."""

from pathlib import Path
from typing import Any  # the calibration is a script, and rows are JSON

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scripts import load_script

from likeness.core.files import write_jsonl
from likeness.data.lint.findings import Finding
from likeness.data.lint.mask_evidence import distance_to
from likeness.data.lint.noise_evidence import difference_of
from likeness.data.lint.run import lint_pairs

calibration: Any = load_script("figures/lint_calibration.py")
DREAMBENCH = next(
    (found for parent in Path(__file__).parents if (found := parent / "shared" / "data" / "dreambench").is_dir()), None
)
SIDE = 256


@pytest.fixture(scope="module")
def photos() -> dict[str, list[NDArray[np.uint8]]]:
    """DreamBench where it lies beside the project, else textures."""
    if DREAMBENCH is None:
        return calibration.synthetic_photos(side=SIDE)
    return calibration.load_photos(DREAMBENCH, side=SIDE)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory, photos: dict[str, list[NDArray[np.uint8]]]) -> Path:
    return calibration.photo_pairs(photos, tmp_path_factory.mktemp("photos") / "clean", 40, seed=5)


def test_clean_photo_pairs_give_no_error(clean: Path) -> None:
    report = lint_pairs(clean)
    assert report.num_pairs == 40
    assert [found for found in report.findings if found.severity == "error"] == []
    assert any(found.code == "recompressed" for found in report.findings)


def test_every_fault_planted_in_photo_pairs_is_found(clean: Path, tmp_path: Path) -> None:
    planted = calibration.plant(clean, tmp_path / "planted")
    tally = calibration.tally(lint_pairs(tmp_path / "planted"), planted)
    assert {fault: missed for fault, (_, _, missed) in tally.hits.items() if missed} == {}
    assert not tally.errors


def test_textures_stand_in_for_photographs(tmp_path: Path) -> None:
    textures = calibration.synthetic_photos(side=SIDE)
    report = lint_pairs(calibration.photo_pairs(textures, tmp_path / "set", 8, seed=1))
    assert [found for found in report.findings if found.severity == "error"] == []


# -- one pair --------------------------------------------------------------------------------------------------
def texture() -> NDArray[np.uint8]:
    return calibration.synthetic_photos(side=SIDE, subjects=1, each=1)["texture00"][0]


def square(top: int, left: int, side: int) -> NDArray[np.bool_]:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def lint_of(folder: Path, *, rejected: NDArray[np.uint8], mask: NDArray[np.bool_]) -> list[Finding]:
    """What lint says of one pair of `texture` with a loser."""
    pictures = {"win": texture(), "lose": rejected, "ref": texture()[::-1], "mask": mask.astype(np.uint8) * 255}
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    subject = {"phrase": "it", "reference_index": 0, "mask": "mask.png", "box": [0, 0, 1, 1], "disrupted": True}
    row = {"id": "p", "subset": "single", "category": "object", "prompt": "it", "preferred": "win.png"}
    row |= {"references": [{"image": "ref.png", "phrase": "it", "category": "object"}], "rejected": "lose.png"}
    write_jsonl(folder / "pairs.jsonl", [row | {"subjects": [subject], "prior_mask": "mask.png", "size": [SIDE, SIDE]}])
    return list(lint_pairs(folder).findings)


def changed_in(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.where(mask[..., None], 255 - texture(), texture()).astype(np.uint8)


def test_leakage_is_measured_against_the_mask_as_given(tmp_path: Path) -> None:
    """A mask 24 px beside the change: 24 columns of it are outside, and all farther than 8 px are leakage."""
    found = lint_of(tmp_path, rejected=changed_in(square(80, 80, 80)), mask=square(80, 104, 80))
    (leak,) = (each for each in found if each.code == "leaked_background")
    assert leak.evidence["far"] == 80 * (24 - 8)
    assert leak.evidence["farthest"] == 24


def test_an_inverted_mask_is_called_so_and_a_shifted_one_is_not(tmp_path: Path) -> None:
    for mask, inverted in ((~square(60, 60, 120), True), (square(8, 8, 40), False)):
        (leak,) = (
            each
            for each in lint_of(tmp_path, rejected=changed_in(square(60, 60, 120)), mask=mask)
            if each.code == "leaked_background"
        )
        assert ("looks inverted" in leak.what) is inverted


@pytest.mark.parametrize("quality", [50, 80, 95])
def test_noise_of_a_jpeg_loser_is_a_warning_and_a_leak_in_it_an_error(tmp_path: Path, quality: int) -> None:
    mask = square(60, 60, 100)
    loser = calibration.recompressed(changed_in(mask), quality)
    assert [found.code for found in lint_of(tmp_path, rejected=loser, mask=mask)] == ["recompressed"]
    leaking = changed_in(mask | square(216, 216, 24))
    found = lint_of(tmp_path, rejected=calibration.recompressed(leaking, quality), mask=mask)
    assert [each.code for each in found] == ["recompressed", "leaked_background"]


def test_two_pictures_compressed_alike_differ_in_the_blocks_of_the_mask_only(tmp_path: Path) -> None:
    """No block beyond the mask's own says that there is noise."""
    mask = square(61, 61, 100)
    pictures = [calibration.recompressed(picture, 80) for picture in (texture(), changed_in(mask))]
    differs = (pictures[0] != pictures[1]).any(-1)
    difference = difference_of(*pictures, distance=distance_to(mask), differs=differs, reach=8)
    assert (differs & (distance_to(mask) > 8)).any()
    assert difference.noise == 0
    assert not (difference.changed & (distance_to(mask) > 8 + difference.spread)).any()


def test_a_compressed_copy_is_an_unchanged_subject(tmp_path: Path) -> None:
    found = lint_of(tmp_path, rejected=calibration.recompressed(texture(), 80), mask=square(60, 60, 100))
    assert [each.code for each in found] == ["recompressed", "unchanged_subject"]


def test_another_exposure_of_the_background_is_no_noise(tmp_path: Path) -> None:
    lighter = np.where(square(60, 60, 100)[..., None], 255 - texture(), np.minimum(texture() + 9.0, 255))
    found = lint_of(tmp_path, rejected=lighter.astype(np.uint8), mask=square(60, 60, 100))
    assert [each.code for each in found] == ["leaked_background"]
