"""Stage "ms": MS-Diffusion's adapter for the tiny SDXL, which stays as stage "unet" left it.

Trained are the grounding resampler and the keys and values of image tokens in every cross-attention.
Source: MS-Diffusion (arXiv:2406.07209) by the design note, section 1.7: squared error of the noise, t uniform over the
training steps, scale 1, references and prompt dropped, 5% each and 5% both, box and phrase in 10%.
Differs: subjects weigh more than their surroundings, as in stage "unet"; what replaces a dropped prompt is zeros, from
which guidance leads away here; the start (`ms_format.py`); a share of the batches has DreamRelation's local tokens
beside the image tokens, so that the resampler knows both lengths.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from PIL import Image
from safetensors.torch import save
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from likeness.backbones.sdxl.adapter import PUBLISHED, Surroundings, adapter_file, image_attention, read_tensors
from likeness.backbones.sdxl.condition import MsCondition, SdxlText
from likeness.backbones.sdxl.local_settings import has_local_encoder
from likeness.backbones.sdxl.ms_adapter import FILE_NAME, FOLDER_NAME
from likeness.backbones.sdxl.ms_diffusion import SdxlMsDiffusion
from likeness.core.devices import fast_autocast
from likeness.core.errors import ConfigError
from likeness.core.files import atomic_write_bytes, read_json, write_json
from likeness.core.joined import BASE, completed_folder
from likeness.core.rng import seed_for
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.latents import LatentPool
from likeness.pretrain.ms_cache import NUM_LOCAL, MsShard, cache_examples, encode_examples, num_shards
from likeness.pretrain.ms_format import fresh_ms_adapter, ms_tensors
from likeness.pretrain.optim import Named, Resumable, update
from likeness.pretrain.transformer import weighted_mean
from likeness.train.schedule import Ema
from likeness.world.scenario import sample_scenario

SAVE_EVERY_BATCHES = 20
NUM_VALIDATION = 24
PLACE = "sdxl_ms_diffusion"
"""The folder of what is added to `sdxl`, which lies beside it."""
SETTINGS = {"default_steps": 12, "default_cfg_scale": 2.0, "adapter_scale": 1.0}
"""Not yet chosen on validation cases."""


@dataclass(frozen=True)
class Told:
    """What each picture of a batch is told, True where it is; `local_tokens`: the whole batch has them."""

    text: Bool[Tensor, " B"]
    images: Bool[Tensor, " B"]
    grounding: Bool[Tensor, " B"]
    local_tokens: bool


def told_all(count: int, *, local_tokens: bool) -> Told:
    """Everything."""
    return Told(*torch.ones(3, count, dtype=torch.bool), local_tokens=local_tokens)


def draw_told(generator: torch.Generator, *, count: int, local_share: float) -> Told:
    """One draw for prompt and references, another one for boxes and phrases, one of the batch for local tokens."""
    drawn, grounding = torch.rand(2, count, generator=generator)
    with_local = float(torch.rand((), generator=generator)) < local_share
    no_images, no_text = (drawn < 0.05) | (drawn >= 0.95), (drawn >= 0.05) & (drawn < 0.1) | (drawn >= 0.95)
    return Told(~no_text, ~no_images, grounding >= 0.1, with_local)


def image_tokens(
    resampler: Any, batch: MsShard, told: Told, *, nothing: Float[Tensor, "K D"]
) -> Float[Tensor, "B R N E"]:
    """The resampler's tokens of each reference; `nothing` is what a picture of zeros looks like."""
    seen = torch.where(told.images[:, None, None, None], batch.references, nothing)
    seen = seen if told.local_tokens else seen[:, :, :-NUM_LOCAL]
    count = seen.shape[1]
    grounded = resampler.queries(batch.boxes.flatten(0, 1), batch.phrases.flatten(0, 1))
    is_told = told.grounding.repeat_interleave(count)[:, None, None]
    latents = torch.where(is_told, grounded, resampler.grounding_latents.to(grounded))
    return resampler.read(seen.flatten(0, 1), latents).unflatten(0, (len(seen), count))


