"""`likeness world pretrain`: the stages in order. Each resumes where it was stopped; a finished one ends at once."""

import shutil
from pathlib import Path
from pkgutil import resolve_name

from likeness.core.devices import without_cudnn_attention
from likeness.core.errors import ConfigError
from likeness.core.files import replaced_folder
from likeness.pretrain.config import PretrainConfig, read_config

STAGES: dict[str, str] = {
    "autoencoder": "likeness.pretrain.autoencoder:train_autoencoder",
    "probe": "likeness.pretrain.probe:train_probe",
    "clip": "likeness.pretrain.contrastive:train_clip",
    "dino": "likeness.pretrain.contrastive:train_dino",
    "relations": "likeness.pretrain.relations:train_relations",
    "detector": "likeness.pretrain.detector:train_detector",
    "pose": "likeness.pretrain.pose:train_pose",
    "faces": "likeness.pretrain.faces:train_faces",
    "transformer": "likeness.pretrain.transformer:train_transformer",
    "guidance": "likeness.pretrain.guidance:train_guidance",
    "unet": "likeness.pretrain.unet:train_unet",
    "local_encoder": "likeness.pretrain.local_encoder:train_local_encoder",
    "ms": "likeness.pretrain.ms_adapter:train_ms",
    "decoder": "likeness.pretrain.autoencoder:train_decoder",
    "export": "likeness.pretrain.export:export",
    "face_attributes": "likeness.pretrain.face_attributes:fit_face_attributes",
    "calibrate": "likeness.pretrain.calibrate:calibrate",
}
"""Stage -> "module:function", called with the config and the device."""

CHECKPOINTS = ("flux", "clip", "dino", "probe", "relations", "detector", "pose", "faces", "sdxl", "sdxl_ms_diffusion")
CONFIGS = {"flux": "model_index.json", "sdxl": "model_index.json", "sdxl_ms_diffusion": "base.json"}


@without_cudnn_attention()
def run(config_path: Path, stage: str | None = None, *, start: Path | None = None) -> PretrainConfig:
    """Runs one stage, or all of them in order, and returns the config that was used.

    With `start`, a folder of exported checkpoints, those that `<work>` lacks begin as its weights.
    Raises: ConfigError for a bad config, an unknown stage or a `start` without checkpoints.
    """
    import torch

    config = read_config(config_path)
    if stage is not None and stage not in STAGES:
        raise ConfigError(f"--stage: expected one of {', '.join(STAGES)}, got {stage!r}; correct the name.")
    if start is not None:
        start_from(start, config)
    if config.threads:
        torch.set_num_threads(config.threads)
    device = config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    for name in [stage] if stage else STAGES:
        resolve_name(STAGES[name])(config, device=device)
    return config


def start_from(folder: Path, config: PretrainConfig) -> None:
    """Copies the exported checkpoints that `<work>` lacks into it; optimizers and averages then start anew.

    Raises: ConfigError when the folder holds none.
    """
    sources = {name: folder / name for name in CHECKPOINTS} | {"vae": folder / "flux" / "vae"}
    found = {name: source for name, source in sources.items() if (source / CONFIGS.get(name, "config.json")).is_file()}
    if not found:
        raise ConfigError(f"--from: expected exported checkpoints ({', '.join(CHECKPOINTS)}), got none in {folder}.")
    for name, source in found.items():
        if not (config.work / name).exists():
            with replaced_folder(config.work / name) as fresh:
                shutil.copytree(source, fresh, dirs_exist_ok=True)
