"""Mappers: sizes as published, numbers against a rewrite in float64, files; encoders as transformers has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_encoders as tiny
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from tiny_sdxl import FULL_SIZE, num_parameters
from transformers import CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from likeness.backbones.base import BackboneFacts
from likeness.backbones.lora import adapter_parameters, add_adapter
from likeness.backbones.sdxl.picture_towers import PictureTowers, find_towers, on_black, on_black_square
from likeness.backbones.sdxl.picture_words import Branch, InversionFacts, PictureWords, WordMapper, usual_depths
from likeness.core.errors import ConfigError, WeightsError
from likeness.core.hash_cache import remembered_sha256
from likeness.encoders.dense import load_vision_tower
from likeness.train.trainable.words import TARGETS


def branch(*, width: int = 6, word_width: int = 5, depths: tuple[int, ...] = (2, 1), encoder: str = "e") -> Branch:
    return Branch(encoder=encoder, sha256="0" * 64, depths=depths, width=width, word_width=word_width)


def facts(**changes: Any) -> InversionFacts:
    return InversionFacts(branches=(branch(), branch(width=4, word_width=3)), hidden=7, **changes)


# sizes ---------------------------------------------------------------------------------------------------------------


def test_published_sizes() -> None:
    """Counts of the design note, 6.2, which follow from the stated widths; ELITE's mapper is the published one."""
    first = branch(width=1024, word_width=768, depths=usual_depths(24))
    second = branch(width=1664, word_width=1280, depths=usual_depths(48))
    with torch.device("meta"):
        made = PictureWords(InversionFacts(branches=(first, second)))
        elite = WordMapper(first, hidden=1024, layers=3)
    linear = [m for m in made.modules() if isinstance(m, torch.nn.Linear)]
    by_width = [
        sum(num_parameters(m) for m in part.modules() if isinstance(m, torch.nn.Linear)) for part in made.children()
    ]
    assert by_width == [18_368_000, 30_169_600]
    assert len(linear) == 40
    assert num_parameters(made) == 48_578_560
    assert num_parameters(elite) == 28_904_960
    assert (first.depths, second.depths) == ((24, 4, 8, 12, 16), (48, 8, 16, 24, 32))


def test_the_lora_has_its_published_size() -> None:
    with torch.device("meta"):
        unet: Any = UNet2DConditionModel(**FULL_SIZE)
        told: Any = {"kind": "sdxl", "prediction": "noise", "px_per_token": 8, "latents_per_token": 1}
        own = BackboneFacts(**told, max_references=1, adapter_targets=TARGETS, adapter_prefix="unet")
        add_adapter(unet, facts=own, rank=4, alpha=4.0, name="stellarnet")
    found = adapter_parameters(unet, "stellarnet")
    assert len(found) == 2 * 560
    assert sum(parameter.numel() for parameter in found.values()) == 5_806_080


# numbers -------------------------------------------------------------------------------------------------------------


def mlp(weights: dict[str, np.ndarray], name: str, x: np.ndarray, *, layers: int) -> np.ndarray:
    """Linear, LayerNorm and LeakyReLU (0.01) by turns, the last linear layer alone; float64."""
    for number in range(layers):
        x = x @ weights[f"{name}.{3 * number}.weight"].T + weights[f"{name}.{3 * number}.bias"]
        if number < layers - 1:
            x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
            x = x * weights[f"{name}.{3 * number + 1}.weight"] + weights[f"{name}.{3 * number + 1}.bias"]
            x = np.where(x > 0, x, 0.01 * x)
    return x


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_words_are_the_sum_of_both_mappings(layers: int, tmp_path: Path) -> None:
    words = PictureWords.fresh(facts(layers=layers), init_seed=3)
    draw = torch.Generator().manual_seed(0)
    for parameter in words.parameters():
        parameter.data = torch.randn(parameter.shape, generator=draw)
    states = [[torch.randn(2, 10, width, generator=draw) for _ in range(2)] for width in (6, 4)]
    words.save(tmp_path, metadata={})
    weights = {name: t.double().numpy() for name, t in load_file(tmp_path / "inversion.safetensors").items()}
    for number, (found, name) in enumerate(zip(words(states), ("text_encoder", "text_encoder_2"), strict=True)):
        for k in range(2):
            seen = states[number][k].double().numpy()
            whole = mlp(weights, f"{name}.mapping_{k}", seen[:, 0], layers=layers)
            patches = mlp(weights, f"{name}.mapping_patch_{k}", seen[:, 1:], layers=layers).mean(axis=1)
            np.testing.assert_allclose(found[:, k].detach().numpy(), whole + patches, rtol=1e-4, atol=1e-4)


