"""FLUX.1-dev and UNO in the files that are published: one file of the transformer, and a LoRA of 304 tensors."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from diffusers import FluxPipeline, FluxTransformer2DModel
from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers
from flux_original import OriginalFlux, original_layout, uno_lora
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from likeness.backbones.base import TokenGrid
from likeness.backbones.flux.lora_names import flux_names
from likeness.backbones.flux.original import read_original
from likeness.backbones.flux.tokens import pack_latents
from likeness.backbones.flux.uno import FluxUno
from likeness.backbones.lora import layer_shapes
from likeness.backbones.lora_file import read_lora
from likeness.cli import app
from likeness.core.errors import WeightsError
from likeness.core.files import read_json
from likeness.core.weights import public_name, resolve_weights, weights_facts
from likeness.pretrain.tiny_flux import build_tiny_flux

PROMPT = "A cat is hugging a duck in the forest."
HEADS, AXES, WIDTH, RANK = 2, (4, 6, 6), 32, 4
FILE = "flux1-dev.safetensors"


def picture(seed: int, *, width: int = 96, height: int = 96) -> Image.Image:
    colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height))


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


class Published(NamedTuple):
    """A folder at width 32, its transformer in FLUX's own layout, UNO's LoRA for it, and where both lie as files."""

    folder: Path
    weights: dict[str, Tensor]
    lora: dict[str, Tensor]
    files: Path


def publish(place: Path, *, corpus: list[str], num_double: int, num_single: int) -> Published:
    sizes = {"num_layers": num_double, "num_single_layers": num_single, "attention_head_dim": WIDTH // HEADS}
    numbers = {"transformer": {**sizes, "num_attention_heads": HEADS, "axes_dims_rope": AXES}}
    folder = build_tiny_flux(place / "parts", corpus=corpus, config=numbers)
    ours = load_file(folder / "transformer/diffusion_pytorch_model.safetensors")
    weights = original_layout(ours, num_double=num_double, num_single=num_single)
    lora = uno_lora(width=WIDTH, num_double=num_double, num_single=num_single, rank=RANK)
    (place / "files").mkdir()
    save_file(weights, place / "files" / FILE)
    save_file(lora, place / "files" / "dit_lora.safetensors")
    return Published(folder, weights, lora, place / "files")


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory, corpus: list[str]) -> Published:
    """FLUX.1-dev's number of blocks."""
    return publish(tmp_path_factory.mktemp("deep"), corpus=corpus, num_double=19, num_single=38)


@pytest.fixture(scope="module")
def shallow(tmp_path_factory: pytest.TempPathFactory, corpus: list[str]) -> Published:
    return publish(tmp_path_factory.mktemp("shallow"), corpus=corpus, num_double=2, num_single=3)


@pytest.fixture
def folder(shallow: Published) -> Path:
    return shallow.folder


@pytest.fixture
def weights(shallow: Published) -> dict[str, Tensor]:
    return shallow.weights


@pytest.fixture
def lora(shallow: Published) -> dict[str, Tensor]:
    return shallow.lora


@pytest.fixture
def files(shallow: Published) -> Path:
    return shallow.files


# the single file -----------------------------------------------------------------------------------------------------


def spec(files: Path, folder: Path, *, name: str = FILE) -> str:
    return f"{files / name}+{folder}"


def test_a_single_file_is_the_network_of_the_folder(files: Path, folder: Path) -> None:
    ours, theirs = FluxUno.load(spec(files, folder)), FluxUno.load(folder)
    expected = theirs.network.state_dict()
    found = ours.network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not any(parameter.requires_grad for parameter in ours.network.parameters())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_an_all_in_one_file_gives_its_transformer(
    files: Path, folder: Path, weights: dict[str, Tensor], tmp_path: Path, dtype: torch.dtype
) -> None:
    packed = {f"model.diffusion_model.{name}": tensor.to(dtype) for name, tensor in weights.items()}
    others = ("vae.decoder.conv_in.weight", "text_encoders.clip_l.logit_scale", "text_encoders.t5xxl.shared.weight")
    save_file(packed | {name: torch.zeros(2) for name in others}, tmp_path / "all.safetensors")
    ours = FluxUno.load(f"{tmp_path / 'all.safetensors'}+{folder}", dtype=torch.bfloat16).network.state_dict()
    for name, tensor in load_file(folder / "transformer/diffusion_pytorch_model.safetensors").items():
        assert torch.equal(ours[name], tensor.to(dtype).to(torch.bfloat16)), name


