"""Stage "calibrate": what each exported checkpoint is worth on test pictures, as calibration.json beside it.

The files in `export` are measured, as users load them, not the finer weights they were rounded from.
A number here is the ceiling of every score made with that checkpoint: a generated picture cannot read better than a
true one.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from pkgutil import resolve_name

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image

from likeness.core.errors import ConfigError
from likeness.core.files import write_json
from likeness.core.rng import seed_for
from likeness.encoders.clip import ClipEncoder
from likeness.encoders.probe import AttributeProbe
from likeness.encoders.vit import VitEncoder
from likeness.metrics.attributes import match_subjects, recognised, right_attributes
from likeness.pretrain.autoencoder import to_pictures, to_pixels, validation_psnrs
from likeness.pretrain.cards import detector, pose, relations
from likeness.pretrain.cards.clarity import clarity_card
from likeness.pretrain.cards.numbers import FIRST, Card, auc, share
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.vae import decoded, on_device, posterior
from likeness.world.identity import ATTRIBUTES, Identity, sample_identity
from likeness.world.render import Rendering, render, render_image, render_reference
from likeness.world.scenario import Scenario, sample_scenario

NUM_PICTURES = 512
NUM_IDENTITIES = 220
NUM_HELD_OUT = 256

VAE = "flux/vae"
CARDS = {
    VAE: "likeness.pretrain.calibrate:vae_card",
    "probe": "likeness.pretrain.calibrate:probe_card",
    "dino": "likeness.pretrain.calibrate:dino_card",
    "clip": "likeness.pretrain.calibrate:clip_card",
    "relations": "likeness.pretrain.calibrate:relations_card",
    "detector": "likeness.pretrain.calibrate:detector_card",
    "pose": "likeness.pretrain.calibrate:pose_card",
    "faces": "likeness.pretrain.cards.faces:faces_card",
    "face_attributes": "likeness.pretrain.cards.faces:face_attributes_card",
}
"""Folder in `export` -> "module:function" of its card, called with the config and the device."""


# -- probe -----------------------------------------------------------------------------------------------------
def _picture(index: int, *, size: int) -> Rendering:
    """A test picture; half show one subject, half two, none of them dressed."""
    return render(sample_scenario(index, split="test", num_subjects=1 + index % 2, dressed=False), size=size)


def _pictures(config: PretrainConfig) -> list[Rendering]:
    return [_picture(FIRST + i, size=config.size) for i in range(NUM_PICTURES)]


@torch.no_grad()
def autoencoded(vae: AutoencoderKL, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
    """What the autoencoder makes of pictures."""
    rows: list[NDArray[np.uint8]] = []
    for first in range(0, len(images), 16):
        z = posterior(vae, to_pixels(np.stack(images[first : first + 16])).to(vae.device)).mode()
        rows += list(to_pictures(decoded(vae, z)))
    return rows


def read_pictures(probe: AttributeProbe, pictures: Sequence[Rendering], images: Sequence[NDArray[np.uint8]]) -> Card:
    """Accuracy per attribute, of all together, of action and scene, for `images` of `pictures`.

    `actions` has [accuracy, pictures] of each action.
    """
    labels = probe.config.attributes
    right: dict[str, list[tuple[float, str]]] = {name: [] for name in ("all", *labels, "action", "scene")}
    actions: dict[str, list[float]] = {action: [] for action in sorted({p.labels.action for p in pictures})}
    for picture, image in zip(pictures, images, strict=True):
        subjects = picture.labels.subjects
        reading = probe.look([Image.fromarray(image)])[0]
        expected = [subject.attributes for subject in subjects]
        matched = match_subjects(reading.subjects[: len(expected)], expected, labels=labels)
        for subject, found in zip(subjects, matched, strict=True):
            answers = right_attributes(found, subject.attributes, labels=labels)
            right["all"].append((float(np.mean(list(answers.values()))), subject.id))
            for name, correct in answers.items():
                right[name].append((float(correct), subject.id))
        group = "+".join(subject.id for subject in subjects)
        found = (recognised(reading.action, picture.labels.action, kind="action").value, group)
        right["action"].append(found)
        actions[picture.labels.action].append(found[0])
        right["scene"].append((recognised(reading.scene, picture.labels.scene, kind="scene").value, group))
    shares = {name: share([v for v, _ in rows], [g for _, g in rows]) for name, rows in right.items()}
    return {**shares, "actions": {name: [round(float(np.mean(v)), 4), len(v)] for name, v in actions.items()}}


def _without_actions(card: Card) -> Card:
    return {name: value for name, value in card.items() if name != "actions"}


def probe_card(config: PretrainConfig, *, device: str) -> Card:
    """Accuracy on rendered test pictures, on the same passed through the autoencoder, and on other pictures (floor)."""
    probe = AttributeProbe.load(config.export / "probe", device=device)
    vae = _exported_vae(config, device=device)
    pictures = _pictures(config)
    images = [picture.image for picture in pictures]
    passed = autoencoded(vae, images)
    return {
        "rendered": read_pictures(probe, pictures, images),
        "autoencoded": _without_actions(read_pictures(probe, pictures, passed)),
        "floor": _without_actions(read_pictures(probe, pictures, [*images[2:], *images[:2]])),  # as many other subjects
        "clarity": clarity_card(probe, pictures, autoencoded=passed),
        "attributes": list(ATTRIBUTES),
    }


# -- identity and text -----------------------------------------------------------------------------------------
def identity_card(people: Sequence[Identity], scenes: NDArray[np.float32], portraits: NDArray[np.float32]) -> Card:
    """How well cosine of features tells a true scene of a subject from the most similar other of its species.

    `auc_hardest`: the chance that a scene's own portrait is closer to it than the closest portrait of another subject
    of the species is to a (possibly different) scene; `auc` the same against any other subject of any species. `first`:
    share of scenes whose own portrait wins.
    """
    own, rival, first, floor, anybody = [], [], [], [], []
    for i, who in enumerate(people):
        others = [j for j, other in enumerate(people) if other.species == who.species and other != who]
        similar = portraits[others] @ scenes[i]
        own.append(float(portraits[i] @ scenes[i]))
        rival.append(float(similar.max()))
        floor.append(float(similar.mean()))
        anybody.append(np.delete(portraits, i, axis=0) @ scenes[i])
        first.append(float(own[-1] > rival[-1]))
    names = [who.id for who in people]
    return {
        "auc_hardest": auc(own, np.array(rival)[:, None]),
        "auc": auc(own, np.array(anybody)),
        "first": share(first, names),
        "own": share(own, names),
        "hardest_other": share(rival, names),
        "any_other": share(floor, names),
        "rivals_per_subject": len(people) // len(ATTRIBUTES["species"]) - 1,
    }


def identity_pictures(
    size: int, *, species: Sequence[str] = ATTRIBUTES["species"]
) -> tuple[list[Identity], list[Image.Image], list[Image.Image]]:
    """Equally many test identities of each species, a scene and a portrait of each."""
    rng = random.Random("calibration-identities")
    people = [sample_identity(rng, split="test", species=species[i % len(species)]) for i in range(NUM_IDENTITIES)]
    plans = [
        sample_scenario(FIRST + 10_000 + i, split="test", num_subjects=1, dressed=False) for i in range(NUM_IDENTITIES)
    ]
    alone = [Scenario(plan.action, plan.scene, (who,), plan.seed) for plan, who in zip(plans, people, strict=True)]
    scenes = [render_image(scenario, size=size) for scenario in alone]
    portraits = [render_reference(who, seed=seed_for("calibration", who.id), size=size) for who in people]
    return people, [Image.fromarray(scene) for scene in scenes], [Image.fromarray(portrait) for portrait in portraits]


def dino_card(config: PretrainConfig, *, device: str) -> Card:
    """Identity separation of the embedded ViT."""
    encoder = VitEncoder.load(config.export / "dino", device=device)
    people, scenes, portraits = identity_pictures(config.size)
    return {"identity": identity_card(people, encoder.look(scenes), encoder.look(portraits))}


def clip_card(config: PretrainConfig, *, device: str) -> Card:
    """Identity separation by image features, and retrieval of a picture's own prompt among 256 different ones."""
    encoder = ClipEncoder.load(config.export / "clip", device=device)
    people, scenes, portraits = identity_pictures(config.size)
    identity = identity_card(people, encoder.look(scenes), encoder.look(portraits))
    return {"identity": identity, "text": _text_card(encoder, config.size)}


