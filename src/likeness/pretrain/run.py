"""`likeness world pretrain`: the stages in order. Each resumes where it was stopped; a finished one ends at once."""

from collections.abc import Callable
from pathlib import Path

from likeness.core.errors import ConfigError
from likeness.pretrain.config import PretrainConfig, read_config


def _autoencoder(config: PretrainConfig, device: str) -> None:
    from likeness.pretrain.autoencoder import train_autoencoder

    train_autoencoder(config, device=device)


def _decoder(config: PretrainConfig, device: str) -> None:
    from likeness.pretrain.autoencoder import train_decoder

    train_decoder(config, device=device)


def _transformer(config: PretrainConfig, device: str) -> None:
    from likeness.pretrain.transformer import train_transformer

    train_transformer(config, device=device)


def _probe(config: PretrainConfig, device: str) -> None:
    from likeness.pretrain.probe import train_probe

    train_probe(config, device=device)


def _clip(config: PretrainConfig, device: str) -> None:
    from likeness.pretrain.contrastive import train_clip

    train_clip(config, device=device)


def _dino(config: PretrainConfig, device: str) -> None:
    from likeness.pretrain.contrastive import train_dino

    train_dino(config, device=device)


def _calibrate(config: PretrainConfig, device: str) -> None:
    from likeness.pretrain.calibrate import calibrate

    calibrate(config, device=device)


def _export(config: PretrainConfig, device: str) -> None:
    from likeness.pretrain.export import export

    export(config)


STAGES: dict[str, Callable[[PretrainConfig, str], None]] = {
    "autoencoder": _autoencoder,
    "probe": _probe,
    "clip": _clip,
    "dino": _dino,
    "transformer": _transformer,
    "decoder": _decoder,
    "export": _export,
    "calibrate": _calibrate,
}


def run(config_path: Path, stage: str | None = None) -> PretrainConfig:
    """Runs one stage, or all of them in order, and returns the config that was used.

    Raises: ConfigError for a bad config or an unknown stage.
    """
    import torch

    config = read_config(config_path)
    if stage is not None and stage not in STAGES:
        raise ConfigError(f"--stage: expected one of {', '.join(STAGES)}, got {stage!r}; correct the name.")
    if config.threads:
        torch.set_num_threads(config.threads)
    device = config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    for name in [stage] if stage else STAGES:
        STAGES[name](config, device)
    return config
