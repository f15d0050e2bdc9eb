"""Stage "ms": the fresh adapter, the cache, the loss against stock diffusers, resuming, and the export."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from likeness.backbones.sdxl.adapter import Surroundings, attach
from likeness.backbones.sdxl.ms_adapter import FILE_NAME, published_shapes
from likeness.backbones.sdxl.ms_diffusion import SdxlMsDiffusion
from likeness.backbones.sdxl.options import MsOptions
from likeness.core.errors import ConfigError
from likeness.core.hashing import folder_sha256
from likeness.core.records import Layout
from likeness.core.rng import seed_for
from likeness.pretrain import ms_adapter
from likeness.pretrain.config import PretrainConfig, read_config
from likeness.pretrain.export import export
from likeness.pretrain.latents import shard_scenarios
from likeness.pretrain.local_encoder import copy_local_encoder, train_local_encoder
from likeness.pretrain.ms_adapter import (
    PLACE,
    MsTraining,
    answers,
    draw_told,
    export_ms,
    image_tokens,
    prepare_folder,
    told_all,
    train_ms,
)
from likeness.pretrain.ms_cache import NUM_LOCAL, MsShard, encode_examples, phrases_of
from likeness.world.render import render, render_reference
from likeness.world.scenario import Scenario, caption

Copy = Callable[[str], PretrainConfig]
LAYOUT = Layout(boxes=((0.0, 0.2, 0.5, 1.0), (0.5, 0.2, 1.0, 1.0)), phrases=("cat", "dog"))


@pytest.fixture(scope="module")
def work(
    sdxl_work: PretrainConfig, tmp_path_factory: pytest.TempPathFactory, write_recipe: Callable[[Path], Path]
) -> Iterator[PretrainConfig]:
    """A work folder with a fresh adapter, an untrained Local Image Encoder and the cache; do not train in it."""
    root = tmp_path_factory.mktemp("ms")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        patch.setattr(ms_adapter, "NUM_VALIDATION", 4)
        config = read_config(write_recipe(root / "work"))
        for part in ("sdxl", "clip", "vae"):
            shutil.copytree(sdxl_work.work / part, config.work / part)
        copy_local_encoder(config.work / "clip", config.work / PLACE / "local_encoder", side=64)
        MsTraining(config, device="cpu")
        yield config


@pytest.fixture
def copy(work: PretrainConfig, tmp_path: Path, write_recipe: Callable[[Path], Path]) -> Copy:
    def of(name: str) -> PretrainConfig:
        shutil.copytree(work.work, tmp_path / name)
        return read_config(write_recipe(tmp_path / name))

    return of


@pytest.fixture(scope="module")
def backbone(work: PretrainConfig) -> SdxlMsDiffusion:
    return SdxlMsDiffusion.load(prepare_folder(work))


@pytest.fixture(scope="module")
def scenarios() -> list[Scenario]:
    return shard_scenarios(1, size=3, split="train")  # two subjects each


@pytest.fixture(scope="module")
def shard(work: PretrainConfig, backbone: SdxlMsDiffusion, scenarios: list[Scenario]) -> MsShard:
    return encode_examples(scenarios, backbone=backbone, config=work)


def portraits(scenario: Scenario) -> list[Image.Image]:
    drawn = [
        render_reference(who, seed=seed_for("reference", scenario.seed, k), size=32)
        for k, who in enumerate(scenario.identities)
    ]
    return [Image.fromarray(each) for each in drawn]


# -- the start -------------------------------------------------------------------------------------------------
def test_a_fresh_adapter_is_the_ip_adapter_where_they_agree(work: PretrainConfig) -> None:
    sdxl = work.work / "sdxl"
    made = load_file(work.work / PLACE / "ms_adapter" / FILE_NAME)
    theirs = load_file(next((sdxl / "ip_adapter").iterdir()))
    unet: Any = UNet2DConditionModel.from_pretrained(sdxl / "unet")
    wanted = published_shapes(Surroundings(unet, 64, 128), tokens=16, width=128, heads=2)
    assert {name: tuple(tensor.shape) for name, tensor in made.items()} == wanted
    shared = [name for name in theirs if name.startswith("image_proj.") and name in made]
    assert len(shared) == len([name for name in theirs if name.startswith("image_proj.")]) - 1  # but for the queries
    for name in shared:
        assert torch.equal(made[name], theirs[name]), name
    attention = [name for name in theirs if name.startswith("ip_adapter.")]
    for name in attention:
        assert torch.equal(made[name.replace("ip_adapter", "ms_adapter")], theirs[name]), name
    text = replace_start(work, "text")
    layer = [name for name, _ in unet.named_modules() if name.endswith("attn2")]
    keys = sorted(float(unet.get_submodule(name).to_k.weight.detach().sum()) for name in layer)
    assert sorted(float(text[name].sum()) for name in text if name.endswith("to_k_ip.weight")) == keys


def replace_start(work: PretrainConfig, start: str) -> dict[str, Tensor]:
    table = work.ms_adapter.model_copy(update={"start": start})
    return ms_adapter._fresh(work.model_copy(update={"ms_adapter": table}), work.work / "sdxl")


def test_the_first_queries_are_nearly_the_ip_adapters(work: PretrainConfig, backbone: SdxlMsDiffusion) -> None:
    latents = load_file(next((work.work / "sdxl" / "ip_adapter").iterdir()))["image_proj.latents"][0]
    with torch.no_grad():
        queries = backbone.parts.resampler.queries(torch.tensor([LAYOUT.boxes[0]]), torch.randn(1, 128))[0]
    cosine = torch.nn.functional.cosine_similarity(queries, latents, dim=-1)
    assert cosine.min() > 0.8
    assert 0.7 < float(queries.std() / latents.std()) < 1.4


# -- the cache -------------------------------------------------------------------------------------------------
def test_a_shard_is_what_the_backbone_prepares(
    shard: MsShard, backbone: SdxlMsDiffusion, scenarios: list[Scenario]
) -> None:
    """Its tokens through the resampler are those of `prepare`; boxes are the truth's."""
    assert shard.target.shape == (3, 16, 4, 4)
    assert shard.references.shape == (3, 2, 5 + NUM_LOCAL, 64)
    told = told_all(3, local_tokens=True)
    whole = MsShard(*(tensor.float() for tensor in vars(shard).values()))
    with torch.no_grad():
        tokens = image_tokens(backbone.parts.resampler, whole, told, nothing=torch.zeros(21, 64))
    for i, scenario in enumerate(scenarios):
        boxes = tuple(subject.box for subject in render(scenario, size=32).labels.subjects)
        assert np.allclose(shard.boxes[i], boxes)
        layout = Layout(boxes=boxes, phrases=tuple(phrases_of(scenario)))
        row = backbone.prepare(caption(scenario), portraits(scenario), layout=layout)
        torch.testing.assert_close(shard.embeds[i].float(), row["embeds"], atol=0.02, rtol=0.01)
        torch.testing.assert_close(shard.pooled[i].float(), row["pooled"], atol=0.02, rtol=0.01)
        for k in range(2):
            torch.testing.assert_close(tokens[i, k], row[f"reference{k}"], atol=0.03, rtol=0.03)


