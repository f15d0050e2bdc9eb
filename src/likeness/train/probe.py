"""Stage "probe": the attribute, action and scene reader, trained on rendered pictures and on what the autoencoder
makes of them, so that it judges generated pictures by what they show and not by how sharp they are."""

import random

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from likeness.encoders.probe import AttributeProbe, ProbeConfig, ProbeOutputs, crops
from likeness.encoders.probe_targets import (
    PictureLabels,
    attribute_loss,
    build_targets,
    class_ids,
    label_id,
    probe_loss,
)
from likeness.train.autoencoder import to_pixels
from likeness.train.config import PretrainConfig
from likeness.train.optim import train_encoder
from likeness.train.vae import decoded, load_vae, posterior
from likeness.world.actions import ACTIONS
from likeness.world.identity import ATTRIBUTES
from likeness.world.render import Labels, Picture, render
from likeness.world.scenario import sample_scenario
from likeness.world.scenes import SCENES

AUTOENCODED_SHARE = 0.3
HARD_SHARE = 0.2
PICTURE_EVERY = 3  # heads, action and scene are learnt sooner than attributes: one batch in three trains them
HEAD_NOISE = 0.035  # shares of the side by which windows are shaken, since heads are found to within half a cell


def probe_config(config: PretrainConfig) -> ProbeConfig:
    """The world's label lists."""
    return ProbeConfig(attributes=ATTRIBUTES, actions=tuple(ACTIONS), scenes=tuple(SCENES), image_size=config.size)


def picture_labels(labels: Labels, probe: ProbeConfig) -> PictureLabels:
    """World labels as the probe's class ids."""
    return PictureLabels(
        heads=np.array([subject.head for subject in labels.subjects]),
        classes=np.array([class_ids(subject.attributes, probe) for subject in labels.subjects]),
        action=label_id(labels.action, probe.actions),
        scene=label_id(labels.scene, probe.scenes),
    )


def _pictures(config: PretrainConfig, first: int, count: int) -> list[Picture]:
    rng = random.Random(f"probe-batch/{config.seed}/{first}")
    hard = [rng.random() < HARD_SHARE for _ in range(count)]
    return [
        render(sample_scenario(10_000_000 + first + i, split="train", hard=h), size=config.size)
        for i, h in enumerate(hard)
    ]


def _degrade(pixels: Tensor, vae: AutoencoderKL | None, rng: random.Random) -> Tensor:
    """Some batches through the autoencoder with noisy latents; a little noise on every picture."""
    if vae is not None and rng.random() < AUTOENCODED_SHARE:
        with torch.no_grad(), torch.autocast(pixels.device.type, torch.bfloat16):
            z = posterior(vae, pixels).mode()
            z = z + rng.uniform(0, 0.15) * z.std() * torch.randn_like(z)
            pixels = decoded(vae, z).float().clamp(-1, 1)
    return pixels + rng.uniform(0, 0.04) * torch.randn_like(pixels)


def train_probe(config: PretrainConfig, *, device: str) -> None:
    """Trains or continues the probe and exports it to `<work>/probe`. Raises: ConfigError without an autoencoder."""
    vae = load_vae(config, stage="probe", device=device)
    torch.manual_seed(config.seed)
    probe = AttributeProbe(probe_config(config)).to(device)
    vae.requires_grad_(False).eval()

    def loss_of(first: int, count: int) -> Tensor:
        pictures = _pictures(config, first, count)
        targets = build_targets([picture_labels(p.labels, probe.config) for p in pictures], config=probe.config)
        pixels = to_pixels(np.stack([p.image for p in pictures])).to(device)
        pixels = _degrade(pixels, vae, random.Random(f"degrade/{config.seed}/{first}"))
        shaken = targets.heads + HEAD_NOISE * (2 * torch.rand(targets.heads.shape) - 1)
        windows = crops(pixels, picture=targets.picture, heads=shaken.to(device), config=probe.config)
        with torch.autocast(device, torch.bfloat16):
            attributes = probe.read_crops(windows)
            outputs = probe(pixels) if first // count % PICTURE_EVERY == 0 else None
        read = {name: logits.float() for name, logits in attributes.items()}
        if outputs is None:
            return attribute_loss(read, targets.classes.to(device))
        return probe_loss(ProbeOutputs(*(logits.float() for logits in outputs)), read, targets.to(device)).total

    train_encoder(probe, loss_of, name="probe", table=config.probe, config=config)
    probe.save_pretrained(config.work / "probe")
