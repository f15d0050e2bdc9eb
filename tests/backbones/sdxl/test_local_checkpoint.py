"""The published Local Image Encoder, CLIPSelf's checkpoint: converted once, to features written out in float64."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
import torch
from PIL import Image
from published_files import Array, OpenClip, as_open_clip, gelu, layer_norm
from safetensors.torch import load_file
from tiny_ms import build_tiny_ms
from torch import Tensor
from typer.testing import CliRunner

from likeness.backbones.sdxl.ms_diffusion import SdxlMsDiffusion
from likeness.cli import app
from likeness.core.hashing import file_sha256
from likeness.encoders.dense import DENSE_ENCODERS
from likeness.encoders.open_clip import VIT_BIG_G_14, clip_tensors

WIDTH = 32
"""Of both towers: 16 heads of the picture tower, as CLIP bigG has, of 2 each."""
Change = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """A CLIP with biases and norms that are not 0 and 1, under open_clip's names."""
    model = tiny.tiny_clip(seed=3, hidden_act="gelu", hidden_size=WIDTH, num_attention_heads=16)
    torch.manual_seed(0)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor += 0.2 * torch.randn_like(tensor)
    return as_open_clip(model)


def saved(path: Path, tensors: dict[str, Tensor], change: Change = len) -> Path:
    """As CLIPSelf saves it, from training on several devices with mixed precision."""
    moments = {"step": torch.tensor(7.0), "exp_avg": torch.ones(2)}
    content: dict[str, Any] = {
        "epoch": 6,
        "name": "clipself",
        "state_dict": {f"module.{name}": tensor for name, tensor in tensors.items()},
        "optimizer": {"state": {0: moments}, "param_groups": [{"lr": 1e-5, "params": [0]}]},
        "scaler": {"scale": 65536.0, "growth_factor": 2.0},
    }
    change(content)
    torch.save(content, path)
    return path


def fetched(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, Path]:
    """What the command said, and where the encoder is to be."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    result = CliRunner().invoke(app, ["fetch", "local_image_encoder", "--from", str(path)])
    return result, tmp_path / "cache" / "likeness" / "weights" / "local_image_encoder"


def dense_by_hand(tensors: dict[str, Tensor], pixels: Array) -> Array:
    """(h, w, D): open_clip's blocks but the last, whose tokens take their own value alone; no projection; unit length.

    Pixels are those of the size that the positions were trained at. Design note, 2.1.
    """
    last = max(int(name.split(".")[3]) for name in tensors if name.startswith("visual.transformer.resblocks."))
    block = f"visual.transformer.resblocks.{last}"
    oracle = OpenClip({k: v for k, v in tensors.items() if not k.startswith(f"{block}.")}, heads=16, quick=False)
    weights = {name: tensor.double().numpy() for name, tensor in tensors.items()}
    kernel = weights["visual.conv1.weight"]
    size, side = kernel.shape[-1], pixels.shape[-1] // kernel.shape[-1]
    patches = pixels.reshape(3, side, size, side, size).transpose(1, 3, 0, 2, 4).reshape(side * side, -1)
    x = np.concatenate([weights["visual.class_embedding"][None], patches @ kernel.reshape(len(kernel), -1).T])
    x = oracle._norm("visual.ln_pre", x + weights["visual.positional_embedding"])
    x = oracle._blocks("visual.transformer", x, mask=None)

    def linear(name: str, y: Array) -> Array:
        return y @ weights[f"{block}.{name}.weight"].T + weights[f"{block}.{name}.bias"]

    def norm(name: str, y: Array) -> Array:
        return layer_norm(y, weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-5)

    value = norm(f"{block}.ln_1", x) @ weights[f"{block}.attn.in_proj_weight"][2 * WIDTH :].T
    x = x + linear("attn.out_proj", value + weights[f"{block}.attn.in_proj_bias"][2 * WIDTH :])
    x = x + linear("mlp.c_proj", gelu(linear("mlp.c_fc", norm(f"{block}.ln_2", x))))
    x = norm("visual.ln_post", x)[1:]
    return (x / np.linalg.norm(x, axis=-1, keepdims=True)).reshape(side, side, -1)


def test_the_checkpoint_is_converted_once_and_reads_dense_features(
    published: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = saved(tmp_path / "epoch_6.pt", published)
    result, folder = fetched(file, tmp_path, monkeypatch)
    assert result.exit_code == 0, result.output
    tensors, expected = load_file(folder / "model.safetensors"), clip_tensors(published)
    assert tensors.keys() == {name for name in expected if name.startswith("vis")}, "the picture tower and no other"
    assert all(torch.equal(tensor, expected[name]) for name, tensor in tensors.items())
    assert json.loads((folder / "fetched.json").read_text())["sha256"] == file_sha256(file)
    encoder = DENSE_ENCODERS["local"].load(folder)
    assert encoder.side == 128, "four times the size that the positions were trained at, as 896 is of 224"
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    encoder = encoder.at(32)
    by_hand = dense_by_hand(published, encoder.pixel_values(picture).astype(np.float64))
    np.testing.assert_allclose(encoder.look([picture])[0], by_hand, atol=1e-5)
    assert "(was there)" in fetched(file, tmp_path, monkeypatch)[0].stdout


def test_names_come_back_as_they_were(
    published: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Note, 9.5: open_clip's names to ours and back, from a bare state dict without `module.`."""

    def bare(content: dict[str, Any]) -> None:
        content.clear()
        content.update(published)

    _, folder = fetched(saved(tmp_path / "epoch_6.pt", published, bare), tmp_path, monkeypatch)
    model = tiny.tiny_clip(hidden_act="gelu", hidden_size=WIDTH, num_attention_heads=16)
    found = model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    assert not found.unexpected_keys
    again = as_open_clip(model)
    visual = [name for name in published if name.startswith("visual.")]
    assert all(torch.equal(again[name], published[name]) for name in visual)


def test_it_goes_into_a_model_as_it_is(
    published: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, made = fetched(saved(tmp_path / "epoch_6.pt", published), tmp_path, monkeypatch)
    folder = build_tiny_ms(tmp_path / "ms")
    shutil.copytree(made, folder / "local_encoder")
    ms = SdxlMsDiffusion.load(folder)
    assert ms.local_tokens
    assert ms.parts.local_encoder.tower.config.num_attention_heads == VIT_BIG_G_14.vision == 16
    row = ms.prepare("A cat.", [Image.new("RGB", (20, 20), "red")])
    assert torch.isfinite(row["reference0"]).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["state_dict"].pop("module.visual.ln_post.bias"), r"vision_model\.post_layernorm\.bias"),
        (lambda c: c["state_dict"].pop("module.visual.proj"), r"expected a tensor visual\.proj"),
        (lambda c: c["state_dict"].update({"module.head.weight": torch.ones(1)}), r"got a tensor head\.weight"),
        (lambda c: c["state_dict"].update({"module.visual.extra": torch.ones(1)}), r"got a tensor visual\.extra"),
        (lambda c: c["state_dict"]["module.visual.proj"].fill_(torch.nan), r"got others in module\.visual\.proj"),
        (lambda c: c.update(scaler=slice(1)), "which could run code"),
    ],
)
def test_other_files_are_refused(
    change: Change, said: str, published: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = {name: tensor.clone() for name, tensor in published.items()}
    result, folder = fetched(saved(tmp_path / "epoch_6.pt", tensors, change), tmp_path, monkeypatch)
    assert result.exit_code == 2
    assert re.search(said, " ".join(result.output.split()))
    assert not folder.exists()