# -- the loss --------------------------------------------------------------------------------------------------
def test_what_is_dropped_by_hand() -> None:
    told = draw_told(torch.Generator().manual_seed(0), count=100_000, local_share=0.5)
    shares = [float((~each).float().mean()) for each in (told.text, told.images, told.grounding)]
    assert np.allclose(shares, [0.1, 0.1, 0.1], atol=0.005)
    assert float((~told.text & ~told.images).float().mean()) == pytest.approx(0.05, abs=0.003)
    drawn = [draw_told(torch.Generator().manual_seed(i), count=1, local_share=0.3).local_tokens for i in range(400)]
    assert 0.2 < sum(drawn) / 400 < 0.4
    assert not any(draw_told(torch.Generator().manual_seed(i), count=1, local_share=0).local_tokens for i in range(20))


@pytest.mark.parametrize("local_tokens", [True, False])
def test_answers_equal_a_picture_at_a_time_by_prepare(
    shard: MsShard, backbone: SdxlMsDiffusion, scenarios: list[Scenario], local_tokens: bool
) -> None:
    """One picture is told all, one no prompt, one neither picture nor box and phrase."""
    told = replace(
        told_all(3, local_tokens=local_tokens),
        text=torch.tensor([True, False, True]),
        images=torch.tensor([True, True, False]),
        grounding=torch.tensor([True, True, False]),
    )
    t, eps = torch.tensor([0.05, 0.5, 0.95]), torch.randn(3, 16, 4, 4, generator=torch.Generator().manual_seed(1))
    grey = Image.new("RGB", (32, 32), (127, 127, 127))
    with torch.no_grad():
        nothing = backbone.all_features([grey], local_tokens=True)[0]
        found = answers(backbone, shard, told, t=t, eps=eps, nothing=nothing)
        for i, scenario in enumerate(scenarios):
            boxes = tuple(subject.box for subject in render(scenario, size=32).labels.subjects)
            layout = Layout(boxes=boxes, phrases=tuple(phrases_of(scenario)))
            shown = portraits(scenario) if told.images[i] else [grey, grey]
            backbone.local_tokens = local_tokens
            row = backbone.prepare(caption(scenario), shown, layout=layout if told.grounding[i] else None)
            backbone.local_tokens = True
            if not told.text[i]:
                row |= {"embeds": torch.zeros_like(row["embeds"]), "pooled": torch.zeros_like(row["pooled"])}
            condition = backbone.collate([{**row, "boxes": torch.tensor(boxes)}])
            x0 = shard.target[i : i + 1].float()
            noise = backbone.predict(backbone.noise(x0, eps[i : i + 1], t[i]), t[i : i + 1], condition)
            expected = (noise - eps[i]).square().mean(1)[0]
            torch.testing.assert_close(found[i], expected, rtol=0.02, atol=0.02)


