"""Stage "export": trained checkpoints in half the bytes, beside the recipe, the logs and the cards they came with."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from likeness.core.errors import ConfigError
from likeness.core.files import replaced_folder
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.run import CHECKPOINTS
from likeness.pretrain.tiny_sdxl import save_sdxl_vae
from likeness.pretrain.vae import require_vae

_ENCODERS = ("probe", "clip", "dino", "relations", "detector", "pose", "faces")
LOGS = ("autoencoder", "decoder", "transformer", "guidance", "unet", "ms", *_ENCODERS)
LOG_ROWS = 30


def export(config: PretrainConfig, *, device: str = "cpu") -> Path:
    """Copies those of CHECKPOINTS that `<work>` has to `export`, tensors in bfloat16, and returns that folder.

    Nothing is computed on `device`, which every stage is given.

    Raises: ConfigError when there is nothing to copy, or a generator without its autoencoder.
    """
    trained = [name for name in CHECKPOINTS if (config.work / name).exists()]
    if not trained:
        wanted = f"one of {', '.join(CHECKPOINTS)} in {config.work}"
        raise ConfigError(f'stage "export": expected {wanted}, got none; run the stages before it first.')
    if "flux" in trained:
        vae = require_vae(config, stage="export")
        shutil.rmtree(config.work / "flux" / "vae", ignore_errors=True)  # absent after a kill before the copy
        shutil.copytree(vae, config.work / "flux" / "vae")
    if "sdxl" in trained:
        save_sdxl_vae(require_vae(config, stage="export"), config.work / "sdxl" / "vae")
    for name in trained:
        _copy(config.work / name, config.export / name)
    logs = config.export / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    for name in LOGS:
        if (path := config.work / f"{name}.jsonl").exists():
            (logs / path.name).write_text(_thinned(path.read_text()))
    return config.export


def _thinned(log: str) -> str:
    """Every row of a log, or about LOG_ROWS evenly spaced ones, the last row always among them."""
    rows = log.splitlines(keepends=True)
    stride = max(1, -(-len(rows) // LOG_ROWS))
    return "".join(rows[::-1][::stride][::-1])


def _copy(source: Path, target: Path) -> None:
    """The folder `source` as `target`, floating-point tensors rounded to bfloat16, without paths of this machine."""
    with replaced_folder(target) as fresh:
        shutil.copytree(source, fresh, dirs_exist_ok=True)
        for path in fresh.rglob("*.safetensors"):
            tensors = load_file(path)
            half = {k: v.to(torch.bfloat16) if v.is_floating_point() else v for k, v in tensors.items()}
            save_file(half, path, metadata={"format": "pt"})
        for path in fresh.rglob("config.json"):
            settings = json.loads(path.read_text())  # in its order, which is that of the probe's answers
            if settings.pop("_name_or_path", None):
                path.write_text(json.dumps(settings, indent=2) + "\n")
