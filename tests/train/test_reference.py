"""A reference policy that is the average of the trained adapter: its rule, its errors and what it is at both ends."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from preference_runs import same, train
from torch import Tensor

from likeness.backbones.open import open_backbone
from likeness.train.config import ModelTable, read_train_config
from likeness.train.loop import Training
from likeness.train.pairs.task import PairsTask
from likeness.train.state import load_state
from likeness.train.trainable.lora import LoraAdapter

MOVING = "objective.reference=ema"


def logged(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def test_a_reference_that_forgets_nothing_is_the_frozen_one(recipe: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "frozen")
    train(recipe, tmp_path / "moving", MOVING, "objective.reference_decay=1")
    state = frozenset({"state/tensors.safetensors", "state/skeleton.json", "lora/pytorch_lora_weights.safetensors"})
    assert same(tmp_path / "frozen", tmp_path / "moving", but=state)  # which record the average and the setting
    adapters = [(load_state(tmp_path / name / "state") or {})["adapter"] for name in ("frozen", "moving")]
    assert all(torch.equal(adapters[0][name], adapters[1][name]) for name in adapters[0] | adapters[1])


def test_a_reference_that_forgets_all_is_the_policy_itself(recipe: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "run", MOVING, "objective.reference_decay=0")
    for row in logged(tmp_path / "run"):
        assert row["inside"] == 0
        assert row["loss"] == pytest.approx(math.log(2))
        assert row["errors"]["ref_preferred"] == row["errors"]["policy_preferred"]
    frozen = train(recipe, tmp_path / "frozen")
    assert frozen.last["inside"] != 0


def test_the_reference_follows_its_rule_and_measures_its_own_errors(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule in float64 over the adapters of the steps; the last row's errors by a network that holds the average."""
    decay, seen, batches = 0.6, list[dict[str, Tensor]](), list[Any]()
    update, step = Training._update, PairsTask.step

    def copied(training: Any) -> dict[str, Tensor]:
        return {name: parameter.detach().double().clone() for name, parameter in training.named}

    def watched(self: Any) -> float:
        seen.extend([copied(self)] if not seen else [])
        rate = update(self)
        seen.append(copied(self))
        return rate

    def kept(self: Any, batch: Any, **others: Any) -> Any:
        batches.append(batch)
        return step(self, batch, **others)

    monkeypatch.setattr(Training, "_update", watched)
    monkeypatch.setattr(PairsTask, "step", kept)
    train(recipe, tmp_path / "run", MOVING, f"objective.reference_decay={decay}", "train.ema=0.9")
    average, before = dict(seen[0]), dict(seen[0])
    for adapter in seen[1:]:
        before = average
        average = {name: decay * average[name] + (1 - decay) * adapter[name] for name in average}
    state = load_state(tmp_path / "run" / "state")
    assert state is not None
    assert state["reference"]["averages"].keys() == average.keys()
    for name, expected in average.items():
        torch.testing.assert_close(state["reference"]["averages"][name].double(), expected, atol=1e-8, rtol=1e-5)
        assert not torch.equal(state["reference"]["averages"][name], state["ema"]["averages"][name])

    config, batch = read_train_config(tmp_path / "run" / "config.toml"), batches[-1]
    assert isinstance(config.model, ModelTable)
    backbone = open_backbone(Path(config.model.base), device="cpu", dtype=torch.float32)
    adapter = LoraAdapter(backbone, rank=config.model.rank, alpha=config.model.alpha, init_seed=1)
    with torch.no_grad():
        for name, parameter in adapter.named:
            parameter.copy_(before[name])
        t = batch.t.reshape(-1, 1, 1, 1)
        answer = backbone.predict((1 - t) * batch.preferred + t * batch.eps, batch.t, batch.condition)
    error = ((batch.eps - batch.preferred - answer).double() ** 2).mean()
    assert logged(tmp_path / "run")[-1]["errors"]["ref_preferred"] == pytest.approx(float(error), rel=1e-5)
