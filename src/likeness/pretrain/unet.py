"""Stage "unet": the tiny SDXL's U-Net, text encoders and image adapter, trained together to predict noise.

Source: DDPM with SDXL's betas (arXiv:2307.01952), t uniform over the training steps; the loss of a step weighs
min(SNR, gamma) / SNR (Min-SNR, arXiv:2303.09556, Eq. 4 and section 3.4, for a network that predicts noise); the
adapter is IP-Adapter-Plus (arXiv:2308.06721), its image encoder frozen.
Differs: the base is not trained before the adapter but with it; subjects weigh more than their surroundings; linear
readers of the attributes, thrown away after training, are trained on the image tokens, which ask for every attribute
of every portrait where the noise asks only for what it hides.
"""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Float, Int
from safetensors.torch import save
from torch import Tensor, nn

from likeness.core.devices import fast_autocast
from likeness.core.files import atomic_write_bytes, read_json, replaced_folder
from likeness.core.rng import seed_for
from likeness.pretrain.adapter_format import adapter_tensors, base_tensors, set_scale
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.latents import LatentPool
from likeness.pretrain.optim import Named, Resumable, update
from likeness.pretrain.probe_targets import IGNORE, attribute_loss
from likeness.pretrain.tiny_sdxl import ADAPTER
from likeness.pretrain.transformer import block_optimizers, require_muon, weighted_mean
from likeness.pretrain.unet_cache import (
    UnetShard,
    cache_examples,
    encode_examples,
    features_of,
    num_shards,
)
from likeness.pretrain.unet_parts import PARTS, UnetParts, load_parts, prepare_folder
from likeness.train.schedule import Ema
from likeness.world.identity import ATTRIBUTES
from likeness.world.scenario import sample_scenario

SAVE_EVERY_BATCHES = 250
NUM_VALIDATION = 96
Given = Literal["all", "prompt", "nothing"]
"""What a batch is told: prompt and references; the prompt by the base alone; zeros, from which guidance leads away."""


def embed(parts: UnetParts, words: Int[Tensor, "B T"]) -> tuple[Float[Tensor, "B T D"], Float[Tensor, "B P"]]:
    """Both text encoders' hidden states before the last layer side by side, and the second one's pooled text."""
    first = parts.text_encoder(words, output_hidden_states=True)
    second = parts.text_encoder_2(words, output_hidden_states=True)
    return torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1), second.text_embeds


def signal_noise(
    parts: UnetParts, x0: Float[Tensor, "B C h w"], eps: Float[Tensor, "B C h w"], steps: Int[Tensor, " B"]
) -> Float[Tensor, "B C h w"]:
    """x_t = sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps. Source: DDPM (arXiv:2006.11239), Eq. 4."""
    signal = parts.alphas_cumprod[steps][:, None, None, None]
    return signal.sqrt() * x0 + (1 - signal).sqrt() * eps


def snr_weights(alphas_cumprod: Float[Tensor, " T"], steps: Int[Tensor, " B"], *, gamma: float) -> Float[Tensor, " B"]:
    """min(SNR, gamma) / SNR of each step, SNR = alpha_bar / (1 - alpha_bar)."""
    signal = alphas_cumprod[steps]
    snr = signal / (1 - signal)
    return snr.clamp(max=gamma) / snr


@contextmanager
def _told(unet: Any, given: Given) -> Generator[None, None, None]:
    """Within it the adapter acts, unless the base is to answer alone."""
    set_scale(unet, 0.0 if given == "prompt" else 1.0)
    yield
    set_scale(unet, 1.0)


