"""Stage "probe": the attribute, action and scene reader, trained on rendered pictures and on what the autoencoder
makes of them, so that it judges generated pictures by what they show and not by how sharp they are."""

import random
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from likeness.core.devices import fast_autocast
from likeness.core.rng import seed_for
from likeness.encoders.probe import AttributeProbe, ProbeConfig, ProbeOutputs, crops
from likeness.pretrain.ahead import drawn_ahead
from likeness.pretrain.autoencoder import to_pictures, to_pixels
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.optim import train_encoder
from likeness.pretrain.probe_targets import (
    PictureLabels,
    attribute_loss,
    build_targets,
    class_ids,
    label_id,
    probe_loss,
)
from likeness.pretrain.vae import decoded, load_vae, posterior
from likeness.world.actions import ACTIONS
from likeness.world.identity import ATTRIBUTES, sample_identity
from likeness.world.render import Labels, render
from likeness.world.scenario import OPEN_SCENES, Scenario, pair_split, sample_scenario
from likeness.world.scenes import SCENES

AUTOENCODED_SHARE = 0.3
HARD_SHARE = 0.2
PERSON_SHARE = 0.3  # of pictures whose first subject is a person: they have five attributes that nobody else has
LYING_SHARE = 0.2  # of pictures of one or two in which somebody lies: 7% of the subjects, but half of all misreadings
LYING = {1: "sleep", 2: "carry"}  # number of subjects -> the action that turns one of them on its side
CHUNK = 32
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


@dataclass(frozen=True)
class PicturePool:
    """N training pictures (N, S, S, 3) uint8 with labels, drawn once; some as the autoencoder shows them."""

    images: NDArray[np.uint8]
    labels: list[PictureLabels]


def make_pool(config: PretrainConfig, probe: ProbeConfig, *, vae: AutoencoderKL) -> PicturePool:
    """The first pictures of the probe's stream."""
    size = config.probe.pool_size
    images, labels = np.empty((size, config.size, config.size, 3), np.uint8), list[PictureLabels]()
    draw = partial(_chunk, seed=config.seed, size=config.size, probe=probe)
    for chunk in drawn_ahead(draw, range(0, size, CHUNK), workers=config.workers):
        rng = random.Random(f"probe-pool-autoencoder/{config.seed}/{len(labels)}")
        kept = slice(len(labels), len(labels) + CHUNK)
        shown = _autoencoded(chunk.images, vae, rng) if rng.random() < AUTOENCODED_SHARE else chunk.images
        images[kept] = shown[: size - len(labels)]
        labels += chunk.labels[: size - len(labels)]
    return PicturePool(images, labels)


def _chunk(first: int, *, seed: int, size: int, probe: ProbeConfig) -> PicturePool:
    """Pictures first .. first + CHUNK - 1 of the stream, as they are drawn."""
    rng = random.Random(f"probe-pool/{seed}/{first}")
    scenarios = [_scenario(first + i, seed=seed, hard=rng.random() < HARD_SHARE) for i in range(CHUNK)]
    drawn = [render(scenario, size=size) for scenario in scenarios]
    labels = [picture_labels(picture.labels, probe) for picture in drawn]
    return PicturePool(np.stack([picture.image for picture in drawn]), labels)


def _scenario(index: int, *, seed: int, hard: bool) -> Scenario:
    scenario = sample_scenario(10_000_000 + index, split="train", hard=hard)
    rng = random.Random(f"probe-person/{seed}/{index}")
    if rng.random() < PERSON_SHARE:
        person = sample_identity(rng, split="train", species="person")
        scenario = replace(scenario, identities=(person, *scenario.identities[1:]))
    rng = random.Random(f"probe-lying/{seed}/{index}")
    if len(scenario.identities) in LYING and rng.random() < LYING_SHARE:
        scenario = _lying(scenario, rng)
    return scenario


def _lying(scenario: Scenario, rng: random.Random) -> Scenario:
    """The same subjects, one of them on its side, in a scene that the training split knows with that action."""
    action = LYING[len(scenario.identities)]
    places = [scene for scene in SCENES if scene not in OPEN_SCENES and pair_split(action, scene) == "train"]
    return replace(scenario, action=action, scene=rng.choice(places), outfits=(), crowd=1.0)


@torch.no_grad()
def _autoencoded(images: NDArray[np.uint8], vae: AutoencoderKL, rng: random.Random) -> NDArray[np.uint8]:
    """Through the autoencoder, with latents moved by up to 15% of their deviation."""
    generator = torch.Generator().manual_seed(rng.getrandbits(62))
    with fast_autocast(vae.device.type):
        z = posterior(vae, to_pixels(images).to(vae.device)).mode()
        z = z + rng.uniform(0, 0.15) * z.std() * torch.randn(z.shape, generator=generator).to(z.device)
        return to_pictures(decoded(vae, z))


def train_probe(config: PretrainConfig, *, device: str) -> None:
    """Trains or continues the probe and exports it to `<work>/probe`. Raises: ConfigError without an autoencoder."""
    vae = load_vae(config, stage="probe", device=device)
    torch.manual_seed(config.seed)
    probe = AttributeProbe(probe_config(config)).to(device)
    pool = make_pool(config, probe.config, vae=vae.requires_grad_(False).eval())

    def loss_of(first: int, rng: np.random.Generator) -> Tensor:
        rows = rng.integers(0, len(pool.labels), config.probe.batch_size)
        targets = build_targets([pool.labels[row] for row in rows], config=probe.config)
        pixels = to_pixels(pool.images[rows]).to(device)
        pixels = pixels + rng.uniform(0, 0.04) * torch.randn_like(pixels)
        shaken = targets.heads + HEAD_NOISE * (2 * torch.rand(targets.heads.shape) - 1)
        windows = crops(pixels, picture=targets.picture, heads=shaken.to(device), config=probe.config)
        with fast_autocast(device):
            attributes = probe.read_crops(windows)
            outputs = probe(pixels) if first // config.probe.batch_size % PICTURE_EVERY == 0 else None
        read = {name: logits.float() for name, logits in attributes.items()}
        if outputs is None:
            return attribute_loss(read, targets.classes.to(device))
        return probe_loss(ProbeOutputs(*(logits.float() for logits in outputs)), read, targets.to(device)).total

    def draw(first: int) -> np.random.Generator:
        return np.random.default_rng(seed_for(config.seed, "probe-batch", first))

    train_encoder(probe, loss_of, draw=draw, workers=0, name="probe", table=config.probe, config=config)
    probe.save_pretrained(config.work / "probe")
