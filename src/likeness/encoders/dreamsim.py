"""DreamSim: features of three networks together, tuned to what people call similar.

Source: Fu et al., "DreamSim" (arXiv:2306.09344), the ensemble: CLS of DINO ViT-B/16 after its last block and before
the final norm, and the projected features of OpenAI's CLIP and of OpenCLIP, both ViT-B/16, side by side.
Differs: stock classes. The folder holds dino, clip and open_clip, each a stock folder with config.json and safetensors
into which the published adapter (LoRA) is merged; `dreamsim_convert` makes it of the published files.
"""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import CLIPVisionModelWithProjection, ViTModel

from likeness.core.weights import require_configs
from likeness.encoders.base import FeatureEncoder, encoder_id, load_whole

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OPENAI = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


class DreamSimEncoder(FeatureEncoder):
    """The frozen ensemble in float32; D is the sum of the three widths (768 + 512 + 512 as published).

    A sight is the three features side by side, of unit length as a whole, which no correlation notices.
    """

    wanted: ClassVar[tuple[str, str]] = (
        "DreamSim",
        "the folders dino (ViTModel), clip and open_clip (CLIPVisionModelWithProjection) as safetensors",
    )

    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None:
        for part in ("dino", "clip", "open_clip"):
            if not (folder / part / "config.json").is_file():
                raise ValueError(f"no {part}/config.json")
            require_configs(folder / part)
        self.dino: Any = load_whole(ViTModel, folder / "dino", device=device, add_pooling_layer=False)
        self.dino.layernorm = torch.nn.Identity()
        self.clips: list[Any] = [
            load_whole(CLIPVisionModelWithProjection, folder / part, device=device) for part in ("clip", "open_clip")
        ]
        sides = {model.config.image_size for model in (self.dino, *self.clips)}
        if len(sides) > 1:
            raise ValueError(f"models for pictures of {', '.join(str(side) for side in sorted(sides))} px")
        self.side: int = sides.pop()
        self.device = device
        how = f"PIL, squashed to {self.side} px, bicubic, ImageNet's and CLIP's mean and std"
        self.id = encoder_id("dreamsim", spec=spec, folder=folder, preprocessing=how)

    def pixel_values(self, image: Image.Image) -> Float[np.ndarray, "3 S S"]:
        """The picture in [0, 1], squashed to the side that all three see."""
        squashed = image.convert("RGB").resize((self.side, self.side), Image.Resampling.BICUBIC)
        return np.asarray(squashed, dtype=np.float32).transpose(2, 0, 1) / 255

    def _feature(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        cls = self.dino(pixel_values=_normalised(pixels, *IMAGENET)).last_hidden_state[:, 0]
        for_clip = _normalised(pixels, *OPENAI)
        return torch.cat([cls, *(clip(pixel_values=for_clip).image_embeds for clip in self.clips)], dim=1)


def _normalised(
    pixels: Float[Tensor, "B 3 S S"], mean: tuple[float, ...], std: tuple[float, ...]
) -> Float[Tensor, "B 3 S S"]:
    shape = (1, 3, 1, 1)
    return (pixels - pixels.new_tensor(mean).view(shape)) / pixels.new_tensor(std).view(shape)
