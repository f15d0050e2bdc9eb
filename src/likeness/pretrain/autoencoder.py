"""Stage "autoencoder": the world's AutoencoderKL, FLUX geometry (factor 8, 16 channels), trained on pixels."""

import random
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from jaxtyping import Float
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from likeness.core.devices import fast_autocast
from likeness.core.errors import ConfigError
from likeness.core.kinds import Split
from likeness.core.rng import seed_for
from likeness.pretrain.ahead import drawn_ahead
from likeness.pretrain.config import AutoencoderTable, PretrainConfig
from likeness.pretrain.log import TrainLog
from likeness.pretrain.optim import update
from likeness.pretrain.tiny_flux import vae_numbers
from likeness.pretrain.vae import WEIGHTS, decoded, has_vae, load_vae, on_device, posterior
from likeness.train.schedule import Ema, psnr
from likeness.train.state import load_state, save_state
from likeness.world.identity import sample_identity
from likeness.world.render import render_image, render_reference
from likeness.world.scenario import sample_scenario

SAVE_EVERY_BATCHES = 200
NUM_VALIDATION = 128


def build_autoencoder(config: PretrainConfig) -> AutoencoderKL:
    """A stock AutoencoderKL with random weights drawn from the config's seed."""
    torch.manual_seed(seed_for(config.seed, "autoencoder"))
    return AutoencoderKL(**vae_numbers({"block_out_channels": config.block_out_channels, "sample_size": config.size}))


def to_pixels(images: np.ndarray) -> Float[Tensor, "B 3 H W"]:
    """(B, H, W, 3) uint8 -> float32 in [-1, 1]."""
    # Contiguous: group norm runs backward twice as fast on CPU as it does channels-last.
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float().div_(127.5).sub_(1)


def to_pictures(pixels: Float[Tensor, "B 3 H W"]) -> NDArray[np.uint8]:
    """Pixels, cut to [-1, 1], -> (B, H, W, 3) uint8."""
    levels = (pixels.float().clamp(-1, 1) + 1) * 127.5
    return levels.round().permute(0, 2, 3, 1).to(torch.uint8).cpu().numpy()


def scenes(first: int, count: int, *, size: int, split: Split) -> NDArray[np.uint8]:
    """Pictures number first .. first + count - 1 of a split, (B, H, W, 3)."""
    return np.stack([render_image(sample_scenario(first + i, split=split), size=size) for i in range(count)])


def portraits(first: int, count: int, *, size: int, split: Split) -> NDArray[np.uint8]:
    """Reference pictures number first .. first + count - 1 of a split, (B, H, W, 3)."""
    who = [sample_identity(random.Random(f"portrait/{split}/{first + i}"), split=split) for i in range(count)]
    return np.stack([render_reference(w, seed=first + i, size=size) for i, w in enumerate(who)])


def _batch(config: PretrainConfig, table: AutoencoderTable, first: int) -> NDArray[np.uint8]:
    rng = random.Random(f"autoencoder-batch/{config.seed}/{first}")
    if rng.random() >= table.reference_share:
        return scenes(first, table.batch_size, size=config.size, split="train")
    size = rng.choice((config.reference_size_single, config.reference_size_multi))
    return portraits(first, table.batch_size, size=size, split="train")


def autoencoder_loss(vae: AutoencoderKL, x: Tensor, *, table: AutoencoderTable) -> tuple[Tensor, Tensor]:
    """Training loss and plain mean squared error.

    A frozen encoder gives its mean, moved by noise of 0.05 of its deviation, and of each picture's own share up to
    `latent_noise`, so that slightly wrong latents still give clean outlines.
    Source: the idea of latent-denoising tokenizers (l-DeTok, Yang et al., arXiv:2507.15856, section 3).
    """
    latents = posterior(vae, x)
    if table.freeze_encoder:
        mean = latents.mode().detach()
        share = 0.05 + table.latent_noise * torch.rand(len(mean), 1, 1, 1, device=mean.device)
        z = mean + share * mean.std() * torch.randn_like(mean)
    else:
        z = latents.sample()
    y = decoded(vae, z).float()
    mse = F.mse_loss(y, x)
    kl = latents.kl().mean().float() / z[0].numel()
    absolute = table.l1_weight * F.l1_loss(y, x) + table.gradient_weight * gradient_error(y, x)
    return mse + absolute + table.kl_weight * kl, mse.detach()


def gradient_error(y: Float[Tensor, "B 3 H W"], x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, ""]:
    """Mean absolute difference of the steps from each pixel to its right and to its lower neighbour: outlines."""
    return F.l1_loss(y.diff(dim=-1), x.diff(dim=-1)) + F.l1_loss(y.diff(dim=-2), x.diff(dim=-2))


@torch.no_grad()
def validation_psnrs(vae: AutoencoderKL, *, size: int, num_images: int = NUM_VALIDATION) -> list[float]:
    """PSNR in dB of each held-out picture, decoded from the latent mean and clipped to the pixel range."""
    values: list[float] = []
    for first in range(0, num_images, 16):
        x = to_pixels(scenes(first, min(16, num_images - first), size=size, split="test")).to(vae.device)
        y = decoded(vae, posterior(vae, x).mode()).float().clamp(-1, 1)
        values += [psnr(float(m)) for m in (y - x).square().mean((1, 2, 3))]
    return values


