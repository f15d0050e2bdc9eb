"""Stage "local_encoder": the Local Image Encoder of the embedded MS-Diffusion, by `likeness train`'s own task.

Source: CLIPSelf (arXiv:2310.01403) as recipes/local_encoder.toml, from the embedded CLIP, all of its blocks.
"""

import json
import shutil
from pathlib import Path

from likeness.backbones.sdxl.local_settings import FOLDER_NAME, SETTINGS_NAME
from likeness.core.errors import ConfigError
from likeness.core.files import atomic_write_text, replaced_folder, write_json
from likeness.pretrain.config import PretrainConfig
from likeness.train.run import tune

RECIPE = """\
task = "local_encoder"
model = {{ base = {clip}, unlocked = {blocks}, blend = 0.95 }}
data = {{ source = "world", count = {count}, size = {size} }}
objective = {{ kind = "clipself", regions = "grid", max_split = 6, max_regions = 20 }}

[train]
steps = {steps}
batch_size = {batch_size}
learning_rate = {learning_rate}
warmup = {warmup}
weight_decay = 0.1
precision = "bf16"
seed = 42
save_every = 20
log_maps_every = 1000
"""


def train_local_encoder(config: PretrainConfig, *, device: str) -> None:
    """Trains or continues it in `<work>/local_encoder.run` and copies it into `<work>/sdxl_ms_diffusion`.

    It sees pictures at twice the size that the CLIP was trained at. Raises: ConfigError without a CLIP.
    """
    clip, run, table = config.work / "clip", config.work / "local_encoder.run", config.local_encoder
    if not (clip / "config.json").is_file():
        raise ConfigError(f'stage "local_encoder": expected a CLIP in {clip}, got none; run stage "clip" first.')
    vision = json.loads((clip / "config.json").read_text(encoding="utf-8"))["vision_config"]
    size = 2 * int(vision["image_size"])
    recipe = config.work / "local_encoder.toml"
    filled = {"clip": json.dumps(clip.as_posix()), "blocks": vision["num_hidden_layers"], "size": size}
    atomic_write_text(recipe, RECIPE.format(**filled, **table.model_dump()))
    trained = tune(recipe, out=run, device=device).trained
    copy_local_encoder(trained, config.work / "sdxl_ms_diffusion" / FOLDER_NAME, side=size)


def copy_local_encoder(trained: Path, target: Path, *, side: int) -> None:
    """The saved encoder as a part of MS-Diffusion, at which references are seen at `side` px."""
    with replaced_folder(target) as fresh:
        shutil.copytree(trained, fresh, dirs_exist_ok=True)
        write_json(fresh / SETTINGS_NAME, {"side": side})
