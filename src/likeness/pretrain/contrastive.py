"""Stages "clip" and "dino": encoders of the world's pictures, trained by telling pictures and captions apart.

CLIP learns captions, plain and with the subjects described; the DINO-style ViT learns who is in a picture, whatever
they do and wherever they are. Both see groups of look-alikes in one batch (same species, same body colour), so that
only the rest tells them apart.
Source: the symmetric cross entropy of CLIP (arXiv:2103.00020, section 2.3); several positives per row as in SupCon
(arXiv:2004.11362, Eq. 2, L_out).
Differs: linear readers of the attributes, thrown away after training, are trained on the same features. Telling
pictures apart in small batches teaches colours and little else; the readers ask for every attribute in every picture.
"""

import random
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, ViTConfig, ViTModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from likeness.core.devices import fast_autocast
from likeness.core.errors import ConfigError
from likeness.core.rng import seed_for
from likeness.pretrain.autoencoder import to_pixels
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.optim import train_encoder
from likeness.pretrain.probe import probe_config
from likeness.pretrain.probe_targets import attribute_loss, class_ids
from likeness.pretrain.tiny_tokenizers import clip_tokenizer
from likeness.pretrain.vae import on_device
from likeness.world.identity import ATTRIBUTES, Identity, sample_identity
from likeness.world.render import render_image, render_reference
from likeness.world.scenario import Scenario, caption, corpus, describe, described_caption, sample_scenario

GROUP = 4
PROJECTION = 128
READER_WEIGHT = 0.2  # of the sum over attributes of the readers' cross entropies
MEAN, STD = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]
VISION: dict[str, Any] = {  # Any: settings of stock configs, whose other settings have other types
    "hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 3,
}  # fmt: skip


@dataclass(frozen=True)
class PairBatch:
    """B scenes and P portraits, one per subject of a scene; `owner[p]` is the scene that shows portrait p's subject."""

    scenes: UInt8[np.ndarray, "B S S 3"]
    portraits: UInt8[np.ndarray, "P S S 3"]
    owner: list[int]
    scenarios: list[Scenario]
    identities: list[Identity]


def _scenario(seed: int, like: Identity | None) -> Scenario:
    """A training scenario of one or two subjects whose first subject resembles `like`."""
    rng = random.Random(f"contrastive/{seed}")
    scenario = sample_scenario(20_000_000 + seed, split="train", num_subjects=rng.choice((1, 1, 2)), dressed=False)
    if like is None:
        return scenario
    first = sample_identity(rng, split="train", like=like)
    return Scenario(scenario.action, scenario.scene, (first, *scenario.identities[1:]), scenario.seed)


def pair_batch(first: int, count: int, *, size: int, margin: float = 1.0) -> PairBatch:
    """Training pairs first .. first + count - 1, in groups of look-alikes.

    Pictures are drawn at `margin` times `size` and cut to the middle, as the encoder's preprocessing will do.
    """
    scenarios: list[Scenario] = []
    for i in range(count):
        like = scenarios[i - i % GROUP].identities[0] if i % GROUP else None
        scenarios.append(_scenario(first + i, like))
    side = round(size * margin)
    edge = (side - size) // 2
    cut = slice(edge, edge + size)
    people = [(i, who) for i, s in enumerate(scenarios) for who in s.identities]
    scenes = np.stack([render_image(s, size=side)[cut, cut] for s in scenarios])
    seeded = [(who, seed_for("portrait", first, p)) for p, (_, who) in enumerate(people)]
    portraits = np.stack([render_reference(who, seed=seed, size=side)[cut, cut] for who, seed in seeded])
    return PairBatch(scenes, portraits, [i for i, _ in people], scenarios, [who for _, who in people])


