"""MS-Diffusion's file: every tensor has its place; the published sizes without weights; the pickle, converted."""

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
from tiny_ms import build_tiny_ms, published_groups
from tiny_sdxl import FULL_SIZE, UNET, num_parameters
from torch import Tensor
from typer.testing import CliRunner

from likeness.backbones.lora import layer_shapes
from likeness.backbones.open import kind_of
from likeness.backbones.sdxl.adapter import Surroundings, image_attention
from likeness.backbones.sdxl.ms_adapter import (
    FILE_NAME,
    attach_attention,
    make_resampler,
    published_shapes,
    require_fit,
)
from likeness.backbones.sdxl.ms_diffusion import RELATION_TARGETS, SdxlMsDiffusion
from likeness.backbones.sdxl.watch import watched_blocks
from likeness.cli import app
from likeness.core.errors import WeightsError

STAGES = {
    "down_blocks.1": (range(1, 8, 2), 640),
    "down_blocks.2": (range(9, 48, 2), 1280),
    "up_blocks.0": (range(49, 108, 2), 1280),
    "up_blocks.1": (range(109, 120, 2), 640),
    "mid_block": (range(121, 140, 2), 1280),
}
"""The note's table, section 1.3: which numbers of the file belong to which stage, and how wide it is."""


def test_the_published_file_at_full_size() -> None:
    """Note, section 1.3 and check 1: 59 + 1 + 140 tensors; the numbers of parameters are the published ones."""
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(**FULL_SIZE)
        around = Surroundings(unet, image_width=1664, phrase_width=768)
        shapes = published_shapes(around)
        groups = {"image_proj.": 59, "dummy_image_tokens": 1, "ms_adapter.": 140}
        assert {group: sum(name.startswith(group) for name in shapes) for group in groups} == groups
        assert len(shapes) == 200
        require_fit(shapes, around, Path("published"))
        tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
        assert num_parameters(make_resampler(tensors)) == 118_943_616
        attach_attention(unet, tensors)
    assert sum(num_parameters(each) for each in image_attention(unet)) == 340_787_200
    assert len(watched_blocks(unet)) == 70
    named = list(unet.attn_processors)
    for stage, (numbers, width) in STAGES.items():
        for number in numbers:
            assert named[number].startswith(f"{stage}.")
            assert named[number].endswith("attn2.processor")
            assert shapes[f"ms_adapter.{number}.to_k_ip.weight"] == (width, 2048)
    assert sum(len(numbers) for numbers, _ in STAGES.values()) == 70
    assert shapes["image_proj.latent_proj.0.weight"] == (1664, 832)
    assert shapes["image_proj.latent_proj.2.weight"] == (20480, 1664)
    assert shapes["dummy_image_tokens"] == (1, 4, 2048)


def test_the_lora_has_the_layers_of_the_published_ones() -> None:
    """Note, sections 2.4 and 4: 280 layers, 560 tensors, 3,143,680 parameters of rank 4, none of the adapter."""
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(**FULL_SIZE)
        layers = {name: shape for name, shape in layer_shapes(unet).items() if re.fullmatch(RELATION_TARGETS, name)}
    assert 2 * len(layers) == 560
    assert sum(4 * (rows + columns) for rows, columns in layers.values()) == 3_143_680
    assert {name.partition("transformer_blocks")[2].partition("attn2.")[2] for name in layers} == {
        *("to_q", "to_k", "to_v", "to_out.0")
    }


# the pickle ----------------------------------------------------------------------------------------------------------


def published_pickle(path: Path, change: Callable[[dict[str, Any]], object] = len) -> Path:
    unet: Any = UNet2DConditionModel(**UNET)
    groups = published_groups(unet, text_width=UNET["cross_attention_dim"])
    change(groups)
    torch.save(groups, path)
    return path


