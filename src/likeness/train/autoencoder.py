"""Stage "autoencoder": the world's AutoencoderKL, FLUX geometry (factor 8, 16 channels), trained on pixels."""

import random
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor

from likeness.core.rng import seed_for
from likeness.train.config import PretrainConfig
from likeness.train.log import TrainLog
from likeness.train.schedule import Ema, learning_rate_factor, psnr
from likeness.train.state import load_state, save_state
from likeness.world.identity import Split, sample_identity
from likeness.world.render import render_image, render_reference
from likeness.world.scenario import sample_scenario

SAVE_EVERY_BATCHES = 200
NUM_VALIDATION = 128


def build_autoencoder(config: PretrainConfig) -> AutoencoderKL:
    """A stock AutoencoderKL with random weights drawn from the config's seed."""
    channels = config.autoencoder.block_out_channels
    torch.manual_seed(seed_for(config.seed, "autoencoder"))
    return AutoencoderKL(
        latent_channels=16,
        block_out_channels=channels,
        layers_per_block=1,
        norm_num_groups=8,
        mid_block_add_attention=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        sample_size=config.size,
    )


def to_pixels(images: np.ndarray) -> Float[Tensor, "B 3 H W"]:
    """(B, H, W, 3) uint8 -> float32 in [-1, 1]."""
    # Contiguous: group norm runs backward twice as fast on CPU as it does channels-last.
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float().div_(127.5).sub_(1)


def scenes(first: int, count: int, *, size: int, split: Split) -> Float[Tensor, "B 3 H W"]:
    """Pictures number first .. first + count - 1 of a split."""
    return to_pixels(
        np.stack([render_image(sample_scenario(first + i, split=split), size=size) for i in range(count)])
    )


def portraits(first: int, count: int, *, size: int, split: Split) -> Float[Tensor, "B 3 H W"]:
    """Reference pictures number first .. first + count - 1 of a split."""
    who = [sample_identity(random.Random(f"portrait/{split}/{first + i}"), split=split) for i in range(count)]
    return to_pixels(np.stack([render_reference(w, seed=first + i, size=size) for i, w in enumerate(who)]))


def _batch(config: PretrainConfig, first: int) -> Tensor:
    table = config.autoencoder
    rng = random.Random(f"autoencoder-batch/{config.seed}/{first}")
    if rng.random() >= table.reference_share:
        return scenes(first, table.batch_size, size=config.size, split="train")
    size = rng.choice((config.reference_size_single, config.reference_size_multi))
    return portraits(first, table.batch_size, size=size, split="train")


def _loss(vae: AutoencoderKL, x: Tensor, config: PretrainConfig) -> tuple[Tensor, Tensor]:
    """Training loss and plain mean squared error."""
    table = config.autoencoder
    posterior = vae.encode(x).latent_dist
    z = posterior.mode() if table.decoder_only else posterior.sample()
    y = vae.decode(z).sample.float()
    mse = F.mse_loss(y, x)
    kl = posterior.kl().mean() / z[0].numel()
    return mse + table.l1_weight * F.l1_loss(y, x) + table.kl_weight * kl.float(), mse.detach()


def _trainable(vae: AutoencoderKL, config: PretrainConfig) -> list[tuple[str, torch.nn.Parameter]]:
    vae.encoder.requires_grad_(not config.autoencoder.decoder_only)
    return [(name, p) for name, p in vae.named_parameters() if p.requires_grad]


@torch.no_grad()
def validation_psnr(vae: AutoencoderKL, *, size: int, num_images: int = NUM_VALIDATION) -> float:
    """Mean over held-out pictures of their PSNR in dB, decoded from the latent mean and clipped to the pixel range."""
    values: list[float] = []
    for first in range(0, num_images, 16):
        x = scenes(first, min(16, num_images - first), size=size, split="test").to(vae.device)
        y = vae.decode(vae.encode(x).latent_dist.mode()).sample.float().clamp(-1, 1)
        values += [psnr(float(m)) for m in (y - x).square().mean((1, 2, 3))]
    return float(np.mean(values))


@torch.no_grad()
def _start_from_averages(
    vae: AutoencoderKL, named: list[tuple[str, torch.nn.Parameter]], averages: dict[str, Tensor], *, decay: float
) -> Ema:
    """Gives `vae` the averaged weights, encoder too: cached latents were made by the averaged encoder."""
    for name, p in vae.named_parameters():
        p.copy_(averages[name])
    return Ema(named, decay=decay)


def train_autoencoder(config: PretrainConfig, *, device: str) -> None:
    """Trains or continues the autoencoder and exports it to `<work>/vae` with its latent shift and scale."""
    table = config.autoencoder
    vae = build_autoencoder(config).to(device)
    named = _trainable(vae, config)
    optimizer = torch.optim.AdamW([p for _, p in named], lr=table.learning_rate, betas=(0.9, 0.99), fused=True)
    ema = Ema(named, decay=table.ema_decay)
    seen = 0
    if state := load_state(config.work / "autoencoder.state"):
        vae.load_state_dict(state["vae"])
        if table.decoder_only and not state["decoder_only"]:
            ema = _start_from_averages(vae, named, state["ema"]["averages"], decay=table.ema_decay)
        else:
            optimizer.load_state_dict(state["optimizer"])
            ema.restore(state["ema"])
        seen = state["seen"]
    log = TrainLog(config.work / "autoencoder.jsonl", total=table.total_images, start=seen)
    errors: list[Tensor] = []
    while seen < table.total_images:
        factor = learning_rate_factor(seen, total=table.total_images, warmup=800, decay_share=table.decay_share)
        for group in optimizer.param_groups:
            group["lr"] = table.learning_rate * factor
        torch.manual_seed(seed_for(config.seed, "autoencoder", seen))
        with torch.autocast(device, torch.bfloat16):
            loss, mse = _loss(vae, _batch(config, seen).to(device), config)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in named], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.update(named)
        seen += table.batch_size
        errors.append(mse)
        if len(errors) == SAVE_EVERY_BATCHES or seen >= table.total_images:
            log.write(seen, train_psnr_db=psnr(float(torch.stack(errors).mean())), lr=table.learning_rate * factor)
            errors.clear()
            parts = {"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "ema": ema.state()}
            save_state(
                config.work / "autoencoder.state", {**parts, "seen": seen, "decoder_only": table.decoder_only}
            )
    ema.copy_to(named)
    export_autoencoder(vae, config)
    log.write(seen, validation_psnr_db=validation_psnr(vae, size=config.size))


@torch.no_grad()
def export_autoencoder(vae: AutoencoderKL, config: PretrainConfig) -> Path:
    """Saves the averaged weights; a first export measures the latents' mean and standard deviation, later ones keep them."""
    target = config.work / "vae"
    if config.autoencoder.decoder_only and target.exists():
        kept = AutoencoderKL.load_config(target)
        shift, scale = kept["shift_factor"], kept["scaling_factor"]
    else:
        pixels = scenes(0, 256, size=config.size, split="train").to(vae.device)
        latents = torch.cat([vae.encode(chunk).latent_dist.mode() for chunk in pixels.split(32)])
        shift, scale = float(latents.mean()), float(1 / latents.std())
    vae.register_to_config(shift_factor=round(shift, 5), scaling_factor=round(scale, 5))
    vae.save_pretrained(target)
    return target
