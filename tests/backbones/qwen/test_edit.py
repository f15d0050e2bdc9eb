"""QwenImageEdit against stock QwenImageEditPlusPipeline, and its LoRA files against the stock loader."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import QwenImageEditPlusPipeline, QwenImageTransformer2DModel
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as stock_module
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_qwen import SETTINGS, build_tiny_qwen, stock_processor
from torch import Tensor

from likeness.backbones.base import TokenGrid
from likeness.backbones.flux.tokens import pack_latents
from likeness.backbones.lora import adapter_parameters, add_adapter, save_adapter
from likeness.backbones.pixels import to_pixels
from likeness.backbones.qwen.edit import IMAGE_TOKEN, QwenCondition, QwenImageEdit, RescaledCondition
from likeness.backbones.qwen.folder import QwenOptions, adapter_targets
from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.images import scale_to_area

PROMPT = "A cat is hugging a duck."
SIZES = {"one": ((64, 64),), "two": ((80, 71), (64, 96))}
GRID = TokenGrid(3, 4)  # 48 x 64 px


def picture(seed: int, *, width: int = 64, height: int = 64) -> Image.Image:
    colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height))


def pictures(name: str) -> list[Image.Image]:
    return [picture(i, width=width, height=height) for i, (width, height) in enumerate(SIZES[name])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_qwen(tmp_path_factory.mktemp("qwen") / "qwen_image_edit")


@pytest.fixture(scope="module")
def qwen(folder: Path) -> QwenImageEdit:
    return QwenImageEdit.load(folder)


@pytest.fixture(scope="module")
def stock(folder: Path) -> Any:
    return pipeline(folder)


def pipeline(folder: Path, *, has_positions: bool = True) -> Any:
    """The stock pipeline. `has_positions`: with what huggingface/diffusers#14189 repairs in it, pictures in 2D."""
    made: Any = QwenImageEditPlusPipeline.from_pretrained(folder, processor=stock_processor(folder))
    made.set_progress_bar_config(disable=True)
    if has_positions:
        encoder = made.text_encoder
        forward = encoder.forward
        token = made.processor.image_token_id
        encoder.forward = lambda **inputs: forward(mm_token_type_ids=(inputs["input_ids"] == token).int(), **inputs)
    return made


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock_module, "VAE_IMAGE_SIZE", SETTINGS["reference_area"])
    monkeypatch.setattr(stock_module, "CONDITION_IMAGE_SIZE", SETTINGS["seen_area"])


def stock_answer(stock: Any, references: list[Image.Image], *, cfg_scale: float, latents: bool = False) -> Any:
    answer = stock(
        prompt=PROMPT,
        image=references,
        height=48,
        width=64,
        num_inference_steps=3,
        negative_prompt=" " if cfg_scale > 1 else None,
        true_cfg_scale=cfg_scale,
        generator=torch.Generator().manual_seed(3),
        output_type="latent" if latents else "pil",
    ).images
    return answer if latents else np.asarray(answer[0])


def drawn(qwen: QwenImageEdit, references: list[Image.Image], *, cfg_scale: float = 2.5) -> np.ndarray:
    options = QwenOptions(size=48, width=64, steps=3, cfg_scale=cfg_scale)
    return np.asarray(qwen.generate(PROMPT, references, seed=3, options=options))


def latents(qwen: QwenImageEdit, references: list[Image.Image], *, cfg_scale: float) -> Tensor:
    options = QwenOptions(cfg_scale=cfg_scale)
    guided = qwen.guided([qwen.prepare(PROMPT, references)], options, [qwen.prepare("", references)])
    return pack_latents(qwen.denoise(qwen.initial_noise([3], grid=GRID), guided, steps=3))


def off(ours: np.ndarray, theirs: np.ndarray) -> int:
    return int(np.abs(ours.astype(int) - theirs).max())


