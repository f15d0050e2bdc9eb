"""SAM 2: the mask of whatever is in a box of a picture.

Source: Ravi et al., "SAM 2: Segment Anything in Images and Videos" (arXiv:2408.00714), image mode, one mask per box.
Differs: PIL instead of the stock image processor, which needs torchvision. A question is a box, as `box_text` of
`pose.py` writes it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool
from PIL import Image
from transformers import AutoConfig, Sam2Model

from likeness.encoders.asking import AskedEncoder
from likeness.encoders.base import encoder_id, load_whole
from likeness.encoders.pose import box_sides

MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


@dataclass(frozen=True)
class Segment:
    """The mask of a box, eight pixels a byte row by row, and how good the model thinks it is (predicted IoU)."""

    packed: np.ndarray
    size: tuple[int, int]
    quality: float

    @property
    def mask(self) -> Bool[np.ndarray, "H W"]:
        """True where the thing is."""
        width, height = self.size
        return np.unpackbits(self.packed, count=width * height).reshape(height, width).astype(bool)


class Sam2Segmenter(AskedEncoder[Segment]):
    """A frozen SAM 2 in float32; a picture is looked at once for all its boxes."""

    answer = Segment
    wanted: ClassVar[tuple[str, str]] = ("SAM 2", "a Sam2Model as safetensors")

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        name = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        if name not in ("sam2", "sam2_video"):
            raise ValueError(f"model_type {name} (known: sam2, sam2_video)")
        self.model: Any = load_whole(Sam2Model, folder, device=device)
        self.side: int = self.model.config.prompt_encoder_config.image_size
        self.device = device
        how = f"PIL, squashed to {self.side} px, bilinear, ImageNet's mean and std, one mask per box"
        self.id = encoder_id("sam2", spec=spec, folder=folder, preprocessing=how, batch=1)

    def _seen(self, picture: Image.Image) -> Any:
        squashed = picture.resize((self.side, self.side), Image.Resampling.BILINEAR)
        pixels = (np.asarray(squashed, dtype=np.float32) / 255 - np.array(MEAN, dtype=np.float32)) / np.array(
            STD, dtype=np.float32
        )
        return self.model.get_image_embeddings(torch.from_numpy(pixels.transpose(2, 0, 1)[None]).to(self.device))

    def _answer(self, picture: Image.Image, seen: Any, text: str) -> Segment:
        scale = np.array([self.side / edge for edge in picture.size * 2], dtype=np.float32)
        boxes = torch.from_numpy(np.array(box_sides(text), dtype=np.float32) * scale)[None, None].to(self.device)
        found = self.model(image_embeddings=seen, input_boxes=boxes, multimask_output=False)
        height_width = (picture.height, picture.width)
        logits = F.interpolate(found.pred_masks[0].float(), height_width, mode="bilinear", align_corners=False)
        mask = (logits[0, 0] > 0).cpu().numpy()
        return Segment(np.packbits(mask), picture.size, float(found.iou_scores.reshape(-1)[0]))
