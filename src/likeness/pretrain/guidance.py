"""Stage "guidance": classifier-free guidance distilled into FLUX's guidance embedding, so that three passes become one.

Source: Meng et al. (arXiv:2210.03142), section 3.1, stage one: a student that is told the scale w learns the teacher's
guided prediction at the x_t of training pictures.
Differs: FLUX has one guidance number for the two scales of `GuidedCondition`. At `guidance` g it answers as the teacher
does at scales 1 + (s - 1) (g - 1) / (top - 1), s the teacher's default of each: at 1 without guidance, at `top` as by
default. Subjects weigh more than their surroundings, as in stage "transformer".
"""

import json
import shutil
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from likeness.backbones.flux.uno import FluxUno
from likeness.backbones.guided import GuidedCondition
from likeness.core.devices import fast_autocast
from likeness.core.errors import ConfigError
from likeness.core.files import atomic_write_text, replaced_folder
from likeness.core.rng import seed_for
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.latents import LatentPool, LatentShard, cache_latents, encode_scenarios, token_ids
from likeness.pretrain.optim import Resumable, update
from likeness.pretrain.transformer import NUM_VALIDATION, block_optimizers, embed, weighted_mean
from likeness.train.schedule import Ema
from likeness.world.scenario import sample_scenario

SAVE_EVERY_BATCHES = 100
SETTINGS = "likeness.json"


def teacher_folder(config: PretrainConfig) -> Path:
    """`<work>/teacher`: the pipeline as it was before this stage, copied when the stage first runs.

    Raises: ConfigError without a transformer that stage "transformer" has trained.
    """
    source, target = config.work / "flux", config.work / "teacher"
    if not (source / SETTINGS).is_file():
        wanted = f"a trained transformer in {source}"
        raise ConfigError(f'stage "guidance": expected {wanted}, got none; run stage "transformer" first.')
    if not target.exists():
        with replaced_folder(target) as fresh:
            shutil.copytree(source, fresh, dirs_exist_ok=True)
    return target


def scales_at(guidance: Float[Tensor, " B"], *, top: float, scale: float) -> Float[Tensor, "B 1 1 1"]:
    """The teacher's scale that each number of the embedding stands for: 1 at 1, `scale` at `top`."""
    return (1 + (scale - 1) * (guidance - 1) / (top - 1)).reshape(-1, 1, 1, 1)


def draw_guidance(size: int, *, top: float, generator: torch.Generator) -> Float[Tensor, " B"]:
    """Half of the rows at `top`, an eighth at 1, the others uniform between: people mostly use the default."""
    kind, between = torch.rand(2, size, generator=generator)
    drawn = 1 + (top - 1) * between
    return torch.where(kind < 0.5, top, torch.where(kind < 0.625, 1.0, drawn))


