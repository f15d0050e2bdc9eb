"""The TOML file of `likeness world pretrain`: one frozen table per stage, unknown keys refused."""

import tomllib
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from likeness.core.errors import ConfigError
from likeness.core.rows import Frozen


class EncoderTable(Frozen):
    """Stages "clip", "dino" and "relations", and what the stages "probe", "autoencoder" and "decoder" also need."""

    total_images: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    decay_share: float = Field(ge=0, le=1)


class AutoencoderTable(EncoderTable):
    """Stages "autoencoder" and "decoder". Losses are on pixels in [-1, 1]."""

    ema_decay: float = Field(ge=0, lt=1)
    kl_weight: float = Field(ge=0)
    l1_weight: float = Field(ge=0)
    reference_share: float = Field(ge=0, le=1)
    freeze_encoder: bool
    gradient_weight: float = Field(default=0.0, ge=0)
    latent_noise: float = Field(default=0.0, ge=0)
    """With a frozen encoder: how far latents are moved before decoding, as a share of their deviation, at most."""


class LatentsTable(Frozen):
    """Stage "latents": how many training pictures are drawn, encoded once and kept."""

    num_samples: int = Field(gt=0)
    shard_size: int = Field(gt=0)

    @property
    def num_shards(self) -> int:
        """How many shards hold them."""
        return -(-self.num_samples // self.shard_size)


class GuidanceTable(Frozen):
    """Stage "guidance": the transformer alone, Muon inside its blocks and AdamW outside."""

    total_images: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    muon_learning_rate: float = Field(gt=0)
    adam_learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    decay_share: float = Field(ge=0, le=1)
    ema_decay: float = Field(ge=0, lt=1)


class TransformerTable(GuidanceTable):
    """Stage "transformer": text encoders and transformer together."""

    condition_dropout: float = Field(ge=0, lt=1)
    logit_mean: float
    subject_weight: float = Field(gt=0)
    num_layers: int = Field(gt=0)
    num_single_layers: int = Field(gt=0)


class UnetTable(GuidanceTable):
    """Stage "unet": text encoders, U-Net and image adapter together, on `num_samples` cached pictures."""

    num_samples: int = Field(gt=0)
    condition_dropout: float = Field(ge=0, lt=1)
    snr_gamma: float = Field(gt=0)
    subject_weight: float = Field(gt=0)
    reader_weight: float = Field(ge=0)
    block_out_channels: tuple[int, ...]
    transformer_layers_per_block: tuple[int, ...]


class LocalEncoderTable(Frozen):
    """Stage "local_encoder": `steps` of `batch_size` of `count` drawn pictures."""

    count: int = Field(gt=0)
    steps: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    learning_rate: float = Field(gt=0)
    warmup: int = Field(ge=0)


class MsAdapterTable(EncoderTable):
    """Stage "ms": the adapter of MS-Diffusion on `num_samples` cached pictures, `shard_size` of one subject count each.

    `start`: what the adapter begins as, see `ms_format.py`. `local_share`: of the batches, which have local tokens.
    """

    num_samples: int = Field(gt=0)
    shard_size: int = Field(gt=0)
    weight_decay: float = Field(ge=0)
    ema_decay: float = Field(ge=0, lt=1)
    subject_weight: float = Field(gt=0)
    local_share: float = Field(ge=0, le=1)
    start: Literal["ip_adapter", "text"]


class ProbeTable(EncoderTable):
    """Stage "probe"; it learns from `pool_size` pictures that are drawn once."""

    pool_size: int = Field(gt=0)


class PretrainConfig(Frozen):
    """Everything `likeness world pretrain` needs. `work` keeps states and caches, `export` receives the weights.

    `workers` processes draw pictures ahead of the training (0: the training draws them itself); they change no number.
    """

    seed: int
    work: Path
    export: Path
    device: Literal["auto", "cpu", "cuda"]
    threads: int = Field(ge=0)
    workers: int = Field(ge=0)
    size: int = Field(gt=0)
    reference_size_single: int = Field(gt=0)
    reference_size_multi: int = Field(gt=0)
    block_out_channels: tuple[int, ...]
    autoencoder: AutoencoderTable
    decoder: AutoencoderTable
    latents: LatentsTable
    transformer: TransformerTable
    guidance: GuidanceTable
    unet: UnetTable
    local_encoder: LocalEncoderTable
    ms_adapter: MsAdapterTable
    probe: ProbeTable
    clip: EncoderTable
    dino: EncoderTable
    relations: EncoderTable
    detector: EncoderTable
    pose: EncoderTable
    faces: EncoderTable


def read_config(path: Path) -> PretrainConfig:
    """The validated config.

    Raises: ConfigError naming the file, the key and the value.
    """
    try:
        return PretrainConfig(**tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: expected a TOML config, got no file; see configs/world_cpu.toml") from error
    except OSError as error:
        raise ConfigError(f"{path}: expected a TOML config, got {error.strerror or error}; check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML, got {error}") from error
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}, got {e['input']!r}" for e in error.errors()]
        raise ConfigError(f"{path}: {len(lines)} wrong setting(s):\n" + "\n".join(lines)) from error
