"""Stage "transformer": the velocity loss, dropped conditions, optimizer groups, and resuming bit for bit."""

import shutil
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from likeness.backbones.flux.folder import read_settings
from likeness.backbones.flux.uno import FluxUno
from likeness.core.weights import embedded
from likeness.pretrain import transformer
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.latents import LatentShard, token_ids
from likeness.pretrain.transformer import (
    DEFAULTS,
    PARTS,
    TransformerTraining,
    cell_errors,
    drop_condition,
    embed,
    prepare_folder,
    train_transformer,
    validation_losses,
    weighted_mean,
)

# said once per process by torch: under autocast the norm's fp32 weight meets bf16 activations
pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")

Copy = Callable[[str], PretrainConfig]


@pytest.fixture
def backbone(prepared: PretrainConfig) -> FluxUno:
    """The untrained tiny FLUX; its last layers are perturbed, since they start at zero."""
    backbone = FluxUno.load(prepared.work / "flux")
    torch.manual_seed(0)
    with torch.no_grad():
        for p in backbone.network.parameters():
            p.add_(0.02 * torch.randn_like(p))
    return backbone


def batch_of(backbone: FluxUno, num_references: int, *, size: int = 3) -> LatentShard:
    generator = torch.Generator().manual_seed(num_references)
    prompts = ["A cat is hugging a dog in the forest.", "A frog on the beach", "A red pig"][:size]
    return LatentShard(
        torch.randn(size, 16, 4, 4, generator=generator),
        torch.rand(size, 4, 4, generator=generator),
        torch.randn(size, num_references, 16, 2, 2, generator=generator),
        *token_ids(backbone, prompts),
    )


def noise_of(batch: LatentShard) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(9)
    t = torch.rand(len(batch.target), generator=generator)
    return t, torch.randn(batch.target.shape, generator=generator)


@pytest.mark.parametrize("num_references", [0, 1, 2, 4])
def test_cell_errors_equal_a_loop_over_pictures(backbone: FluxUno, num_references: int) -> None:
    """x_t = (1 - t) x0 + t eps and target eps - x0, in float64, each picture alone through the network."""
    batch = batch_of(backbone, num_references)
    t, eps = noise_of(batch)
    with torch.no_grad():
        errors = cell_errors(backbone, batch, t=t, eps=eps)
        for i in range(3):
            x0, e = batch.target[i].double(), eps[i].double()
            x_t = ((1 - t[i].double()) * x0 + t[i].double() * e).float()
            text = embed(backbone, batch.pieces[i : i + 1], batch.words[i : i + 1])
            references = [batch.references[i : i + 1, k] for k in range(num_references)]
            condition = backbone.assemble(text, references, guidance=1.0)
            velocity = backbone.predict(x_t[None], t[i : i + 1], condition)[0].double()
            expected = (velocity - (e - x0)).square().mean(0)
            torch.testing.assert_close(errors[i].double(), expected, rtol=1e-4, atol=1e-6)


def test_cell_errors_by_hand(backbone: FluxUno, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = batch_of(backbone, 1)
    t, eps = noise_of(batch)
    monkeypatch.setattr(backbone, "predict", lambda x_t, t, condition: torch.zeros_like(x_t))
    silent = cell_errors(backbone, batch, t=t, eps=eps)
    torch.testing.assert_close(silent, (eps - batch.target).square().mean(1))
    monkeypatch.setattr(backbone, "predict", lambda x_t, t, condition: eps - batch.target)
    assert not cell_errors(backbone, batch, t=t, eps=eps).any()


def test_weighted_mean_by_hand() -> None:
    """Equal weights are the plain mean; weight 3 counts a subject's cell three times, half a subject's twice."""
    errors = torch.tensor([[[1.0, 2.0, 6.0]]])
    subject = torch.tensor([[[0.0, 0.5, 1.0]]]).half()
    assert weighted_mean(errors, subject, subject_weight=1.0).item() == pytest.approx(3)
    assert weighted_mean(errors, subject, subject_weight=3.0).item() == pytest.approx((1 + 2 * 2 + 3 * 6) / 6)
    copies = torch.tensor([1.0, 2, 2, 6, 6, 6]).mean().item()
    assert weighted_mean(errors, subject, subject_weight=3.0).item() == pytest.approx(copies)
    same = torch.full((2, 3, 4), 0.7)
    assert weighted_mean(same, torch.rand(2, 3, 4), subject_weight=4.0).item() == pytest.approx(0.7)


def test_every_condition_is_heard_and_every_part_learns(backbone: FluxUno) -> None:
    batch = batch_of(backbone, 2)
    t, eps = noise_of(batch)
    for part in PARTS:
        getattr(backbone.parts, part).requires_grad_(True)
    loss = cell_errors(backbone, batch, t=t, eps=eps)
    loss.mean().backward()
    for part in PARTS:
        gradients = [p.grad for p in getattr(backbone.parts, part).parameters() if p.grad is not None]
        assert sum(float(g.abs().sum()) for g in gradients) > 0, part
    with torch.no_grad():
        for field in ("references", "pieces", "words"):
            rolled = replace(batch, **{field: getattr(batch, field).roll(1, 0)})
            assert not torch.equal(cell_errors(backbone, rolled, t=t, eps=eps), loss), field


def test_dropped_conditions(backbone: FluxUno) -> None:
    batch, empty = batch_of(backbone, 2), token_ids(backbone, [""])
    kept = drop_condition(batch, empty, prompt=False)
    assert kept.references.shape == (3, 0, 16, 2, 2)
    assert torch.equal(kept.pieces, batch.pieces)
    assert torch.equal(kept.target, batch.target)
    free = drop_condition(batch, empty, prompt=True)
    assert all(torch.equal(row, empty[0][0]) for row in free.pieces)
    assert all(torch.equal(row, empty[1][0]) for row in free.words)
    t, eps = noise_of(batch)
    with torch.no_grad():
        text = embed(backbone, free.pieces, free.words)
        unconditional = backbone.collate([backbone.prepare("")] * 3, guidance=1.0)
        torch.testing.assert_close(text.embeds, unconditional.text.embeds)
        assert cell_errors(backbone, free, t=t, eps=eps).shape == (3, 4, 4)


def training_weights(training: TransformerTraining) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in training.named}


