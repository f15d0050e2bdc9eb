"""LoRA files as tools write them, against dense weights changed by hand and against diffusers' checkpoint converter."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_backbone
from diffusers import FluxPipeline, FluxTransformer2DModel
from diffusers.loaders.single_file_utils import convert_flux_transformer_checkpoint_to_diffusers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner

from likeness.backbones import BACKBONES
from likeness.backbones.base import TokenGrid
from likeness.backbones.flux.lora_names import flux_names
from likeness.backbones.flux.uno import FluxUno
from likeness.backbones.lora import adapter_parameters, layer_shapes
from likeness.backbones.lora_file import read_lora
from likeness.backbones.open import lora_facts
from likeness.cli import app
from likeness.core.errors import WeightsError
from likeness.core.files import read_json
from likeness.core.hashing import file_sha256

RANK, WIDTH = 4, 256
PLAIN = (
    "transformer_blocks.0.attn.to_q",
    "transformer_blocks.1.attn.to_out.0",
    "transformer_blocks.0.ff_context.net.2",
    "single_transformer_blocks.2.attn.to_v",
    "proj_out",
)
Tensors = dict[str, Tensor]
Deltas = dict[str, Tensor]


def _shapes(network: torch.nn.Module) -> dict[str, tuple[int, int]]:
    linear = {name: module for name, module in network.named_modules() if isinstance(module, torch.nn.Linear)}
    return {name: (module.out_features, module.in_features) for name, module in linear.items()}


def _pairs(shapes: Mapping[str, tuple[int, int]], *, rank: int = RANK) -> dict[str, tuple[Tensor, Tensor]]:
    """A (rank, in) and B (out, rank) for each name."""
    draw = torch.Generator().manual_seed(0)
    return {
        name: (0.1 * torch.randn(rank, into, generator=draw), 0.1 * torch.randn(out, rank, generator=draw))
        for name, (out, into) in shapes.items()
    }


def _tensors(
    pairs: Mapping[str, tuple[Tensor, Tensor]],
    *,
    before: str = "",
    after: tuple[str, str] = ("lora_A.weight", "lora_B.weight"),
    alpha: float | None = None,
) -> Tensors:
    made: Tensors = {}
    for name, pair in pairs.items():
        made |= {f"{before}{name}.{end}": matrix for end, matrix in zip(after, pair, strict=True)}
        if alpha is not None:
            made[f"{before}{name}.alpha"] = torch.tensor(alpha)
    return made


def _predict(backbone: FluxUno) -> Tensor:
    condition = backbone.condition("A cat is hugging a duck in the forest.", [])
    noise = backbone.initial_noise([3], grid=TokenGrid(4, 6))
    with torch.no_grad():
        return backbone.predict(noise, torch.tensor([0.6]), condition)


def _changed_by_hand(tiny: FluxUno, deltas: Mapping[str, Tensor]) -> FluxUno:
    """The backbone with each delta added to the dense weight of its layer."""
    changed = copy.deepcopy(tiny)
    for name, delta in deltas.items():
        changed.network.get_submodule(name).weight.data += delta  # pyright: ignore
    return changed


def _require_equal(tiny: FluxUno, folder: Path, lora: Path, deltas: Mapping[str, Tensor]) -> None:
    adapted, plain = _predict(FluxUno.load(folder, loras=[lora])), _predict(tiny)
    expected = _predict(_changed_by_hand(tiny, deltas))
    assert (expected - plain).abs().max() > 1e-2
    torch.testing.assert_close(adapted, expected, atol=1e-5, rtol=1e-5)
    assert FluxUno.read_lora(folder, lora).num_layers == len(deltas)


# names of diffusers --------------------------------------------------------------------------------------------------

DOWN_UP = ("lora_down.weight", "lora_up.weight")
LAYOUTS: dict[str, dict[str, Any]] = {
    "diffusers": {"before": "transformer."},
    "no prefix": {},
    "peft": {"before": "base_model.model."},
    "peft, named adapter": {
        "before": "base_model.model.", "after": ("lora_A.default.weight", "lora_B.default.weight"),
    },
    "named adapter": {"before": "transformer.", "after": ("lora_A.default.weight", "lora_B.default.weight")},
    "ComfyUI": {"before": "diffusion_model."},
    "down and up": {"before": "transformer.", "after": DOWN_UP},
    "old diffusers": {"before": "transformer.", "after": ("lora.down.weight", "lora.up.weight")},
}  # fmt: skip


@pytest.mark.parametrize("alpha", [None, 2.0])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_names_of_diffusers(tiny: FluxUno, tiny_folder: Path, tmp_path: Path, layout: str, alpha: float | None) -> None:
    pairs = _pairs({name: _shapes(tiny.network)[name] for name in PLAIN})
    save_file(_tensors(pairs, **LAYOUTS[layout], alpha=alpha), tmp_path / "any.safetensors")
    scale = 1.0 if alpha is None else alpha / RANK
    deltas = {name: scale * b @ a for name, (a, b) in pairs.items()}
    _require_equal(tiny, tiny_folder, tmp_path / "any.safetensors", deltas)


@pytest.mark.parametrize("prefix", ["lora_unet_", "lora_transformer_", "lycoris_"])
def test_flattened_names_of_diffusers(tiny: FluxUno, tiny_folder: Path, tmp_path: Path, prefix: str) -> None:
    pairs = _pairs({name: _shapes(tiny.network)[name] for name in PLAIN})
    flat = {name.replace(".", "_"): pair for name, pair in pairs.items()}
    save_file(_tensors(flat, before=prefix, after=DOWN_UP, alpha=8.0), tmp_path / "any.safetensors")
    deltas = {name: 2.0 * b @ a for name, (a, b) in pairs.items()}
    _require_equal(tiny, tiny_folder, tmp_path / "any.safetensors", deltas)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_any_floating_point(tiny: FluxUno, tiny_folder: Path, tmp_path: Path, dtype: torch.dtype) -> None:
    pairs = {name: (a.to(dtype), b.to(dtype)) for name, (a, b) in _pairs({PLAIN[0]: (WIDTH, WIDTH)}).items()}
    save_file(_tensors(pairs, before="transformer."), tmp_path / "any.safetensors")
    deltas = {name: b.float() @ a.float() for name, (a, b) in pairs.items()}
    _require_equal(tiny, tiny_folder, tmp_path / "any.safetensors", deltas)


def test_each_layer_may_have_its_own_rank_and_alpha(tiny: FluxUno, tiny_folder: Path, tmp_path: Path) -> None:
    shapes, tensors, deltas = _shapes(tiny.network), Tensors(), Deltas()
    for rank, name in enumerate(PLAIN, start=1):
        pairs = _pairs({name: shapes[name]}, rank=rank)
        tensors |= _tensors(pairs, before="transformer.", alpha=3.0 * (rank % 3 + 1))
        deltas |= {name: 3.0 * (rank % 3 + 1) / rank * b @ a for name, (a, b) in pairs.items()}
    save_file(tensors, tmp_path / "any.safetensors")
    _require_equal(tiny, tiny_folder, tmp_path / "any.safetensors", deltas)


# names of FLUX's own code --------------------------------------------------------------------------------------------

IMAGE, TEXT = ("attn.to_q", "attn.to_k", "attn.to_v"), ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj")
ORIGINAL = {
    "double_blocks.0.img_attn.qkv": [f"transformer_blocks.0.{part}" for part in IMAGE],
    "double_blocks.1.txt_attn.qkv": [f"transformer_blocks.1.{part}" for part in TEXT],
    "double_blocks.1.img_mlp.0": ["transformer_blocks.1.ff.net.0.proj"],
    "single_blocks.2.linear1": [f"single_transformer_blocks.2.{part}" for part in (*IMAGE, "proj_mlp")],
    "single_blocks.0.linear2": ["single_transformer_blocks.0.proj_out"],
    "final_layer.adaLN_modulation.1": ["norm_out.linear"],
}
ORIGINAL_LAYOUTS: dict[str, Callable[[dict[str, tuple[Tensor, Tensor]]], Tensors]] = {
    "ai-toolkit": lambda pairs: _tensors(pairs, before="diffusion_model.", alpha=2.0),
    "BFL": lambda pairs: _tensors(pairs, alpha=2.0),
    "fal": lambda pairs: _tensors(pairs, before="base_model.model.", alpha=2.0),
    "kohya": lambda pairs: _tensors(
        {name.replace(".", "_"): pair for name, pair in pairs.items()}, before="lora_unet_", after=DOWN_UP, alpha=2.0
    ),
}


@pytest.mark.parametrize("layout", ORIGINAL_LAYOUTS)
def test_names_of_the_original_code(tiny: FluxUno, tiny_folder: Path, tmp_path: Path, layout: str) -> None:
    """Fused matrices are split by rows; the last modulation has its halves the other way round."""
    shapes = _shapes(tiny.network)
    fused = {name: (sum(shapes[p][0] for p in parts), shapes[parts[0]][1]) for name, parts in ORIGINAL.items()}
    pairs, deltas = _pairs(fused), Deltas()
    for name, (a, b) in pairs.items():
        rows = (0.5 * b @ a).split([shapes[part][0] for part in ORIGINAL[name]])
        deltas |= dict(zip(ORIGINAL[name], rows, strict=True))
    deltas["norm_out.linear"] = torch.cat(deltas["norm_out.linear"].chunk(2)[::-1])
    save_file(ORIGINAL_LAYOUTS[layout](pairs), tmp_path / "any.safetensors")
    _require_equal(tiny, tiny_folder, tmp_path / "any.safetensors", deltas)


def _original_shapes() -> dict[str, int]:
    """Every linear layer of a FLUX with one block of each kind in the original code, by its rows at full width."""
    d = 3072
    stream = {"mod.lin": 6 * d, "attn.qkv": 3 * d, "attn.proj": d, "mlp.0": 4 * d, "mlp.2": d}
    double = {f"double_blocks.0.{side}_{part}": out for side in ("img", "txt") for part, out in stream.items()}
    single = {
        f"single_blocks.0.{p}": out for p, out in {"modulation.lin": 3 * d, "linear1": 7 * d, "linear2": d}.items()
    }
    embedders = {f"{name}_in.{side}_layer": d for name in ("time", "vector", "guidance") for side in ("in", "out")}
    last = {"final_layer.linear": 64, "final_layer.adaLN_modulation.1": 2 * d}
    return {**double, **single, **embedders, **last, "img_in": d, "txt_in": d}


@pytest.mark.parametrize("is_flat", [False, True])
def test_every_original_name_means_what_diffusers_converts_it_to(tmp_path: Path, *, is_flat: bool) -> None:
    """The oracle converts a whole checkpoint whose weights are the changes; layers have 2 inputs to stay small."""
    pairs = _pairs({name: (out, 2) for name, out in _original_shapes().items()})
    checkpoint = {f"{name}.weight": 1.5 / RANK * b @ a for name, (a, b) in pairs.items()}
    biases = {f"{name}.bias": torch.zeros(out) for name, out in _original_shapes().items()}
    norms = [
        f"double_blocks.0.{side}_attn.norm.{kind}_norm.scale" for side in ("img", "txt") for kind in ("query", "key")
    ]
    norms += [f"single_blocks.0.norm.{kind}_norm.scale" for kind in ("query", "key")]
    converted = convert_flux_transformer_checkpoint_to_diffusers(
        checkpoint | biases | {name: torch.ones(1) for name in norms}
    )
    expected = {k.removesuffix(".weight"): v for k, v in converted.items() if v.ndim == 2}
    layers = {name: (delta.shape[0], 2) for name, delta in expected.items()}
    named = {name.replace(".", "_"): pair for name, pair in pairs.items()} if is_flat else pairs
    save_file(_tensors(named, before="lora_unet_" if is_flat else "", alpha=1.5), tmp_path / "any.safetensors")
    changes = read_lora(tmp_path / "any.safetensors", layers=layers, find=flux_names(layers)).changes
    assert changes.keys() == expected.keys()
    for name, change in changes.items():
        torch.testing.assert_close(change.alpha / change.rank * change.up @ change.down, expected[name])


# what the libraries themselves write ---------------------------------------------------------------------------------


def _shaken(network: torch.nn.Module) -> None:
    draw = torch.Generator().manual_seed(5)
    for name, parameter in network.named_parameters():
        if "lora_B" in name:
            parameter.data = 0.1 * torch.randn(parameter.shape, generator=draw)


PEFT_CONFIGS: dict[str, dict[str, Any]] = {
    "alpha": {"lora_alpha": 6},
    "patterns": {"lora_alpha": 6, "rank_pattern": {"to_k": 2}, "alpha_pattern": {r"transformer_blocks\.1.*to_q": 1.5}},
    "rslora": {"lora_alpha": 6, "use_rslora": True},
}


@pytest.mark.parametrize("config", PEFT_CONFIGS)
@pytest.mark.parametrize("spec", ["folder", "file"])
def test_pefts_own_folder(tiny: FluxUno, tiny_folder: Path, tmp_path: Path, config: str, spec: str) -> None:
    """The oracle is peft itself, which merges the adapter into the dense weights."""
    settings = LoraConfig(r=RANK, target_modules=["to_q", "to_k", "proj_mlp"], **PEFT_CONFIGS[config])
    tuned: Any = get_peft_model(copy.deepcopy(tiny.network), settings)
    _shaken(tuned)
    tuned.save_pretrained(tmp_path)
    merged = tuned.merge_and_unload()
    names = [name for name in _shapes(tiny.network) if name.rpartition(".")[2] in ("to_q", "to_k", "proj_mlp")]
    old, new = tiny.network, merged
    deltas = {n: new.get_submodule(n).weight.data - old.get_submodule(n).weight.data for n in names}
    place = tmp_path if spec == "folder" else tmp_path / "adapter_model.safetensors"
    _require_equal(tiny, tiny_folder, place, deltas)
    assert FluxUno.read_lora(tiny_folder, place).settings == tmp_path / "adapter_config.json"


def test_diffusers_own_file(tiny: FluxUno, tiny_folder: Path, tmp_path: Path) -> None:
    """A file of `save_lora_weights` with peft's settings in its header, against the stock pipeline that reads it."""
    from peft.utils import get_peft_model_state_dict

    network: Any = FluxTransformer2DModel.from_pretrained(tiny_folder / "transformer")
    config = LoraConfig(r=RANK, lora_alpha=7, target_modules=["to_q", "proj_mlp"], alpha_pattern={"proj_mlp": 3})
    network.add_adapter(config)
    _shaken(network)
    stock: Any = FluxPipeline
    stock.save_lora_weights(
        tmp_path,
        transformer_lora_layers=get_peft_model_state_dict(network),
        transformer_lora_adapter_metadata=network.peft_config["default"].to_dict(),
    )
    stock = stock.from_pretrained(tiny_folder)
    stock.load_lora_weights(str(tmp_path))
    parts = tiny.parts
    reference = FluxUno(replace(parts, stored=parts.stored.having(transformer=stock.transformer.eval())))
    expected = _predict(reference)
    assert torch.equal(_predict(FluxUno.load(tiny_folder, loras=[tmp_path])), expected)
    assert (expected - _predict(tiny)).abs().max() > 1e-2


