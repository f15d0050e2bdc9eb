"""`likeness world pretrain`: the stages in order. Each resumes where it was stopped; a finished one ends at once."""

from pathlib import Path
from pkgutil import resolve_name

from likeness.core.errors import ConfigError
from likeness.pretrain.config import PretrainConfig, read_config

STAGES: dict[str, str] = {
    "autoencoder": "likeness.pretrain.autoencoder:train_autoencoder",
    "probe": "likeness.pretrain.probe:train_probe",
    "clip": "likeness.pretrain.contrastive:train_clip",
    "dino": "likeness.pretrain.contrastive:train_dino",
    "transformer": "likeness.pretrain.transformer:train_transformer",
    "decoder": "likeness.pretrain.autoencoder:train_decoder",
    "export": "likeness.pretrain.export:export",
    "calibrate": "likeness.pretrain.calibrate:calibrate",
}
"""Stage -> "module:function", called with the config and the device."""


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
        resolve_name(STAGES[name])(config, device=device)
    return config
