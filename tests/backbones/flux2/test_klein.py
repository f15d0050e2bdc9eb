"""Flux2Klein against stock Flux2KleinPipeline, and its LoRA files against stock loaders."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import Flux2KleinPipeline, Flux2Transformer2DModel
from diffusers.pipelines.flux2.pipeline_flux2_klein import compute_empirical_mu
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_klein import LAYERS, SETTINGS, build_tiny_klein
from torch import Tensor

from likeness.backbones.base import TokenGrid
from likeness.backbones.flux2.folder import ADAPTER_TARGETS
from likeness.backbones.flux2.klein import Flux2Klein
from likeness.backbones.flux2.options import KleinOptions
from likeness.backbones.flux2.tokens import from_patches, image_ids, pack, schedule_shift, text_ids, to_patches, unpack
from likeness.backbones.lora import adapter_parameters, add_adapter, layer_shapes, save_adapter
from likeness.backbones.pixels import to_pixels
from likeness.core.errors import DataError, WeightsError
from likeness.core.images import fit_area

PROMPT = "A cat is hugging a duck."


def picture(seed: int, *, width: int = 64, height: int = 64) -> Image.Image:
    colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_klein(tmp_path_factory.mktemp("klein") / "flux2_klein")


@pytest.fixture(scope="module")
def klein(folder: Path) -> Flux2Klein:
    return Flux2Klein.load(folder)


@pytest.fixture(scope="module")
def stock(folder: Path) -> Any:
    return pipeline(folder)


def pipeline(folder: Path) -> Any:
    made: Any = Flux2KleinPipeline.from_pretrained(folder)
    made.set_progress_bar_config(disable=True)
    return made


def stock_picture(stock: Any, references: list[Image.Image], *, cfg_scale: float, size: tuple[int, int]) -> np.ndarray:
    width, height = size
    return np.asarray(
        stock(
            prompt=PROMPT,
            image=references or None,
            height=height,
            width=width,
            num_inference_steps=3,
            guidance_scale=cfg_scale,
            generator=torch.Generator().manual_seed(3),
            max_sequence_length=SETTINGS["max_sequence_length"],
            text_encoder_out_layers=tuple(LAYERS),
        ).images[0]
    )


# stock pipeline ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cfg_scale", [1.0, 2.5])
@pytest.mark.parametrize("sizes", [(), ((64, 64),), ((80, 71), (64, 96))])
def test_equals_the_stock_pipeline(
    klein: Flux2Klein, stock: Any, *, cfg_scale: float, sizes: tuple[tuple[int, int], ...]
) -> None:
    references = [picture(i, width=width, height=height) for i, (width, height) in enumerate(sizes)]
    options = KleinOptions(size=48, width=64, steps=3, cfg_scale=cfg_scale)
    ours = np.asarray(klein.generate(PROMPT, references, seed=3, options=options))
    assert ours.std() > 10
    np.testing.assert_array_equal(ours, stock_picture(stock, references, cfg_scale=cfg_scale, size=(64, 48)))


def test_a_step_distilled_model_is_drawn_without_guidance_in_four_steps(tmp_path: Path) -> None:
    folder = build_tiny_klein(tmp_path / "distilled", is_distilled=True)
    (folder / "likeness.json").write_text(json.dumps({**SETTINGS, "default_steps": 4}))
    distilled = Flux2Klein.load(folder)
    asked, plain = (distilled.generate(PROMPT, seed=1, options=KleinOptions(cfg_scale=scale)) for scale in (5.0, 1.0))
    assert asked.tobytes() == plain.tobytes()
    assert KleinOptions(cfg_scale=5.0).in_force(folder)["cfg_scale"] == 1.0
    (folder / "likeness.json").unlink()
    assert KleinOptions().in_force(folder) == {"size": 1024, "width": 1024, "steps": 4, "cfg_scale": 1.0}


def test_without_a_settings_file_the_numbers_are_the_base_models(tmp_path: Path) -> None:
    folder = build_tiny_klein(tmp_path / "base")
    (folder / "likeness.json").unlink()
    assert KleinOptions().in_force(folder) == {"size": 1024, "width": 1024, "steps": 50, "cfg_scale": 4.0}
    assert KleinOptions(size=512, width=768).in_force(folder)["width"] == 768


@pytest.mark.parametrize("layers", ["9", [], [1, 0], [1.5]])
def test_settings_of_another_type_are_refused(tmp_path: Path, layers: object) -> None:
    folder = build_tiny_klein(tmp_path / "wrong")
    (folder / "likeness.json").write_text(json.dumps({"text_layers": layers}))
    with pytest.raises(WeightsError, match="expected text_layers: tuple"):
        Flux2Klein.load(folder)


# arithmetic ----------------------------------------------------------------------------------------------------------


def test_patches_and_tokens_are_those_of_diffusers() -> None:
    latents = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    patches = to_patches(latents)
    assert torch.equal(patches, Flux2KleinPipeline._patchify_latents(latents))
    assert torch.equal(from_patches(patches), latents)
    assert torch.equal(pack(patches), Flux2KleinPipeline._pack_latents(patches))
    assert torch.equal(unpack(pack(patches), TokenGrid(2, 3)), patches)


def test_ids_are_those_of_diffusers() -> None:
    target, references = torch.zeros(1, 8, 4, 6), [torch.zeros(1, 8, 5, 3), torch.zeros(1, 8, 2, 4)]
    found = image_ids(TokenGrid(4, 6), [TokenGrid(5, 3), TokenGrid(2, 4)])
    assert torch.equal(found[:24], Flux2KleinPipeline._prepare_latent_ids(target)[0].float())
    assert torch.equal(found[24:], Flux2KleinPipeline._prepare_image_ids(references)[0].float())
    assert found[24].tolist() == [10, 0, 0, 0]
    assert found[24 + 15 + 5].tolist() == [20, 1, 1, 0]
    assert torch.equal(text_ids(7), Flux2KleinPipeline._prepare_text_ids(torch.zeros(1, 7, 2))[0].float())


@pytest.mark.parametrize("steps", [4, 10, 50, 200])
@pytest.mark.parametrize("tokens", [12, 1024, 4096, 4300, 4301, 8000])
def test_the_shift_is_that_of_diffusers(tokens: int, steps: int) -> None:
    assert schedule_shift(tokens, steps=steps) == pytest.approx(compute_empirical_mu(tokens, steps), abs=1e-12)


def test_encode_is_what_the_pipeline_gives_references(klein: Flux2Klein, stock: Any) -> None:
    pixels = to_pixels([picture(1, width=64, height=48)])
    expected = stock._encode_vae_image(pixels, generator=None)
    torch.testing.assert_close(klein.encode(pixels), expected, rtol=0, atol=0)
    mean, deviation = klein._statistics(expected)
    torch.testing.assert_close(to_patches(from_patches(expected * deviation + mean)), expected * deviation + mean)


@pytest.mark.parametrize("size", [(64, 64), (100, 81), (200, 90), (96, 64)])
def test_references_are_fitted_as_the_pipeline_fits_them(stock: Any, size: tuple[int, int]) -> None:
    image, area = picture(1, width=size[0], height=size[1]), 64 * 96
    theirs = stock.image_processor._resize_if_exceeds_area(image, area)
    width, height = (side // 16 * 16 for side in theirs.size)
    cut = stock.image_processor.preprocess(theirs, height=height, width=width, resize_mode="crop")
    torch.testing.assert_close(to_pixels([fit_area(image, area=area, multiple=16)]), cut, rtol=0, atol=1e-6)


def test_a_reference_too_narrow_for_a_token_is_refused() -> None:
    with pytest.raises(DataError, match="at least 16 px on the short side"):
        fit_area(picture(0, width=300, height=10), area=10_000, multiple=16)


def test_a_long_prompt_is_noticed(klein: Flux2Klein) -> None:
    assert not klein.prompt_is_truncated("a cat")
    assert klein.prompt_is_truncated("a cat " * 40)


def test_a_layout_is_refused(klein: Flux2Klein) -> None:
    with pytest.raises(DataError, match="layout: expected none"):
        klein.prepare(PROMPT, layout={})


# LoRA ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tuned(folder: Path, tmp_path: Path) -> tuple[Flux2Klein, Path]:
    """A backbone with an adapter that acts, and its file."""
    made = Flux2Klein.load(folder)
    add_adapter(made.network, facts=made.facts, rank=4, alpha=4.0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in adapter_parameters(made.network, "focus").items():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1, generator=generator)
    return made, save_adapter(made.network, tmp_path / "lora", facts=made.facts)


def drawn(klein: Flux2Klein, references: list[Image.Image]) -> np.ndarray:
    options = KleinOptions(size=48, width=64, steps=3, cfg_scale=2.5)
    return np.asarray(klein.generate(PROMPT, references, seed=3, options=options))


def test_the_stock_loader_reads_our_lora(tuned: tuple[Flux2Klein, Path], klein: Flux2Klein, folder: Path) -> None:
    ours, file = tuned
    stock, references = pipeline(folder), [picture(1)]
    stock.load_lora_weights(file.parent, weight_name=file.name)
    theirs = stock_picture(stock, references, cfg_scale=2.5, size=(64, 48))
    np.testing.assert_array_equal(drawn(ours, references), theirs)
    assert np.abs(theirs.astype(int) - drawn(klein, references)).max() > 4


def original(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The LoRA in the names of FLUX.2's own code, as ComfyUI and ai-toolkit write them: q, k and v are one matrix."""
    table = {"attn.to_out.0": "img_attn.proj", "attn.to_add_out": "txt_attn.proj",
             "attn.to_qkv_mlp_proj": "linear1", "attn.to_out": "linear2"}  # fmt: skip
    made: dict[str, Tensor] = {}
    for key in [key for key in tensors if key.endswith("lora_A.weight")]:
        stack, number, layer = key.removeprefix("transformer.").removesuffix(".lora_A.weight").split(".", 2)
        block = f"diffusion_model.{stack.replace('transformer_blocks', '') or 'double_'}blocks.{number}"
        up = tensors[key.replace("lora_A", "lora_B")]
        if layer in table:
            made |= {f"{block}.{table[layer]}.lora_A.weight": tensors[key],
                     f"{block}.{table[layer]}.lora_B.weight": up}  # fmt: skip
    for part, names in {"img": ("to_q", "to_k", "to_v"), "txt": ("add_q_proj", "add_k_proj", "add_v_proj")}.items():
        keys = [f"transformer.transformer_blocks.0.attn.{name}.lora_A.weight" for name in names]
        name = f"diffusion_model.double_blocks.0.{part}_attn.qkv"
        made[f"{name}.lora_A.weight"] = torch.cat([tensors[key] for key in keys])
        ups = [tensors[key.replace("lora_A", "lora_B")] for key in keys]
        made[f"{name}.lora_B.weight"] = torch.block_diag(*ups)
    return made


