"""Stage "faces": a small ViT that finds the eyes of the world's people in a window and tells whose face it is.

A face is the head: skin, hair, beard, age, hat and glasses; clothes are changed in some pictures, so that they do not
count. Groups of look-alikes, which differ in one or two of these, are in one batch, as in `contrastive`.
Differs: the eyes are learnt from windows that are wrong as the head detector is, and from windows that are right as the
network's own first look is.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn
from transformers import ViTConfig, ViTForImageClassification

from likeness.core.devices import fast_autocast
from likeness.core.kinds import Split
from likeness.encoders.faces_world import HEAD_SIDE, NUM_EYES, eyes_in, face_frames, windows
from likeness.encoders.probe import ProbeConfig
from likeness.pretrain.autoencoder import to_pixels
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.contrastive import GROUP, blur, match_loss
from likeness.pretrain.optim import train_encoder
from likeness.pretrain.probe_targets import attribute_loss, class_ids
from likeness.pretrain.vae import on_device
from likeness.world.identity import (
    ATTRIBUTES,
    HUMAN_ATTRIBUTES,
    NOT_APPLICABLE,
    Identity,
    draw_identity,
    sample_identity,
    split_of_identity,
)
from likeness.world.render import BUN_HIDDEN_BY, reference_keypoints, render, render_reference
from likeness.world.scenario import sample_scenario

SIDE, PATCH, DIMS = 64, 8, 128
VISION: dict[str, Any] = {  # Any: settings of stock configs, whose other settings have other types
    "hidden_size": 128, "intermediate_size": 512, "num_hidden_layers": 4, "num_attention_heads": 4,
}  # fmt: skip
ON_THE_HEAD = ("top hat", "cap", "crown", "glasses")
WORN = ("accessory", "accessory_color")
CLOTHES = ("body_color", "second_color", "pattern")
CHANGED_SHARE, DRESSED_SHARE, HARD_SHARE, PORTRAIT_SHARE, HEAD_SHARE = 0.3, 0.1, 0.3, 0.75, 0.35
"""Shares of pictures with other clothes, an outfit, small or overlapping subjects; of second views that are portraits;
of windows that are squares around heads."""
HEAD_NOISE, FACE_NOISE = 0.02, 0.07
"""By how much heads are missed (of the picture's side), and eyes (of the window's half side)."""
READER_SCALE = 8.0
"""Lengthens unit vectors for the linear readers, whose weights then stay small."""
READER_WEIGHT, EYES_WEIGHT = 0.3, 10.0
NUM_PAIRS, FIRST_PAIR = 256, 50_000_000
"""Validation people by whom `same_person` is set, and the number of the first."""

Eyes = Complex[np.ndarray, " 2"]


@dataclass(frozen=True)
class Look:
    """A person in a picture: pixels (S, S, 3) uint8, eyes as in `faces_world`, and what is seen of its attributes."""

    picture: np.ndarray
    eyes: Eyes
    attributes: dict[str, str]


@dataclass(frozen=True)
class FaceBatch:
    """Windows of B people twice: rows i and B + i show one person. `classes` are ids of HEAD_LABELS, -1: not asked."""

    windows: Float[Tensor, "N 3 w w"]
    eyes: Float[Tensor, "N 4"]
    classes: Int[Tensor, "N A"]
    people: list[Identity]


def head_of(who: Identity) -> dict[str, str]:
    """What can be told of a person by the head: equal for people who differ in clothes, or under a hat, alone."""
    shown = {name: value for name, value in who.attributes().items() if name in (*WORN, *HUMAN_ATTRIBUTES)}
    if who.accessory not in ON_THE_HEAD:
        shown |= dict.fromkeys(WORN, NOT_APPLICABLE)
    if who.accessory in BUN_HIDDEN_BY and who.hair_style in ("short", "bun"):
        shown["hair_style"] = NOT_APPLICABLE
    return shown


HEAD_LABELS = ProbeConfig(
    attributes={name: ATTRIBUTES[name] for name in (*WORN, *HUMAN_ATTRIBUTES)}, actions=(), scenes=()
)


def look_alike(rng: random.Random, like: Identity, *, split: Split) -> Identity:
    """A person of the split whose head differs from that of `like` in one or two attributes, and nothing else does."""
    while True:
        fresh = draw_identity(rng, species="person")
        changed = rng.sample([WORN[0], *HUMAN_ATTRIBUTES], rng.choice((1, 2)))
        changed += [WORN[1]] if WORN[0] in changed else []
        who = replace(like, **{name: value for name, value in fresh.attributes().items() if name in changed})
        who = replace(who, beard="shaved") if who.age == "child" else who
        if head_of(who) != head_of(like) and split_of_identity(who) == split:
            return who


def changed_clothes(rng: random.Random, who: Identity, *, split: Split) -> Identity:
    """The same head in other clothes, as an identity of the same split."""
    while True:
        fresh = draw_identity(rng, species="person").attributes()
        other = replace(who, **{name: fresh[name] for name in CLOTHES})
        if split_of_identity(other) == split:
            return other


def people_in_groups(first: int, count: int, *, split: Split) -> list[Identity]:
    """People first .. first + count - 1: groups of GROUP, of which all look like the first."""
    people: list[Identity] = []
    for i in range(count):
        rng = random.Random(f"faces/{split}/{first + i}")
        if i % GROUP:
            people.append(look_alike(rng, people[i - i % GROUP], split=split))
        else:
            people.append(sample_identity(rng, split=split, species="person"))
    return people


def _eyes(keypoints: np.ndarray) -> Eyes:
    left, right = keypoints[:2, 0].astype(np.float64) + 1j * keypoints[:2, 1]
    return np.array([(left + right) / 2, (left - right) / 2])


def in_a_scene(rng: random.Random, who: Identity, *, split: Split, size: int, dressed: float = DRESSED_SHARE) -> Look:
    """The person, eyes and nose in sight, alone or with somebody, now and then in other clothes or an outfit."""
    shown = changed_clothes(rng, who, split=split) if rng.random() < CHANGED_SHARE else who
    while True:
        outfit, hard = rng.random() < dressed, rng.random() < HARD_SHARE
        number, count = rng.getrandbits(60), rng.choice((1, 1, 2))
        plan = sample_scenario(number, split=split, num_subjects=count, hard=hard, dressed=outfit)
        drawn = render(replace(plan, identities=(shown, *plan.identities[1:])), size=size)
        subject = drawn.labels.subjects[0]
        if (subject.keypoints[:3, 2] > 0).all():
            seen = {} if plan.outfit(0) else head_of(who)
            return Look(drawn.image, _eyes(subject.keypoints), seen)


def in_a_portrait(rng: random.Random, who: Identity, *, size: int) -> Look:
    """The person in a reference photo."""
    seed = rng.getrandbits(60)
    return Look(render_reference(who, seed=seed, size=size), _eyes(reference_keypoints(who, seed=seed)), head_of(who))


def shaken(rng: random.Random, eyes: Eyes) -> Complex[np.ndarray, "1 2"]:
    """A frame for these eyes: a square around the head, or the face's own window; a little wrong either way."""

    def noise() -> complex:
        return complex(rng.gauss(0, 1), rng.gauss(0, 1))

    if rng.random() < HEAD_SHARE:
        return np.array([[eyes[0] + HEAD_NOISE * noise(), HEAD_SIDE / 2]])
    centre, way = face_frames(eyes[None])[0]
    return np.array([[centre + FACE_NOISE * noise() * way, way * np.exp(FACE_NOISE * noise())]])


