"""ViTPose against the stock classes on the same tiny weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
import torch
from PIL import Image
from transformers import VitPoseForPoseEstimation
from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

from likeness.core.errors import DataError, WeightsError
from likeness.encoders.pose import WHOLE, PoseEncoder, box_text


def test_boxes_are_those_of_the_stock_classes(tmp_path: Path, images: list[Image.Image]) -> None:
    folder = tiny.write_vitpose(tmp_path / "pose")
    encoder = PoseEncoder.load(folder)
    model = VitPoseForPoseEstimation.from_pretrained(folder)
    processor: Any = VitPoseImageProcessorPil.from_pretrained(folder)
    picture = images[5]
    boxes = [[[10, 20, 60, 70], [0, 0, *picture.size]]]  # left, top, width, height
    with torch.inference_mode():
        outputs = model(**processor(picture, boxes=boxes, return_tensors="pt"))
    stock = processor.post_process_pose_estimation(outputs, boxes=boxes)[0]
    found = encoder.ask([picture] * 2, [box_text((10, 20, 70, 90)), WHOLE])
    for ours, theirs in zip(found, stock, strict=True):
        np.testing.assert_allclose(ours.points, theirs["keypoints"].numpy(), atol=1e-2)
        np.testing.assert_allclose(ours.scores, theirs["scores"].numpy(), atol=1e-5)
        assert ours.names == ("Nose", "L_Eye", "R_Eye", "L_Ear", "R_Ear")


@pytest.mark.parametrize("text", ["", "a cat", "1 2 3", "5 5 5 9", "nan 0 1 1"])
def test_what_is_no_box_is_told(text: str, tmp_path: Path, images: list[Image.Image]) -> None:
    encoder = PoseEncoder.load(tiny.write_vitpose(tmp_path / "pose"))
    with pytest.raises(DataError, match="expected a box as left, top, right and bottom"):
        encoder.ask(images[:1], [text])


def test_a_preprocessor_of_another_size_is_told(tmp_path: Path) -> None:
    folder = tiny.write_vitpose(tmp_path / "pose")
    (folder / "preprocessor_config.json").write_text('{"size": {"height": 64, "width": 32}}')
    with pytest.raises(WeightsError, match="for 32 x 64 px"):
        PoseEncoder.load(folder)
