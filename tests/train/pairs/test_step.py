"""One step of preference tuning: identities that need no second implementation."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import preference_runs as runs
import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from likeness.backbones.flux.uno import FluxUno
from likeness.core.pairs import read_pairs
from likeness.focus import FocusMaps, covered_tokens, token_mask
from likeness.objectives import objective_of
from likeness.objectives.base import Objective
from likeness.train.config import ModelTable, TrainConfig, TrainTable
from likeness.train.loop import Training
from likeness.train.pairs.cache import PairCache, build_cache, cache_key, pairs_sha256
from likeness.train.pairs.encode import EncodeSettings
from likeness.train.pairs.step import Batch, collect_batch, compute_step, focus_of, maps_of
from likeness.train.pairs.task import COLUMNS, DataTable, PairsTask
from likeness.train.task import Draw, Step
from likeness.train.trainable.lora import LoraAdapter

SETTINGS = EncodeSettings(None, "torch.float32", "kde32")
FP32 = torch.float32


class StandInFeatures:
    """Patch features that are the mean colours of 8 px squares."""

    def __call__(self, image: Any, /) -> Tensor:
        from likeness.backbones.pixels import to_pixels

        return torch.nn.functional.avg_pool2d(to_pixels([image.resize((64, 64))]), 8)[0].permute(1, 2, 0)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory, tiny_flux: Path, loaded: FluxUno) -> PairCache:
    """Eight pairs: even ones have one subject, odd ones two."""
    folder = tmp_path_factory.mktemp("pairs")
    pairs = read_pairs(runs.write_pairs(folder)).pairs
    key = cache_key(pairs_sha256(pairs), model=tiny_flux, settings=SETTINGS, patch_encoder="stand-in")
    place = build_cache(
        pairs, folder=folder / "cache", key=key, backbone=loaded, settings=SETTINGS, patch=StandInFeatures
    )
    return PairCache(place, count=len(pairs))


@pytest.fixture(scope="module")
def loaded(tiny_flux: Path) -> FluxUno:
    return FluxUno.load(tiny_flux)


@pytest.fixture
def training(tiny_flux: Path, loaded: FluxUno, cache: PairCache) -> Callable[..., Training]:
    """A run by tables, its adapter started by one seed."""

    def make(*, adapter: float = 0.0, **tables: dict[str, Any]) -> Training:
        base = {name: values | tables.get(name, {}) for name, values in runs.RECIPE.items()}
        if base["objective"]["kind"] in ("dpo", "focus_dpo"):
            base["objective"] = {"beta": 500.0, **base["objective"]}
        config = TrainConfig(
            model=ModelTable(base=tiny_flux.as_posix(), **base["model"]),
            data=DataTable(pairs="unused"),
            objective=objective_of(base["objective"]["kind"]).model_validate(base["objective"]),
            train=TrainTable(**base["train"]),
        )
        parts = loaded.parts
        backbone = FluxUno(replace(parts, stored=parts.stored.having(transformer=copy.deepcopy(parts.transformer))))
        trainable = LoraAdapter(backbone, rank=4, alpha=4.0, init_seed=1)
        shake(trainable, adapter)
        accelerator, task = Accelerator(cpu=True), EncodedPairs(config, cache)
        return Training(config, task=task, backbone=backbone, trainable=trainable, accelerator=accelerator)

    return make


class EncodedPairs(PairsTask):
    """Pairs of a cache that is there already."""

    def __init__(self, config: TrainConfig, cache: PairCache) -> None:
        self._config, self._cache, self._precision = config, cache, FP32
        assert isinstance(config.objective, Objective)
        self.objective = config.objective
        self.columns: Sequence[str] = (*COLUMNS, *config.objective.columns)


def task_of(run: Training) -> PairsTask:
    assert isinstance(run.task, PairsTask)
    return run.task


def compute(run: Training, batch: Batch) -> tuple[Step, FocusMaps | None]:
    """The loss of a batch under the run's objective, and its maps."""
    return compute_step(run.backbone, batch, objective=task_of(run).objective, trainable=run.trainable, precision=FP32)


def shake(trainable: LoraAdapter, size: float) -> None:
    """B away from 0 by normal numbers times `size`."""
    generator = torch.Generator().manual_seed(5)
    for name, parameter in trainable.named:
        if "lora_B" in name:
            parameter.data += size * torch.randn(parameter.shape, generator=generator)