@pytest.mark.parametrize("is_kohya", [False, True])
def test_the_names_of_comfyui_and_kohya_are_read(
    tuned: tuple[Flux2Klein, Path], folder: Path, tmp_path: Path, is_kohya: bool
) -> None:
    ours, file = tuned
    tensors = original(load_file(file))
    if is_kohya:
        words = (("diffusion_model.", "lora_unet_"), (".lora_A.", "@lora_down."), (".lora_B.", "@lora_up."))
        for old, new in words:
            tensors = {key.replace(old, new): tensor for key, tensor in tensors.items()}
        split = {key: key.partition("@") for key in tensors}
        tensors = {f"{split[key][0].replace('.', '_')}.{split[key][2]}": tensors[key] for key in tensors}
    save_file(tensors, tmp_path / "other.safetensors")
    read = Flux2Klein.load(folder, loras=[tmp_path / "other.safetensors"])
    references = [picture(1)]
    difference = drawn(read, references).astype(int) - drawn(ours, references)
    assert np.abs(difference).max() <= 1  # products sum in another order
    assert Flux2Klein.read_lora(folder, tmp_path / "other.safetensors").num_layers == 8 + 2 * 2


def test_the_last_layer_changes_its_halves(klein: Flux2Klein, folder: Path, tmp_path: Path) -> None:
    down, up = torch.ones(1, 64), torch.arange(128.0)[:, None]
    name = "diffusion_model.final_layer.adaLN_modulation.1"
    save_file({f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}, tmp_path / "last.safetensors")
    change = Flux2Klein.read_lora(folder, tmp_path / "last.safetensors").changes["norm_out.linear"]
    assert change.up.flatten().tolist() == [*range(64, 128), *range(64)]