# refusals ------------------------------------------------------------------------------------------------------------

LAYER = "transformer.transformer_blocks.0.attn.to_q"
A, B = f"{LAYER}.lora_A.weight", f"{LAYER}.lora_B.weight"


def _good() -> Tensors:
    return _tensors(_pairs({name: (WIDTH, WIDTH) for name in PLAIN[:2]}), before="transformer.")


def _with(**changes: Tensor) -> Tensors:
    return _good() | changes


def _without(key: str) -> Tensors:
    return {name: tensor for name, tensor in _good().items() if name != key}


NAN = torch.full((RANK, WIDTH), float("nan"))
REFUSED: dict[str, tuple[Tensors, str]] = {
    "empty": ({}, "a LoRA that changes a layer, got no tensors"),
    "all zero": ({k: v * ("lora_A" in k) for k, v in _good().items()}, "2 pairs of which one matrix is all zeros"),
    "no B": (_without(B), rf"got {A} without its up matrix"),
    "no A": (_without(A), rf"got {B} without its down matrix"),
    "alpha alone": (_with(**{"transformer.proj_out.alpha": torch.ones(())}), r"proj_out\.alpha without its down and"),
    "a stray key": (_with(**{f"{LAYER}.weight": torch.ones(2)}), rf"no part of one, first {LAYER}\.weight"),
    "another network": (
        _with(**{"transformer.transformer_blocks.19.attn.to_q.lora_A.weight": torch.ones(RANK, WIDTH),
                 "transformer.transformer_blocks.19.attn.to_q.lora_B.weight": torch.ones(WIDTH, RANK)}),
        r"1 of 3 for layers it does not have, first transformer\.transformer_blocks\.19\.attn\.to_q\.lora_A",
    ),
    "a layer twice": (
        _with(**{k.replace("transformer.", "", 1): v for k, v in _good().items() if LAYER in k}),
        r"each layer once, got transformer\..*to_q and transformer_blocks",
    ),
    "a matrix twice": (_with(**{f"{LAYER}.lora_down.weight": torch.ones(RANK, WIDTH)}), "each matrix once, got"),
    "two adapters": (
        {k.replace("_A.", "_A.a.").replace("_B.", "_B.b."): v for k, v in _good().items()},
        "one adapter, got a, b",
    ),
    "wide A": (_with(**{A: torch.ones(RANK, WIDTH + 1)}), rf"shape \(4, 256\) for {A}, got \(4, 257\)"),
    "long B": (_with(**{B: torch.ones(WIDTH + 1, RANK)}), rf"shape \(256, 4\) for {B}, got \(257, 4\)"),
    "other rank": (_with(**{B: torch.ones(WIDTH, RANK + 1)}), rf"shape \(256, 4\) for {B}, got \(256, 5\)"),
    "scalar A": (_with(**{A: torch.ones(())}), rf"for {A}, got \(\)"),
    "rank 0": (_with(**{A: torch.ones(0, WIDTH), B: torch.ones(WIDTH, 0)}), rf"for {A}, got \(0, 256\)"),
    "NaN": (_with(**{A: NAN}), rf"finite numbers, got NaN or infinity in {A}"),
    "infinity": (_with(**{B: torch.full((WIDTH, RANK), float("inf"))}), rf"NaN or infinity in {B}"),
    "int8": (_with(**{A: torch.ones(RANK, WIDTH, dtype=torch.int8)}), rf"floating-point tensors, got {A} of int8"),
    "alpha 0": (_with(**{f"{LAYER}.alpha": torch.zeros(())}), rf"other than 0 as alpha, got {LAYER}\.alpha"),
    "alpha NaN": (_with(**{f"{LAYER}.alpha": torch.tensor(float("nan"))}), rf"infinity in {LAYER}\.alpha"),
    "two alphas": (_with(**{f"{LAYER}.alpha": torch.ones(2)}), r"one number other than 0 as alpha"),
    "DoRA": (_with(**{f"{LAYER}.dora_scale": torch.ones(WIDTH)}), r"got DoRA \(1 of 5 tensors, first .*dora_scale"),
    "DoRA of peft": (_with(**{f"{LAYER}.lora_magnitude_vector": torch.ones(WIDTH)}), r"got DoRA"),
    "LoKr": ({"lycoris_transformer_blocks_0_attn_to_q.lokr_w1": torch.ones(2, 2)}, r"got LoKr \(1 of 1 tensors"),
    "LoHa": ({"lora_unet_double_blocks_0_img_attn_qkv.hada_w1_a": torch.ones(2, 2)}, r"got LoHa"),
    "OFT": ({f"{LAYER}.oft_blocks": torch.ones(2, 2)}, "got OFT"),
    "difference": ({"diffusion_model.img_in.diff": torch.ones(2, 2)}, "got full differences of weights"),
    "bias": (_with(**{f"{LAYER}.lora_B.bias": torch.ones(WIDTH)}), "got a LoRA with biases"),
    "control": (_with(**{"double_blocks.0.img_attn.norm.query_norm.scale": torch.ones(2)}), "got a control LoRA"),
    **{
        f"text encoder {number}": (
            _with(**{f"{name}.lora_down.weight": torch.ones(2, 2)}), rf"text encoder \(1 of 5.*{name}",
        )
        for number, name in enumerate((
            "text_encoder.text_model.encoder.layers.0.mlp.fc1", "lora_te1_text_model_encoder_layers_0_mlp_fc1",
            "lora_te_text_model_encoder_layers_0_mlp_fc1", "text_encoders.t5xxl.transformer.encoder.block.0",
        ))
    },
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_applied_in_full_is_refused(tiny_folder: Path, tmp_path: Path, case: str) -> None:
    tensors, said = REFUSED[case]
    save_file(tensors, tmp_path / "bad.safetensors")
    with pytest.raises(WeightsError, match=rf"^{tmp_path}/bad\.safetensors: expected .*{said}") as found:
        FluxUno.read_lora(tiny_folder, tmp_path / "bad.safetensors")
    with pytest.raises(WeightsError) as again:
        FluxUno.load(tiny_folder, loras=[tmp_path / "bad.safetensors"])
    assert str(again.value) == str(found.value)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("[]", "expected an object of settings, got list"),
        ("{", "expected JSON as lora_adapter_metadata"),
        ("[" * 100_000, "expected JSON as lora_adapter_metadata"),
        ('{"transformer.r": "4"}', "expected a rank of at least 1 as r, got '4'"),
        ('{"transformer.lora_alpha": NaN}', "expected a number other than 0 as lora_alpha"),
        ('{"transformer.r": 8}', "got rank 8 where its matrices have 4"),
        ('{"transformer.use_dora": true}', "expected false .DoRA"),
        ('{"transformer.rank_pattern": [1]}', "expected an object of ranks as rank_pattern"),
        ('{"transformer.alpha_pattern": {"(": 1}}', "expected patterns of module names"),
        ('{"transformer.init_lora_weights": "pissa"}', "leaves the base as it is as init_lora_weights, got 'pissa'"),
        ('{"transformer.peft_type": "LOKR"}', "expected LORA as peft_type, got 'LOKR'"),
    ],
)
def test_malformed_settings_are_one_error(tiny_folder: Path, tmp_path: Path, metadata: str, said: str) -> None:
    save_file(_good(), tmp_path / "bad.safetensors", metadata={"lora_adapter_metadata": metadata})
    with pytest.raises(WeightsError, match=rf"bad\.safetensors: .*{said}"):
        FluxUno.load(tiny_folder, loras=[tmp_path / "bad.safetensors"])
    peft = {key.replace("transformer.", "base_model.model.", 1): tensor for key, tensor in _good().items()}
    save_file(peft, tmp_path / "other.safetensors")
    (tmp_path / "adapter_config.json").write_text(metadata.replace("transformer.", ""))
    with pytest.raises(WeightsError, match=r"adapter_config\.json"):
        FluxUno.load(tiny_folder, loras=[tmp_path / "other.safetensors"])


