"""SAM 2 against the stock class on the same tiny weights."""

from pathlib import Path

import numpy as np
import pytest
import tiny_encoders as tiny
import torch
from PIL import Image
from transformers import Sam2Model

from likeness.core.errors import DataError
from likeness.encoders.pose import box_text
from likeness.encoders.sam2 import Sam2Segmenter, Segment


def test_masks_are_those_of_the_stock_class_on_the_picture_and_the_box_as_it_wants_them(
    tmp_path: Path, images: list[Image.Image]
) -> None:
    folder = tiny.write_sam2(tmp_path / "sam2")
    model, picture = Sam2Model.from_pretrained(folder).eval(), images[5].convert("RGB")
    pixels = np.asarray(picture.resize((64, 64), Image.Resampling.BILINEAR), dtype=np.float64) / 255
    pixels = (pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    wide, high = picture.size
    box = (wide * 0.25, high * 0.125, wide * 0.75, high * 0.5)  # of 64 px: 16, 8, 48, 32
    with torch.inference_mode():
        stock = model(
            pixel_values=torch.from_numpy(pixels.transpose(2, 0, 1)[None]).float(),
            input_boxes=torch.tensor([[[16.0, 8.0, 48.0, 32.0]]]),
            multimask_output=False,
        )
    (found,) = Sam2Segmenter.load(folder).ask([picture], [box_text(box)])
    scaled = torch.nn.functional.interpolate(stock.pred_masks[0], (high, wide), mode="bilinear")[0, 0]
    assert found.mask.shape == (high, wide)
    sure = scaled.abs() > 1e-3 * scaled.abs().max()  # where rounding decides nothing
    assert (found.mask == (scaled > 0).numpy())[sure.numpy()].all()
    assert found.quality == pytest.approx(float(stock.iou_scores), abs=1e-5)


def test_a_mask_is_kept_bit_by_bit() -> None:
    mask = np.random.default_rng(0).random((5, 7)) > 0.5
    assert (Segment(np.packbits(mask), (7, 5), 0.5).mask == mask).all()


def test_what_is_no_box_is_told(tmp_path: Path, images: list[Image.Image]) -> None:
    encoder = Sam2Segmenter.load(tiny.write_sam2(tmp_path / "sam2"))
    with pytest.raises(DataError, match="expected a box as left, top, right and bottom"):
        encoder.ask(images[:1], ["the cat"])