def test_only_the_adapter_learns(copy: Copy) -> None:
    training = MsTraining(copy("learns"), device="cpu")
    before = {name: p.detach().clone() for name, p in training.backbone.network.named_parameters()}
    training.step()
    changed = {name for name, p in training.backbone.network.named_parameters() if not torch.equal(before[name], p)}
    assert changed == {name for name in before if "_ip." in name}
    assert any(name.startswith("resampler.latent_proj") for name, _ in training.named)
    assert not training.backbone.network.dummy_image_tokens.requires_grad


# -- the training ----------------------------------------------------------------------------------------------
def test_resumed_steps_equal_straight_steps(copy: Copy) -> None:
    straight = MsTraining(copy("straight"), device="cpu")
    losses = [float(straight.step()) for _ in range(4)]
    export_ms(straight)
    config = copy("stopped")
    first = MsTraining(config, device="cpu")
    early = [float(first.step()) for _ in range(2)]
    first.save()
    export_ms(first)  # after which a kill
    second = MsTraining(config, device="cpu")
    assert second.seen == 8
    late = [float(second.step()) for _ in range(2)]
    assert early + late == losses
    export_ms(second)
    one, other = (each.config.work / PLACE / "ms_adapter" / FILE_NAME for each in (straight, second))
    assert one.read_bytes() == other.read_bytes()


def test_the_export_opens_draws_by_box_and_needs_its_base(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    config = copy("exported")
    monkeypatch.setattr(ms_adapter, "SAVE_EVERY_BATCHES", 2)
    train_ms(config, device="cpu")
    lines = (config.work / "ms.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert "validation_gain_boxes" in lines[-1]
    export(config)
    folder = config.export / PLACE
    names = sorted(path.relative_to(folder).parts[0] for path in folder.rglob("*") if path.is_file())
    assert set(names) == {"base.json", "likeness.json", "local_encoder", "ms_adapter"}
    assert (config.export / "logs" / "ms.jsonl").is_file()
    opened = SdxlMsDiffusion.load(folder)
    assert opened.local_tokens
    shown = [Image.new("RGB", (32, 32), colour) for colour in ("red", "blue")]
    swapped = Layout(boxes=LAYOUT.boxes[::-1], phrases=LAYOUT.phrases)
    drawn = [
        np.asarray(opened.generate("A cat and a dog", shown, seed=1, layout=layout, options=MsOptions(steps=2)))
        for layout in (LAYOUT, LAYOUT, swapped)
    ]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    before = folder_sha256(config.work / PLACE)
    train_ms(config, device="cpu")
    assert folder_sha256(config.work / PLACE) == before


def test_the_plain_sdxl_of_the_folder_is_left(work: PretrainConfig, backbone: SdxlMsDiffusion) -> None:
    """Without references it is the base, which the other adapter reads as well."""
    unet: Any = UNet2DConditionModel.from_pretrained(work.work / "sdxl" / "unet")
    attach(unet, load_file(next((work.work / "sdxl" / "ip_adapter").iterdir())))
    theirs = {name: p for name, p in unet.named_parameters() if ".processor." not in name}
    ours = {name: p for name, p in backbone.network.named_parameters() if "_ip" not in name and "dummy" not in name}
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    assert len(theirs) == len(ours)


def test_the_stage_says_what_it_needs(copy: Copy) -> None:
    config = copy("lacking")
    shutil.rmtree(config.work / PLACE / "local_encoder")
    with pytest.raises(ConfigError, match=r'stage "ms": expected a Local Image Encoder in .*"local_encoder" first'):
        prepare_folder(config)
    shutil.rmtree(config.work / "sdxl")
    with pytest.raises(ConfigError, match=r'stage "ms": expected a tiny SDXL in .*run stage "unet" first'):
        prepare_folder(config)
    shutil.rmtree(config.work / "clip")
    with pytest.raises(ConfigError, match=r'stage "local_encoder": expected a CLIP in .*run stage "clip" first'):
        train_local_encoder(config, device="cpu")


@pytest.mark.slow
def test_the_local_encoder_is_trained_by_its_own_task(copy: Copy) -> None:
    config = copy("local")
    before = load_file(config.work / PLACE / "local_encoder" / "model.safetensors")
    train_local_encoder(config, device="cpu")
    place = config.work / PLACE / "local_encoder"
    after = load_file(place / "model.safetensors")
    name = "vision_model.encoder.layers.1.mlp.fc1.weight"
    assert not torch.equal(before[name], after[name])
    assert (place / "local_tokens.json").read_text().split() == ["{", '"side":', "64", "}"]
    assert SdxlMsDiffusion.load(prepare_folder(config)).local_tokens