# stock pipeline ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cfg_scale", [1.0, 2.5])
@pytest.mark.parametrize("name", SIZES)
def test_equals_the_stock_pipeline(qwen: QwenImageEdit, stock: Any, *, name: str, cfg_scale: float) -> None:
    expected = stock_answer(stock, pictures(name), cfg_scale=cfg_scale, latents=True)
    torch.testing.assert_close(latents(qwen, pictures(name), cfg_scale=cfg_scale), expected, rtol=0, atol=1e-5)
    ours = drawn(qwen, pictures(name), cfg_scale=cfg_scale)
    assert ours.std() > 5
    assert off(ours, stock_answer(stock, pictures(name), cfg_scale=cfg_scale)) <= 1


def test_equals_the_stock_pipeline_where_references_have_no_noise(tmp_path: Path) -> None:
    folder = build_tiny_qwen(tmp_path / "2511", zero_cond_t=True)
    newer, references = QwenImageEdit.load(folder), pictures("two")
    expected = stock_answer(pipeline(folder), references, cfg_scale=2.5, latents=True)
    torch.testing.assert_close(latents(newer, references, cfg_scale=2.5), expected, rtol=0, atol=1e-5)
    older = latents(QwenImageEdit.load(build_tiny_qwen(tmp_path / "2509")), references, cfg_scale=2.5)
    assert (older - expected).abs().max() > 1e-3


