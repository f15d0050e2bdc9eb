"""What every backbone of the table keeps, asked of a tiny folder of each kind."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from seeing import Seeing
from tiny_klein import build_tiny_klein
from tiny_ms import build_tiny_ms
from tiny_qwen import build_tiny_qwen
from tiny_sdxl import build_tiny_sdxl
from tiny_ssr import build_tiny_ssr
from torch import Tensor, nn

from likeness.backbones import BACKBONES
from likeness.backbones.base import FEATURES, Backbone
from likeness.backbones.lora import adapter_off, adapter_parameters, add_adapter, load_adapter, save_adapter
from likeness.backbones.open import open_backbone, options_of
from likeness.core.errors import ConfigError, DataError
from likeness.pretrain.tiny_flux import build_tiny_flux

PROMPTS = ["a cat hugs a dog", "a cat in the snow"]
ROWS, COLUMNS = 2, 3


def tiny_flux(folder: Path) -> Path:
    sizes = {"size": 64, "reference_size_single": 48, "reference_size_multi": 32}
    numbers = {"transformer": {"num_layers": 1, "num_single_layers": 2}, "likeness": {**sizes, "default_steps": 2}}
    return build_tiny_flux(folder, corpus=PROMPTS, config=numbers)


TINY: dict[str, Callable[[Path], Path]] = {
    "flux_uno": tiny_flux,
    "flux2_klein": build_tiny_klein,
    "qwen_image_edit": build_tiny_qwen,
    "sdxl_ip_adapter": build_tiny_sdxl,
    "sdxl_ms_diffusion": build_tiny_ms,
    "sd15_ssr_encoder": build_tiny_ssr,
}
"""A small folder of each kind, whose own options draw a picture in a second."""


def test_every_kind_has_a_tiny_folder() -> None:
    assert TINY.keys() == BACKBONES.keys()


@pytest.fixture(scope="module", params=sorted(TINY))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return TINY[request.param](tmp_path_factory.mktemp("kinds") / request.param)


@pytest.fixture(scope="module")
def backbone(folder: Path) -> Backbone[Any]:
    return opened(folder)


def opened(folder: Path) -> Backbone[Any]:
    return open_backbone(folder, device="cpu", dtype="float32")


def picture(seed: int, *, width: int = 96, height: int = 96) -> Image.Image:
    colours = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(colours).resize((width, height))


def rows(backbone: Backbone[Any], *, count: int = 2) -> list[dict[str, Tensor]]:
    """Samples that may share a batch, each with two references."""
    return [backbone.prepare(PROMPTS[i], [picture(2 * i), picture(2 * i + 1)]) for i in range(count)]


def latents(backbone: Backbone[Any], *, seed: int, count: int = 1) -> Tensor:
    """Noise of the shape of a picture of ROWS x COLUMNS tokens."""
    side = backbone.facts.px_per_token
    shape = backbone.encode(torch.zeros(1, 3, ROWS * side, COLUMNS * side)).shape[1:]
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def answer(backbone: Backbone[Any], condition: Any, watch: Seeing | None = None, *, x_t: Tensor) -> Tensor:
    return backbone.predict(x_t, torch.full((len(x_t),), 0.6), condition, watch)


# facts ---------------------------------------------------------------------------------------------------------------


def test_the_facts_are_those_of_the_table_and_of_the_network(backbone: Backbone[Any], folder: Path) -> None:
    facts = backbone.facts
    assert facts.kind == folder.name
    assert BACKBONES[facts.kind].reads_layout == facts.reads_layout
    assert BACKBONES[facts.kind].finds_boxes == hasattr(backbone, "attended_layout")
    matched = {
        name: module
        for name, module in backbone.network.named_modules()
        if re.fullmatch(facts.adapter_targets, name) is not None
    }
    layers = type(backbone).layers_of(folder)
    assert matched
    assert all(isinstance(module, nn.Linear) for module in matched.values())
    assert [name for name in matched if not name.startswith(tuple(f"{layer}." for layer in layers))] == []
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())


HALVED: dict[str, set[tuple[int, int]]] = {
    **{kind: {(1, 2), (1, 1)} for kind in ("sdxl_ip_adapter", "sdxl_ms_diffusion")},
    "sd15_ssr_encoder": {(ROWS, COLUMNS), (1, 2), (1, 1)},
}
"""The grids of a U-Net, whose layers with cross-attention start one step down in SDXL, at the top in SD 1.5."""


@pytest.mark.parametrize("features", FEATURES)
def test_a_watch_is_told_the_layers_the_grid_and_every_token(
    backbone: Backbone[Any], folder: Path, features: str
) -> None:
    if features not in backbone.features:
        pytest.skip(f"{folder.name} has no {features} of picture and references")
    watch, condition = Seeing(features), backbone.collate(rows(backbone))
    answer(backbone, condition, watch, x_t=latents(backbone, seed=0, count=2))
    assert tuple(watch.layers) == tuple(type(backbone).layers_of(folder))
    assert watch.grids == HALVED.get(folder.name, {(ROWS, COLUMNS)})
    for target, *references in watch.layers.values():
        assert target.shape[0] == 2
        assert target.shape[1] in {height * width for height, width in watch.grids}
        assert len(references) == 2
        assert {tokens.shape[-1] for tokens in references} == {target.shape[-1]}
        if (number := backbone.facts.tokens_per_reference) is not None:
            assert {tokens.shape[1] for tokens in references} == {number}


def test_a_watch_of_unknown_features_is_refused(backbone: Backbone[Any]) -> None:
    condition = backbone.collate(rows(backbone, count=1))
    with pytest.raises(ConfigError, match=f"features: expected one of {backbone.features[0]}"):
        answer(backbone, condition, Seeing("colour"), x_t=latents(backbone, seed=0))


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_painting_a_prepared_row_is_generating_and_asks_no_encoder(
    backbone: Backbone[Any], folder: Path, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    options, shown = options_of(folder.name)(cfg_scale=scale), [picture(1), picture(2)]
    expected = backbone.generate(PROMPTS[0], shown, seed=3, options=options)
    row, unprompted = backbone.prepare(PROMPTS[0], shown), backbone.prepare("", shown)
    for name in ("prepare", "encode", "embed_text"):
        monkeypatch.setattr(backbone, name, None)
    painted = backbone.paint(row, seed=3, options=options, unprompted=unprompted)
    assert np.array_equal(np.asarray(painted), np.asarray(expected))
    other = backbone.paint(unprompted, seed=3, options=options, unprompted=unprompted)
    assert not np.array_equal(np.asarray(other), np.asarray(expected))


def test_pictures_painted_at_once_are_those_painted_alone(backbone: Backbone[Any]) -> None:
    """Up to rounding, and in the order of the rows."""
    painter: Any = backbone
    shown = [picture(1), picture(2)]
    prepared, empty = [backbone.prepare(text, shown) for text in PROMPTS[:2]], backbone.prepare("", shown)
    alone = [
        np.asarray(painter.paint(row, seed=seed, unprompted=empty)).astype(int)
        for row, seed in zip(prepared, (3, 4), strict=True)
    ]
    drawn = painter.paint_batch(prepared, seeds=[3, 4], unprompted=[empty, empty])
    at_once = [np.asarray(image).astype(int) for image in drawn]
    assert all(np.abs(one - other).max() <= 1 for one, other in zip(alone, at_once, strict=True))
    assert np.abs(alone[0] - alone[1]).max() > 1


# the path ------------------------------------------------------------------------------------------------------------


def test_the_target_gives_the_clean_latents_back(backbone: Backbone[Any]) -> None:
    x0, eps = torch.randn(2, 3, 4, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
    x_t = backbone.noise(x0, eps, t)
    torch.testing.assert_close(backbone.clean(x_t, backbone.target(x0, eps, t), t), x0, rtol=0, atol=1e-12)
    assert (x_t - x0).abs().amax((1, 2, 3)).diff().min() > 0  # further away with time
    wrong = backbone.clean(x_t, backbone.target(x0, -eps, t), t)
    assert (wrong - x0).abs().amin() > 1e-4


def test_times_follow_from_the_generator_alone_and_lie_inside(backbone: Backbone[Any]) -> None:
    def draw(law: str, *, seed: int, grid: tuple[int, int] = (ROWS, COLUMNS)) -> list[float]:
        generator = torch.Generator().manual_seed(seed)
        return [backbone.draw_t(generator, grid=grid, law=law) for _ in range(50)]

    for law in backbone.time_laws:
        assert draw(law, seed=1) == draw(law, seed=1) != draw(law, seed=2)
        assert all(0 < t < 1 for t in draw(law, seed=1))
        assert len(set(draw(law, seed=1))) > 40
    with pytest.raises(ConfigError, match=f"expected one of {backbone.time_laws[0]}.*got 'lunar'"):
        draw("lunar", seed=1)


# conditions ----------------------------------------------------------------------------------------------------------


def test_a_prediction_has_the_shape_of_the_latents(backbone: Backbone[Any]) -> None:
    for count in (1, 2):
        x_t = latents(backbone, seed=0, count=count)
        prediction = answer(backbone, backbone.collate(rows(backbone, count=count)), x_t=x_t)
        assert prediction.shape == x_t.shape
        assert prediction.isfinite().all()


def test_two_rows_answer_as_each_alone(backbone: Backbone[Any]) -> None:
    x_t, samples = latents(backbone, seed=3, count=2), rows(backbone)
    both = answer(backbone, backbone.collate(samples), x_t=x_t)
    alone = [answer(backbone, backbone.collate([samples[i]]), x_t=x_t[[i]]) for i in range(2)]
    torch.testing.assert_close(both, torch.cat(alone), atol=1e-5, rtol=1e-4)  # batched products sum in another order
    assert (both[0] - answer(backbone, backbone.collate([samples[1]]), x_t=x_t[[0]])[0]).abs().max() > 1e-4


def test_samples_may_lie_on_the_disk_among_other_tensors(backbone: Backbone[Any], tmp_path: Path) -> None:
    x_t, samples = latents(backbone, seed=3, count=2), rows(backbone)
    assert not any(tensor.requires_grad for row in samples for tensor in row.values())
    for number, row in enumerate(samples):
        save_file({**row, "preferred": torch.ones(3)}, tmp_path / f"{number}.safetensors")
    read = [load_file(tmp_path / f"{number}.safetensors") for number in range(2)]
    expected = answer(backbone, backbone.collate(samples), x_t=x_t)
    assert torch.equal(answer(backbone, backbone.collate(read), x_t=x_t), expected)


def test_samples_that_cannot_share_a_batch_are_refused(backbone: Backbone[Any]) -> None:
    samples = [backbone.prepare(PROMPTS[0], [picture(0)]), backbone.prepare(PROMPTS[1])]
    with pytest.raises(DataError, match="collate: expected"):
        backbone.collate(samples)


def test_too_many_references_are_refused(backbone: Backbone[Any]) -> None:
    most = backbone.facts.max_references
    assert len(backbone.fit_references([picture(seed) for seed in range(most)])) == most
    with pytest.raises(DataError, match=f"references: expected at most {most}, got {most + 1}"):
        backbone.prepare(PROMPTS[0], [picture(seed) for seed in range(most + 1)])


def test_encoders_put_away_are_read_again_when_they_are_needed(folder: Path) -> None:
    backbone = opened(folder)
    before, image = rows(backbone, count=1)[0], backbone.generate(PROMPTS[0], [picture(0)], seed=1).tobytes()
    network = backbone.network
    backbone.put_encoders_away()
    assert backbone.network is network
    after = rows(backbone, count=1)[0]
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert backbone.generate(PROMPTS[0], [picture(0)], seed=1).tobytes() == image


def test_a_sketch_has_the_shapes_of_the_loaded_one(backbone: Backbone[Any], folder: Path) -> None:
    sketch = type(backbone).sketch(folder, dtype=torch.float32)
    side, references = backbone.facts.px_per_token, [picture(0), picture(1)]
    size = (COLUMNS * side, ROWS * side)
    blank, real = sketch.blank(size, references), backbone.prepare(PROMPTS[0], references)
    real["latents"] = backbone.encode(torch.zeros(1, 3, size[1], size[0]))[0]
    assert {name: (t.shape, t.dtype) for name, t in blank.items()} == {n: (t.shape, t.dtype) for n, t in real.items()}
    assert sketch.facts == backbone.facts
    shapes = {name: p.shape for name, p in backbone.network.named_parameters()}
    assert {name: p.shape for name, p in sketch.network.named_parameters()} == shapes
    assert all(parameter.is_meta for part in sketch.encoders().values() for parameter in part.parameters())


# pictures ------------------------------------------------------------------------------------------------------------


def test_prompt_references_and_seed_decide_the_picture(backbone: Backbone[Any]) -> None:
    def draw(prompt: str = PROMPTS[0], *, seed: int = 1, reference: int = 0) -> bytes:
        return backbone.generate(prompt, [picture(reference)], seed=seed).tobytes()

    first = draw()
    assert draw() == first
    assert len({first, draw(seed=2), draw(PROMPTS[1]), draw(reference=1)}) == 4


def test_no_options_are_the_models_own(backbone: Backbone[Any]) -> None:
    options = options_of(backbone.facts.kind)()
    plain, asked = (backbone.generate(PROMPTS[0], seed=1, options=each) for each in (None, options))
    assert plain.tobytes() == asked.tobytes()


def test_unknown_options_are_refused(backbone: Backbone[Any]) -> None:
    with pytest.raises(ConfigError, match="colour: expected an option among"):
        options_of(backbone.facts.kind)(colour="red")


# adapters ------------------------------------------------------------------------------------------------------------


def test_an_adapter_is_trained_saved_loaded_and_turned_off(folder: Path, tmp_path: Path) -> None:
    tuned = opened(folder)
    x_t, condition = latents(tuned, seed=3), tuned.collate(rows(tuned, count=1))
    base = answer(tuned, condition, x_t=x_t)
    add_adapter(tuned.network, facts=tuned.facts, rank=2, alpha=4.0)
    assert torch.equal(answer(tuned, condition, x_t=x_t), base)
    adapter = adapter_parameters(tuned.network, "focus")
    tuned.predict(x_t, torch.tensor(0.6), condition).square().mean().backward()
    trained = {name for name, parameter in tuned.network.named_parameters() if parameter.grad is not None}
    assert trained
    assert trained <= adapter.keys()
    for key, parameter in adapter.items():
        if "lora_B" in key:
            parameter.data = 0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(4))
    expected = answer(tuned, condition, x_t=x_t)
    assert (expected - base).abs().max() > 1e-4
    with adapter_off(tuned.network, "focus"):
        assert torch.equal(answer(tuned, condition, x_t=x_t), base)
    file = save_adapter(tuned.network, tmp_path / "lora", facts=tuned.facts)
    assert all(key.startswith(f"{tuned.facts.adapter_prefix}.") for key in load_file(file))
    fresh, loaded = opened(folder), open_backbone(folder, device="cpu", dtype="float32", loras=[file.parent])
    load_adapter(fresh, file)
    assert all(torch.equal(answer(each, condition, x_t=x_t), expected) for each in (fresh, loaded))
