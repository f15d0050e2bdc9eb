"""Stage "latents": training pictures drawn once, encoded once, kept as shards of one subject count each."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional

from likeness.backbones.flux.uno import FluxUno
from likeness.core.devices import fast_autocast
from likeness.core.files import atomic_write_bytes
from likeness.core.hashing import json_sha256
from likeness.core.kinds import Split
from likeness.core.rng import seed_for
from likeness.pretrain.ahead import drawn_ahead
from likeness.pretrain.autoencoder import to_pixels
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.log import TrainLog
from likeness.pretrain.vae import WEIGHTS, require_vae
from likeness.world.render import render_image, render_reference, subject_levels
from likeness.world.scenario import Scenario, caption, sample_scenario

COUNT_CYCLE = (1, 2, 2, 1, 2, 1, 2, 1, 2, 1, 3, 2, 1, 2, 2, 1, 2, 1, 3, 4)
"""Subject counts of successive shards; the share of a count in training is its share here."""


SAMPLES_PER_CELL = 2  # pixels along a latent cell's side from which its share of subject is counted


@dataclass(frozen=True)
class LatentShard:
    """N pictures with the same number R of subjects: latents in the transformer's units, token ids of the captions.

    `subject` is the share of each latent cell that shows one of the subjects.
    """

    target: Float[Tensor, "N 16 h w"]
    subject: Float[Tensor, "N h w"]
    references: Float[Tensor, "N R 16 r r"]
    pieces: Int[Tensor, "N T"]
    words: Int[Tensor, "N C"]


@runtime_checkable
class Shard(Protocol):
    """N pictures with R subjects each: a frozen dataclass of tensors with a row per picture."""

    @property
    def target(self) -> Tensor:
        """What the generator learns to make, (N, ...)."""
        ...

    @property
    def references(self) -> Tensor:
        """What it is told of each subject's look, (N, R, ...)."""
        ...


ShardT = TypeVar("ShardT", bound=Shard)


def reference_size(config: PretrainConfig, count: int) -> int:
    """Side in pixels of each reference when there are `count` of them (UNO: smaller when there are several)."""
    return config.reference_size_single if count == 1 else config.reference_size_multi