def match_loss(
    a: Float[Tensor, "B D"], b: Float[Tensor, "P D"], positive: Float[Tensor, "B P"], *, scale: Tensor | float
) -> Float[Tensor, ""]:
    """Cross entropy both ways between unit rows; row weights spread evenly over a row's positives."""
    logits = scale * a @ b.T

    def one_way(logits: Tensor, positive: Tensor) -> Tensor:
        return -(positive / positive.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()

    return 0.5 * (one_way(logits, positive) + one_way(logits.T, positive.T))


def load_clip(folder: Path, *, stage: str) -> CLIPModel:
    """The CLIP in `folder`, which `stage` starts from. Raises: ConfigError when there is none."""
    if not (folder / "config.json").is_file():
        raise ConfigError(f'stage "{stage}": expected a CLIP in {folder}, got none; run stage "clip" first.')
    return CLIPModel.from_pretrained(folder)


def pooled(output: object) -> Tensor:
    """The pooled features of a stock answer, which is annotated as a record or a tuple."""
    assert isinstance(output, BaseModelOutputWithPooling)
    assert isinstance(output.pooler_output, Tensor)
    return output.pooler_output


def _same_identity(batch: PairBatch) -> Tensor:
    return torch.tensor([[float(who in s.identities) for who in batch.identities] for s in batch.scenarios])


class AttributeReaders(nn.Module):
    """One linear reader per attribute on features of width `width`; they shape the features and are not kept."""

    def __init__(self, width: int, *, config: PretrainConfig) -> None:
        super().__init__()
        self.probe = probe_config(config)
        self.readers = nn.ModuleDict({name: nn.Linear(width, len(labels)) for name, labels in ATTRIBUTES.items()})

    def loss(self, batch: PairBatch, scenes: Float[Tensor, "B D"], portraits: Float[Tensor, "P D"]) -> Tensor:
        """Sum over attributes of the mean cross entropy in portraits and in scenes with one subject."""
        alone = [i for i, scenario in enumerate(batch.scenarios) if len(scenario.identities) == 1]
        people = [*batch.identities, *(batch.scenarios[i].identities[0] for i in alone)]
        classes = torch.tensor([class_ids(who.attributes(), self.probe) for who in people])
        rows = torch.cat([portraits, scenes[alone]])
        read = {name: reader(rows) for name, reader in self.readers.items()}
        return attribute_loss(read, classes.to(rows.device))


def blur(pixels: Tensor, rng: random.Random) -> Tensor:
    """Some batches a little blurred and noisy, as generated pictures are."""
    if rng.random() < 0.3:
        pixels = F.avg_pool2d(F.pad(pixels, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    return pixels + rng.uniform(0, 0.05) * torch.randn_like(pixels)


def train_dino(config: PretrainConfig, *, device: str) -> None:
    """Trains or continues the identity ViT and exports it to `<work>/dino`."""
    torch.manual_seed(config.seed)
    vit = ViTModel(ViTConfig(image_size=config.size, patch_size=16, **VISION), add_pooling_layer=False)
    on_device(vit, device)
    log_scale = nn.Parameter(torch.tensor(2.3))
    readers = AttributeReaders(vit.config.hidden_size, config=config).to(device)
    network = nn.ModuleDict({"vit": vit, "scale": nn.ParameterList([log_scale]), "readers": readers}).to(device)

    def features(pixels: Tensor) -> Tensor:
        with fast_autocast(device):
            return vit(pixel_values=pixels.to(device)).last_hidden_state[:, 0].float()

    def loss_of(first: int, batch: PairBatch) -> Tensor:
        rng = random.Random(f"blur/{first}")
        scale = log_scale.clamp(max=4.0).exp()
        scenes = features(blur(to_pixels(batch.scenes), rng))
        portraits = features(to_pixels(batch.portraits))
        who_loss = match_loss(
            F.normalize(scenes, dim=-1), F.normalize(portraits, dim=-1), _same_identity(batch).to(device), scale=scale
        )
        return who_loss + READER_WEIGHT * readers.loss(batch, scenes, portraits)

    draw = partial(pair_batch, count=config.dino.batch_size, size=config.size, margin=256 / 224)
    train_encoder(network, loss_of, draw=draw, workers=config.workers, name="dino", table=config.dino, config=config)
    vit.save_pretrained(config.work / "dino")
    save_preprocessing(config.work / "dino", edge=round(config.size * 256 / 224), size=config.size)


def save_preprocessing(folder: Path, *, edge: int, size: int) -> None:
    """Writes how pictures are resized, cut and normalised, beside a checkpoint."""
    resize, crop = {"shortest_edge": edge}, {"height": size, "width": size}
    processor = CLIPImageProcessorPil(size=resize, crop_size=crop, image_mean=MEAN, image_std=STD)
    processor.save_pretrained(folder)


def train_clip(config: PretrainConfig, *, device: str) -> None:
    """Trains or continues the embedded CLIP and exports it to `<work>/clip`."""
    torch.manual_seed(config.seed)
    described = [described_caption(sample_scenario(i, split="train")) for i in range(6000)]
    tokenizer = clip_tokenizer([*corpus(), *described], max_length=77)
    ids = {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=77, **ids,
    )  # fmt: skip
    vision = CLIPVisionConfig(image_size=config.size, patch_size=16, **VISION)
    clip = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=PROJECTION))
    readers = AttributeReaders(PROJECTION, config=config)
    network = nn.ModuleDict({"clip": clip, "readers": readers}).to(device)

    def images(pixels: Tensor) -> Tensor:
        with fast_autocast(device):
            return pooled(clip.get_image_features(pixel_values=pixels.to(device))).float()

    def texts(prompts: list[str]) -> Tensor:
        tokens = tokenizer(prompts, padding="longest", truncation=True, max_length=77, return_tensors="pt").to(device)
        with fast_autocast(device):
            return F.normalize(pooled(clip.get_text_features(input_ids=tokens.input_ids)).float(), dim=-1)

    def loss_of(first: int, batch: PairBatch) -> Tensor:
        rng = random.Random(f"clip/{first}")
        prompts: list[str] = [(caption if rng.random() < 0.5 else described_caption)(s) for s in batch.scenarios]
        prompts += [f"a {describe(who)}" for who in batch.identities]
        scale = clip.logit_scale.clamp(max=4.6).exp()
        seen = images(blur(to_pixels(batch.scenes), rng)), images(to_pixels(batch.portraits))
        scenes, portraits = (F.normalize(features, dim=-1) for features in seen)
        pictures = torch.cat([scenes, portraits])
        equal = torch.tensor([[float(a == b) for b in prompts] for a in prompts], device=device)
        text_loss = match_loss(pictures, texts(prompts), equal, scale=scale)
        who_loss = match_loss(scenes, portraits, _same_identity(batch).to(device), scale=scale)
        return text_loss + 0.5 * who_loss + READER_WEIGHT * readers.loss(batch, *seen)

    draw = partial(pair_batch, count=config.clip.batch_size, size=config.size)
    train_encoder(network, loss_of, draw=draw, workers=config.workers, name="clip", table=config.clip, config=config)
    clip.save_pretrained(config.work / "clip")
    tokenizer.save_pretrained(config.work / "clip")
    save_preprocessing(config.work / "clip", edge=config.size, size=config.size)
