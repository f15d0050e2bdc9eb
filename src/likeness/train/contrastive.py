"""Stages "clip" and "dino": encoders of the world's pictures, trained by telling pictures and captions apart.

CLIP learns captions, plain and with the subjects described; the DINO-style ViT learns who is in a picture, whatever
they do and wherever they are. Both see groups of look-alikes in one batch (same species, same body colour), so that
only the rest tells them apart.
Source: the symmetric cross entropy of CLIP (arXiv:2103.00020, section 2.3); several positives per row as in SupCon
(arXiv:2004.11362, Eq. 2, L_out).
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig, ViTConfig, ViTModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from likeness.backbones.tiny_tokenizers import clip_tokenizer
from likeness.core.rng import seed_for
from likeness.train.autoencoder import to_pixels
from likeness.train.config import PretrainConfig
from likeness.train.optim import train_encoder
from likeness.train.vae import on_device
from likeness.world.identity import Identity, sample_identity
from likeness.world.render import render_image, render_reference
from likeness.world.scenario import Scenario, caption, corpus, describe, described_caption, sample_scenario

GROUP = 4
MEAN, STD = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]
VISION: dict[str, Any] = {  # Any: settings of stock configs, whose other settings have other types
    "hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 3,
}  # fmt: skip


@dataclass(frozen=True)
class PairBatch:
    """B scenes and P portraits, one per subject of a scene; `owner[p]` is the scene that shows portrait p's subject."""

    scenes: Float[Tensor, "B 3 S S"]
    portraits: Float[Tensor, "P 3 S S"]
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
    seeds = [seed_for("portrait", first, p) for p in range(len(people))]
    portraits = [
        render_reference(who, seed=seed, size=side)[cut, cut] for seed, (_, who) in zip(seeds, people, strict=True)
    ]
    return PairBatch(
        to_pixels(scenes), to_pixels(np.stack(portraits)), [i for i, _ in people], scenarios, [who for _, who in people]
    )


def match_loss(
    a: Float[Tensor, "B D"], b: Float[Tensor, "P D"], positive: Float[Tensor, "B P"], *, scale: Tensor | float
) -> Float[Tensor, ""]:
    """Cross entropy both ways between unit rows; row weights spread evenly over a row's positives."""
    logits = scale * a @ b.T

    def one_way(logits: Tensor, positive: Tensor) -> Tensor:
        return -(positive / positive.sum(1, keepdim=True) * logits.log_softmax(1)).sum(1).mean()

    return 0.5 * (one_way(logits, positive) + one_way(logits.T, positive.T))


def _pooled(output: object) -> Tensor:
    """The pooled features of a stock answer, which is annotated as a record or a tuple."""
    assert isinstance(output, BaseModelOutputWithPooling)
    assert isinstance(output.pooler_output, Tensor)
    return output.pooler_output


def _positive(rows: Sequence[object], columns: Sequence[object]) -> Tensor:
    return torch.tensor([[float(r == c) for c in columns] for r in rows])


def _same_identity(batch: PairBatch) -> Tensor:
    return torch.tensor(
        [[float(who in scenario.identities) for who in batch.identities] for scenario in batch.scenarios]
    )


def _blur(pixels: Tensor, rng: random.Random) -> Tensor:
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
    network = nn.ModuleDict({"vit": vit, "scale": nn.ParameterList([log_scale])})

    def features(pixels: Tensor) -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            return F.normalize(vit(pixel_values=pixels.to(device)).last_hidden_state[:, 0].float(), dim=-1)

    def loss_of(first: int, count: int) -> Tensor:
        batch = pair_batch(first, count, size=config.size, margin=256 / 224)
        rng = random.Random(f"blur/{first}")
        scale = log_scale.clamp(max=4.0).exp()
        scenes, portraits = features(_blur(batch.scenes, rng)), features(batch.portraits)
        return match_loss(scenes, portraits, _same_identity(batch).to(device), scale=scale)

    train_encoder(network, loss_of, name="dino", table=config.dino, config=config)
    vit.save_pretrained(config.work / "dino")
    edge = round(config.size * 256 / 224)
    CLIPImageProcessorPil(
        size={"shortest_edge": edge},
        crop_size={"height": config.size, "width": config.size},
        image_mean=MEAN,
        image_std=STD,
    ).save_pretrained(config.work / "dino")


def clip_corpus() -> list[str]:
    """The world's language plus the words that describe identities."""
    return corpus() + [described_caption(sample_scenario(i, split="train")) for i in range(6000)]


def train_clip(config: PretrainConfig, *, device: str) -> None:
    """Trains or continues the embedded CLIP and exports it to `<work>/clip`."""
    torch.manual_seed(config.seed)
    tokenizer = clip_tokenizer(clip_corpus(), max_length=77)
    ids = {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=77, **ids,
    )  # fmt: skip
    vision = CLIPVisionConfig(image_size=config.size, patch_size=16, **VISION)
    clip = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=128))
    on_device(clip, device)

    def images(pixels: Tensor) -> Tensor:
        with torch.autocast(device, torch.bfloat16):
            return F.normalize(_pooled(clip.get_image_features(pixel_values=pixels.to(device))).float(), dim=-1)

    def texts(prompts: list[str]) -> Tensor:
        tokens = tokenizer(prompts, padding="longest", truncation=True, max_length=77, return_tensors="pt").to(device)
        with torch.autocast(device, torch.bfloat16):
            return F.normalize(_pooled(clip.get_text_features(input_ids=tokens.input_ids)).float(), dim=-1)

    def loss_of(first: int, count: int) -> Tensor:
        batch = pair_batch(first, count, size=config.size)
        rng = random.Random(f"clip/{first}")
        prompts: list[str] = [(caption if rng.random() < 0.5 else described_caption)(s) for s in batch.scenarios]
        prompts += [f"a {describe(who)}" for who in batch.identities]
        scale = clip.logit_scale.clamp(max=4.6).exp()
        scenes, portraits = images(_blur(batch.scenes, rng)), images(batch.portraits)
        pictures = torch.cat([scenes, portraits])
        text_loss = match_loss(pictures, texts(prompts), _positive(prompts, prompts).to(device), scale=scale)
        who_loss = match_loss(scenes, portraits, _same_identity(batch).to(device), scale=scale)
        return text_loss + 0.5 * who_loss

    train_encoder(clip, loss_of, name="clip", table=config.clip, config=config)
    clip.save_pretrained(config.work / "clip")
    tokenizer.save_pretrained(config.work / "clip")
    CLIPImageProcessorPil(
        size={"shortest_edge": config.size},
        crop_size={"height": config.size, "width": config.size},
        image_mean=MEAN,
        image_std=STD,
    ).save_pretrained(config.work / "clip")