def _text_card(encoder: ClipEncoder, size: int) -> Card:
    found: dict[str, Rendering] = {}
    index = FIRST + 50_000
    while len(found) < 256:
        index += 1
        picture = _picture(index, size=size)
        found.setdefault(picture.labels.caption, picture)
    images = encoder.look([Image.fromarray(p.image) for p in found.values()])
    similar = images @ np.stack([text.vector for text in encoder.read(list(found))]).T
    names = ["+".join(s.id for s in p.labels.subjects) for p in found.values()]
    hits = [float(row.argmax() == i) for i, row in enumerate(similar)]
    wrong = [float((row.sum() - row[i]) / (len(row) - 1)) for i, row in enumerate(similar)]
    return {
        "retrieval_at_1": share(hits, names),
        "ceiling": share(similar.diagonal().tolist(), names),
        "floor": share(wrong, names),
        "num_prompts": len(found),
    }


def _exported_vae(config: PretrainConfig, *, device: str) -> AutoencoderKL:
    return on_device(AutoencoderKL.from_pretrained(config.export / VAE), device)


def vae_card(config: PretrainConfig, *, device: str) -> Card:
    """Mean PSNR in dB of held-out pictures."""
    vae = _exported_vae(config, device=device)
    values = validation_psnrs(vae, size=config.size, num_images=NUM_HELD_OUT)
    return {"psnr_db": share(values, [str(index) for index in range(NUM_HELD_OUT)]), "split": "test"}


def relations_card(config: PretrainConfig, *, device: str) -> Card:
    """Relations and roles told apart, and the calibration of log-odds."""
    return relations.relations_card(config, _pictures(config), device=device)


def detector_card(config: PretrainConfig, *, device: str) -> Card:
    """Words told apart, boxes, and GOA of the embedded detector."""
    return detector.detector_card(config, _pictures(config), device=device)


def pose_card(config: PretrainConfig, *, device: str) -> Card:
    """Keypoints of the embedded pose network."""
    return pose.pose_card(config, _pictures(config), device=device)


def calibrate(config: PretrainConfig, *, device: str) -> None:
    """Writes calibration.json beside every checkpoint that exists in `export`.

    Raises: ConfigError when there is no autoencoder.
    """
    if not (config.export / VAE).is_dir():
        wanted = f"an autoencoder in {config.export / VAE}"
        raise ConfigError(f'stage "calibrate": expected {wanted}, got none; run stage "export" first.')
    for name, card in CARDS.items():
        folder: Path = config.export / name
        if folder.exists():
            write_json(folder / "calibration.json", resolve_name(card)(config, device=device))