def test_resumed_steps_equal_straight_steps(work_copy: Copy) -> None:
    straight = TransformerTraining(work_copy("straight"), device="cpu")
    losses = [float(straight.step()) for _ in range(4)]
    config = work_copy("stopped")
    first = TransformerTraining(config, device="cpu")
    early = [float(first.step()) for _ in range(2)]
    first.save()
    second = TransformerTraining(config, device="cpu")
    assert second.seen == 8
    late = [float(second.step()) for _ in range(2)]
    assert early + late == losses
    a, b = training_weights(straight), training_weights(second)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert all(torch.equal(straight.ema.averages[name], second.ema.averages[name]) for name in a)
    assert straight.ema.updates == second.ema.updates == 4


def test_validation_and_export_leave_the_training_untouched(work_copy: Copy) -> None:
    training = TransformerTraining(work_copy("untouched"), device="cpu")
    for _ in range(2):
        training.step()
    before = training_weights(training)
    values = training.validate()
    assert training.validate() == values
    assert set(values) == {"validation_loss", "validation_loss_subjects"}
    transformer.export_transformer(training)
    after = training_weights(training)
    assert all(torch.equal(before[name], after[name]) for name in before)
    exported = FluxUno.load(training.config.work / "flux")
    for name, p in transformer._parameters(exported):
        assert torch.equal(p, training.ema.averages[name]), "the export is the average"
    assert validation_losses(exported, training.validation) == values


def test_matrices_of_blocks_go_to_muon_and_the_rest_to_adam(work_copy: Copy) -> None:
    training = TransformerTraining(work_copy("groups"), device="cpu")
    (muon, muon_rate), (adam, adam_rate) = training.optimizers
    assert (type(muon).__name__, type(adam).__name__) == ("Muon", "AdamW")
    assert (muon_rate, adam_rate) == (2e-3, 1e-3)
    held = [id(p) for optimizer in (muon, adam) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for _, p in training.named)
    assert len(set(held)) == len(held)
    names = {id(p): name for name, p in training.named}
    inside = [names[id(p)] for group in muon.param_groups for p in group["params"]]
    assert all(name.startswith("transformer.") and "transformer_blocks" in name for name in inside)


def test_a_kill_while_the_autoencoder_is_copied_is_mended(work_copy: Copy) -> None:
    config = work_copy("mended")
    shutil.rmtree(config.work / "flux" / "vae")
    prepare_folder(config)
    theirs, ours = config.work / "vae", config.work / "flux" / "vae"
    assert {p.name: p.read_bytes() for p in theirs.iterdir()} == {p.name: p.read_bytes() for p in ours.iterdir()}


def test_settings_of_the_recipe_reach_the_folder(work_copy: Copy) -> None:
    backbone = FluxUno.load(work_copy("settings").work / "flux")
    settings = backbone.settings
    assert (settings.size, settings.reference_size_single, settings.reference_size_multi) == (32, 32, 16)
    assert backbone.network.config.num_layers == 1
    assert backbone.network.config.num_single_layers == 1


@pytest.mark.slow
def test_the_stage_runs_to_its_end_and_is_not_run_again(work_copy: Copy) -> None:
    config = work_copy("whole")
    train_transformer(config, device="cpu")
    rows = (config.work / "transformer.jsonl").read_text().splitlines()
    assert len(rows) == 1
    before = {p: p.read_bytes() for p in (config.work / "flux").rglob("*.safetensors")}
    train_transformer(config, device="cpu")
    assert {p: p.read_bytes() for p in before} == before


def test_the_package_guides_as_a_fresh_training_would() -> None:
    settings = vars(read_settings(embedded("flux")))
    assert {name: settings[name] for name in DEFAULTS} == DEFAULTS
