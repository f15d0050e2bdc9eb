"""Local tokens in MS-Diffusion against means of dense features and arithmetic that is written out here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
import torch
from PIL import Image
from safetensors.torch import save_file
from tiny_ms import build_tiny_ms
from tiny_sdxl import IMAGE_WIDTH
from torch import Tensor

from likeness.backbones.open import open_backbone
from likeness.backbones.sdxl.ms_diffusion import READ_PX, SdxlMsDiffusion
from likeness.backbones.sdxl.options import MsOptions
from likeness.core.errors import ConfigError, WeightsError
from likeness.core.records import Layout
from likeness.encoders.dense import DENSE_ENCODERS

PROMPT = "A cat is hugging a duck."
LAYOUT = Layout(boxes=((0.0, 0.2, 0.55, 0.85), (0.55, 0.26, 0.95, 0.9)), phrases=("cat", "duck"))
KINDS = {"local": tiny.write_clip, "clip": tiny.write_clip, "dino": tiny.write_vit}
SIDES = {"local": 64, "clip": 64, "dino": 56}
"""Of 8 x 8 patches each."""


@pytest.fixture(scope="module")
def pictures() -> list[Image.Image]:
    rng = np.random.default_rng(0)
    sizes = [(40, 30), (24, 40)]
    return [Image.fromarray(rng.integers(0, 256, (high, wide, 3), dtype=np.uint8)) for wide, high in sizes]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_ms(tmp_path_factory.mktemp("ms") / "ms")


def with_encoder(bare: Path, folder: Path, *, tensors: dict[str, Tensor] | None = None, **settings: Any) -> Path:
    """A copy that has a local encoder with the settings and the injection's tensors."""
    shutil.copytree(bare, folder)
    KINDS[settings.get("encoder", "local")](folder / "local_encoder")
    (folder / "local_encoder" / "local_tokens.json").write_text(json.dumps(settings))
    if tensors is not None:
        save_file(tensors, folder / "local_encoder" / "injection.safetensors")
    return folder


def cell_means(folder: Path, pictures: list[Image.Image], *, kind: str, side: int) -> Tensor:
    """(n, 16, D): the mean of every block of patches, by a loop; each picture squashed as the published code does."""
    encoder = DENSE_ENCODERS[kind].load(folder / "local_encoder").at(side)
    found: list[list[np.ndarray]] = []
    for picture in pictures:
        dense = encoder.look([picture.resize((READ_PX, READ_PX))])[0]
        step = len(dense) // 4
        assert len(dense) == 4 * step
        blocks = [dense[step * r : step * (r + 1), step * c : step * (c + 1)] for r in range(4) for c in range(4)]
        found.append([block.reshape(-1, block.shape[-1]).mean(axis=0) for block in blocks])
    return torch.from_numpy(np.array(found)).float()


def padded(local: Tensor) -> Tensor:
    """To the width of the image tokens, by ones on the diagonal."""
    return local @ torch.eye(IMAGE_WIDTH, local.shape[-1]).T


def told(ms: SdxlMsDiffusion, features: Tensor) -> Tensor:
    """What the resampler makes of features in the boxes of LAYOUT."""
    with torch.no_grad():
        return ms.parts.resampler(features, torch.tensor(LAYOUT.boxes), ms.embed_phrases(LAYOUT.phrases))


def require_tokens(row: dict[str, Tensor], expected: Tensor) -> None:
    for number, each in enumerate(expected):
        torch.testing.assert_close(row[f"reference{number}"], each, rtol=0, atol=2e-5)


@pytest.mark.parametrize("kind", list(KINDS))
def test_concatenation_puts_the_means_of_each_picture_behind_its_image_tokens(
    bare: Path, tmp_path: Path, pictures: list[Image.Image], kind: str
) -> None:
    folder = with_encoder(bare, tmp_path / "ms", encoder=kind, side=SIDES[kind])
    ms = SdxlMsDiffusion.load(folder)
    features = ms.image_features(pictures)
    local = padded(cell_means(folder, pictures, kind=kind, side=SIDES[kind]))
    row = ms.prepare(PROMPT, pictures, layout=LAYOUT)
    require_tokens(row, told(ms, torch.cat([features, local], dim=1)))
    one = torch.cat([features, local[:1].expand_as(local)], dim=1)
    assert (row["reference1"] - told(ms, one)[1]).abs().max() > 1e-3


