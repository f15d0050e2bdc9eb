"""Stage "transformer": the tiny FLUX and its text encoders, trained together with UNO's objective.

Source: UNO (arXiv:2504.02160), note section 1.4: x_t = (1 - t) x0 + t eps, target eps - x0, mean squared error over
target tokens. Differs: logit-normal t instead of UNO's shifted uniform, since the network starts from nothing;
subjects weigh more than their surroundings; references are dropped, mostly together with the prompt, so that
classifier-free guidance has its branches.
"""

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.backbones.flux.condition import FluxText
from likeness.backbones.flux.uno import FluxUno
from likeness.core.devices import fast_autocast
from likeness.core.errors import ConfigError
from likeness.core.rng import seed_for
from likeness.pretrain.config import GuidanceTable, PretrainConfig
from likeness.pretrain.latents import LatentPool, LatentShard, cache_latents, encode_scenarios, token_ids
from likeness.pretrain.optim import Named, Optimizers, Resumable, update
from likeness.pretrain.tiny_flux import build_tiny_flux
from likeness.pretrain.vae import require_vae
from likeness.train.schedule import Ema
from likeness.world.scenario import corpus, sample_scenario

SAVE_EVERY_BATCHES = 250
NUM_VALIDATION = 96
PARTS = ("transformer", "text_encoder", "text_encoder_2")
DEFAULTS = {"default_steps": 12, "default_cfg_scale": 2.5, "default_reference_cfg_scale": 3.5}
"""Chosen on validation cases by figures/guidance.py (docs/log.md)."""


def prepare_folder(config: PretrainConfig) -> Path:
    """`<work>/flux`: a stock pipeline folder with the trained autoencoder and a fresh transformer.

    Raises: ConfigError without an autoencoder.
    """
    vae = require_vae(config, stage="transformer")
    target = config.work / "flux"
    if not (target / "model_index.json").exists():
        table = config.transformer
        overrides = {
            "transformer": {"num_layers": table.num_layers, "num_single_layers": table.num_single_layers},
            "vae": {"block_out_channels": config.block_out_channels, "sample_size": config.size},
            "likeness": {
                "max_sequence_length": 28,
                "size": config.size,
                "reference_size_single": config.reference_size_single,
                "reference_size_multi": config.reference_size_multi,
                "guidance": 1.0,
                **DEFAULTS,
            },
        }
        build_tiny_flux(target, corpus=corpus(), config=overrides, seed=config.seed)
    shutil.rmtree(target / "vae", ignore_errors=True)  # absent after a kill between these two lines
    shutil.copytree(vae, target / "vae")
    return target


def embed(backbone: FluxUno, pieces: Tensor, words: Tensor) -> FluxText:
    """Text embeddings with gradients; `FluxUno.embed_text` without them."""
    parts = backbone.parts
    return FluxText(parts.text_encoder_2(pieces)[0], parts.text_encoder(words).pooler_output)


def cell_errors(
    backbone: FluxUno, batch: LatentShard, *, t: Float[Tensor, " B"], eps: Float[Tensor, "B 16 h w"]
) -> Float[Tensor, "B h w"]:
    """Squared velocity error of each latent cell, its mean over channels. A batch without references has R = 0."""
    device = backbone.device
    x0 = batch.target.to(device).float()
    references = [batch.references[:, i].to(device).float() for i in range(batch.references.shape[1])]
    text = embed(backbone, batch.pieces.to(device), batch.words.to(device))
    condition = backbone.assemble(text, references, guidance=1.0)
    prediction = backbone.predict(backbone.noise(x0, eps, t), t, condition)
    return (prediction.float() - backbone.target(x0, eps, t)).square().mean(1)


def weighted_mean(
    errors: Float[Tensor, "B h w"], subject: Float[Tensor, "B h w"], *, subject_weight: float
) -> Float[Tensor, ""]:
    """Mean of the errors in which a cell full of subject counts `subject_weight` times a cell of background.

    Differs: UNO weighs all tokens alike. Half of a drawn scene's details are chance, which no prompt tells, so their
    error never falls and drowns what there is to learn about the subjects.
    """
    weight = 1 + (subject_weight - 1) * subject.to(errors)
    return (weight * errors).sum() / weight.sum()


def drop_condition(batch: LatentShard, empty: tuple[Tensor, Tensor], *, prompt: bool) -> LatentShard:
    """The batch without references and, with `prompt`, with the empty prompt too."""
    size = len(batch.target)
    none = batch.references[:, :0]
    if not prompt:
        return replace(batch, references=none)
    return replace(batch, references=none, pieces=empty[0].expand(size, -1), words=empty[1].expand(size, -1))


def _parameters(backbone: FluxUno) -> Named:
    return [(f"{part}.{n}", p) for part in PARTS for n, p in getattr(backbone.parts, part).named_parameters()]


def require_muon() -> None:
    """Raises: ConfigError where torch is older than its Muon, which only the transformer's stages need."""
    if not hasattr(torch.optim, "Muon"):
        wanted = f"torch >= 2.9 with torch.optim.Muon, got torch {torch.__version__}"
        raise ConfigError(f"optimizers of the transformer: expected {wanted}; `pip install -U 'torch>=2.9,<2.14'`.")


