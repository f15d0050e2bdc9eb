"""ViTPose: the keypoints of whoever is in a box, 17 of COCO as published.

Source: Xu et al., "ViTPose" (arXiv:2204.12484), with the unbiased decoding of its processor. A question is a box, as
`box_text` writes it, or "whole picture".
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image
from transformers import VitPoseForPoseEstimation
from transformers.models.vitpose.image_processing_pil_vitpose import VitPoseImageProcessorPil

from likeness.core.errors import DataError
from likeness.encoders.answers import Pose
from likeness.encoders.asking import AskedEncoder
from likeness.encoders.base import encoder_id, load_whole

WHOLE = "whole picture"
COCO = 0
"""The part of a mixture of experts (ViTPose+) that was trained on COCO."""


def box_text(box: tuple[float, float, float, float]) -> str:
    """The question about a box: left, top, right and bottom in px."""
    return " ".join(f"{side:g}" for side in box)


class PoseEncoder(AskedEncoder[Pose]):
    """A frozen ViTPose in float32; one box of one picture goes through the network at a time."""

    answer = Pose
    wanted: ClassVar[tuple[str, str]] = (
        "ViTPose",
        "a VitPoseForPoseEstimation as safetensors with preprocessor config",
    )

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        self.model: Any = load_whole(VitPoseForPoseEstimation, folder, device=device)
        self.processor: Any = VitPoseImageProcessorPil.from_pretrained(folder, local_files_only=True)
        self.device = device
        seen, side = self.processor.size, self.model.config.backbone_config.image_size
        if [seen["height"], seen["width"]] != list(side):
            raise ValueError(f"a preprocessor config for {seen['width']} x {seen['height']} px (the model: {side[1]})")
        names: dict[int, str] = self.model.config.id2label
        self.names = tuple(names[index] for index in sorted(names))
        how = f"PIL, box warped to {seen['width']} x {seen['height']} px, unbiased decoding"
        self.id = encoder_id("pose", spec=spec, folder=folder, preprocessing=how, batch=1)

    def _answer(self, picture: Image.Image, seen: Any, text: str) -> Pose:
        left, top, right, bottom = (0, 0, *picture.size) if text == WHOLE else box_sides(text)
        boxes = [[[left, top, right - left, bottom - top]]]
        pixels = self.processor(picture, boxes=boxes, return_tensors="pt")["pixel_values"].float().to(self.device)
        is_mixed = getattr(self.model.config.backbone_config, "num_experts", 1) > 1
        experts = {"dataset_index": torch.tensor([COCO], device=self.device)} if is_mixed else {}
        found = self.processor.post_process_pose_estimation(self.model(pixel_values=pixels, **experts), boxes=boxes)
        points, scores = (np.asarray(found[0][0][name], dtype=np.float32) for name in ("keypoints", "scores"))
        return Pose(points, scores, self.names[: len(points)])


def box_sides(text: str) -> list[float]:
    """The sides that `box_text` wrote. Raises: DataError for anything else."""
    try:
        sides = [float(side) for side in text.split()]
    except ValueError:
        sides = []
    if len(sides) == 4 and sides[0] < sides[2] and sides[1] < sides[3]:
        return sides
    raise DataError(f"question: expected a box as left, top, right and bottom in px, got {text[:60]!r}; see box_text.")
