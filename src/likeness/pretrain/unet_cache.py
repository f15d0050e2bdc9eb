"""What stage "unet" learns from: latents of training pictures and the image encoder's features of their subjects.

The image encoder stays as it is (as in IP-Adapter), so each reference is encoded once.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, Int
from torch import Tensor

from likeness.core.devices import fast_autocast
from likeness.core.hashing import json_sha256
from likeness.pretrain.ahead import drawn_ahead
from likeness.pretrain.autoencoder import to_pixels
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.latents import drawn, encoder_sha256, pictures_sha256, subject_shares, write_shards
from likeness.pretrain.probe import probe_config
from likeness.pretrain.probe_targets import class_ids
from likeness.pretrain.vae import WEIGHTS, posterior, require_vae
from likeness.world.scenario import Scenario, caption


class Encoders(NamedTuple):
    """The parts of the tiny SDXL that stay as they are."""

    vae: AutoencoderKL
    image_encoder: Any  # CLIPVisionModelWithProjection, whose config has sizes of many types
    tokenizer: Any  # CLIPTokenizer, whose call transformers does not type


@dataclass(frozen=True)
class UnetShard:
    """N pictures with R subjects each.

    `target` are latents in the U-Net's units, `subject` the share of each cell that shows a subject, `references` what
    the image encoder makes of P patches (its class token among them) of each subject's portrait, `words` token ids of
    the captions, `classes` the ids of each subject's attributes, -1 where one does not apply.
    """

    target: Float[Tensor, "N 16 h w"]
    subject: Float[Tensor, "N h w"]
    references: Float[Tensor, "N R P D"]
    words: Int[Tensor, "N T"]
    classes: Int[Tensor, "N R A"]


def word_ids(tokenizer: Any, prompts: list[str]) -> Int[Tensor, "B T"]:
    """Token ids padded to full length, as SDXL's pipeline pads them."""
    options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    return tokenizer(prompts, max_length=tokenizer.model_max_length, **options).input_ids


def features_of(image_encoder: Any, pixels: Float[Tensor, "B 3 S S"]) -> Tensor:
    """What enters the last layer of the image encoder (B, P, D). Source: IP-Adapter-Plus."""
    return image_encoder(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]


@torch.no_grad()
def encode_examples(encoders: Encoders, scenarios: list[Scenario], config: PretrainConfig) -> UnetShard:
    """The shard of these scenarios, which have equally many subjects."""
    vae, image_encoder, tokenizer = encoders
    portrait_size: int = image_encoder.config.image_size
    draw = partial(drawn, size=config.size, portrait_size=portrait_size)
    chunks = [scenarios[first : first + 32] for first in range(0, len(scenarios), 32)]
    targets, references = list[Tensor](), list[Tensor]()
    for pictures, portraits in drawn_ahead(draw, chunks, workers=config.workers):
        with fast_autocast(vae.device.type):
            latents = posterior(vae, to_pixels(pictures).to(vae.device)).mode() * vae.config["scaling_factor"]
            features = features_of(image_encoder, to_pixels(portraits).to(vae.device))
        targets.append(latents.half().cpu())
        references.append(features.half().cpu().unflatten(0, (len(pictures), -1)))
    target, probe = torch.cat(targets), probe_config(config)
    return UnetShard(
        target=target,
        subject=subject_shares(scenarios, grid=target.shape[-1]),
        references=torch.cat(references),
        words=word_ids(tokenizer, [caption(s) for s in scenarios]),
        classes=torch.tensor([[class_ids(who.attributes(), probe) for who in s.identities] for s in scenarios]),
    )


def cache_folder(config: PretrainConfig) -> Path:
    """Where shards lie; other encoders, pictures or sizes give another folder, so stale ones are never read."""
    sdxl = config.work / "sdxl"
    key = {
        "format": 1,
        "encoder": encoder_sha256(require_vae(config, stage="unet") / WEIGHTS),
        "image_encoder": encoder_sha256(sdxl / "image_encoder" / "model.safetensors", prefix="vision_model."),
        "words": json_sha256((sdxl / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8")),
        "pictures": pictures_sha256(),
        "sizes": [config.size, config.latents.shard_size],
    }
    return config.work / f"unet-{json_sha256(key)[:12]}"


def num_shards(config: PretrainConfig) -> int:
    """How many shards hold the pictures of stage "unet"."""
    return -(-config.unet.num_samples // config.latents.shard_size)


def cache_examples(config: PretrainConfig, encoders: Encoders) -> Path:
    """Writes the shards that are missing and returns their folder."""
    encode = partial(encode_examples, encoders, config=config)
    sizes = {"num_shards": num_shards(config), "size": config.latents.shard_size}
    return write_shards(cache_folder(config), encode, **sizes, log=config.work / "unet_cache.jsonl")