def train_autoencoder(config: PretrainConfig, *, device: str) -> None:
    """Trains or continues the autoencoder and exports it to `<work>/vae` with its latent shift and scale.

    Once it is finished and exported nothing is done, since the decoder may have been trained further.
    """
    if _is_exported(config):
        return
    vae = on_device(build_autoencoder(config), device)
    _train(vae, config, name="autoencoder", table=config.autoencoder, device=device)
    _export(vae, config, **latent_statistics(vae, config))


def train_decoder(config: PretrainConfig, *, device: str) -> None:
    """Goes on with the decoder of `<work>/vae` alone: latents, and so everything trained on them, stay valid.

    Raises: ConfigError when there is no autoencoder, or the decoder's state belongs to another one.
    """
    vae = load_vae(config, stage="decoder", device=device)
    _require_same_encoder(vae, config)
    _train(vae, config, name="decoder", table=config.decoder, device=device)
    _export(vae, config, shift_factor=vae.config["shift_factor"], scaling_factor=vae.config["scaling_factor"])


def _is_exported(config: PretrainConfig) -> bool:
    """Whether the training is finished and `<work>/vae` has its encoder."""
    state = load_state(config.work / "autoencoder.state")
    if state is None or state["seen"] < config.autoencoder.total_images or not has_vae(config):
        return False
    exported, averages = load_file(config.work / "vae" / WEIGHTS), state["ema"]["averages"]
    names = [name for name in averages if name.startswith("encoder.")]
    return all(name in exported and torch.equal(exported[name], averages[name]) for name in names)


def _require_same_encoder(vae: AutoencoderKL, config: PretrainConfig) -> None:
    folder = config.work / "decoder.state"
    if (state := load_state(folder)) is None:
        return
    saved = state["vae"]
    if not all(torch.equal(saved[f"encoder.{name}"], p.cpu()) for name, p in vae.encoder.state_dict().items()):
        got = f"one for an encoder that {config.work / 'vae'} no longer has"
        raise ConfigError(f"{folder}: expected the state of this decoder, got {got}; delete the folder to train anew.")


def _train(vae: AutoencoderKL, config: PretrainConfig, *, name: str, table: AutoencoderTable, device: str) -> None:
    """Trains `vae` in place and leaves the averaged weights in it."""
    vae.encoder.requires_grad_(not table.freeze_encoder)
    named = [(key, p) for key, p in vae.named_parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW([p for _, p in named], lr=table.learning_rate, betas=(0.9, 0.99), fused=True)
    ema, seen = Ema(named, decay=table.ema_decay), 0
    if state := load_state(config.work / f"{name}.state"):
        vae.load_state_dict(state["vae"])
        optimizer.load_state_dict(state["optimizer"])
        ema.restore(state["ema"])
        seen = state["seen"]
    log = TrainLog(config.work / f"{name}.jsonl", total=table.total_images, start=seen)
    errors: list[Tensor] = []
    firsts = range(seen, table.total_images, table.batch_size)
    for images in drawn_ahead(partial(_batch, config, table), firsts, workers=config.workers):
        torch.manual_seed(seed_for(config.seed, name, seen))
        with fast_autocast(device):
            loss, mse = autoencoder_loss(vae, to_pixels(images).to(device), table=table)
        loss.backward()
        rates = [(optimizer, table.learning_rate)]
        factor = update(named, rates, ema, table=table, seen=seen, warmup=800, clip=1.0)
        seen += table.batch_size
        errors.append(mse)
        if len(errors) == SAVE_EVERY_BATCHES or seen >= table.total_images:
            log.write(seen, train_psnr_db=psnr(float(torch.stack(errors).mean())), lr=table.learning_rate * factor)
            errors.clear()
            parts = {"vae": vae.state_dict(), "optimizer": optimizer.state_dict(), "ema": ema.state()}
            save_state(config.work / f"{name}.state", {**parts, "seen": seen})
    ema.copy_to(named)
    log.write(seen, validation_psnr_db=float(np.mean(validation_psnrs(vae, size=config.size))))


@torch.no_grad()
def latent_statistics(vae: AutoencoderKL, config: PretrainConfig) -> dict[str, float]:
    """Shift and scale that bring training latents to mean 0 and standard deviation 1."""
    pixels = to_pixels(scenes(0, 256, size=config.size, split="train")).to(vae.device)
    latents = torch.cat([posterior(vae, chunk).mode() for chunk in pixels.split(32)])
    return {"shift_factor": round(float(latents.mean()), 5), "scaling_factor": round(float(1 / latents.std()), 5)}


def _export(vae: AutoencoderKL, config: PretrainConfig, *, shift_factor: float, scaling_factor: float) -> None:
    vae.register_to_config(shift_factor=shift_factor, scaling_factor=scaling_factor)
    vae.save_pretrained(config.work / "vae")
