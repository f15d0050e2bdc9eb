"""Training on SD 1.5 with SSR-Encoder: every objective, with the phrases of the pairs as queries."""

import copy
from dataclasses import replace
from typing import Any

import preference_runs as runs
import pytest
import torch
from mean_colours import MeanColours
from tiny_ssr import NUM_LAYERS, build_tiny_ssr

from likeness.backbones.sd15.ssr_encoder import Sd15SsrEncoder
from likeness.core.pairs import read_pairs
from likeness.objectives import objective_of
from likeness.train.pairs.cache import PairCache, build_cache, pairs_sha256
from likeness.train.pairs.encode import EncodeSettings
from likeness.train.pairs.step import collect_batch, compute_step
from likeness.train.task import Draw, Step
from likeness.train.trainable.lora import LoraAdapter

OBJECTIVES: dict[str, dict[str, Any]] = {
    "sft": {}, "dpo": {"beta": 500.0}, "patch_dpo": {}, "focus_dpo": {"beta": 500.0},
}  # fmt: skip


@pytest.fixture(scope="module")
def ssr(tmp_path_factory: pytest.TempPathFactory) -> Sd15SsrEncoder:
    return Sd15SsrEncoder.load(build_tiny_ssr(tmp_path_factory.mktemp("ssr") / "ssr"))


@pytest.fixture(scope="module")
def cache(ssr: Sd15SsrEncoder, tmp_path_factory: pytest.TempPathFactory) -> PairCache:
    """A pair with one subject, one with two."""
    pairs = read_pairs(runs.write_pairs(tmp_path_factory.mktemp("pairs"), count=2)).pairs
    place, settings = tmp_path_factory.mktemp("cache"), EncodeSettings(None, "torch.float32", "kde32")
    key = {"pairs": pairs_sha256(pairs)}
    made = build_cache(pairs, folder=place, key=key, backbone=ssr, settings=settings, patch=MeanColours)
    return PairCache(made, count=len(pairs))


@pytest.mark.parametrize("kind", OBJECTIVES)
def test_every_objective_moves_the_relation_lora(ssr: Sd15SsrEncoder, cache: PairCache, kind: str) -> None:
    backbone = Sd15SsrEncoder(replace(ssr.parts, stored=ssr.parts.stored.having(unet=copy.deepcopy(ssr.network))))
    trainable = LoraAdapter(backbone, rank=4, alpha=4.0, init_seed=1)
    optimizer = torch.optim.AdamW([parameter for _, parameter in trainable.named], lr=1e-3)
    objective = objective_of(kind).model_validate({"kind": kind, **OBJECTIVES[kind]})

    def step() -> Step:
        eps = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(0))
        batch = collect_batch([cache[1]], [Draw(eps, 0.4)], backbone=backbone, guidance=1.0)
        return compute_step(backbone, batch, objective=objective, trainable=trainable, precision=torch.float32)[0]

    first = step()
    first.loss.backward()
    optimizer.step()
    moved = {name for name, parameter in trainable.named if "lora_B" in name and parameter.abs().max() > 0}
    assert len(moved) == NUM_LAYERS * 4
    assert not any("_ip" in name or "attn1" in name for name in moved)
    assert step().loss.item() < first.loss.item()