def test_the_pipeline_as_it_is_differs_by_positions_alone(
    folder: Path, qwen: QwenImageEdit, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = stock_answer(pipeline(folder, has_positions=False), pictures("two"), cfg_scale=2.5, latents=True)
    assert (latents(qwen, pictures("two"), cfg_scale=2.5) - expected).abs().max() > 1e-4
    whole = qwen._inputs
    left_out = {"mm_token_type_ids"}

    def without(prompt: str, references: list[Image.Image]) -> dict[str, Tensor]:
        return {name: tensor for name, tensor in whole(prompt, references).items() if name not in left_out}

    monkeypatch.setattr(qwen, "_inputs", without)
    torch.testing.assert_close(latents(qwen, pictures("two"), cfg_scale=2.5), expected, rtol=0, atol=1e-5)


def test_pictures_have_rows_and_columns_for_the_text_encoder(qwen: QwenImageEdit) -> None:
    references = [picture(0, width=200, height=60), picture(1)]
    inputs = qwen._inputs(PROMPT, references)
    places: list[list[int]] = []
    grids = [(rows // 2, columns // 2) for _, rows, columns in inputs["image_grid_thw"].tolist()]
    rest, at = iter(grids), 0
    ids = iter(inputs["input_ids"][0].tolist())
    token = qwen.parts.text_encoder.config.image_token_id
    for number in ids:  # M-RoPE of Qwen2-VL (arXiv:2409.12191, 2.1): a picture takes as much as its longer side
        if number != token:
            places.append([at, at, at])
            at += 1
            continue
        rows, columns = next(rest)
        places += [[at, at + row, at + column] for row in range(rows) for column in range(columns)]
        for _ in range(rows * columns - 1):
            assert next(ids) == token
        at += max(rows, columns)
    assert grids == [(1, 5), (2, 2)]
    del inputs["mm_token_type_ids"]
    inputs["position_ids"] = torch.tensor(places).T[:, None]
    with torch.no_grad():
        expected = qwen.parts.text_encoder(**inputs, output_hidden_states=True).hidden_states[-1][0, 64:]
    torch.testing.assert_close(qwen.embed_text(PROMPT, references), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", [None, "two"])
def test_text_is_that_of_the_pipeline(qwen: QwenImageEdit, stock: Any, name: str | None) -> None:
    references = [] if name is None else pictures(name)
    seen = [scale_to_area(image, area=SETTINGS["seen_area"], multiple=32) for image in references]
    expected, mask = stock.encode_prompt(PROMPT, image=seen or None, device="cpu")
    assert mask is None
    torch.testing.assert_close(qwen.embed_text(PROMPT, references), expected[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (100, 81), (300, 90), (31, 47), (1600, 900)])
def test_references_are_fitted_as_the_pipeline_fits_them(stock: Any, size: tuple[int, int]) -> None:
    for area in (64 * 96, 384 * 384):
        image = picture(1, width=size[0], height=size[1])
        width, height = stock_module.calculate_dimensions(area, size[0] / size[1])
        expected = stock.image_processor.preprocess(image, height, width)
        torch.testing.assert_close(
            to_pixels([scale_to_area(image, area=area, multiple=32)]), expected, rtol=0, atol=1e-6
        )


def test_a_reference_too_narrow_is_refused() -> None:
    with pytest.raises(DataError, match="at least 16 px on the short side at 6144 px in all, got 900 x 9; crop"):
        scale_to_area(picture(0, width=900, height=9), area=64 * 96, multiple=32)


def test_encode_is_what_the_pipeline_gives_references(qwen: QwenImageEdit, stock: Any) -> None:
    pixels = to_pixels([picture(1, width=64, height=48)])
    expected = stock._encode_vae_image(pixels[:, :, None], generator=None)[:, :, 0]
    torch.testing.assert_close(qwen.encode(pixels), expected, rtol=0, atol=1e-6)
    assert expected.shape == (1, *qwen.noise_shape(TokenGrid(3, 4)))


def test_guidance_keeps_the_length_of_every_token() -> None:
    full, free = torch.zeros(1, 1, 2, 4), torch.zeros(1, 1, 2, 4)  # two tokens of 2 x 2 cells
    full[0, 0, 0, 0], full[0, 0, :, 2] = 3.0, 4.0
    free[0, 0, 0, 1], free[0, 0, :, 3] = 2.0, 4.0
    conditions = [QwenCondition(torch.full((1, 1, 1), number), None) for number in (1.0, 0.0)]
    guided = RescaledCondition(conditions[0], None, conditions[1], cfg_scale=2.0, reference_cfg_scale=2.0)
    found = guided.prediction(lambda condition: full if condition.text.item() == 1 else free)
    # the left token: 2 (3, 0) - (0, 2) = (6, -2), length 40^0.5, wanted 3; the right: (8, -4) twice, 160^0.5, 32^0.5
    left, right = torch.tensor([6.0, -2.0]) * 3 / 40**0.5, torch.tensor([8.0, -4.0]) * (32 / 160) ** 0.5
    expected = torch.stack([torch.cat([left, right]), torch.cat([torch.zeros(2), right])])
    torch.testing.assert_close(found[0, 0], expected)


# samples -------------------------------------------------------------------------------------------------------------


def test_samples_of_other_texts_are_drawn_together_as_alone(qwen: QwenImageEdit) -> None:
    samples = [qwen.prepare(prompt, [picture(i)]) for i, prompt in enumerate([PROMPT, "a dog", "a very long duck"])]
    assert {row["embeds"].shape[0] for row in samples} == {SETTINGS["max_sequence_length"]}
    assert len({int(row["valid"].sum()) for row in samples}) == 3
    condition, noise = qwen.collate(samples), qwen.initial_noise([1, 2, 3], grid=GRID)
    assert condition.valid is not None
    assert condition.text.shape[1] == max(int(row["valid"].sum()) for row in samples)

    def clean(condition: QwenCondition, x_t: Tensor) -> Tensor:
        plain = RescaledCondition(condition, None, None, cfg_scale=1.0, reference_cfg_scale=1.0)
        return qwen.denoise(x_t, plain, steps=2)

    alone = torch.cat([clean(qwen.collate([row]), noise[[i]]) for i, row in enumerate(samples)])
    torch.testing.assert_close(clean(condition, noise), alone, rtol=0, atol=1e-5)
    swapped = condition.select([2, 0])
    torch.testing.assert_close(clean(swapped, noise[[2, 0]]), alone[[2, 0]], rtol=0, atol=1e-5)


def test_a_text_longer_than_samples_keep_is_not_cut(qwen: QwenImageEdit, stock: Any) -> None:
    row = qwen.prepare("cat " * 200, [picture(0)])
    assert bool(row["valid"].all())
    assert len(row["embeds"]) > 800 > SETTINGS["max_sequence_length"]
    with pytest.raises(DataError, match="at most 3072 tokens with the pictures, got 3"):
        qwen.prepare("cat " * 800)


def test_what_was_prepared_is_drawn_as_from_pictures(qwen: QwenImageEdit) -> None:
    row, options = qwen.prepare(PROMPT, [picture(0)]), QwenOptions(size=48, width=64, steps=3, cfg_scale=2.5)
    painted = qwen.paint(row, seed=3, options=options, unprompted=qwen.prepare("", [picture(0)]))
    assert off(np.asarray(painted), drawn(qwen, [picture(0)])) == 0
    with pytest.raises(ConfigError, match=r"cfg_scale 2.5: expected what `prepare` gives .*; pass it as `unprompted`"):
        qwen.paint(row, seed=3, options=options)


def test_what_cannot_be_read_is_refused(qwen: QwenImageEdit) -> None:
    with pytest.raises(DataError, match="layout: expected none"):
        qwen.prepare(PROMPT, layout={})
    with pytest.raises(DataError, match=re.escape(f"prompt: expected no {IMAGE_TOKEN}, which stands for pictures")):
        qwen.prepare(f"a {IMAGE_TOKEN}", [picture(0)])


# the folder ----------------------------------------------------------------------------------------------------------


def test_without_a_settings_file_the_numbers_are_the_model_cards(tmp_path: Path) -> None:
    folder = build_tiny_qwen(tmp_path / "plain")
    (folder / "likeness.json").unlink()
    assert QwenOptions().in_force(folder) == {"size": 1024, "width": 1024, "steps": 40, "cfg_scale": 4.0}
    assert QwenOptions(size=512, width=768, cfg_scale=0.5).in_force(folder) == {
        "size": 512, "width": 768, "steps": 40, "cfg_scale": 1.0
    }  # fmt: skip
    (folder / "likeness.json").write_text(json.dumps({"seen_area": "small"}))
    with pytest.raises(WeightsError, match="expected seen_area: int"):
        QwenImageEdit.load(folder)


def test_a_folder_as_published_is_read(folder: Path, qwen: QwenImageEdit, tmp_path: Path) -> None:
    """Names of weights as transformers 4 wrote them, a processor of then, and no tokenizer of its own."""
    published = shutil.copytree(folder, tmp_path / "published")
    weights = published / "text_encoder" / "model.safetensors"
    words = (("model.language_model.", "model."), ("model.visual.", "visual."))
    renamed: dict[str, Tensor] = {}
    for key, tensor in load_file(weights).items():
        new = next((new + key.removeprefix(old) for old, new in words if key.startswith(old)), key)
        renamed[new] = tensor
    assert {key.partition(".")[0] for key in renamed} == {"model", "visual", "lm_head"}
    assert "model.layers.0.self_attn.q_proj.weight" in renamed
    save_file(renamed, weights, metadata={"format": "pt"})
    path = published / "processor" / "preprocessor_config.json"
    facts = json.loads(path.read_text())
    size = facts.pop("size")
    older = {"min_pixels": size["shortest_edge"], "max_pixels": size["longest_edge"]}
    path.write_text(json.dumps({**facts, **older, "image_processor_type": "Qwen2VLImageProcessorFast",
                                "processor_class": "Qwen2_5_VLProcessor"}))  # fmt: skip
    shutil.rmtree(published / "tokenizer")
    assert torch.equal(
        QwenImageEdit.load(published).embed_text(PROMPT, [picture(1)]), qwen.embed_text(PROMPT, [picture(1)])
    )


# LoRA ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tuned(folder: Path, tmp_path: Path) -> tuple[QwenImageEdit, Path]:
    """A backbone with an adapter that acts, and its file."""
    made = QwenImageEdit.load(folder)
    add_adapter(made.network, facts=made.facts, rank=4, alpha=8.0)
    generator = torch.Generator().manual_seed(1)
    for name, parameter in adapter_parameters(made.network, "focus").items():
        if "lora_B" in name:
            parameter.data.normal_(std=0.1, generator=generator)
    return made, save_adapter(made.network, tmp_path / "lora", facts=made.facts)


def test_the_stock_loader_reads_our_lora(tuned: tuple[QwenImageEdit, Path], qwen: QwenImageEdit, folder: Path) -> None:
    ours, file = tuned
    stock, references = pipeline(folder), [picture(1)]
    stock.load_lora_weights(file.parent, weight_name=file.name)
    expected = stock_answer(stock, references, cfg_scale=2.5, latents=True)
    torch.testing.assert_close(latents(ours, references, cfg_scale=2.5), expected, rtol=0, atol=1e-5)
    assert (expected - latents(qwen, references, cfg_scale=2.5)).abs().max() > 1e-2


def as_comfyui(key: str) -> str:
    return key.replace("transformer.", "diffusion_model.", 1)


def as_musubi(key: str) -> str:
    module, _, letter = key.removeprefix("transformer.").removesuffix(".weight").rpartition(".lora_")
    return f"lora_unet_{module.replace('.', '_')}.lora_{'down' if letter == 'A' else 'up'}.weight"


@pytest.mark.parametrize("rename", [as_comfyui, as_musubi])
def test_the_names_of_other_tools_are_read_as_the_stock_loader_reads_them(
    tuned: tuple[QwenImageEdit, Path], folder: Path, tmp_path: Path, rename: Callable[[str], str]
) -> None:
    tensors = {rename(key): tensor for key, tensor in load_file(tuned[1]).items()}
    if rename is as_musubi:
        tensors |= {key.replace("lora_down.weight", "alpha"): torch.tensor(8.0) for key in tensors if "down" in key}
    save_file(tensors, tmp_path / "other.safetensors")
    read, references = QwenImageEdit.load(folder, loras=[tmp_path / "other.safetensors"]), [picture(1)]
    assert QwenImageEdit.read_lora(folder, tmp_path / "other.safetensors").num_layers == 8 * 2 - 2
    stock = pipeline(folder)
    stock.load_lora_weights(tmp_path, weight_name="other.safetensors")
    expected = stock_answer(stock, references, cfg_scale=1.0, latents=True)
    torch.testing.assert_close(latents(read, references, cfg_scale=1.0), expected, rtol=0, atol=1e-5)


def test_a_lora_of_another_model_is_refused_by_name(folder: Path, tmp_path: Path) -> None:
    name = "transformer.single_transformer_blocks.0.attn.to_out"
    file = tmp_path / "flux2.safetensors"
    save_file({f"{name}.lora_A.weight": torch.ones(1, 64), f"{name}.lora_B.weight": torch.ones(64, 1)}, file)
    with pytest.raises(WeightsError, match=r"layers it does not have, first .*single_transformer_blocks"):
        QwenImageEdit.read_lora(folder, file)


def gradients(qwen: QwenImageEdit) -> dict[str, Tensor | None]:
    condition = qwen.collate([qwen.prepare(prompt, [picture(0)]) for prompt in (PROMPT, "a dog")])
    qwen.network.zero_grad()
    prediction = qwen.predict(qwen.initial_noise([1, 2], grid=GRID), torch.tensor([0.3, 0.6]), condition)
    prediction.square().mean().backward()
    return {name: parameter.grad for name, parameter in qwen.network.named_parameters() if parameter.requires_grad}


def test_every_tuned_layer_has_a_gradient_and_checkpointing_keeps_it(tuned: tuple[QwenImageEdit, Path]) -> None:
    ours, _ = tuned
    plain = gradients(ours)
    assert len(plain) == 2 * (8 * 2 - 2)
    assert [name for name, gradient in plain.items() if gradient is None or not bool(gradient.any())] == []
    ours.network.train()
    ours.network.enable_gradient_checkpointing()
    again = gradients(ours)
    for name, gradient in plain.items():
        torch.testing.assert_close(again[name], gradient, rtol=0, atol=1e-7)


def test_a_model_of_full_size() -> None:
    with torch.device("meta"):
        network = QwenImageTransformer2DModel(guidance_embeds=False, zero_cond_t=True)
    assert sum(p.numel() for p in network.parameters()) == 20_430_401_088
    targets = adapter_targets(60)
    matched = [name for name, _ in network.named_modules() if re.fullmatch(targets, name)]
    assert len(matched) == 8 * 60 - 2
    assert "transformer_blocks.59.attn.add_k_proj" in matched
    assert {"transformer_blocks.59.attn.add_q_proj", "transformer_blocks.59.attn.to_add_out"}.isdisjoint(matched)
    assert re.fullmatch(adapter_targets(10), "transformer_blocks.59.attn.to_add_out")