def test_a_single_file_in_diffusers_layout_is_read_too(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "transformer/diffusion_pytorch_model.safetensors", tmp_path / "tuned.safetensors")
    ours = FluxUno.load(f"{tmp_path / 'tuned.safetensors'}+{folder}").network.state_dict()
    assert all(torch.equal(ours[name], t) for name, t in FluxUno.load(folder).network.state_dict().items())


def test_the_layout_is_that_of_diffusers_own_converter() -> None:
    """At full width and one block of each kind; all columns but three are cut off, for the rows are what is split."""
    width = 3072
    numbers: dict[str, Any] = {"num_layers": 1, "num_single_layers": 1, "guidance_embeds": True}
    with torch.device("meta"):
        whole = FluxTransformer2DModel(**numbers)
    draw = torch.Generator().manual_seed(0)
    thin = {
        name: torch.randn(tensor.shape[:1] + (3,) * (tensor.ndim - 1), generator=draw)
        for name, tensor in whole.state_dict().items()
    }
    original = original_layout(thin, num_double=1, num_single=1)
    converted = convert_flux_transformer_checkpoint_to_diffusers(dict(original))
    assert converted.keys() == thin.keys()
    assert all(torch.equal(converted[name], thin[name]) for name in thin)  # the helper inverts the stock converter
    assert original["single_blocks.0.linear1.weight"].shape == (7 * width, 3)


def test_full_size_names_and_shapes_are_all_consumed() -> None:
    """FLUX.1-dev as published: 11.9 billion numbers, each layer of the original code found."""
    with torch.device("meta"):
        network = FluxTransformer2DModel(guidance_embeds=True)
        original = original_layout(network.state_dict(), num_double=19, num_single=38)
    assert len(original) == 780
    assert sum(tensor.numel() for tensor in original.values()) == 11_901_408_320
    layers = layer_shapes(network)
    find = flux_names(layers)
    rows = {name.removesuffix(".weight"): t.shape[0] for name, t in original.items() if name.endswith(".weight")}
    assert all(sum(layers[target.layer][0] for target in find(name)) == count for name, count in rows.items())
    assert {target.layer for name in rows for target in find(name)} == layers.keys()


