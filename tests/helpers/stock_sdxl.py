"""The stock SDXL pipeline over a folder that holds an IP-Adapter as well."""

from pathlib import Path
from typing import Any

from diffusers import StableDiffusionXLPipeline
from tiny_sdxl import ADAPTER


def stock_pipeline(folder: Path) -> Any:
    made: Any = StableDiffusionXLPipeline.from_pretrained(folder, add_watermarker=False)
    made.set_progress_bar_config(disable=True)
    return made


def add_stock_adapter(pipeline: Any, folder: Path) -> None:
    pipeline.load_ip_adapter(
        str(folder), subfolder="ip_adapter", weight_name=ADAPTER, image_encoder_folder="./image_encoder"
    )