def test_all_tokens_of_the_first_picture_as_in_the_public_code(
    bare: Path, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    folder = with_encoder(bare, tmp_path / "ms", side=64, first_picture_for_all=True)
    ms = SdxlMsDiffusion.load(folder)
    local = padded(cell_means(folder, pictures, kind="local", side=64))
    features = torch.cat([ms.image_features(pictures), local[:1].expand_as(local)], dim=1)
    require_tokens(ms.prepare(PROMPT, pictures, layout=LAYOUT), told(ms, features))


def spread(local: Tensor, *, patches: int) -> Tensor:
    """(n, 1 + patches^2, D): the mean for the class token, then of each patch its cell."""
    cells = [[4 * (r * 4 // patches) + c * 4 // patches for c in range(patches)] for r in range(patches)]
    return torch.stack([torch.stack([each.mean(0), *(each[n] for line in cells for n in line)]) for each in local])


@pytest.mark.parametrize("injection", ["addition", "linear"])
def test_sums_take_the_local_token_of_their_place(
    bare: Path, tmp_path: Path, pictures: list[Image.Image], injection: str
) -> None:
    draw = torch.Generator().manual_seed(0)
    weight, bias, widen = (torch.randn(*shape, generator=draw) / 6 for shape in ((32, 32), (32,), (32, 32)))
    width = DENSE_ENCODERS["local"].load(tiny.write_clip(tmp_path / "clip")).width
    tensors = {} if width == IMAGE_WIDTH else {"widen.weight": widen[:, :1].repeat(1, width)}
    if injection == "linear":
        tensors |= {"inject.project.weight": weight, "inject.project.bias": bias}
    folder = with_encoder(bare, tmp_path / "ms", tensors=tensors, side=64, injection=injection)
    ms = SdxlMsDiffusion.load(folder)
    local = cell_means(folder, pictures, kind="local", side=64)
    wide = local @ tensors["widen.weight"].T if "widen.weight" in tensors else local
    features = ms.image_features(pictures)
    added = spread(wide, patches=4)
    added = added @ weight.T + bias if injection == "linear" else added
    require_tokens(ms.prepare(PROMPT, pictures, layout=LAYOUT), told(ms, features + added))


def test_pictures_without_local_tokens_are_what_they_were(
    bare: Path, tmp_path: Path, pictures: list[Image.Image]
) -> None:
    """The folder without an encoder, and one whose encoder is switched off, to the bit."""
    folder = with_encoder(bare, tmp_path / "ms")
    plain, able = (open_backbone(each, device="cpu", dtype="float32") for each in (bare, folder))
    drawn: list[Any] = [
        backbone.generate(PROMPT, pictures, seed=1, options=MsOptions(local_tokens=asked))  # type: ignore[call-arg]
        for backbone, asked in ((plain, None), (able, False), (able, None))
    ]
    first, off, on = (np.asarray(each) for each in drawn)
    assert np.array_equal(first, off)
    assert not np.array_equal(first, on)
    assert MsOptions().in_force(bare)["local_tokens"] is False
    assert MsOptions().in_force(folder)["local_tokens"] is True


def test_local_tokens_of_no_encoder_are_refused(bare: Path, pictures: list[Image.Image]) -> None:
    with pytest.raises(ConfigError, match="local_tokens: expected a model with local_encoder, got none in ms"):
        MsOptions(local_tokens=True).in_force(bare)
    with pytest.raises(ConfigError, match="got none in ms"):
        SdxlMsDiffusion.load(bare).prepare(PROMPT, pictures, options=MsOptions(local_tokens=True))


@pytest.mark.parametrize(
    ("settings", "tensors", "said"),
    [
        ({"injection": "linear"}, None, "injection.safetensors: expected the trained map"),
        ({"injection": "addition"}, {"other": torch.zeros(1)}, "injection.safetensors: expected"),
        ({"injection": "sum"}, None, "local_tokens.json: injection: .* got 'sum'"),
        ({"side": 63}, None, "local_tokens.json: side: expected a multiple of the patch"),
        ({"encoder": "dino"}, None, "dense ViT"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told(
    bare: Path, tmp_path: Path, pictures: list[Image.Image], settings: dict[str, Any], tensors: Any, said: str
) -> None:
    folder = with_encoder(bare, tmp_path / "ms", tensors=tensors)
    (folder / "local_encoder" / "local_tokens.json").write_text(json.dumps(settings))
    with pytest.raises(WeightsError, match=said):
        SdxlMsDiffusion.load(folder).prepare(PROMPT, pictures)


def test_its_memory_is_counted(bare: Path, tmp_path: Path) -> None:
    folder = with_encoder(bare, tmp_path / "ms")
    loaded, sketched = SdxlMsDiffusion.load(folder), SdxlMsDiffusion.sketch_parts(folder, dtype=torch.float32)
    sizes = [
        {tuple(each.shape) for each in part.parameters()}
        for part in (loaded.parts.local_encoder.tower, sketched.stored.get("local_encoder"))
    ]
    assert sizes[0] == sizes[1]
