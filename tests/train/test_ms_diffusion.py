"""Training on SDXL with MS-Diffusion: every objective, with the boxes of the pairs."""

import copy
import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import preference_runs as runs
import pytest
import torch
from mean_colours import MeanColours
from safetensors.torch import load_file
from tiny_ms import build_tiny_ms

from likeness.backbones.sdxl.ms_diffusion import SdxlMsDiffusion
from likeness.core.pairs import PreferencePair, read_pairs
from likeness.objectives import objective_of
from likeness.train.pairs import maps as mapping
from likeness.train.pairs.cache import PairCache, build_cache, pairs_sha256
from likeness.train.pairs.encode import EncodeSettings, encode_pair, pair_layout
from likeness.train.pairs.step import Batch, collect_batch, compute_step
from likeness.train.plan.step import PairShape, StepSettings, step_cost
from likeness.train.task import Draw, Step
from likeness.train.trainable.lora import LoraAdapter

OBJECTIVES: dict[str, dict[str, Any]] = {
    "sft": {}, "dpo": {"beta": 500.0}, "patch_dpo": {}, "focus_dpo": {"beta": 500.0},
}  # fmt: skip
SETTINGS = EncodeSettings(None, "torch.float32", "kde32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_ms(tmp_path_factory.mktemp("ms") / "ms")


@pytest.fixture(scope="module")
def ms(folder: Path) -> SdxlMsDiffusion:
    return SdxlMsDiffusion.load(folder)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> tuple[PreferencePair, ...]:
    """One with one subject, one with two."""
    return read_pairs(runs.write_pairs(tmp_path_factory.mktemp("pairs"), count=2)).pairs


@pytest.fixture(scope="module")
def cache(
    ms: SdxlMsDiffusion, pairs: tuple[PreferencePair, ...], tmp_path_factory: pytest.TempPathFactory
) -> PairCache:
    key, place = {"pairs": pairs_sha256(pairs)}, tmp_path_factory.mktemp("cache")
    made = build_cache(pairs, folder=place, key=key, backbone=ms, settings=SETTINGS, patch=MeanColours)
    return PairCache(made, count=len(pairs))


def batch_of(ms: SdxlMsDiffusion, cache: PairCache) -> Batch:
    eps = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    return collect_batch([cache[1]], [Draw(eps, 0.4)], backbone=ms, guidance=1.0)


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_every_objective_moves_the_relation_lora(ms: SdxlMsDiffusion, cache: PairCache, kind: str) -> None:
    backbone = SdxlMsDiffusion(replace(ms.parts, stored=ms.parts.stored.having(unet=copy.deepcopy(ms.network))))
    trainable = LoraAdapter(backbone, rank=4, alpha=4.0, init_seed=1)
    optimizer = torch.optim.AdamW([parameter for _, parameter in trainable.named], lr=1e-3)
    objective = objective_of(kind).model_validate({"kind": kind, **OBJECTIVES[kind]})

    def step() -> Step:
        batch = batch_of(backbone, cache)
        return compute_step(backbone, batch, objective=objective, trainable=trainable, precision=torch.float32)[0]

    first = step()
    first.loss.backward()
    optimizer.step()
    moved = {name for name, parameter in trainable.named if "lora_B" in name and parameter.abs().max() > 0}
    assert len(moved) == 11 * 4
    assert not any("_ip" in name or "attn1" in name for name in moved)
    assert step().loss.item() < first.loss.item()


def test_boxes_of_a_pair_are_those_of_its_subjects(ms: SdxlMsDiffusion, pairs: tuple[PreferencePair, ...]) -> None:
    pair = pairs[1]
    layout = pair_layout(pair)
    assert layout.phrases == tuple(reference.phrase for reference in pair.references)
    assert layout.boxes == tuple(subject.box for subject in pair.subjects)
    row = encode_pair(ms, pair, settings=SETTINGS)
    assert torch.equal(row["boxes"], torch.tensor(layout.boxes))
    other = pair.subjects[0].model_copy(update={"box": (0.1, 0.1, 0.3, 0.3)})
    moved = pair.model_copy(update={"subjects": (other, *pair.subjects[1:])})
    assert not torch.equal(encode_pair(ms, moved, settings=SETTINGS)["reference0"], row["reference0"])
    extra = pair.subjects[0].model_copy(update={"box": (0.9, 0.0, 1.0, 0.2)})
    left, top, right, bottom = pair.subjects[0].box
    joined = pair_layout(pair.model_copy(update={"subjects": (*pair.subjects, extra)}))
    assert joined.boxes[0] == (min(left, 0.9), min(top, 0.0), max(right, 1.0), max(bottom, 0.2))
    none = pair_layout(pair.model_copy(update={"subjects": pair.subjects[:1]}))
    assert none.boxes[1] == (0.0, 0.0, 1.0, 1.0)


@pytest.mark.slow
def test_a_step_is_planned_without_weights(folder: Path) -> None:
    """Twice the references, about twice the image tokens: more is left for the backward pass."""
    objective = objective_of("dpo").model_validate({"kind": "dpo", "beta": 1.0})
    settings = StepSettings(objective, 4, 0, torch.float32, 1, gradient_checkpointing=False)
    one, two = (
        step_cost(partial(SdxlMsDiffusion.sketch, folder, dtype=torch.float32), PairShape((64, 64), sizes), settings)
        for sizes in (((40, 40),), ((40, 40),) * 2)
    )
    assert 0 < one.saved < two.saved
    assert 0 < one.flops < two.flops


def test_a_run_with_sample_pictures(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "TIMES", (0.5,))
    monkeypatch.setattr(mapping, "NUM_PAIRS", 1)
    pairs = runs.write_pairs(tmp_path / "pairs", count=2)
    recipe = runs.write_recipe(tmp_path / "run.toml", model=folder, pairs=pairs)
    changes = ("train.gradient_checkpointing=true", "train.batch_size=1", "samples.every=4", "samples.limit=1")
    made = runs.train(recipe, tmp_path / "run", *changes)
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert len(load_file(made.lora / "pytorch_lora_weights.safetensors")) == 2 * 4 * 11
    assert list((tmp_path / "run" / "samples").rglob("*.png"))