def test_a_lora_of_flux_1_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    name = "transformer.single_transformer_blocks.0.proj_mlp"
    file = tmp_path / "flux1.safetensors"
    save_file({f"{name}.lora_A.weight": torch.ones(1, 64), f"{name}.lora_B.weight": torch.ones(256, 1)}, file)
    with pytest.raises(WeightsError, match=r"layers it does not have, first .*proj_mlp"):
        Flux2Klein.read_lora(folder, file)


@pytest.mark.parametrize(
    ("sizes", "billions"), [((5, 20, 24, 7680), 3.876), ((8, 24, 32, 12288), 9.079)], ids=["4B", "9B"]
)
def test_the_adapter_of_a_model_of_full_size(sizes: tuple[int, int, int, int], billions: float) -> None:
    double, single, heads, text = sizes
    with torch.device("meta"):
        network = Flux2Transformer2DModel(
            num_layers=double, num_single_layers=single, num_attention_heads=heads, joint_attention_dim=text,
            guidance_embeds=False,
        )  # fmt: skip
    assert sum(p.numel() for p in network.parameters()) / 1e9 == pytest.approx(billions, abs=1e-3)
    tuned = [name for name, _ in network.named_modules() if re.fullmatch(ADAPTER_TARGETS, name)]
    assert len(tuned) == 8 * double + 2 * single
    width = heads * 128
    shapes = layer_shapes(network)
    assert shapes["single_transformer_blocks.0.attn.to_qkv_mlp_proj"] == (9 * width, width)
    assert shapes["single_transformer_blocks.0.attn.to_out"] == (width, 4 * width)
