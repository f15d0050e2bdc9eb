"""`likeness world pretrain`: runs the stages in order, each resumable; a finished stage is not run again."""

from collections.abc import Callable
from pathlib import Path

from likeness.core.errors import ConfigError
from likeness.train.config import PretrainConfig, read_config


def _autoencoder(config: PretrainConfig, device: str) -> None:
    from likeness.train.autoencoder import train_autoencoder

    train_autoencoder(config, device=device)


STAGES: dict[str, Callable[[PretrainConfig, str], None]] = {"autoencoder": _autoencoder}


def run(config_path: Path, stage: str | None = None) -> PretrainConfig:
    """Runs one stage, or all of them in order, and returns the config that was used.

    Raises: ConfigError for a bad config or an unknown stage.
    """
    import torch

    config = read_config(config_path)
    if stage is not None and stage not in STAGES:
        raise ConfigError(f"--stage: expected one of {', '.join(STAGES)}, got {stage!r}")
    if config.threads:
        torch.set_num_threads(config.threads)
    device = config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    for name in [stage] if stage else STAGES:
        STAGES[name](config, device)
    return config
