"""Training on SDXL with IP-Adapter-Plus: every objective, by steps of noise prediction."""

import copy
import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import preference_runs as runs
import pytest
import torch
from diffusers import DDPMScheduler
from mean_colours import MeanColours
from safetensors.torch import load_file
from tiny_sdxl import SCHEDULER, build_tiny_sdxl
from torch import Tensor

from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.backbones.sdxl.noising import bound_weights
from likeness.core.hashing import folder_sha256
from likeness.core.pairs import read_pairs
from likeness.focus import complexity
from likeness.objectives import objective_of
from likeness.train.pairs import maps as mapping
from likeness.train.pairs.cache import PairCache, build_cache, pairs_sha256
from likeness.train.pairs.encode import EncodeSettings
from likeness.train.pairs.step import Batch, collect_batch, compute_step
from likeness.train.task import Draw, Step
from likeness.train.trainable.lora import LoraAdapter

OBJECTIVES: dict[str, dict[str, Any]] = {
    "sft": {}, "dpo": {"beta": 500.0}, "patch_dpo": {}, "focus_dpo": {"beta": 500.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tiny_sdxl(tmp_path_factory.mktemp("sdxl") / "sdxl")


@pytest.fixture(scope="module")
def sdxl(folder: Path) -> SdxlIpAdapter:
    return SdxlIpAdapter.load(folder)


@pytest.fixture(scope="module")
def cache(sdxl: SdxlIpAdapter, tmp_path_factory: pytest.TempPathFactory) -> PairCache:
    """Pairs with one and two subjects."""
    place = tmp_path_factory.mktemp("pairs")
    pairs = read_pairs(runs.write_pairs(place, count=2)).pairs
    settings = EncodeSettings(None, "torch.float32", "kde32")
    key = {"pairs": pairs_sha256(pairs)}
    made = build_cache(pairs, folder=place / "cache", key=key, backbone=sdxl, settings=settings, patch=MeanColours)
    return PairCache(made, count=len(pairs))


def fresh(sdxl: SdxlIpAdapter) -> SdxlIpAdapter:
    parts = sdxl.parts
    return SdxlIpAdapter(replace(parts, stored=parts.stored.having(unet=copy.deepcopy(sdxl.network))))


def batch_of(sdxl: SdxlIpAdapter, cache: PairCache, *, row: int = 1, t: float = 0.4) -> Batch:
    eps = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
    return collect_batch([cache[row]], [Draw(eps, t)], backbone=sdxl, guidance=1.0)


def step_of(backbone: SdxlIpAdapter, batch: Batch, trainable: LoraAdapter, kind: str, **options: Any) -> Step:
    objective = objective_of(kind).model_validate({"kind": kind, **OBJECTIVES[kind], **options})
    return compute_step(backbone, batch, objective=objective, trainable=trainable, precision=torch.float32)[0]


def shaken(backbone: SdxlIpAdapter) -> LoraAdapter:
    trainable = LoraAdapter(backbone, rank=4, alpha=4.0, init_seed=1)
    generator = torch.Generator().manual_seed(5)
    for name, parameter in trainable.named:
        if "lora_B" in name:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return trainable


def digest(network: torch.nn.Module) -> str:
    """The hash of every weight that was there before the adapter."""
    total = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        if "lora_" not in name:
            total.update(name.replace(".base_layer", "").encode() + tensor.numpy().tobytes())
    return total.hexdigest()


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_every_objective_moves_the_adapter_and_nothing_else(sdxl: SdxlIpAdapter, cache: PairCache, kind: str) -> None:
    backbone, before = fresh(sdxl), digest(sdxl.network)
    trainable = LoraAdapter(backbone, rank=4, alpha=4.0, init_seed=1)
    optimizer = torch.optim.AdamW([parameter for _, parameter in trainable.named], lr=1e-3)
    step = step_of(backbone, batch_of(backbone, cache), trainable, kind)
    if "dpo" in kind and kind != "patch_dpo":
        assert step.loss.item() == pytest.approx(math.log(2), abs=1e-6)
    step.loss.backward()
    optimizer.step()
    moved = {name for name, parameter in trainable.named if "lora_B" in name and parameter.abs().max() > 0}
    assert len(moved) == 11 * 10
    assert sum("processor.to_v_ip" in name for name in moved) == 11
    assert digest(backbone.network) == before
    again = step_of(backbone, batch_of(backbone, cache), trainable, kind)
    assert again.loss.item() < step.loss.item()


def test_dpo_is_the_loss_of_the_public_script(sdxl: SdxlIpAdapter, cache: PairCache) -> None:
    """Diffusion-DPO's arithmetic on the same noise: stock noise scheduler, mean squared errors, -beta / 2."""
    backbone = fresh(sdxl)
    trainable, batch = shaken(backbone), batch_of(backbone, cache, t=0.4005)
    scheduler: Any = DDPMScheduler(**SCHEDULER)
    x0, eps, steps = (
        torch.cat([batch.preferred, batch.rejected]),
        batch.eps.repeat(2, 1, 1, 1),
        torch.tensor([400, 400]),
    )
    x_t, condition = scheduler.add_noise(x0, eps, steps), batch.condition.select([0, 0])
    added = {
        "text_embeds": condition.text.pooled,
        "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2),
        "image_embeds": [torch.stack(condition.references, dim=1)],
    }

    def errors() -> Tensor:
        prediction = backbone.network(x_t, steps, condition.text.embeds, added_cond_kwargs=added).sample
        return (prediction - eps).square().mean(dim=(1, 2, 3))

    with torch.no_grad():
        policy = errors()
        backbone.network.disable_adapters()
        ref = errors()
        backbone.network.enable_adapters()
    inside = -0.5 * 500 * ((policy[0] - policy[1]) - (ref[0] - ref[1]))
    step = step_of(backbone, batch, trainable, "dpo")
    assert step.logged["inside"].item() == pytest.approx(inside.item(), rel=1e-3)
    assert abs(inside.item()) > 0.01
    weighted = step_of(backbone, batch, trainable, "dpo", weighting="elbo")
    factor = bound_weights(scheduler.alphas_cumprod)[400].item()
    assert weighted.logged["inside"].item() == pytest.approx(factor * inside.item(), rel=1e-3)
    same = step_of(backbone, batch, trainable, "dpo", weighting="eps")
    assert torch.equal(same.loss, step.loss)


def test_gradient_checkpointing_changes_no_gradient(sdxl: SdxlIpAdapter, cache: PairCache) -> None:
    found: list[dict[str, Tensor]] = []
    for checkpointed in (False, True):
        backbone = fresh(sdxl)
        trainable = shaken(backbone)
        if checkpointed:
            backbone.network.enable_gradient_checkpointing()
        step_of(backbone, batch_of(backbone, cache), trainable, "focus_dpo").loss.backward()
        found.append({name: parameter.grad for name, parameter in trainable.named if parameter.grad is not None})
    assert found[0].keys() == found[1].keys()
    assert max(gradient.abs().max() for gradient in found[0].values()) > 0
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-4, atol=1e-7)


def test_what_an_encoded_pair_holds(cache: PairCache) -> None:
    single, double = cache[0], cache[1]
    assert single.preferred.shape == (4, 8, 8)
    assert [mask.tolist() for mask in double.reference_masks] == [[True] * 4] * 2
    assert double.subject_shares.shape == (2, 64)
    assert double.subject_shares[0].reshape(8, 8).int().tolist() == [
        [1 if 2 <= row < 6 and column < 4 else 0 for column in range(8)] for row in range(8)
    ]
    assert single.complexity.shape == (64,)
    assert sorted(double.condition) == ["embeds", "pooled", "reference0", "reference1"]
    assert single.patch_preferred is not None
    assert single.patch_preferred.shape == (64,)


def test_complexity_sees_windows_of_16_px(cache: PairCache, sdxl: SdxlIpAdapter, tmp_path: Path) -> None:
    from likeness.backbones.pixels import to_pixels
    from likeness.core.images import load_image

    pairs = read_pairs(runs.write_pairs(tmp_path, count=1)).pairs
    detail = complexity(to_pixels([load_image(pairs[0].preferred)]), patch=16, stride=8)
    assert torch.equal(cache[0].complexity, detail.flatten())


def test_a_run_from_the_command_line_to_a_tuned_picture(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapping, "TIMES", (0.5,))
    monkeypatch.setattr(mapping, "NUM_PAIRS", 1)
    before = folder_sha256(folder)
    pairs = runs.write_pairs(tmp_path / "pairs", count=2)
    recipe = runs.write_recipe(tmp_path / "run.toml", model=folder, pairs=pairs)
    made = runs.train(recipe, tmp_path / "run", "train.gradient_checkpointing=true", "train.learning_rate=3e-3")
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert rows[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert 't_sampler = "uniform"' in (tmp_path / "run" / "config.toml").read_text()
    facts = json.loads((tmp_path / "run" / "maps" / "000004.json").read_text())["pairs"][0]
    assert facts["grid"] == [8, 8]
    assert len(facts["levels"][0]["scores"][0]) == 8
    assert sum("to_k_ip" in key for key in load_file(made.lora / "pytorch_lora_weights.safetensors")) == 11 * 2
    plain, tuned = (SdxlIpAdapter.load(folder, loras=loras) for loras in ((), (made.lora,)))
    assert plain.generate("a cat", seed=1) != tuned.generate("a cat", seed=1)
    assert folder_sha256(folder) == before
