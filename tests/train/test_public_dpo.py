"""DPO on SDXL as diffusers' public script trains it: the same losses, step after step, from the same noise."""

import copy
from pathlib import Path
from typing import Any

import preference_runs as runs
import pytest
import torch
from accelerate import Accelerator
from public_dpo import Encoded, PublicDpo
from tiny_sdxl import build_tiny_sdxl

from likeness.backbones.sdxl.ip_adapter import SdxlIpAdapter
from likeness.objectives import objective_of
from likeness.train.config import ModelTable, TrainConfig, TrainTable
from likeness.train.draws import RowOrder
from likeness.train.loop import Training
from likeness.train.pairs.step import Batch
from likeness.train.pairs.task import DataTable, PairsTask
from likeness.train.trainable.lora import ADAPTER, LoraAdapter

STEPS, BATCH, RANK, BETA, RATE = 4, 2, 4, 2000.0, 1e-3


def training_of(place: Path, sdxl: SdxlIpAdapter, trainable: LoraAdapter, *, model: Path) -> Training:
    config = TrainConfig(
        model=ModelTable(base=str(model)),
        data=DataTable(pairs=str(runs.write_pairs(place, count=4))),
        objective=objective_of("dpo").model_validate({"kind": "dpo", "beta": BETA}),
        train=TrainTable(batch_size=BATCH, learning_rate=RATE, warmup=0),
    )
    task = PairsTask.find(config, model=model, precision=torch.float32)
    task.prepare(sdxl, is_main=True, wait=lambda: None, progress=lambda _: lambda _done, _total: None)
    accelerator = Accelerator(cpu=True)
    return Training(config, task=task, backbone=sdxl, trainable=trainable, accelerator=accelerator)


def as_the_script_has_it(batch: Batch) -> Encoded:
    text, side = batch.condition.text, float(runs.SIZE)
    return Encoded(
        torch.cat([batch.preferred, batch.rejected]),
        text.embeds,
        text.pooled,
        torch.tensor([[side, side, 0, 0, side, side]]).repeat(batch.size, 1),
        torch.stack(batch.condition.references, dim=1),
    )


def test_steps_have_the_losses_of_the_public_script(tmp_path: Path) -> None:
    model = build_tiny_sdxl(tmp_path / "sdxl")
    sdxl = SdxlIpAdapter.load(model)
    unet: Any = copy.deepcopy(sdxl.network)
    trainable = LoraAdapter(sdxl, rank=RANK, alpha=RANK, init_seed=1)
    theirs = PublicDpo(
        unet, parts=sdxl.parts, targets=sdxl.facts.adapter_targets, rank=RANK, beta=BETA, rate=RATE,
        accelerator=Accelerator(cpu=True),
    )  # fmt: skip
    generator = torch.Generator().manual_seed(2)
    for name, parameter in trainable.named:
        if "lora_B" in name:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    theirs.take(trainable.named, adapter=ADAPTER)
    ours = training_of(tmp_path / "pairs", sdxl, trainable, model=model)
    order, losses = RowOrder(ours.task.shapes, batch_size=BATCH, seed=ours.config.train.seed), list[float]()
    for number in range(STEPS):
        batch: Batch = ours.batch_of(order.batch(number), range(BATCH))
        steps = (batch.t * 1000).long()
        row = ours.train_step(checkpoint="none")
        log = theirs.step(as_the_script_has_it(batch), noise=batch.eps, steps=steps)
        assert row["loss"] == pytest.approx(log["loss"], abs=1e-5)
        assert row["accuracy"] == log["accuracy"]
        assert row["learning_rate"] == log["learning_rate"] == RATE
        errors = row["errors"]
        mean = (errors["policy_preferred"] + errors["policy_rejected"]) / 2
        assert mean == pytest.approx(log["policy_error"], abs=1e-6)
        losses.append(log["loss"])
    assert max(losses) - min(losses) > 1e-2  # the adapters have moved, and moved alike:
    for (_, own), other in zip(trainable.named, theirs.parameters, strict=True):
        torch.testing.assert_close(own, other, rtol=0, atol=1e-5)