def answers(
    parts: UnetParts,
    batch: UnetShard,
    *,
    steps: Int[Tensor, " B"],
    eps: Float[Tensor, "B C h w"],
    zeros: Float[Tensor, "P D"],
    given: Given = "all",
) -> tuple[Float[Tensor, "B h w"], Float[Tensor, "B R N W"]]:
    """Squared error of the predicted noise in each latent cell, its mean over channels, and the image tokens.

    `zeros` are the features of a picture of zeros, which stands for every reference where nothing is given.
    """
    device = parts.device
    x0, features = batch.target.to(device).float(), batch.references.to(device).float()
    eps, steps = eps.to(device), steps.to(device)
    text, pooled = embed(parts, batch.words.to(device))
    if given == "nothing":
        text, pooled = torch.zeros_like(text), torch.zeros_like(pooled)
        features = zeros.to(features).expand_as(features)
    tokens = parts.resampler(features.flatten(0, 1)).unflatten(0, features.shape[:2])
    side = 8 * x0.shape[-1]
    sizes = torch.tensor([side, side, 0, 0, side, side], device=device).expand(len(x0), -1)  # original, cut, target
    added = {"text_embeds": pooled, "time_ids": sizes, "image_embeds": [tokens]}
    with _told(parts.unet, given):
        x_t = signal_noise(parts, x0, eps, steps)
        prediction = parts.unet(x_t, steps, text, added_cond_kwargs=added).sample
    return (prediction.float() - eps).square().mean(1), tokens


class TokenReaders(nn.Module):
    """One linear reader per attribute on the mean of a reference's image tokens; they are not kept."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.readers = nn.ModuleDict({name: nn.Linear(width, len(labels)) for name, labels in ATTRIBUTES.items()})

    def forward(self, tokens: Float[Tensor, "B R N D"]) -> dict[str, Float[Tensor, "BR _"]]:
        """Logits of each attribute's labels."""
        pooled = tokens.float().mean(2).flatten(0, 1)
        return {name: reader(pooled) for name, reader in self.readers.items()}


def share_read(read: dict[str, Tensor], classes: Int[Tensor, "N A"]) -> tuple[int, int]:
    """How many attributes the readers got right, and of how many that apply."""
    guesses = torch.stack([logits.argmax(-1) for logits in read.values()], dim=1).cpu()
    applies = classes != IGNORE
    return int(((guesses == classes) & applies).sum()), int(applies.sum())


@torch.no_grad()
def validation_losses(
    parts: UnetParts, readers: TokenReaders, shards: list[UnetShard], zeros: Tensor
) -> dict[str, float]:
    """Noise errors on test pictures at evenly spread steps and fixed noise.

    Of all cells, of subjects alone, by how much the latter grows when every picture is given another's references, and
    the share of attributes that the readers find in the image tokens.
    """
    found: dict[str, list[Tensor]] = {"own": [], "others": []}
    right = asked = 0
    for shard in shards:
        generator = torch.Generator().manual_seed(0)
        for first in range(0, len(shard.target), 32):
            batch = UnetShard(*(tensor[first : first + 32] for tensor in vars(shard).values()))
            eps = torch.randn(batch.target.shape, generator=generator)
            steps = torch.linspace(0.05, 0.95, len(eps)).mul(len(parts.alphas_cumprod)).long()
            others = replace(batch, references=batch.references.roll(1, 0))
            for name, seen in (("own", batch), ("others", others)):
                with fast_autocast(parts.device.type):
                    errors, tokens = answers(parts, seen, steps=steps, eps=eps, zeros=zeros)
                found[name].append(errors.cpu())
                if name == "own":
                    good, all_of = share_read(readers(tokens), batch.classes.flatten(0, 1))
                    right, asked = right + good, asked + all_of
    own, others = (torch.cat(errors) for errors in found.values())
    subject = torch.cat([shard.subject for shard in shards]).float()
    alone, swapped = (float((errors * subject).sum() / subject.sum()) for errors in (own, others))
    return {
        "validation_loss": float(own.mean()),
        "validation_loss_subjects": alone,
        "validation_gain_references": swapped - alone,
        "validation_attributes_read": right / asked,
    }