def answers(
    backbone: SdxlMsDiffusion,
    batch: MsShard,
    told: Told,
    *,
    t: Float[Tensor, " B"],
    eps: Float[Tensor, "B C h w"],
    nothing: Float[Tensor, "K D"],
) -> Float[Tensor, "B h w"]:
    """Squared error of the predicted noise at times `t` in each latent cell, its mean over channels."""
    device = backbone.device
    t, eps = t.to(device), eps.to(device)
    batch = MsShard(*(tensor.to(device).float() for tensor in vars(batch).values()))
    told = replace(told, **{name: getattr(told, name).to(device) for name in ("text", "images", "grounding")})
    text = SdxlText(batch.embeds * told.text[:, None, None], batch.pooled * told.text[:, None])
    tokens = image_tokens(backbone.parts.resampler, batch, told, nothing=nothing)
    scales = torch.ones_like(batch.boxes[..., 0])
    condition = MsCondition(text, tokens.unbind(1), batch.boxes, scales)
    x_t = backbone.noise(batch.target, eps, t)
    return (backbone.predict(x_t, t, condition).float() - eps).square().mean(1)


def prepare_folder(config: PretrainConfig) -> Path:
    """The complete folder of `<work>/sdxl_ms_diffusion`, its adapter fresh where there is none.

    Raises: ConfigError without a tiny SDXL or without a Local Image Encoder.
    """
    sdxl, own = config.work / "sdxl", config.work / PLACE
    if not (sdxl / "model_index.json").is_file():
        raise ConfigError(f'stage "ms": expected a tiny SDXL in {sdxl}, got none; run stage "unet" first.')
    if not has_local_encoder(own):
        wanted = f'stage "ms": expected a Local Image Encoder in {own / "local_encoder"}'
        raise ConfigError(f'{wanted}, got none; run stage "local_encoder" first.')
    if not (own / FOLDER_NAME / FILE_NAME).exists():
        tensors = _fresh(config, sdxl)
        atomic_write_bytes(own / FOLDER_NAME / FILE_NAME, save(tensors, metadata={"format": "pt"}))
    write_json(own / BASE, {"base": "sdxl", "without": ["ip_adapter"]})
    write_json(own / "likeness.json", {"size": config.size, **SETTINGS})
    return completed_folder(own)