def gradients(run: Training) -> list[Tensor]:
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for _, p in run.named]


def weights(run: Training) -> list[Tensor]:
    return [p.detach().clone() for _, p in run.named]


def first_batch(run: Training, positions: range = range(2)) -> Batch:
    return run.batch_of([0, 2], positions)


@pytest.mark.parametrize("name", ["dpo", "focus_dpo"])
def test_the_loss_starts_at_ln_2(training: Callable[..., Training], name: str) -> None:
    run = training(objective={"kind": name})
    row = run.train_step(checkpoint="none yet")
    assert row["loss"] == float(torch.tensor(math.log(2.0)))  # exactly, in fp32
    assert row["inside"] == 0.0
    assert row["accuracy"] == 0.5  # ties
    assert row["errors"]["policy_preferred"] == row["errors"]["ref_preferred"]
    assert run.train_step(checkpoint="none yet")["loss"] != row["loss"]


def test_weight_1_everywhere_is_dpo_bit_for_bit(training: Callable[..., Training]) -> None:
    uniform, plain = training(objective={"focus": {"mode": "uniform"}}), training(objective={"kind": "dpo"})
    for _ in range(3):
        first, second = (run.train_step(checkpoint="none yet") for run in (uniform, plain))
        assert (first["loss"], first["gradient_norm"]) == (second["loss"], second["gradient_norm"])
    assert all(torch.equal(a, b) for a, b in zip(weights(uniform), weights(plain), strict=True))


def test_swapping_the_pair_flips_inside(training: Callable[..., Training]) -> None:
    run = training(adapter=0.05)
    batch = first_batch(run)
    assert "inside" in compute(run, batch)[0].logged
    swapped = replace(batch, preferred=batch.rejected, rejected=batch.preferred)
    dpo = training(adapter=0.05, objective={"kind": "dpo"})
    forward, backward = (compute(dpo, each)[0].logged["inside"] for each in (batch, swapped))
    assert torch.allclose(forward, -backward, rtol=1e-4, atol=1e-5)
    assert float(forward.abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["sft", "dpo", "patch_dpo", "focus_dpo"])
def test_every_objective_moves_the_adapter_and_nothing_else(training: Callable[..., Training], name: str) -> None:
    run = training(objective={"kind": name})
    frozen = {key: p.detach().clone() for key, p in run.backbone.network.named_parameters() if not p.requires_grad}
    before = weights(run)
    row = run.train_step(checkpoint="none yet")
    assert row["gradient_norm"] > 0
    assert any(not torch.equal(a, b) for a, b in zip(before, weights(run), strict=True))
    now = dict(run.backbone.network.named_parameters())
    assert all(torch.equal(value, now[key]) for key, value in frozen.items())
    assert (row["inside"] is None) == (name in {"sft", "patch_dpo"})
    assert (row["errors"]["ref_rejected"] is None) == (name in {"sft", "patch_dpo"})
    assert (row["focus_share"] is None) == (name != "focus_dpo")