class UnetTraining(Resumable):
    """The state of stage "unet": networks, optimizers, averages and the number of images seen.

    Raises: ConfigError without an autoencoder, a CLIP or torch's Muon.
    """

    def __init__(self, config: PretrainConfig, *, device: str) -> None:
        require_muon()
        self.config, self.device, self.seen = config, device, 0
        self.state_folder = config.work / "unet.state"
        self.parts = load_parts(prepare_folder(config), device=device)
        encoders = self.parts.encoders
        self.pool = LatentPool(cache_examples(config, encoders), num_shards=num_shards(config), kind=UnetShard)
        plans = [[sample_scenario(i, split="test", num_subjects=n) for i in range(NUM_VALIDATION)] for n in (1, 2)]
        self.validation = [encode_examples(encoders, scenarios, config) for scenarios in plans]
        side: int = encoders.image_encoder.config.image_size
        with torch.no_grad():
            self.zeros = features_of(encoders.image_encoder, torch.zeros(1, 3, side, side, device=device))[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.readers = TokenReaders(self.parts.unet.config.cross_attention_dim).to(device)
        for part in PARTS:
            getattr(self.parts, part).requires_grad_(True).train()
        self.named = _parameters(self.parts, self.readers)
        self.optimizers = block_optimizers(self.named, config.unet)
        self.ema = Ema(self.named, decay=config.unet.ema_decay)
        self.resume()

    def step(self) -> Tensor:
        """One batch; returns its loss without the readers'."""
        table, parts = self.config.unet, self.parts
        size = table.batch_size
        generator = torch.Generator().manual_seed(seed_for(self.config.seed, "unet", self.seen))
        batch = self.pool.batch(self.seen // size, size=size, seed=seed_for(self.config.seed, "unet"))
        given = draw_given(float(torch.rand((), generator=generator)), dropout=table.condition_dropout)
        steps = torch.randint(len(parts.alphas_cumprod), (size,), generator=generator).to(self.device)
        eps = torch.randn(batch.target.shape, generator=generator)
        with fast_autocast(self.device):
            errors, tokens = answers(parts, batch, steps=steps, eps=eps, zeros=self.zeros, given=given)
        weights = snr_weights(parts.alphas_cumprod, steps, gamma=table.snr_gamma)[:, None, None]
        loss = weighted_mean(weights * errors, batch.subject.to(self.device), subject_weight=table.subject_weight)
        total = loss
        if given == "all" and table.reader_weight:
            reading = attribute_loss(self.readers(tokens), batch.classes.flatten(0, 1).to(self.device))
            total = loss + table.reader_weight * reading
        total.backward()
        update(self.named, self.optimizers, self.ema, table=table, seen=self.seen, warmup=100 * size, clip=1.0)
        self.seen += size
        return loss.detach()

    def validate(self) -> dict[str, float]:
        """The averaged weights on test pictures; the trained weights are put back."""
        with self.ema.applied(self.named):
            return validation_losses(self.parts, self.readers, self.validation, self.zeros)


def draw_given(drawn: float, *, dropout: float) -> Given:
    """What a batch is told, for a number uniform in [0, 1): mostly everything, of the rest 70% nothing."""
    if drawn >= dropout:
        return "all"
    return "nothing" if drawn < 0.7 * dropout else "prompt"


def _parameters(parts: UnetParts, readers: TokenReaders) -> Named:
    networks = {**{part: getattr(parts, part) for part in PARTS}, "readers": readers}
    return [(f"{part}.{name}", p) for part, network in networks.items() for name, p in network.named_parameters()]


def train_unet(config: PretrainConfig, *, device: str) -> None:
    """Trains or continues U-Net, adapter and text encoders; writes the averaged weights to `<work>/sdxl`."""
    training = UnetTraining(config, device=device)
    training.run(
        config.work / "unet.jsonl",
        total=config.unet.total_images,
        save_every=SAVE_EVERY_BATCHES,
        export=partial(export_unet, training),
        export_every=8 * SAVE_EVERY_BATCHES * config.unet.batch_size,
    )


def export_unet(training: UnetTraining) -> None:
    """Writes the averaged weights into `<work>/sdxl`, the adapter in the published format; training goes on as it was.

    Parameters and averages of layers that no loss reaches (the text encoders' last) are those they began with.
    """
    folder, parts = training.config.work / "sdxl", training.parts
    with training.ema.applied(training.named):
        stock = UNet2DConditionModel.from_config(read_json(folder / "unet" / "config.json"))
        assert isinstance(stock, UNet2DConditionModel)
        stock.load_state_dict(base_tensors(parts.unet))
        adapter = {
            name: tensor.cpu().contiguous() for name, tensor in adapter_tensors(parts.unet, parts.resampler).items()
        }
        networks = {"unet": stock, "text_encoder": parts.text_encoder, "text_encoder_2": parts.text_encoder_2}
        for part, network in networks.items():
            with replaced_folder(folder / part) as fresh:
                network.save_pretrained(fresh)
        atomic_write_bytes(folder / "ip_adapter" / ADAPTER, save(adapter, metadata={"format": "pt"}))