def face_batch(first: int, count: int, *, size: int, split: Split = "train") -> FaceBatch:
    """People first .. first + count - 1 of the split, each in a scene and once more."""
    people = people_in_groups(first, count, split=split)
    rngs = [random.Random(f"face/{split}/{first + i}") for i in range(count)]
    scenes = [in_a_scene(rng, who, split=split, size=size) for rng, who in zip(rngs, people, strict=True)]
    others = [
        in_a_portrait(rng, who, size=size)
        if rng.random() < PORTRAIT_SHARE
        else in_a_scene(rng, who, split=split, size=size)
        for rng, who in zip(rngs, people, strict=True)
    ]
    return _batch([*scenes, *others], people, rngs=[*rngs, *rngs])


def _batch(looks: Sequence[Look], people: list[Identity], *, rngs: Sequence[random.Random]) -> FaceBatch:
    frames = np.concatenate([shaken(rng, look.eyes) for rng, look in zip(rngs, looks, strict=True)])
    pixels = to_pixels(np.stack([look.picture for look in looks]))
    return FaceBatch(
        windows(pixels, picture=torch.arange(len(looks)), frames=frames, side=SIDE),
        torch.from_numpy(eyes_in(frames, np.stack([look.eyes for look in looks]))),
        torch.tensor([class_ids(look.attributes, HEAD_LABELS) for look in looks]),
        people,
    )


