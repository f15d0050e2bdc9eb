"""The file of SSR-Encoder: names, counts at full size, the pickles, and files that do not fit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_sdxl import num_parameters
from tiny_ssr import FULL_SIZE, NUM_LAYERS, UNET, published_pickles, write_pickles
from torch import Tensor
from typer.testing import CliRunner

from likeness.backbones.base import TokenGrid
from likeness.backbones.lora import layer_shapes
from likeness.backbones.open import kind_of
from likeness.backbones.sd15.ssr_adapter import (
    FILE_NAME,
    Surroundings,
    attach_attention,
    make_aligner,
    published_shapes,
    require_fit,
)
from likeness.backbones.sd15.ssr_encoder import Sd15SsrEncoder
from likeness.backbones.sdxl.adapter import image_attention
from likeness.backbones.sdxl.lora_names import sdxl_names
from likeness.backbones.sdxl.ms_diffusion import RELATION_TARGETS
from likeness.backbones.sdxl.text_attention import watching_text
from likeness.backbones.sdxl.watch import watched_blocks
from likeness.cli import app
from likeness.core.errors import WeightsError

STAGES = {"down_blocks": range(1, 13, 2), "up_blocks": range(13, 31, 2), "mid_block": range(31, 33, 2)}
"""By the public loader of a port (logtd/ComfyUI-SSREncoder): input, then output, then middle."""


# full size -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full() -> Any:
    """SD 1.5 with the published adapter, without weights."""
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(**FULL_SIZE)
        around = Surroundings(unet, image_width=1024, image_layers=24, text_width=768)
        tensors = {name: torch.empty(shape) for name, shape in published_shapes(around).items()}
        attach_attention(unet, tensors)
    return unet, around, tensors


def test_names_and_counts_at_full_size(full: Any) -> None:
    unet, around, tensors = full
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    require_fit(shapes, around, Path("published"))
    assert len(shapes) == 16 + 32
    with torch.device("meta"):
        aligner = num_parameters(make_aligner(tensors))
    assert aligner == 512 * 768 + 512 * 1024 + 6 * (512 * 1024 + 768 * 512) + 2 * 768 == 6_424_064
    attention = sum(num_parameters(each) for each in image_attention(unet))
    assert attention == 2 * 768 * (5 * 320 + 5 * 640 + 6 * 1280) == 19_169_280
    assert num_parameters(unet) - attention == 859_520_964
    named = list(unet.attn_processors)
    for stage, numbers in STAGES.items():
        for number in numbers:
            assert named[number].startswith(stage)
            width = unet.get_submodule(named[number]).to_k_ip[0].out_features
            assert shapes[f"SSR_layers.{number}.to_k_SSR.weight"] == (width, 768)
    assert sum(len(numbers) for numbers in STAGES.values()) == 16 == len(watched_blocks(unet))


def test_a_sketch_of_the_published_configs_has_the_published_counts(tmp_path: Path) -> None:
    """Without any file of weights; the adapter is taken to be the published one."""
    levels: dict[str, Any] = {"block_out_channels": [128, 256, 512, 512], "layers_per_block": 2, "latent_channels": 4}
    kinds = {"down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
    text = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "max_position_embeddings": 77}
    vision = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    configs: dict[str, dict[str, Any]] = {
        "unet": {"_class_name": "UNet2DConditionModel", **FULL_SIZE},
        "vae": {"_class_name": "AutoencoderKL", **levels, **kinds},
        "text_encoder": {"model_type": "clip_text_model", "intermediate_size": 3072, "vocab_size": 49408, **text},
        "image_encoder": {
            "model_type": "clip",
            "projection_dim": 768,
            "vision_config": {"model_type": "clip_vision_model", "patch_size": 14, "projection_dim": 768, **vision},
        },
    }
    for part, config in configs.items():
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(json.dumps(config))
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    sketch = Sd15SsrEncoder.sketch(tmp_path, dtype=torch.float32)
    counts = {name: num_parameters(part) for name, part in sketch.encoders().items()}
    adapter = {"aligner": 6_424_064}
    assert counts == {"vae": 83_653_863, "text_encoder": 123_060_480, "image_encoder": 303_966_208, **adapter}
    assert num_parameters(sketch.network) == 859_520_964 + 19_169_280
    blank = sketch.blank((512, 512), [Image.new("RGB", (40, 40))])
    shapes = {name: tuple(tensor.shape) for name, tensor in blank.items()}
    assert shapes == {"latents": (4, 64, 64), "embeds": (77, 768), "reference0": (462, 768)}


def test_the_lora_of_a_relation_at_full_size(full: Any) -> None:
    layers = {name: shape for name, shape in layer_shapes(full[0]).items() if re.fullmatch(RELATION_TARGETS, name)}
    assert len(layers) == 4 * 16
    assert sum(4 * (rows + columns) for rows, columns in layers.values()) == 397_824


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        (
            "input_blocks.1.1.transformer_blocks.0.attn2.to_k",
            "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
        ),
        (
            "input_blocks.8.1.transformer_blocks.0.attn1.to_q",
            "down_blocks.2.attentions.1.transformer_blocks.0.attn1.to_q",
        ),
        ("middle_block.1.transformer_blocks.0.attn2.to_v", "mid_block.attentions.0.transformer_blocks.0.attn2.to_v"),
        (
            "output_blocks.11.1.transformer_blocks.0.attn2.to_q",
            "up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_q",
        ),
    ],
)
def test_names_of_the_original_code_in_loras(full: Any, name: str, layer: str) -> None:
    """Source of the places: diffusers' conversion script for SD 1.x."""
    find = sdxl_names(layer_shapes(full[0]))
    for spelt in (name, name.replace(".", "_"), layer, layer.replace(".", "_")):
        assert [target.layer for target in find(spelt)] == [layer]