def block_optimizers(named: Named, table: GuidanceTable) -> Optimizers:
    """Muon on the matrices inside transformer blocks, AdamW on everything else.

    Raises: ConfigError where torch is older than its Muon.
    """
    require_muon()
    decay, slow, fast = table.weight_decay, table.adam_learning_rate, table.muon_learning_rate
    inside = [p for name, p in named if p.ndim == 2 and "transformer_blocks" in name]
    outside = [p for name, p in named if not (p.ndim == 2 and "transformer_blocks" in name)]
    muon = torch.optim.Muon(inside, lr=fast, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(outside, lr=slow, betas=(0.9, 0.99), weight_decay=decay, fused=True)
    return [(muon, fast), (adam, slow)]


@torch.no_grad()
def validation_losses(backbone: FluxUno, shards: list[LatentShard]) -> dict[str, float]:
    """Velocity error on test pictures at evenly spread t and fixed noise: of all cells, and of subjects alone."""
    errors: list[Tensor] = []
    for shard in shards:
        generator = torch.Generator().manual_seed(0)
        for first in range(0, NUM_VALIDATION, 32):
            batch = LatentShard(*(tensor[first : first + 32] for tensor in vars(shard).values()))
            eps = torch.randn(batch.target.shape, generator=generator).to(backbone.device)
            t = torch.linspace(0.05, 0.95, len(eps), device=backbone.device)
            with fast_autocast(backbone.device.type):
                errors.append(cell_errors(backbone, batch, t=t, eps=eps).cpu())
    everywhere, subject = torch.cat(errors), torch.cat([shard.subject for shard in shards]).float()
    alone = float((everywhere * subject).sum() / subject.sum())
    return {"validation_loss": float(everywhere.mean()), "validation_loss_subjects": alone}


class TransformerTraining(Resumable):
    """The state of stage "transformer": networks, optimizers, averages and the number of images seen.

    Raises: ConfigError without an autoencoder or without torch's Muon.
    """

    def __init__(self, config: PretrainConfig, *, device: str) -> None:
        require_muon()
        self.config, self.device, self.seen = config, device, 0
        self.state_folder = config.work / "transformer.state"
        self.backbone = FluxUno.load(prepare_folder(config), device=device)
        shards = cache_latents(config, self.backbone)
        self.pool = LatentPool(shards, num_shards=config.latents.num_shards, kind=LatentShard)
        plans = [[sample_scenario(i, split="test", num_subjects=n) for i in range(NUM_VALIDATION)] for n in (1, 2)]
        self.validation = [encode_scenarios(self.backbone, scenarios, config) for scenarios in plans]
        for part in PARTS:
            getattr(self.backbone.parts, part).requires_grad_(True).train()
        self.named = _parameters(self.backbone)
        self.optimizers = block_optimizers(self.named, config.transformer)
        self.ema = Ema(self.named, decay=config.transformer.ema_decay)
        self.empty = token_ids(self.backbone, [""])
        self.resume()

    def step(self) -> Tensor:
        """One batch; returns its loss."""
        table = self.config.transformer
        size = table.batch_size
        index = self.seen // size
        generator = torch.Generator().manual_seed(seed_for(self.config.seed, "transformer", self.seen))
        batch = self.pool.batch(index, size=size, seed=self.config.seed)
        dropped = float(torch.rand((), generator=generator))
        if dropped < table.condition_dropout:
            batch = drop_condition(batch, self.empty, prompt=dropped < 0.7 * table.condition_dropout)
        t = torch.sigmoid(torch.randn(size, generator=generator) + table.logit_mean).to(self.device)
        eps = torch.randn(batch.target.shape, generator=generator).to(self.device)
        with fast_autocast(self.device):
            errors = cell_errors(self.backbone, batch, t=t, eps=eps)
        loss = weighted_mean(errors, batch.subject.to(self.device), subject_weight=table.subject_weight)
        loss.backward()
        update(self.named, self.optimizers, self.ema, table=table, seen=self.seen, warmup=100 * size, clip=1.0)
        self.seen += size
        return loss.detach()

    def validate(self) -> dict[str, float]:
        """Velocity errors of the averaged weights on test pictures; the trained weights are put back."""
        with self.ema.applied(self.named):
            return validation_losses(self.backbone, self.validation)


def train_transformer(config: PretrainConfig, *, device: str) -> None:
    """Trains or continues transformer and text encoders; writes the averaged weights to `<work>/flux`."""
    training = TransformerTraining(config, device=device)
    training.run(
        config.work / "transformer.jsonl",
        total=config.transformer.total_images,
        save_every=SAVE_EVERY_BATCHES,
        export=partial(export_transformer, training),
        export_every=8 * SAVE_EVERY_BATCHES * config.transformer.batch_size,
    )


def export_transformer(training: TransformerTraining) -> None:
    """Writes the averaged weights into `<work>/flux`, leaving the training untouched."""
    with training.ema.applied(training.named):
        for part in PARTS:
            getattr(training.backbone.parts, part).save_pretrained(training.config.work / "flux" / part)