def build_faces() -> ViTForImageClassification:
    """The network with new weights."""
    names = dict(enumerate([*("x", "y", "across", "down"), *(f"identity_{i}" for i in range(DIMS))]))
    label2id = {name: number for number, name in names.items()}
    return ViTForImageClassification(
        ViTConfig(image_size=SIDE, patch_size=PATCH, id2label=names, label2id=label2id, **VISION)
    )


def same_heads(people: Sequence[Identity]) -> Float[Tensor, "B B"]:
    """1 where two people have the same head."""
    heads = [head_of(who) for who in people]
    return torch.tensor([[float(a == b) for b in heads] for a in heads])


def train_faces(config: PretrainConfig, *, device: str) -> None:
    """Trains or continues the network and exports it to `<work>/faces`."""
    torch.manual_seed(config.seed)
    model = on_device(build_faces(), device)
    log_scale = nn.Parameter(torch.tensor(2.3))
    readers = nn.ModuleDict({name: nn.Linear(DIMS, len(values)) for name, values in HEAD_LABELS.attributes.items()})
    network = nn.ModuleDict({"vit": model, "scale": nn.ParameterList([log_scale]), "readers": readers}).to(device)

    def answers(pixels: Tensor) -> tuple[Tensor, Tensor]:
        with fast_autocast(device):
            found = model(pixel_values=pixels.to(device)).logits.float()
        return found[:, :NUM_EYES], F.normalize(found[:, NUM_EYES:], dim=-1)

    def loss_of(first: int, batch: FaceBatch) -> Tensor:
        eyes, faces = answers(blur(batch.windows, random.Random(f"blur/{first}")))
        read = {name: reader(READER_SCALE * faces) for name, reader in readers.items()}
        scenes, others = faces.chunk(2)
        scale = log_scale.clamp(max=4.0).exp()
        who_loss = match_loss(scenes, others, same_heads(batch.people).to(device), scale=scale)
        eyes_loss = F.smooth_l1_loss(eyes, batch.eyes.to(device), beta=0.1)
        return who_loss + READER_WEIGHT * attribute_loss(read, batch.classes.to(device)) + EYES_WEIGHT * eyes_loss

    draw = partial(face_batch, count=config.faces.batch_size, size=config.size)
    train_encoder(network, loss_of, draw=draw, workers=config.workers, name="faces", table=config.faces, config=config)
    with torch.no_grad():
        pairs = face_batch(FIRST_PAIR, NUM_PAIRS, size=config.size, split="validation")
        scenes, others = answers(pairs.windows)[1].cpu().double().chunk(2)
    own, other = scenes @ others.T, ~same_heads(pairs.people).bool()
    model.config.update({"same_person": threshold(own.diagonal().numpy(), own[other].numpy())})
    model.save_pretrained(config.work / "faces")


def threshold(own: Float[np.ndarray, " N"], others: Float[np.ndarray, " M"]) -> float:
    """The similarity, to two places, with the least sum of the shares of `own` below it and of `others` from it on."""
    places = np.round(np.arange(-1, 1.005, 0.01), 2)
    missed = np.searchsorted(np.sort(own), places) / len(own)
    taken = 1 - np.searchsorted(np.sort(others), places) / len(others)
    best = np.flatnonzero(missed + taken == (missed + taken).min())
    return float(places[best[len(best) // 2]])