class GuidanceTraining(Resumable):
    """The state of stage "guidance": a teacher that stays, a student that learns, and how many images it saw.

    Raises: ConfigError without a trained transformer, or one whose defaults guide by nothing.
    """

    def __init__(self, config: PretrainConfig, *, device: str) -> None:
        self.config, self.device, self.seen = config, device, 0
        self.state_folder = config.work / "guidance.state"
        self.teacher = FluxUno.load(teacher_folder(config), device=device)
        settings = self.teacher.settings
        self.scales = settings.default_cfg_scale, settings.default_reference_cfg_scale
        self.top = max(self.scales)
        if min(self.scales) <= 1:
            raise ConfigError(f'stage "guidance": expected a teacher with scales above 1, got {self.scales}.')
        shards = cache_latents(config, self.teacher)
        self.pool = LatentPool(shards, num_shards=config.latents.num_shards, kind=LatentShard)
        plans = [[sample_scenario(i, split="test", num_subjects=n) for i in range(NUM_VALIDATION)] for n in (1, 2)]
        self.validation = [encode_scenarios(self.teacher, scenarios, config) for scenarios in plans]
        self.empty = token_ids(self.teacher, [""])
        parts = self.teacher.parts
        self.student = FluxUno(replace(parts, stored=parts.stored.having(transformer=deepcopy(parts.transformer))))
        self.student.network.requires_grad_(True).train()
        self.named = list(self.student.network.named_parameters())
        self.optimizers = block_optimizers(self.named, config.guidance)
        self.ema = Ema(self.named, decay=config.guidance.ema_decay)
        self.resume()

    def cell_errors(self, batch: LatentShard, *, guidance: Tensor, t: Tensor, eps: Tensor) -> Float[Tensor, "B h w"]:
        """Squared difference of the student's velocity from the teacher's guided one, its mean over channels."""
        teacher = self.teacher
        x0, eps, t = batch.target.to(self.device).float(), eps.to(self.device), t.to(self.device)
        x_t, told = teacher.noise(x0, eps, t), guidance.to(self.device)
        with torch.no_grad():
            text = embed(teacher, batch.pieces.to(self.device), batch.words.to(self.device))
            empty = embed(teacher, *(ids.expand(len(x0), -1).to(self.device) for ids in self.empty))
            references = [batch.references[:, i].to(self.device).float() for i in range(batch.references.shape[1])]
            full = teacher.assemble(text, references, guidance=1.0)
            alone = replace(full, references=(), reference_grids=())
            by_prompt, by_references = (scales_at(told, top=self.top, scale=scale) for scale in self.scales)
            guided = GuidedCondition(full, alone, replace(alone, text=empty), by_prompt, by_references)
            wanted = guided.prediction(partial(teacher.predict, x_t, t)).float()
        return (self.student.predict(x_t, t, replace(full, guidance=told)).float() - wanted).square().mean(1)

    def step(self) -> Tensor:
        """One batch; returns its loss."""
        table = self.config.guidance
        size = table.batch_size
        generator = torch.Generator().manual_seed(seed_for(self.config.seed, "guidance", self.seen))
        batch = self.pool.batch(self.seen // size, size=size, seed=seed_for(self.config.seed, "guidance"))
        guidance = draw_guidance(size, top=self.top, generator=generator)
        t = torch.rand(size, generator=generator)
        eps = torch.randn(batch.target.shape, generator=generator)
        with fast_autocast(self.device):
            errors = self.cell_errors(batch, guidance=guidance, t=t, eps=eps)
        weight = self.config.transformer.subject_weight
        loss = weighted_mean(errors, batch.subject.to(self.device), subject_weight=weight)
        loss.backward()
        update(self.named, self.optimizers, self.ema, table=table, seen=self.seen, warmup=100 * size, clip=1.0)
        self.seen += size
        return loss.detach()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Squared differences on test pictures, the averaged student at `top` and at 1, t evenly spread."""
        found: dict[str, float] = {}
        with self.ema.applied(self.named), fast_autocast(self.device):
            for name, value in (("guided", self.top), ("plain", 1.0)):
                errors: list[Tensor] = []
                for shard in self.validation:
                    eps = torch.randn(shard.target.shape, generator=torch.Generator().manual_seed(0))
                    t = torch.linspace(0.05, 0.95, len(eps))
                    guidance = torch.full((len(eps),), value)
                    errors.append(self.cell_errors(shard, guidance=guidance, t=t, eps=eps).mean())
                found[f"validation_{name}"] = float(torch.stack(errors).mean())
        return found


def train_guidance(config: PretrainConfig, *, device: str) -> None:
    """Trains or continues the student, whose averaged weights go to `<work>/flux` with guidance as its default."""
    training = GuidanceTraining(config, device=device)
    training.run(
        config.work / "guidance.jsonl",
        total=config.guidance.total_images,
        save_every=SAVE_EVERY_BATCHES,
        export=partial(export_guidance, training),
    )


def export_guidance(training: GuidanceTraining) -> None:
    """Writes the averaged student into `<work>/flux`, with settings under which one pass does what three did."""
    folder = training.config.work / "flux"
    with training.ema.applied(training.named):
        training.student.network.save_pretrained(folder / "transformer")
    settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
    settings |= {"guidance": training.top, "default_cfg_scale": 1.0, "default_reference_cfg_scale": 1.0}
    atomic_write_text(folder / SETTINGS, json.dumps(settings, indent=2) + "\n")