def fetched(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> Any:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return CliRunner().invoke(app, ["fetch", "ms_diffusion", "--from", str(path), *more])


def test_the_pickle_is_converted_once_and_opens(
    ms_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = published_pickle(tmp_path / "ms_adapter.bin")
    result = fetched(file, tmp_path, monkeypatch)
    assert result.exit_code == 0, result.output
    assert "Next: likeness generate --model SDXL-FOLDER ..." in result.stdout
    made = tmp_path / "cache" / "likeness" / "weights" / "ms_diffusion" / FILE_NAME
    tensors, groups = load_file(made), torch.load(file, weights_only=True)
    assert len(tensors) == 59 + 1 + 2 * 11
    assert torch.equal(tensors["dummy_image_tokens"], groups["dummy_image_tokens"].data)
    for group in ("image_proj", "ms_adapter"):
        for name, tensor in groups[group].items():
            assert torch.equal(tensors[f"{group}.{name}"], tensor)
    assert made.read_bytes() == (ms_folder / "ms_adapter" / FILE_NAME).read_bytes()
    assert "(was there)" in fetched(file, tmp_path, monkeypatch).stdout


@pytest.mark.parametrize(
    ("change", "more", "said"),
    [
        (lambda g: g.pop("ms_adapter"), (), r"got a file without ms_adapter to do get ms_adapter\.bin"),
        (lambda g: g.update(optimizer={"x": torch.zeros(1)}), (), r"got also optimizer\.x"),
        (lambda g: g.update(step=3), (), "expected tensors by name, got 'step' with int"),
        (len, ("--base", "somewhere"), "where --base what expected it with a file that lacks something"),
    ],
)
def test_other_pickles_are_refused(
    change: Callable[[Any], object],
    more: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    result = fetched(published_pickle(tmp_path / "ms_adapter.bin", change), tmp_path, monkeypatch, *more)
    assert result.exit_code == 2
    assert re.search(said, " ".join(result.output.split()))


# files that do not fit -----------------------------------------------------------------------------------------------


def _wide(tensors: dict[str, Tensor]) -> None:
    tensors["ms_adapter.1.to_k_ip.weight"] = torch.zeros(32, 65)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: t.pop("ms_adapter.3.to_v_ip.weight"), r"got 1 missing, first ms_adapter\.3\.to_v_ip\.weight; check"),
        (lambda t: t.pop("dummy_image_tokens"), r"1 missing, first dummy_image_tokens"),
        (lambda t: t.pop("image_proj.latent_norm.bias"), r"1 missing, first image_proj\.latent_norm\.bias"),
        (lambda t: t.update({"ms_adapter.2.to_k_ip.weight": torch.zeros(1)}), r"1 left over, first ms_adapter\.2\."),
        (lambda t: t.update({"image_proj.latents": torch.zeros(1)}), r"1 left over, first image_proj\.latents"),
        (_wide, r"1 of another shape, first ms_adapter\.1\.to_k_ip\.weight \(32, 65\) instead of \(32, 64\)"),
        (lambda t: t.pop("image_proj.grounding_latents"), "expected MS-Diffusion's resampler .*, got another kind"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    ms_folder: Path, tmp_path: Path, change: Callable[[Any], object], said: str
) -> None:
    folder = tmp_path / "sdxl"
    shutil.copytree(ms_folder, folder)
    tensors = load_file(folder / "ms_adapter" / FILE_NAME)
    change(tensors)
    save_file(tensors, folder / "ms_adapter" / FILE_NAME)
    for opening in (SdxlMsDiffusion.load, SdxlMsDiffusion.layers_of):
        with pytest.raises(WeightsError, match=said):
            opening(folder)


def test_another_text_encoder_or_image_encoder_is_noticed(ms_folder: Path, tmp_path: Path) -> None:
    for part in ("text_encoder", "image_encoder"):
        folder = tmp_path / part
        shutil.copytree(ms_folder, folder)
        config = folder / part / "config.json"
        config.write_text(config.read_text().replace('"hidden_size": 32', '"hidden_size": 48'))
        with pytest.raises(WeightsError, match=r"of another shape, first image_proj\.latent_proj\.0\.weight"):
            SdxlMsDiffusion.load(folder)


def test_the_subfolder_says_which_kind_a_folder_is(tmp_path: Path) -> None:
    folder = build_tiny_ms(tmp_path / "sdxl")
    assert kind_of(folder) == "sdxl_ms_diffusion"
    (folder / "ip_adapter").mkdir()
    with pytest.raises(WeightsError, match="what belongs to one kind of backbone, got ip_adapter and ms_adapter"):
        kind_of(folder)
    shutil.rmtree(folder / "ms_adapter")
    assert kind_of(folder) == "sdxl_ip_adapter"
    (folder / "ip_adapter").rmdir()
    assert kind_of(folder) == "sdxl_ip_adapter"
    (folder / "ms_adapter").mkdir()
    with pytest.raises(WeightsError, match=r"ms_adapter: expected one safetensors .* `likeness fetch ms_diffusion`"):
        SdxlMsDiffusion.load(folder)
    assert SdxlMsDiffusion.sketch(folder, dtype=torch.float32).facts.tokens_per_reference == 16