def _fresh(config: PretrainConfig, sdxl: Path) -> dict[str, Tensor]:
    from diffusers import UNet2DConditionModel

    unet: Any = UNet2DConditionModel.from_pretrained(sdxl / "unet")
    widths = [int(read_json(sdxl / part / "config.json")["hidden_size"]) for part in ("image_encoder", "text_encoder")]
    ip_adapter = read_tensors(adapter_file(sdxl / "ip_adapter", advice=f"an adapter like {PUBLISHED}"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return fresh_ms_adapter(Surroundings(unet, *widths), ip_adapter, start=config.ms_adapter.start)


class MsTraining(Resumable):
    """The state of stage "ms": the adapter, its optimizer, its averages and the number of images seen.

    Raises: ConfigError as `prepare_folder`.
    """

    def __init__(self, config: PretrainConfig, *, device: str) -> None:
        self.config, self.device, self.seen = config, device, 0
        self.state_folder = config.work / "ms.state"
        self.backbone = SdxlMsDiffusion.load(prepare_folder(config), device=device)
        cached = cache_examples(config, self.backbone)
        self.pool = LatentPool(cached, num_shards=num_shards(config), kind=MsShard)
        plans = [[sample_scenario(i, split="test", num_subjects=n) for i in range(NUM_VALIDATION)] for n in (1, 2)]
        self.validation = [encode_examples(plan, backbone=self.backbone, config=config) for plan in plans]
        side = self.backbone.parts.image_px
        grey = Image.new("RGB", (side, side), (127, 127, 127))  # the middle, for a tensor of zeros
        self.nothing = self.backbone.all_features([grey], local_tokens=True)[0]
        self.named = _parameters(self.backbone)
        table = config.ms_adapter
        adam = torch.optim.AdamW([p for _, p in self.named], lr=table.learning_rate, weight_decay=table.weight_decay)
        self.optimizers = [(adam, table.learning_rate)]
        self.ema = Ema(self.named, decay=table.ema_decay)
        self.resume()

    def step(self) -> Tensor:
        """One batch; returns its loss."""
        table = self.config.ms_adapter
        size = table.batch_size
        generator = torch.Generator().manual_seed(seed_for(self.config.seed, "ms", self.seen))
        batch = self.pool.batch(self.seen // size, size=size, seed=seed_for(self.config.seed, "ms"))
        told = draw_told(generator, count=size, local_share=table.local_share)
        t = torch.rand(size, generator=generator)
        eps = torch.randn(batch.target.shape, generator=generator)
        errors = self._answers(batch, told, t=t, eps=eps)
        loss = weighted_mean(errors, batch.subject.to(self.device), subject_weight=table.subject_weight)
        loss.backward()
        update(self.named, self.optimizers, self.ema, table=table, seen=self.seen, warmup=20 * size, clip=1.0)
        self.seen += size
        return loss.detach()

    # two matrix products: torch's fused attention for CPUs is slower backwards (docs/log.md)
    def _answers(self, batch: MsShard, told: Told, *, t: Tensor, eps: Tensor) -> Tensor:
        with fast_autocast(self.device), sdpa_kernel(SDPBackend.MATH):
            return answers(self.backbone, batch, told, t=t, eps=eps, nothing=self.nothing)

    def validate(self) -> dict[str, float]:
        """The averaged weights on test pictures; the trained weights are put back."""
        with self.ema.applied(self.named), torch.no_grad():
            return self._validation_losses()

    def _validation_losses(self) -> dict[str, float]:
        """Noise errors on test pictures at evenly spread steps and fixed noise, with local tokens.

        Of all cells and of subjects alone; of subjects without local tokens; by how much theirs grow when every picture
        is given another's references, and, with two subjects, when these exchange their boxes.
        """
        found: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for shard in self.validation:
            generator = torch.Generator().manual_seed(0)
            for first in range(0, len(shard.target), 32):
                batch = MsShard(*(tensor[first : first + 32] for tensor in vars(shard).values()))
                eps = torch.randn(batch.target.shape, generator=generator)
                t = torch.linspace(0.05, 0.95, len(eps))
                told = told_all(len(eps), local_tokens=True)
                kinds = {
                    "own": (batch, told),
                    "bare": (batch, replace(told, local_tokens=False)),
                    "others": (replace(batch, references=batch.references.roll(1, 0)), told),
                }
                if batch.boxes.shape[1] == 2:
                    kinds |= {"swapped": (replace(batch, boxes=batch.boxes.flip(1)), told)}
                errors = {name: self._answers(*kind, t=t, eps=eps).cpu() for name, kind in kinds.items()}
                if "swapped" in errors:
                    errors["two"] = errors["own"]
                for name, each in errors.items():
                    found.setdefault(name, []).append((each, batch.subject.float()))
        errors = {name: [torch.cat(column) for column in zip(*parts, strict=True)] for name, parts in found.items()}
        alone = {name: float((each * subject).sum() / subject.sum()) for name, (each, subject) in errors.items()}
        return {
            "validation_loss": float(errors["own"][0].mean()),
            "validation_loss_subjects": alone["own"],
            "validation_loss_subjects_no_local_tokens": alone["bare"],
            "validation_gain_references": alone["others"] - alone["own"],
            "validation_gain_boxes": alone["swapped"] - alone["two"],
        }


def _parameters(backbone: SdxlMsDiffusion) -> Named:
    """Those of the resampler and of the image attention, which from now on learn."""
    layers = {f"attention.{number}": layer for number, layer in enumerate(image_attention(backbone.network))}
    networks = {"resampler": backbone.parts.resampler, **layers}
    for network in networks.values():
        network.requires_grad_(True)
    return [(f"{part}.{name}", p) for part, network in networks.items() for name, p in network.named_parameters()]


def train_ms(config: PretrainConfig, *, device: str) -> None:
    """Trains or continues the adapter; writes the averaged weights to `<work>/sdxl_ms_diffusion`."""
    training = MsTraining(config, device=device)
    training.run(
        config.work / "ms.jsonl",
        total=config.ms_adapter.total_images,
        save_every=SAVE_EVERY_BATCHES,
        export=partial(export_ms, training),
        export_every=SAVE_EVERY_BATCHES * config.ms_adapter.batch_size,
    )


def export_ms(training: MsTraining) -> None:
    """Writes the averaged weights into `<work>/sdxl_ms_diffusion` in the published format; training goes on."""
    backbone = training.backbone
    with training.ema.applied(training.named):
        named = ms_tensors(backbone.network, backbone.parts.resampler)
        tensors = {name: tensor.cpu().contiguous() for name, tensor in named.items()}
        path = training.config.work / PLACE / FOLDER_NAME / FILE_NAME
        atomic_write_bytes(path, save(tensors, metadata={"format": "pt"}))
