"""The tiny SDXL's folder as a user opens it."""

from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline

from likeness.pretrain.tiny_sdxl import ADAPTER


def stock_sdxl(folder: Path, *, adapter: bool = True) -> Any:  # its calls are typed loosely
    """The folder as a user opens it."""
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    if adapter:
        pipeline.load_ip_adapter(str(folder), subfolder="ip_adapter", weight_name=ADAPTER, image_encoder_folder=None)
    return pipeline
