"""What stage "ms" learns from: latents of training pictures, and what is told of their subjects, all encoded once.

Every encoder of the tiny SDXL and the Local Image Encoder stay as they are.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from likeness.backbones.sdxl.local_settings import FOLDER_NAME
from likeness.backbones.sdxl.ms_diffusion import SdxlMsDiffusion
from likeness.core.devices import fast_autocast
from likeness.core.hashing import folder_sha256, json_sha256
from likeness.core.rng import seed_for
from likeness.encoders.object_tokens import CELLS
from likeness.pretrain.ahead import drawn_ahead
from likeness.pretrain.autoencoder import to_pixels
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.latents import pictures_sha256, subject_shares, write_shards
from likeness.world.outfits import OUTFITS
from likeness.world.render import render, render_reference
from likeness.world.scenario import Scenario, caption

NUM_LOCAL = CELLS * CELLS
FROZEN = ("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "image_encoder", FOLDER_NAME)
"""The parts of the folder by which a shard is what it is."""


@dataclass(frozen=True)
class MsShard:
    """N pictures with R subjects each.

    `target` are latents in the U-Net's units, `subject` the share of each cell that shows a subject, `references` the P
    image tokens of each subject's portrait and behind them NUM_LOCAL local tokens, `boxes` where each subject is, in
    shares of the sides, hidden parts included, `phrases` the pooled vector of what the caption calls it, `embeds` and
    `pooled` the caption.
    """

    target: Float[Tensor, "N 16 h w"]
    subject: Float[Tensor, "N h w"]
    references: Float[Tensor, "N R K D"]
    boxes: Float[Tensor, "N R 4"]
    phrases: Float[Tensor, "N R F"]
    embeds: Float[Tensor, "N T E"]
    pooled: Float[Tensor, "N Q"]


class Drawn(NamedTuple):
    """Pictures, portraits of their subjects, picture by picture, and the subjects' boxes."""

    pictures: NDArray[np.uint8]  # (N, S, S, 3)
    portraits: NDArray[np.uint8]  # (N * R, s, s, 3)
    boxes: NDArray[np.float32]  # (N, R, 4)


def drawn_with_boxes(scenarios: list[Scenario], *, size: int, portrait_size: int) -> Drawn:
    """The scenarios, which have equally many subjects, as pictures of `size` px and portraits of `portrait_size`."""
    seen = [render(scenario, size=size) for scenario in scenarios]
    seeds = [(who, seed_for("reference", s.seed, i)) for s in scenarios for i, who in enumerate(s.identities)]
    portraits = [render_reference(who, seed=seed, size=portrait_size) for who, seed in seeds]
    boxes = np.array([[subject.box for subject in each.labels.subjects] for each in seen], dtype=np.float32)
    return Drawn(np.stack([each.image for each in seen]), np.stack(portraits), boxes.clip(0, 1))


def phrases_of(scenario: Scenario) -> list[str]:
    """What the caption calls each subject."""
    return [OUTFITS[scenario.outfit(i)].phrase(who.class_name) for i, who in enumerate(scenario.identities)]


@torch.no_grad()
def encode_examples(scenarios: list[Scenario], *, backbone: SdxlMsDiffusion, config: PretrainConfig) -> MsShard:
    """The shard of these scenarios, which have equally many subjects."""
    draw = partial(drawn_with_boxes, size=config.size, portrait_size=backbone.parts.image_px)
    chunks = [scenarios[first : first + 32] for first in range(0, len(scenarios), 32)]
    found: dict[str, list[Tensor]] = {name: [] for name in MsShard.__annotations__ if name != "subject"}
    for chunk, drawn in zip(chunks, drawn_ahead(draw, chunks, workers=config.workers), strict=True):
        count = len(chunk)
        portraits = [Image.fromarray(portrait) for portrait in drawn.portraits]
        with fast_autocast(backbone.device.type):
            found["target"].append(backbone.encode(to_pixels(drawn.pictures)))
            seen = backbone.all_features(portraits, local_tokens=True)
        found["references"].append(seen.unflatten(0, (count, -1)))
        words = [phrase for scenario in chunk for phrase in phrases_of(scenario)]
        found["phrases"].append(backbone.embed_phrases(words).unflatten(0, (count, -1)))
        text = backbone.embed_text([caption(scenario) for scenario in chunk])
        found["embeds"].append(text.embeds)
        found["pooled"].append(text.pooled)
        found["boxes"].append(torch.from_numpy(drawn.boxes))
    columns = {name: torch.cat(parts).cpu() for name, parts in found.items()}
    halves = {name: each if name == "boxes" else each.half() for name, each in columns.items()}
    return MsShard(**halves, subject=subject_shares(scenarios, grid=halves["target"].shape[-1]))


def cache_folder(config: PretrainConfig, folder: Path) -> Path:
    """Where shards lie; other encoders in `folder`, pictures or sizes give another place, so none is out of date."""
    key = {
        "format": 1,
        "parts": {part: folder_sha256(folder / part) for part in FROZEN},
        "pictures": pictures_sha256(),
        "sizes": [config.size, config.ms_adapter.shard_size],
    }
    return config.work / f"ms-{json_sha256(key)[:12]}"


def num_shards(config: PretrainConfig) -> int:
    """How many shards hold the pictures of stage "ms"."""
    return -(-config.ms_adapter.num_samples // config.ms_adapter.shard_size)


def cache_examples(config: PretrainConfig, backbone: SdxlMsDiffusion) -> Path:
    """Writes the shards that are missing and returns their folder."""
    encode = partial(encode_examples, backbone=backbone, config=config)
    sizes = {"num_shards": num_shards(config), "size": config.ms_adapter.shard_size}
    return write_shards(
        cache_folder(config, backbone.parts.folder), encode, **sizes, log=config.work / "ms_cache.jsonl"
    )