def test_two_alphas_that_differ_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    header = {"lora_adapter_metadata": json.dumps({"transformer.lora_alpha": 8, "transformer.r": RANK})}
    save_file(_with(**{f"{LAYER}.alpha": torch.tensor(2.0)}), tmp_path / "bad.safetensors", metadata=header)
    with pytest.raises(WeightsError, match=r"expected one alpha per layer, got .*alpha 2 but 8"):
        FluxUno.load(tiny_folder, loras=[tmp_path / "bad.safetensors"])


def test_the_file_in_a_folder_is_never_guessed(tiny_folder: Path, tmp_path: Path) -> None:
    save_file(_good(), tmp_path / "my_style.safetensors")
    assert FluxUno.read_lora(tiny_folder, tmp_path).path.name == "my_style.safetensors"
    save_file(_good(), tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"expected one LoRA file, .* got my_style\.safetensors, other\.safetensors"):
        FluxUno.read_lora(tiny_folder, tmp_path)


# the network ---------------------------------------------------------------------------------------------------------


def test_only_the_layers_of_the_file_carry_it(tiny_folder: Path, tmp_path: Path) -> None:
    """`proj_out` alone is the last layer of the network, not that of every single block; nothing is left random."""
    tensors = _tensors(_pairs({"proj_out": (64, WIDTH)}), before="transformer.")
    save_file(tensors, tmp_path / "any.safetensors")
    state = torch.random.get_rng_state()
    network = FluxUno.load(tiny_folder, loras=[tmp_path / "any.safetensors"]).network
    assert torch.equal(torch.random.get_rng_state(), state)
    assert list(adapter_parameters(network, "uno")) == ["proj_out.lora_A.uno.weight", "proj_out.lora_B.uno.weight"]
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_layers_are_the_same_with_adapters_on_them_and_without_weights(
    tiny: FluxUno, tiny_folder: Path, tmp_path: Path
) -> None:
    save_file(_good(), tmp_path / "any.safetensors")
    network = FluxUno.load(tiny_folder, loras=[tmp_path / "any.safetensors"] * 2).network
    assert layer_shapes(network) == layer_shapes(tiny.network) == _shapes(tiny.network)
    assert load_file(tmp_path / "any.safetensors").keys() == _good().keys()


