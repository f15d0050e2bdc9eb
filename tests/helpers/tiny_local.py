"""A recipe of the Local Image Encoder that trains in a second."""

from pathlib import Path

LINES = """task = "local_encoder"
[model]
base = "{base}"
unlocked = 2
blend = 0.75
[data]
{data}
size = 64
[objective]
kind = "clipself"
regions = "{regions}"
max_split = 3
max_regions = 4
[train]
steps = 4
batch_size = 2
learning_rate = 1e-2
warmup = 1
precision = "fp32"
save_every = 2
log_maps_every = 4
"""


def write_recipe(path: Path, *, base: Path, regions: str = "grid", data: str = "count = 6") -> Path:
    path.write_text(LINES.format(base=base.as_posix(), regions=regions, data=data))
    return path
