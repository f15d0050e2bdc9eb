"""The adapter's file: every tensor has its place; the sizes of the published models, without their weights."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tiny_sdxl import ADAPTER, FULL_SIZE, num_parameters
from torch import Tensor

from likeness.backbones.lora import layer_shapes
from likeness.backbones.sdxl.adapter import attach, attention_shapes, image_attention, require_fit, resampler_shapes
from likeness.backbones.sdxl.folder import ADAPTER_TARGETS
from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.backbones.sdxl.watch import watched_blocks
from likeness.core.errors import WeightsError


def test_the_published_models_at_full_size() -> None:
    """Counts of the design note, sections 2.1 and 2.3; the numbers of the layers are those of the published file."""
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(**FULL_SIZE)
        assert num_parameters(unet) / 1e9 == pytest.approx(2.567, abs=1e-3)
        shapes = attention_shapes(unet)
        assert len(shapes) == 140
        assert sum(rows * columns for rows, columns in shapes.values()) / 1e6 == pytest.approx(340.8, abs=0.05)
        numbers = sorted({int(name.split(".")[1]) for name in shapes})
        assert numbers == list(range(1, 140, 2))
        narrow = {number for number in numbers if shapes[f"ip_adapter.{number}.to_k_ip.weight"] == (640, 2048)}
        assert narrow == {1, 3, 5, 7, *range(109, 120, 2)}  # down_blocks.1 and up_blocks.1
        resampler = resampler_shapes(tokens=16, width=1280, heads=20, image_width=1280, text_width=2048)
        assert len(resampler) == 51
        require_fit(shapes | resampler, unet=unet, image_width=1280, path=Path("published"))
        tensors = {name: torch.empty(shape) for name, shape in (shapes | resampler).items()}
        made = attach(unet, tensors)
    assert num_parameters(made) == sum(
        tensor.numel() for name, tensor in tensors.items() if name.startswith("image_proj")
    )
    assert num_parameters(made) / 1e6 == pytest.approx(83.0, abs=1.0)
    assert len(list(image_attention(unet))) == len(watched_blocks(unet)) == 70
    layers = {name: shape for name, shape in layer_shapes(unet).items() if re.fullmatch(ADAPTER_TARGETS, name)}
    of_images = {name for name in layers if "processor" in name}
    assert (len(layers), len(of_images)) == (70 * 10, 140)
    rank = 32
    sizes = {name: rank * sum(shape) / 1e6 for name, shape in layers.items()}
    assert sum(size for name, size in sizes.items() if name not in of_images) == pytest.approx(46.4, abs=0.05)
    assert sum(sizes[name] for name in of_images) == pytest.approx(14.5, abs=0.05)


# files that do not fit -----------------------------------------------------------------------------------------------


@pytest.fixture
def spoilt(sdxl_folder: Path, tmp_path: Path) -> Callable[[Callable[[dict[str, Tensor]], object]], Path]:
    """A copy of the folder whose adapter has been changed."""

    def make(change: Callable[[dict[str, Tensor]], object]) -> Path:
        folder = tmp_path / "sdxl"
        shutil.copytree(sdxl_folder, folder)
        tensors = load_file(folder / "ip_adapter" / ADAPTER)
        change(tensors)
        save_file(tensors, folder / "ip_adapter" / ADAPTER)
        return folder

    return make


def _wide(tensors: dict[str, Tensor]) -> None:
    tensors["ip_adapter.1.to_k_ip.weight"] = torch.zeros(32, 65)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("ip_adapter.3.to_v_ip.weight"), r"got 1 missing, first ip_adapter\.3\.to_v_ip\.weight; check"),
        (lambda t: t.pop("image_proj.layers.2.1.3.weight"), r"1 missing, first image_proj\.layers\.2\.1\.3\.weight"),
        (lambda t: t.update({"ip_adapter.2.to_k_ip.weight": torch.zeros(1)}), r"1 left over, first ip_adapter\.2\."),
        (lambda t: t.update({"image_proj.layers.4.0.to_q.weight": torch.zeros(1)}), r"1 left over, first image_proj"),
        (_wide, r"1 of another shape, first ip_adapter\.1\.to_k_ip\.weight \(32, 65\) instead of \(32, 64\)"),
        (lambda t: t.pop("image_proj.latents"), "expected the resampler of an IP-Adapter-Plus .*, got another kind"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    spoilt: Callable[[Callable[[dict[str, Tensor]], object]], Path], change: Callable[[Any], object], said: str
) -> None:
    folder = spoilt(change)
    with pytest.raises(WeightsError, match=said):
        SdxlIpAdapter.load(folder)
    with pytest.raises(WeightsError, match=said):
        SdxlIpAdapter.layers_of(folder)


def test_a_folder_without_an_adapter_says_what_belongs_there(sdxl_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sdxl"
    shutil.copytree(sdxl_folder, folder)
    shutil.rmtree(folder / "ip_adapter")
    with pytest.raises(WeightsError, match=r"ip_adapter: expected one safetensors .* copy ip-adapter-plus_sdxl_vit-h"):
        SdxlIpAdapter.load(folder)
    shutil.rmtree(folder / "image_encoder")
    with pytest.raises(WeightsError, match=r"without image_encoder/config\.json"):
        SdxlIpAdapter.load(folder)