def drawn(scenarios: list[Scenario], *, size: int, portrait_size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pictures (N, S, S, 3) and the portraits of their subjects, picture by picture, (N * R, s, s, 3)."""
    seeds = [(who, seed_for("reference", s.seed, i)) for s in scenarios for i, who in enumerate(s.identities)]
    portraits = np.stack([render_reference(who, seed=seed, size=portrait_size) for who, seed in seeds])
    return np.stack([render_image(s, size=size) for s in scenarios]), portraits


@torch.no_grad()
def encode_scenarios(backbone: FluxUno, scenarios: list[Scenario], config: PretrainConfig) -> LatentShard:
    """The shard of these scenarios, which have equally many subjects."""
    draw = partial(drawn, size=config.size, portrait_size=reference_size(config, len(scenarios[0].identities)))
    chunks = [scenarios[first : first + 32] for first in range(0, len(scenarios), 32)]
    targets: list[Tensor] = []
    references: list[Tensor] = []
    for pictures, portraits in drawn_ahead(draw, chunks, workers=config.workers):
        with fast_autocast(backbone.device.type):
            targets.append(backbone.encode(to_pixels(pictures)).half().cpu())
            latents = backbone.encode(to_pixels(portraits)).half().cpu()
        references.append(latents.unflatten(0, (len(pictures), -1)))
    pieces, words = token_ids(backbone, [caption(s) for s in scenarios])
    target = torch.cat(targets)
    subject = subject_shares(scenarios, grid=target.shape[-1])
    return LatentShard(target, subject, torch.cat(references), pieces, words)


def subject_shares(scenarios: list[Scenario], *, grid: int) -> Float[Tensor, "N h w"]:
    """Of each cell of a `grid` x `grid` latent the share that shows a subject, in half precision."""
    levels = np.stack([subject_levels(s, size=SAMPLES_PER_CELL * grid) for s in scenarios])
    shown = torch.from_numpy(levels > 0)[:, None].float()
    return functional.avg_pool2d(shown, SAMPLES_PER_CELL)[:, 0].half()


def token_ids(backbone: FluxUno, prompts: list[str]) -> tuple[Tensor, Tensor]:
    """T5 and CLIP ids padded exactly as `FluxUno.embed_text` pads them."""
    options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    parts = backbone.parts
    pieces = parts.tokenizer_2(prompts, max_length=backbone.settings.max_sequence_length, **options).input_ids
    words = parts.tokenizer(prompts, max_length=parts.tokenizer.model_max_length, **options).input_ids
    return pieces, words


def shard_scenarios(index: int, *, size: int, split: Split) -> list[Scenario]:
    """The scenarios of shard `index`."""
    count = COUNT_CYCLE[index % len(COUNT_CYCLE)]
    first = index * size
    return [sample_scenario(first + i, split=split, num_subjects=count) for i in range(size)]


def encoder_sha256(path: Path, *, prefix: str = "encoder.") -> str:
    """A hash of the tensors with that prefix: a better decoder, for one, keeps latents valid."""
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(path).items()):
        if name.startswith(prefix):
            digest.update(name.encode() + tensor.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@cache
def pictures_sha256() -> str:
    """Changes when drawing, posing, sampling or wording change: a hash over 200 training pictures and captions."""
    digest = hashlib.sha256()
    for seed in range(200):
        scenario = sample_scenario(seed, split="train")
        digest.update(caption(scenario).encode() + render_image(scenario, size=48).tobytes())
        digest.update(render_reference(scenario.identities[0], seed=seed, size=48).tobytes())
    return digest.hexdigest()


def cache_folder(config: PretrainConfig) -> Path:
    """Where shards lie; another encoder or other sizes give another folder, so stale latents are never read."""
    key = {
        "format": 2,
        "encoder": encoder_sha256(require_vae(config, stage="latents") / WEIGHTS),
        "pictures": pictures_sha256(),
        "sizes": [config.size, config.reference_size_single, config.reference_size_multi, config.latents.shard_size],
    }
    return config.work / f"latents-{json_sha256(key)[:12]}"


def cache_latents(config: PretrainConfig, backbone: FluxUno) -> Path:
    """Writes the shards that are missing and returns their folder."""
    folder = cache_folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    table = config.latents
    log = TrainLog(config.work / "latents.jsonl", total=table.num_samples, start=0)
    for index in range(table.num_shards):
        path = folder / f"{index:05d}.safetensors"
        if path.exists():
            continue
        shard = encode_scenarios(backbone, shard_scenarios(index, size=table.shard_size, split="train"), config)
        atomic_write_bytes(path, save(vars(shard)))
        log.write((index + 1) * table.shard_size)
    return folder


def write_shards(
    folder: Path, encode: Callable[[list[Scenario]], Shard], *, num_shards: int, size: int, log: Path
) -> Path:
    """Writes the shards of `size` training pictures that are missing and returns their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    missing = [index for index in range(num_shards) if not (folder / f"{index:05d}.safetensors").exists()]
    written = TrainLog(log, total=len(missing) * size, start=0)
    for done, index in enumerate(missing, start=1):
        shard = encode(shard_scenarios(index, size=size, split="train"))
        atomic_write_bytes(folder / f"{index:05d}.safetensors", save(vars(shard)))
        written.write(done * size)
    return folder


class LatentPool(Generic[ShardT]):
    """All shards in memory, grouped by subject count; batch number i is the same whatever was asked before.

    `kind` makes a shard of named tensors.
    """

    def __init__(self, folder: Path, *, num_shards: int, kind: Callable[..., ShardT]) -> None:
        found: dict[int, list[ShardT]] = {}
        for index in range(num_shards):
            shard = kind(**load_file(folder / f"{index:05d}.safetensors"))
            found.setdefault(shard.references.shape[1], []).append(shard)
        self.kind = kind
        self.groups = {count: self._concat(found.pop(count)) for count in sorted(found)}

    def batch(self, index: int, *, size: int, seed: int) -> ShardT:
        """Batch `index` of `size` rows with one subject count; counts come in proportion to their rows."""
        rng = np.random.default_rng(seed_for(seed, "pool", index))
        counts = list(self.groups)
        rows = np.array([len(self.groups[count].target) for count in counts], dtype=np.float64)
        group = self.groups[counts[int(rng.choice(len(counts), p=rows / rows.sum()))]]
        chosen = torch.from_numpy(rng.integers(0, len(group.target), size))
        return self.kind(*(tensor[chosen] for tensor in vars(group).values()))

    def _concat(self, shards: list[ShardT]) -> ShardT:
        columns = zip(*(vars(shard).values() for shard in shards), strict=True)
        return self.kind(*(torch.cat(column) for column in columns))