Edit = Callable[[dict[str, Tensor]], object]
DAMAGE: dict[str, tuple[Edit, str]] = {
    "missing": (
        lambda w: w.pop("single_blocks.2.linear1.weight"),
        r"got 4 missing \(first single_transformer_blocks\.2",
    ),
    "left over": (
        lambda w: w.update({"double_blocks.0.img_attn.qkv.scale_weight": torch.ones(1)}),
        r"1 left over \(first double_blocks\.0\.img_attn\.qkv\.scale_weight\)",
    ),
    "deeper": (
        lambda w: w.update({"double_blocks.2.img_attn.norm.key_norm.scale": torch.ones(16)}),
        r"1 left over \(first transformer_blocks\.2",
    ),
    "wider": (
        lambda w: w.update({"img_in.weight": torch.zeros(64, 64)}),
        r"expected 32 rows in img_in\.weight.*got 64; name parts of the same model",
    ),
    "narrower": (lambda w: w.update({"txt_in.weight": torch.zeros(32, 5)}), r"1 of another shape \(first context_emb"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_gaps_and_leftovers_are_named(folder: Path, weights: dict[str, Tensor], tmp_path: Path, damage: str) -> None:
    edit, said = DAMAGE[damage]
    changed = dict(weights)
    edit(changed)
    shutil.copy(folder / "transformer/config.json", tmp_path / "config.json")
    save_file(changed, tmp_path / "any.safetensors")
    with pytest.raises(WeightsError, match=said):
        read_original(FluxTransformer2DModel, tmp_path / "any.safetensors", dtype=torch.float32)


def test_a_single_file_alone_says_what_is_lacking(files: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"flux1-dev\.safetensors: expected a folder .* write flux1-dev\.safetensors\+"
    ):
        resolve_weights(str(files / FILE))
    with pytest.raises(
        WeightsError, match=r"expected a diffusers folder with model_index\.json and transformer/config"
    ):
        resolve_weights(f"{files / FILE}+{tmp_path}")
    with pytest.raises(WeightsError, match=r"none\.safetensors: expected weights, got No such file"):
        resolve_weights(f"{files / 'none.safetensors'}+{folder}")


def test_joined_folders_are_links_with_one_place_and_one_hash(files: Path, folder: Path, tmp_path: Path) -> None:
    one, again = (resolve_weights(spec(files, folder)) for _ in range(2))
    assert one == again
    network = sorted(path.name for path in (one / "transformer").iterdir())
    assert network == ["config.json", "diffusion_pytorch_model.safetensors"]
    assert all(path.is_symlink() for path in one.rglob("*") if not path.is_dir())
    assert os.path.samefile(one / "transformer/diffusion_pytorch_model.safetensors", files / FILE)
    moved = shutil.copytree(files, tmp_path / "moved")
    other = spec(moved, folder)
    assert weights_facts(other, resolve_weights(other)) == weights_facts(spec(files, folder), one)
    assert public_name(other) == "flux1-dev.safetensors+parts"


def test_only_missing_parts_are_downloaded(files: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked: list[dict[str, Any]] = []

    def download(hub_id: str, **options: Any) -> str:
        asked.append({"hub_id": hub_id, **options})
        return str(folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    resolve_weights(f"{files / FILE}+black-forest-labs/FLUX.1-dev")
    assert {call["hub_id"] for call in asked} == {"black-forest-labs/FLUX.1-dev"}
    assert all("transformer/*.safetensors" in call["ignore_patterns"] for call in asked)
    asked.clear()
    resolve_weights(spec(files, folder))
    assert asked == []  # a local folder never asks the hub


def test_a_run_from_published_files(files: Path, folder: Path, tmp_path: Path) -> None:
    picture(0).save(tmp_path / "cat.png")
    words = ["generate", "--prompt", "a cat", "--ref", str(tmp_path / "cat.png"), "--size", "64", "--steps", "1"]
    words += ["--model", spec(files, folder), "--lora", str(files / "dit_lora.safetensors"), "--merge-lora"]
    words += ["--device", "cpu", "--dtype", "float32", "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    record = read_json(tmp_path / "run" / "run.json")
    assert record["model"]["id"] == "flux1-dev.safetensors+parts"
    assert [(lora["id"], lora["layers"]) for lora in record["model"]["loras"]] == [
        ("dit_lora.safetensors", 2 * 8 + 3 * 4)
    ]
    assert record["settings"]["merge_lora"] is True
    assert str(tmp_path) not in (tmp_path / "run" / "run.json").read_text()


# UNO's arithmetic ----------------------------------------------------------------------------------------------------


def condition_and_noise(backbone: FluxUno) -> tuple[Any, Tensor]:
    references = [picture(0, width=96, height=64), picture(1, width=64, height=96)]
    return backbone.condition(PROMPT, references), backbone.initial_noise([3], grid=TokenGrid(3, 5))


def test_the_velocity_is_that_of_unos_own_layers(deep: Published) -> None:
    """Base and LoRA from the published layouts against a slow float64 pass over the very tensors of the files."""
    assert (len(deep.weights), len(deep.lora)) == (780, 304)  # as flux1-dev.safetensors and dit_lora.safetensors have
    backbone = FluxUno.load(spec(deep.files, deep.folder), dtype=torch.float64, loras=[deep.files])
    backbone.network.double()
    condition, x_t = condition_and_noise(backbone)
    target, first, second = (3, 5), (4, 6), (6, 4)
    positions = [(0, 0, 0)] * condition.text.embeds.shape[1]
    row = column = 0
    for rows, columns in (target, first, second):
        positions += [(0, row + i, column + j) for i in range(rows) for j in range(columns)]
        row, column = row + rows, column + columns
    oracle = OriginalFlux(deep.weights, deep.lora, heads=HEADS, axes=AXES)
    expected = oracle(
        torch.cat([pack_latents(x_t)[0], *(tokens[0] for tokens in condition.references)]),
        condition.text.embeds[0],
        condition.text.pooled[0],
        t=0.625,  # exact in every precision
        guidance=4.0,
        ids=torch.tensor(positions),
        keep=15,
    )
    with torch.no_grad():
        adapted = pack_latents(backbone.predict(x_t, torch.tensor(0.625), condition))[0]
        backbone.network.disable_adapters()
        plain = pack_latents(backbone.predict(x_t, torch.tensor(0.625), condition))[0]
    assert (adapted - plain).abs().max() > 1e-3  # the LoRA acts
    assert expected.abs().max() > 0.5
    assert float((adapted.double() - expected).abs().max()) <= 1e-6


def test_the_stock_loader_makes_608_tensors_of_304_and_the_same_velocity(deep: Published) -> None:
    backbone = FluxUno.load(deep.folder, loras=[deep.files / "dit_lora.safetensors"])
    stock: Any = FluxTransformer2DModel.from_pretrained(deep.folder / "transformer")
    converted = FluxPipeline.lora_state_dict(str(deep.files), weight_name="dit_lora.safetensors")
    stock.load_lora_adapter(converted, prefix="transformer", adapter_name="uno")
    for network in (stock, backbone.network):
        assert sum("lora_" in name for name, _ in network.named_parameters()) == 608
    condition, x_t = condition_and_noise(backbone)
    with torch.no_grad():
        ours = backbone.predict(x_t, torch.tensor(0.6), condition)
        backbone = FluxUno(replace(backbone.parts, stored=backbone.parts.stored.having(transformer=stock)))
        assert torch.equal(backbone.predict(x_t, torch.tensor(0.6), condition), ours)


def test_published_lora_fits_flux_dev_in_full(tmp_path: Path) -> None:
    """304 tensors of rank 512: 956 million numbers; 494 layers of the transformer on the meta device."""
    with torch.device("meta"):
        network = FluxTransformer2DModel(guidance_embeds=True)
    shapes = {name: tuple(t.shape) for name, t in uno_lora(width=1, num_double=19, num_single=38, rank=1).items()}
    full = {name: (512, 3072 * b) if ".down." in name else (3072 * a, 512) for name, (a, b) in shapes.items()}
    assert len(full) == 304
    assert full["single_blocks.37.processor.proj_lora.down.weight"] == (512, 15360)
    assert full["double_blocks.18.processor.qkv_lora1.up.weight"] == (9216, 512)
    assert sum(a * b for a, b in full.values()) == 956_301_312
    thin = {name: torch.ones(1, b) if ".down." in name else torch.ones(a, 1) for name, (a, b) in full.items()}
    save_file(thin, tmp_path / "dit_lora.safetensors")  # the same rows and columns at rank 1
    layers = layer_shapes(network)
    changes = read_lora(tmp_path, layers=layers, find=flux_names(layers)).changes
    assert len(changes) == 19 * 8 + 38 * 4
    assert "proj_out" not in changes
    assert all((change.up.shape[0], change.down.shape[1]) == layers[name] for name, change in changes.items())


@pytest.mark.parametrize("gone", ["single_blocks.2.processor.proj_lora", "double_blocks.1.processor.qkv_lora2"])
def test_a_uno_lora_with_a_gap_is_refused(folder: Path, lora: dict[str, Tensor], tmp_path: Path, gone: str) -> None:
    kept = {name: tensor for name, tensor in lora.items() if not name.startswith(gone)}
    save_file(kept, tmp_path / "dit_lora.safetensors")
    with pytest.raises(WeightsError, match=rf"expected UNO's 28 tensors .*, got 26, without {gone}"):
        FluxUno.read_lora(folder, tmp_path)


def test_an_x_labs_lora_of_some_blocks_is_none_of_unos(folder: Path, lora: dict[str, Tensor], tmp_path: Path) -> None:
    kept = {name: tensor for name, tensor in lora.items() if name.startswith("double_blocks.1.")}
    save_file(kept, tmp_path / "style.safetensors")
    assert FluxUno.read_lora(folder, tmp_path / "style.safetensors").num_layers == 8
