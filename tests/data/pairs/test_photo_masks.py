"""Masks of photographs: GrabCut where two frames agree, supplied ones as they are, and why a photograph has none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
from numpy.typing import NDArray
from PIL import Image

from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.data.pairs import photo_masks
from likeness.data.pairs.photo_masks import FolderMasks, GrabCut, Sam2Masks, grab_cut, masker_named


def scene(mask: NDArray[np.bool_], *, seed: int = 0) -> Image.Image:
    """Something red under the mask, green noise around it."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 12, (*mask.shape, 3))
    base = np.where(mask[..., None], (190.0, 40.0, 40.0), (60.0, 140.0, 80.0))
    return Image.fromarray((base + noise).clip(0, 255).astype(np.uint8))


def ellipse(side: int, *, at: tuple[float, float] = (0.5, 0.5), reach: float = 0.25) -> NDArray[np.bool_]:
    rows, columns = np.indices((side, side)) / side
    return ((rows - at[0]) / reach) ** 2 + ((columns - at[1]) / (0.7 * reach)) ** 2 < 1


def overlap(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_grab_cut_finds_what_stands_out_at_the_pictures_size() -> None:
    true = ellipse(200)
    image = scene(true)
    found = grab_cut(image, name="a")
    assert found.shape == (200, 200)
    assert overlap(found, true) > 0.93
    assert np.array_equal(found, grab_cut(image, name="b"))


def test_grab_cut_refuses_what_it_cannot_tell() -> None:
    with pytest.raises(DataError, match=r"GrabCut .*; supply a mask"):
        grab_cut(scene(np.zeros((120, 120), bool)), name="a")


def test_a_mask_cut_off_by_its_frame_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def cut_off(pixels: Any, *, frame: tuple[int, int, int, int]) -> NDArray[np.bool_]:
        left, top, width, height = frame
        mask = np.zeros(pixels.shape[:2], bool)
        mask[top + height // 2 : top + height, left : left + width] = True  # three of its four sides lie on the frame
        return mask

    monkeypatch.setattr(photo_masks, "_cut", cut_off)
    with pytest.raises(DataError, match=r"ends at the frame it was given \((\d\d)% of its outline\)") as caught:
        grab_cut(Image.new("RGB", (160, 160)), name="a")
    sides = (122 + 2 * 61) / (2 * 122 + 2 * 61)  # of the last frame, 122 px wide
    assert abs(int(str(caught.value).split("(")[1][:2]) / 100 - sides) < 0.03


def test_frames_that_disagree_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    frames: list[tuple[int, int, int, int]] = []

    def elsewhere(pixels: Any, *, frame: tuple[int, int, int, int]) -> NDArray[np.bool_]:
        frames.append(frame)
        return ellipse(160, at=(0.5, 0.3 + 0.2 * len(frames) / 2), reach=0.15)

    monkeypatch.setattr(photo_masks, "_cut", elsewhere)
    with pytest.raises(DataError, match=r"masks from several frames overlap by 0\.\d\d \(IoU\) at most"):
        grab_cut(Image.new("RGB", (160, 160)), name="a")
    assert frames == [(6, 6, 148, 148), (13, 13, 134, 134), (19, 19, 122, 122)]


def test_small_parts_and_holes_are_tidied() -> None:
    mask = np.zeros((80, 80), bool)
    mask[20:60, 20:60] = True
    mask[38:42, 38:42] = False  # a hole
    mask[5:12, 70:77] = True  # a part of 3%
    mask[40, 60:80] = True  # a hair
    tidy = photo_masks._tidy(mask)
    wanted = np.zeros((80, 80), bool)
    wanted[20:60, 20:60] = True
    assert overlap(tidy, wanted) > 0.98
    assert not tidy[5:12, 70:77].any()
    assert tidy[38:42, 38:42].all()


def test_supplied_masks_are_read_by_name(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    Image.fromarray(ellipse(40)).convert("L").save(tmp_path / "cat" / "a.png")
    masker = FolderMasks(tmp_path)()
    image = Image.new("RGB", (40, 40))
    assert np.array_equal(masker(image, name="cat/a"), ellipse(40))
    with pytest.raises(DataError, match="found no such file"):
        masker(image, name="cat/b")
    with pytest.raises(DataError, match="expected 41 x 40 px as its picture has"):
        masker(Image.new("RGB", (41, 40)), name="cat/a")


def test_sam2_is_asked_for_the_middle(tmp_path: Path) -> None:
    from likeness.encoders.pose import box_text
    from likeness.encoders.sam2 import Sam2Segmenter

    folder = tiny.write_sam2(tmp_path / "sam2")
    load = masker_named(f"sam2:{folder}", device="cpu")
    assert isinstance(load, Sam2Masks)
    assert load.id.startswith("sam2 @")
    image = scene(ellipse(100))
    (wanted,) = Sam2Segmenter.load(folder).ask([image], [box_text((4.0, 4.0, 96.0, 96.0))])
    assert np.array_equal(load()(image, name="a"), wanted.mask)


def test_words_for_maskers(tmp_path: Path) -> None:
    assert masker_named("grabcut") == GrabCut()
    assert masker_named(str(tmp_path)) == FolderMasks(tmp_path)
    for wrong in ("sam3", "sam2:", "grabcut:5"):
        with pytest.raises(ConfigError, match="--masks: expected grabcut, sam2 or a folder"):
            masker_named(wrong)
    with pytest.raises(WeightsError):
        Sam2Masks("nowhere").id  # noqa: B018 - asking is the test


def test_grab_cut_without_opencv_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(photo_masks, "import_module", absent)
    with pytest.raises(WeightsError, match=r"pip install 'likeness\[faces\]', or supply masks"):
        GrabCut()()