# what a run records --------------------------------------------------------------------------------------------------


def test_a_run_records_and_prints_the_layers(tiny_folder: Path, tmp_path: Path) -> None:
    """Layers whose matrices are all zeros are not counted; settings beside a file belong to the run's identity."""
    tensors = _good() | {f"{LAYER}.lora_B.weight": torch.zeros(WIDTH, RANK)}
    lora = tmp_path / "adapter_model.safetensors"
    save_file(tensors, lora)
    line = ["generate", "--prompt", "a cat", "--model", str(tiny_folder), "--lora", str(lora), "--steps", "1"]
    line += ["--device", "cpu", "--out", str(tmp_path / "run")]
    drawn = CliRunner().invoke(app, line)
    assert drawn.exit_code == 0, drawn.output
    assert "LoRA adapter_model.safetensors: changes 1 layer." in drawn.stdout
    facts = {"id": lora.name, "sha256": file_sha256(lora), "layers": 1}
    assert read_json(tmp_path / "run" / "run.json")["model"]["loras"] == [facts]
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 8}')
    again = CliRunner().invoke(app, line)
    assert again.exit_code == 2
    assert "model.loras" in again.stderr


def test_a_lora_that_does_nothing_leaves_no_run(tiny_folder: Path, tmp_path: Path) -> None:
    save_file({f"model.{key}": tensor for key, tensor in _good().items()}, tmp_path / "strange.safetensors")
    line = ["generate", "--prompt", "a cat", "--model", str(tiny_folder), "--device", "cpu"]
    line += ["--lora", str(tmp_path / "strange.safetensors"), "--out", str(tmp_path / "run")]
    refused = CliRunner().invoke(app, line)
    assert refused.exit_code == 2
    assert f"first model.{A}" in " ".join(refused.stderr.split())
    assert not (tmp_path / "run").exists()


def test_a_backbone_without_loras_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BACKBONES, "toy", toy_backbone.ENTRY)
    (tmp_path / "model_index.json").write_text('{"_class_name": "ToyPipeline"}')
    save_file(_good(), tmp_path / "any.safetensors")
    with pytest.raises(WeightsError, match=r"any\.safetensors: expected a backbone that takes LoRAs, got Toy"):
        lora_facts("any", tmp_path / "any.safetensors", base=tmp_path)
