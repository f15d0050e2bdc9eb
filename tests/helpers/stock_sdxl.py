"""The stock SDXL pipeline over a folder that holds an IP-Adapter as well."""

from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionXLPipeline


def stock_pipeline(folder: Path) -> Any:
    made: Any = StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
    made.set_progress_bar_config(disable=True)
    return made


def add_stock_adapter(pipeline: Any, folder: Path) -> None:
    (file,) = (folder / "ip_adapter").glob("*.safetensors")
    pipeline.load_ip_adapter(
        str(folder), subfolder="ip_adapter", weight_name=file.name, image_encoder_folder="./image_encoder"
    )


def stock_sdxl(folder: Path, *, adapter: bool = True) -> Any:
    """The folder as a user opens it, in fp32."""
    pipeline = stock_pipeline(folder).to(torch.float32)
    if adapter:
        add_stock_adapter(pipeline, folder)
    return pipeline
