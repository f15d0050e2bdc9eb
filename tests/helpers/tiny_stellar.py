"""A StellarNet recipe that trains in a second, over the miniature SDXL and two miniature CLIPs of different widths."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tiny_encoders as tiny
from PIL import Image
from tiny_sdxl import build_tiny_sdxl

SIZE = 64
LINES = """task = "stellarnet"
[model]
base = {base}
image_encoder = {first}
image_encoder_2 = {second}
depths = [2, 0, 1]
depths_2 = [2, 1, 0]
hidden = 12
rank = 2
alpha = 2.0
lora_rate = 0.5
[data]
{data}
size = 64
[objective]
kind = "stellarnet"
[train]
steps = 4
batch_size = 2
learning_rate = 1e-2
precision = "fp32"
save_every = 2
log_maps_every = 100
"""


def write_weights(folder: Path) -> Path:
    """`sdxl`, `first` and `second` in the folder; the two encoders differ in width and depth."""
    build_tiny_sdxl(folder / "sdxl")
    tiny.write_clip(folder / "first", seed=1)
    tiny.write_clip(folder / "second", seed=2, hidden_size=24, num_hidden_layers=3)
    return folder


def write_stellar_recipe(path: Path, *, weights: Path, data: str = "count = 6") -> Path:
    names = {"base": "sdxl", "first": "first", "second": "second"}
    places = {key: json.dumps((weights / name).as_posix()) for key, name in names.items()}
    path.write_text(LINES.format(**places, data=data))
    return path


def write_portraits(folder: Path, *, count: int = 3, side: int = 40) -> Path:
    """Noise, with masks of another size: the left half, as a palette picture, a grey one and RGB by turns."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(count):
        Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / f"{number}.png")
        mask: Any = np.zeros((side // 2, side // 2), np.uint8)
        mask[:, : side // 4] = 1
        if number % 3 == 0:
            picture = Image.frombytes("P", mask.shape[::-1], mask.tobytes())
            picture.putpalette([0, 0, 0, 40, 0, 0])
        else:
            picture = Image.fromarray(mask * 60)
            picture = picture.convert("RGB") if number % 3 == 2 else picture
        picture.save(folder / f"{number}_bg.png")
    return folder