def test_the_predicates_attention_is_seen_below_the_first_level(full: Any) -> None:
    """At 512 px: 11 of 16 layers, those of at most 32 x 32 queries, as 60 of 70 in SDXL at 1024 px."""
    unet = full[0]
    none = torch.zeros(1, 77, dtype=torch.bool)
    with (
        torch.no_grad(),
        torch.device("meta"),
        watching_text(watched_blocks(unet), none, grid=TokenGrid(64, 64)) as seen,
    ):
        unet(torch.empty(1, 4, 64, 64), torch.empty(1), torch.empty(1, 77, 768))
    assert len(seen.seen) == 11
    assert not any(name.startswith(("down_blocks.0", "up_blocks.3")) for name in seen.seen)


# the pickles ---------------------------------------------------------------------------------------------------------


def pickles(folder: Path) -> Path:
    folder.mkdir()
    unet: Any = UNet2DConditionModel(**UNET)
    return write_pickles(unet, folder)


def fetched(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return CliRunner().invoke(app, ["fetch", "ssr_encoder", "--from", str(folder)])


def test_the_pickles_are_converted_once_and_open(
    ssr_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pickles(tmp_path / "published")
    result = fetched(folder, tmp_path, monkeypatch)
    assert result.exit_code == 0, result.output
    assert "Next: likeness generate --model SD15-FOLDER ..." in result.stdout
    made = tmp_path / "cache" / "likeness" / "weights" / "ssr_encoder" / FILE_NAME
    tensors, unet = load_file(made), UNet2DConditionModel(**UNET)
    groups = zip(("SSR_aligners", "SSR_layers"), published_pickles(unet).values(), strict=True)
    expected = {f"{group}.{name}": tensor for group, own in groups for name, tensor in own.items()}
    assert tensors.keys() == expected.keys()
    assert len(tensors) == 16 + 2 * NUM_LAYERS
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())
    assert made.read_bytes() == (ssr_folder / "ssr_encoder" / FILE_NAME).read_bytes()
    assert "(was there)" in fetched(folder, tmp_path, monkeypatch).stdout


def test_other_pickles_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pickles(tmp_path / "published")
    first, second = folder / "pytorch_model.bin", folder / "pytorch_model_1.bin"
    torch.save({**torch.load(first, weights_only=True), "optimizer": torch.zeros(1)}, first)
    said = " ".join(fetched(folder, tmp_path, monkeypatch).output.split())
    assert "expected the tensors of SSR_aligners by the names of SSR-Encoder's public code, got also optimizer" in said
    second.rename(first)
    said = " ".join(fetched(folder, tmp_path, monkeypatch).output.split())
    assert "got none called pytorch_model_1.bin" in said or "got also 1.to_k_SSR.weight" in said


# files that do not fit -----------------------------------------------------------------------------------------------


def _wide(tensors: dict[str, Tensor]) -> None:
    tensors["SSR_layers.1.to_k_SSR.weight"] = torch.zeros(16, 33)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda t: t.pop("SSR_layers.3.to_v_SSR.weight"),
            r"got 1 missing, first SSR_layers\.3\.to_v_SSR\.weight; check",
        ),
        (lambda t: t.pop("SSR_aligners.norm.bias"), r"1 missing, first SSR_aligners\.norm\.bias"),
        (lambda t: t.update({"SSR_layers.2.to_k_SSR.weight": torch.zeros(1)}), r"1 left over, first SSR_layers\.2\."),
        (_wide, r"1 of another shape, first SSR_layers\.1\.to_k_SSR\.weight \(16, 33\) instead of \(16, 32\)"),
        (lambda t: t.pop("SSR_aligners.aligner.to_q.weight"), "expected SSR-Encoder's aligner .*, got another kind"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    ssr_folder: Path, tmp_path: Path, change: Callable[[Any], object], said: str
) -> None:
    folder = tmp_path / "sd15"
    shutil.copytree(ssr_folder, folder)
    tensors = load_file(folder / "ssr_encoder" / FILE_NAME)
    change(tensors)
    save_file(tensors, folder / "ssr_encoder" / FILE_NAME)
    for opening in (Sd15SsrEncoder.load, Sd15SsrEncoder.layers_of):
        with pytest.raises(WeightsError, match=said):
            opening(folder)


def test_an_image_encoder_of_other_depth_and_a_folder_without_the_file(ssr_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sd15"
    shutil.copytree(ssr_folder, folder)
    assert kind_of(folder) == "sd15_ssr_encoder"
    config = folder / "image_encoder" / "config.json"
    text = config.read_text()
    config.write_text(text.replace('"num_hidden_layers": 24', '"num_hidden_layers": 12'))
    with pytest.raises(WeightsError, match=r"6 left over, first SSR_aligners\.aligner\.processor\.to_"):
        Sd15SsrEncoder.load(folder)
    config.write_text(text)
    shutil.rmtree(folder / "ssr_encoder")
    with pytest.raises(WeightsError, match=r"expected one safetensors .* `likeness fetch ssr_encoder`"):
        Sd15SsrEncoder.load(folder)
    assert Sd15SsrEncoder.sketch(folder, dtype=torch.float32).facts.tokens_per_reference == 6 * 24
