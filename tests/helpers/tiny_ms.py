"""A complete SDXL folder with an MS-Diffusion adapter: the published layout, random weights, small enough for one core.

The names are written down here once more, from the note on the public file, so that wrong ones show.
"""

import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from tiny_sdxl import IMAGE_WIDTH, SETTINGS, build_tiny_sdxl
from torch import Tensor

from likeness.backbones.sdxl.ms_adapter import FOLDER_NAME, convert_ms_adapter
from likeness.core.files import write_json
from likeness.encoders.checkpoint import read_checkpoint

TOKENS, WIDTH, PHRASE_WIDTH, FOURIER = 4, 64, 32, 64


def published_groups(unet: Any, *, text_width: int, seed: int = 1) -> dict[str, Any]:
    """What ms_adapter.bin holds, for the U-Net: three entries."""
    draw = torch.Generator().manual_seed(seed)

    def matrix(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=draw) / columns**0.5

    def linear(name: str, rows: int, columns: int) -> dict[str, Tensor]:
        return {f"{name}.weight": matrix(rows, columns), f"{name}.bias": matrix(1, rows)[0]}

    def norm(name: str, width: int) -> dict[str, Tensor]:
        return {f"{name}.weight": 1 + 0.1 * matrix(1, width)[0], f"{name}.bias": 0.1 * matrix(1, width)[0]}

    resampler = {
        "grounding_latents": torch.randn(1, TOKENS, WIDTH, generator=draw) / WIDTH**0.5,
        **linear("latent_proj.0", IMAGE_WIDTH, PHRASE_WIDTH + FOURIER),
        **linear("latent_proj.2", TOKENS * WIDTH, IMAGE_WIDTH),
        **norm("latent_norm", WIDTH),
        **linear("proj_in", WIDTH, IMAGE_WIDTH),
        **norm("attention_norm", WIDTH),
        **linear("proj_out", text_width, WIDTH),
        **norm("norm_out", text_width),
    }
    for number in range(4):
        block = f"layers.{number}"
        resampler |= {
            **norm(f"{block}.0.norm1", WIDTH),
            **norm(f"{block}.0.norm2", WIDTH),
            f"{block}.0.to_q.weight": matrix(128, WIDTH),
            f"{block}.0.to_kv.weight": matrix(256, WIDTH),
            f"{block}.0.to_out.weight": matrix(WIDTH, 128),
            **norm(f"{block}.1.0", WIDTH),
            f"{block}.1.1.weight": matrix(4 * WIDTH, WIDTH),
            f"{block}.1.3.weight": matrix(WIDTH, 4 * WIDTH),
        }
    attention: dict[str, Tensor] = {}
    for number, name in enumerate(unet.attn_processors):
        if "attn2" in name:
            width = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
            for kind in ("to_k_ip", "to_v_ip"):
                attention[f"{number}.{kind}.weight"] = 2 * matrix(width, text_width)
    dummies = torch.nn.Parameter(torch.randn(1, 4, text_width, generator=draw))  # as it was saved
    return {"image_proj": resampler, "dummy_image_tokens": dummies, "ms_adapter": attention}


def build_tiny_ms(folder: Path, **more: Any) -> Path:
    """The folder; its adapter went through the pickle and the conversion. `more` as `build_tiny_sdxl` takes it."""
    build_tiny_sdxl(folder, **more)
    shutil.rmtree(folder / "ip_adapter")
    unet: Any = UNet2DConditionModel.from_pretrained(folder / "unet")
    pickle = folder / "ms_adapter.bin"
    torch.save(published_groups(unet, text_width=unet.config.cross_attention_dim), pickle)
    (folder / FOLDER_NAME).mkdir()
    convert_ms_adapter(read_checkpoint(pickle), folder / FOLDER_NAME, "")
    pickle.unlink()
    write_json(folder / "likeness.json", SETTINGS)
    return folder