def test_seeds_decide_fresh_mappers_and_touch_no_global_state() -> None:
    state = torch.get_rng_state()
    one, two, other = (PictureWords.fresh(facts(), init_seed=seed).state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


# files ---------------------------------------------------------------------------------------------------------------


def test_what_is_saved_reads_back_equal(tmp_path: Path) -> None:
    words = PictureWords.fresh(facts(legacy=True), init_seed=1)
    words.save(tmp_path, metadata={"step": 3})
    again = PictureWords.load(tmp_path)
    assert again.facts == words.facts
    assert json.loads((tmp_path / "inversion.json").read_text())["made"] == {"step": 3}
    assert all(torch.equal(again.state_dict()[name], each) for name, each in words.state_dict().items())
    assert not any(parameter.requires_grad for parameter in again.parameters())


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"inversion\.json: expected what `likeness train"):
        PictureWords.load(tmp_path)
    PictureWords.fresh(facts(), init_seed=1).save(tmp_path, metadata={})
    told = json.loads((tmp_path / "inversion.json").read_text())
    (tmp_path / "inversion.json").write_text(json.dumps(told | {"hidden": 8}))
    with pytest.raises(WeightsError, match="expected the tensors that"):
        PictureWords.load(tmp_path)
    (tmp_path / "inversion.json").write_text(json.dumps(told | {"hidden": "wide"}))
    with pytest.raises(WeightsError, match="hidden"):
        PictureWords.load(tmp_path)


# encoders ------------------------------------------------------------------------------------------------------------


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def test_encoders_see_what_transformers_sees(tmp_path: Path) -> None:
    folders = [tiny.write_clip(tmp_path / "one"), tiny.write_clip(tmp_path / "two", seed=2, hidden_size=24)]
    towers = PictureTowers(folders, [()] * 2, device=torch.device("cpu"), dtype=torch.float32)
    shown = picture(32, 32)
    seen = towers.at([(2, 0), (1, 2)]).look([shown, shown])
    for folder, states, depths in zip(folders, seen, [(2, 0), (1, 2)], strict=True):
        processor: Any = CLIPImageProcessorPil.from_pretrained(folder)
        model: Any = load_vision_tower(folder, device="cpu")
        assert isinstance(model, CLIPVisionModelWithProjection)
        with torch.no_grad():
            expected = model(processor(shown, return_tensors="pt").pixel_values, output_hidden_states=True)
        for state, depth in zip(states, depths, strict=True):
            torch.testing.assert_close(state[:1], expected.hidden_states[depth], rtol=0, atol=1e-5)
            assert torch.equal(state[0], state[1])
    with pytest.raises(ConfigError, match=r"expected numbers of 0 to 2, the blocks of one, got \[3\]"):
        towers.at([(3,), (1,)])


def test_backgrounds_are_black_before_normalisation() -> None:
    mask = np.zeros((4, 6), dtype=bool)
    mask[1:3, 2:4] = True
    shown = picture(6, 4)
    seen = np.asarray(on_black(shown, mask))
    assert (seen[~mask] == 0).all()
    assert np.array_equal(seen[mask], np.asarray(shown)[mask])
    square = np.asarray(on_black_square(shown))
    assert square.shape == (6, 6, 3)
    assert (square[[0, 5]] == 0).all()
    assert np.array_equal(square[1:5], np.asarray(shown))


def test_encoders_of_a_folder_are_found_inside_and_must_be_the_same(tmp_path: Path) -> None:
    own, made = tiny.write_clip(tmp_path / "own"), tmp_path / "inversion"
    made.mkdir()
    (made / "eyes").symlink_to(own)
    told = branch(width=16, encoder="eyes").model_copy(update={"sha256": remembered_sha256(own)})
    options: Any = {"device": torch.device("cpu"), "dtype": torch.float32}
    find_towers(InversionFacts(branches=(told, told)), made, **options)
    other = told.model_copy(update={"sha256": "1" * 64})
    with pytest.raises(WeightsError, match="expected the image encoder eyes with hash 111111111111"):
        find_towers(InversionFacts(branches=(told, other)), made, **options)