def test_accumulation_is_a_larger_batch(training: Callable[..., Training]) -> None:
    whole, parts = (
        training(adapter=0.02, train={"batch_size": size, "accumulation": 2 // size, "learning_rate": 1e-2})
        for size in (2, 1)
    )
    for _ in range(2):
        first, second = (run.train_step(checkpoint="none yet") for run in (whole, parts))
        assert first["loss"] == pytest.approx(second["loss"], abs=1e-5)
        assert first["gradient_norm"] == pytest.approx(second["gradient_norm"], rel=1e-3)
        assert first["num_pairs_seen"] == second["num_pairs_seen"]
        assert first["t"] == second["t"]  # the same draws
    for a, b in zip(weights(whole), weights(parts), strict=True):
        assert torch.allclose(a, b, atol=2e-4)  # Adam turns rounding of tiny gradients into steps


def test_a_pair_does_not_notice_its_neighbours(training: Callable[..., Training]) -> None:
    run = training(adapter=0.05)
    both = run.batch_of([1, 3], range(2))
    alone = [run.batch_of([1, 3], [position]) for position in range(2)]
    together, maps = compute(run, both)
    for position, batch in enumerate(alone):
        single, own = compute(run, batch)
        assert maps is not None
        assert own is not None
        assert torch.equal(maps.weight[position], own.weight[0])
        assert torch.equal(maps.matched[position], own.matched[0])
        inside = together.logged["inside"][position]
        assert float(inside) == pytest.approx(float(single.logged["inside"][0]), abs=2e-3)


def test_tokens_outside_the_mask_get_no_gradient(training: Callable[..., Training]) -> None:
    run = training(adapter=0.05, objective={"focus": {"mode": "prior"}})
    batch = first_batch(run)
    seen: list[Tensor] = []
    predict = run.backbone.predict

    def spy(*arguments: Any, **options: Any) -> Tensor:
        answer = predict(*arguments, **options)
        if answer.requires_grad:
            answer.retain_grad()
            seen.append(answer)
        return answer

    run.backbone.predict = spy  # type: ignore[method-assign]
    step, maps = compute(run, batch)
    step.loss.backward()
    assert maps is not None
    inside = maps.prior.reshape(2, 1, 4, 4).repeat_interleave(2, 2).repeat_interleave(2, 3).repeat(2, 1, 1, 1)
    assert seen[0].grad is not None
    assert bool((seen[0].grad[~inside.expand_as(seen[0])] == 0).all())
    assert bool((seen[0].grad[inside.expand_as(seen[0])] != 0).any())


def test_an_empty_prior_teaches_nothing(training: Callable[..., Training]) -> None:
    run = training(adapter=0.05)
    batch = first_batch(run)
    empty = replace(batch, subject_shares=torch.zeros_like(batch.subject_shares))
    step, _ = compute(run, empty)
    step.loss.backward()
    assert float(step.loss.detach()) == pytest.approx(math.log(2), abs=1e-7)
    assert all(not bool(g.any()) for g in gradients(run))


def test_the_anchor_adds_the_preferred_pictures_error(training: Callable[..., Training]) -> None:
    plain, anchored = training(adapter=0.05), training(adapter=0.05, objective={"sft_anchor": 0.25})
    batch = first_batch(plain)
    (first, _), (second, _) = compute(plain, batch), compute(anchored, batch)
    expected = float(first.loss.detach()) + 0.25 * float(first.logged["errors/policy_preferred"].mean())
    assert float(second.loss.detach()) == pytest.approx(expected, rel=1e-6)
    assert float(second.logged["loss"][0]) == float(first.logged["loss"][0]) == float(first.loss.detach())


def test_the_anchor_has_a_column_of_its_own(training: Callable[..., Training]) -> None:
    """The loss of an anchored run starts at ln 2 as well, or its log would look like one that diverges."""
    row = training(objective={"sft_anchor": 10.0}).train_step(checkpoint="none yet")
    assert row["loss"] == float(torch.tensor(math.log(2.0)))
    assert row["anchor"] == pytest.approx(10 * row["errors"]["policy_preferred"], rel=1e-6)
    assert training().train_step(checkpoint="none yet")["anchor"] is None


def test_the_source_of_the_field_is_the_pass_asked_for(training: Callable[..., Training]) -> None:
    start = training()
    moved = {source: training(adapter=0.3, objective={"focus": {"source": source}}) for source in ("policy", "ref")}
    batch = first_batch(start)
    _, untouched = compute(start, batch)
    _, by_ref = compute(moved["ref"], batch)
    assert untouched is not None
    assert by_ref is not None
    assert torch.equal(by_ref.matched, untouched.matched)  # the reference policy is the untuned network
    before, after = (
        maps_of(run.backbone, batch, focus=focus_of(task_of(run).objective), precision=FP32)[1]
        for run in (start, moved["ref"])
    )
    assert not torch.allclose(before, after, atol=1e-4)  # whereas the policy's own field has moved


def test_gradient_checkpointing_changes_no_bit(training: Callable[..., Training]) -> None:
    plain, saving = training(adapter=0.05), training(adapter=0.05)
    network: Any = saving.backbone.network
    network.enable_gradient_checkpointing()
    rows = [run.train_step(checkpoint="none yet") for run in (plain, saving)]
    assert rows[0]["loss"] == rows[1]["loss"]
    assert all(torch.equal(a, b) for a, b in zip(weights(plain), weights(saving), strict=True))


def test_the_row_of_the_log(training: Callable[..., Training]) -> None:
    run = training(train={"batch_size": 1, "accumulation": 3, "warmup": 4})
    row = run.train_step(checkpoint="none yet")
    assert (row["step"], row["num_pairs_seen"], row["learning_rate"]) == (1, 3, 1e-3 / 4)
    by_t = row["focus_share_by_t"]
    assert sum(by_t["count"]) == 3
    assert sum(by_t["sum"]) / 3 == pytest.approx(row["focus_share"])
    assert 0 <= row["fused"] <= 1
    assert row["valid"] == 1.0
    assert run.train_step(checkpoint="none yet")["learning_rate"] == 2e-3 / 4


def test_what_a_batch_holds_is_what_the_files_say(cache: PairCache) -> None:
    pair = cache[1]  # two subjects, the first disrupted
    assert pair.subject_shares.shape == (2, 16)
    assert pair.disrupted.tolist() == [True, False]
    # rows 1-2, columns 0-1 of the 4 x 4 grid: px 16-48 by 0-32
    assert pair.subject_shares[0].reshape(4, 4).int().tolist() == [[0] * 4, [1, 1, 0, 0], [1, 1, 0, 0], [0] * 4]
    half = torch.zeros(64, 64, dtype=torch.bool)
    half[16:48, 32:] = True
    assert torch.equal(covered_tokens(pair.subject_shares[1]), token_mask(half, (4, 4)))
    assert [tuple(tensor.shape) for key, tensor in pair.condition.items() if key.startswith("reference")] == [
        (16, 4, 4)
    ] * 2
    assert all(bool(mask.all()) and len(mask) == 4 for mask in pair.reference_masks)  # no mask: the whole picture
    difference = (pair.preferred - pair.rejected).abs().amax(0)
    assert float(difference[2:6, :4].mean()) > 2 * float(difference[:, 6:].mean())


def test_batches_of_different_shapes_are_never_mixed(cache: PairCache) -> None:
    assert cache.shapes[0] == cache.shapes[2] != cache.shapes[1]
    assert len(cache.shapes[1]) == len(cache.shapes[0]) + 1  # two references instead of one


def test_an_unseen_field_reads_the_same_with_more_rows(training: Callable[..., Training]) -> None:
    """The maps of the report come from one row, those of training from rows of pairs: they agree."""
    run = training(adapter=0.05)
    batch = run.batch_of([1, 3], range(2))
    draws = [Draw(batch.eps[i], float(batch.t[i])) for i in range(2)]
    _, maps = compute(run, batch)
    assert maps is not None
    for i, index in enumerate([1, 3]):
        single = collect_batch([task_of(run).cache[index]], [draws[i]], backbone=run.backbone, guidance=1.0)
        shown, _ = maps_of(run.backbone, single, focus=focus_of(task_of(run).objective), precision=FP32)
        assert torch.equal(shown.weight[0], maps.weight[i])


def test_a_wider_prior_reaches_further_and_soft_shares_weigh(training: Callable[..., Training]) -> None:
    """By hand: the disrupted subject covers the tokens of rows 1-2, columns 0-1 of a 4 x 4 grid, in full."""

    def prior_of(**focus: Any) -> Tensor:
        run = training(adapter=0.05, objective={"focus": {"mode": "prior", **focus}})
        _, maps = compute(run, first_batch(run))
        assert maps is not None
        return maps.weight[0].reshape(4, 4)

    plain = prior_of()
    assert plain.tolist() == [[0.0] * 4, [1, 1, 0, 0], [1, 1, 0, 0], [0.0] * 4]
    assert prior_of(dilation=1).tolist() == [[1, 1, 1, 0]] * 4
    assert torch.equal(prior_of(coverage="soft"), plain)
    assert torch.equal(prior_of(coverage="any"), plain)


def test_k_of_the_subject_and_of_the_reference(training: Callable[..., Training]) -> None:
    for k, wanted in ((1.0, 4), (2.0, 8), (0.5, 2), ("reference", 4)):
        run = training(adapter=0.05, objective={"focus": {"k": k}})
        batch = first_batch(run)
        _, maps = compute(run, batch)
        assert maps is not None
        assert int(maps.matched[0, 0].sum()) == wanted
        assert batch.reference_masks[0].shape[1] == 4
