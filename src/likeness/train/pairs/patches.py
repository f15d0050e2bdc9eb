"""Features of the patches of whole pictures from a frozen ViT, for PatchDPO."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from likeness.encoders.vit import VitEncoder


class VitPatches:
    """Patch tokens after the final norm, of the picture squashed to the square of a ViT or DINOv2.

    `spec` is an embedded name, a folder or a hub id.

    Differs: the DINO metric crops the centre; here every patch of the picture needs its own quality, so nothing may be
    cut off. Raises: WeightsError.
    """

    def __init__(self, spec: str | Path, *, device: str) -> None:
        self._encoder, self._device = VitEncoder.load(spec, device=device), device
        config: Any = self._encoder.model.config  # sizes are annotated as a number or a pair
        self._side = int(config.image_size)
        self._patches = self._side // int(config.patch_size)

    @torch.no_grad()
    def __call__(self, image: Image.Image, /) -> Float[Tensor, "rows columns D"]:
        """Features on the CPU; rows = columns = image size / patch size of the encoder."""
        squashed = image.resize((self._side, self._side), Image.Resampling.BICUBIC)
        processor = self._encoder.processor
        pixels = np.asarray(squashed, dtype=np.float32) / 255
        pixels = (pixels - np.array(processor.image_mean, np.float32)) / np.array(processor.image_std, np.float32)
        values = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(self._device)
        tokens = self._encoder.model(pixel_values=values).last_hidden_state[0]
        count = self._patches**2
        return tokens[-count:].reshape(self._patches, self._patches, -1).float().cpu()
