"""Pictures of a class, by which a model keeps what it knew of it: from a folder, or drawn by the untrained model."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from likeness.core.cache import user_cache
from likeness.core.hash_cache import remembered_sha256
from likeness.core.hashing import json_sha256, short
from likeness.core.images import load_image, save_png
from likeness.core.rng import seed_for
from likeness.train.subjects.words import Sdxl

VERSION = 1
AT_ONCE = 8
"""Pictures of a batch; always the same ones together, since rounding depends on the company."""


def drawn_folder(prompt: str, *, size: int, seed: int, model: Path, backbone: Sdxl) -> Path:
    """Where in the user's cache such pictures lie: of this model, device, precision, prompt, size and seed."""
    place = [backbone.device.type, str(backbone.dtype)]
    key = json_sha256([VERSION, AT_ONCE, remembered_sha256(model), *place, prompt, size, seed])
    return user_cache() / "class-pictures" / short(key)


def draw_class(
    prompt: str,
    *,
    count: int,
    size: int,
    seed: int,
    folder: Path,
    backbone: Sdxl,
    progress: Callable[[int, int], None],
) -> None:
    """`folder` has at least `count` pictures of the prompt, each of a seed of its own; those there are kept.

    Raises: ConfigError for a size that the model cannot draw; OutputError.
    """
    row, unprompted = backbone.prepare(prompt), backbone.prepare("")
    options = backbone.own_options().model_copy(update={"size": size})
    for first in range(0, count, AT_ONCE):
        numbers = range(first, first + AT_ONCE)
        if not all(_file(folder, number).is_file() for number in numbers if number < count):
            seeds = [seed_for("class picture", seed, prompt, number) % 2**31 for number in numbers]
            drawn = backbone.paint_batch(
                [row] * AT_ONCE, seeds=seeds, options=options, unprompted=[unprompted] * AT_ONCE
            )
            for number, picture in zip(numbers, drawn, strict=True):
                save_png(picture, _file(folder, number))
        progress(min(first + AT_ONCE, count), count)


def drawn_pictures(folder: Path, *, count: int) -> list[Image.Image]:
    """The first `count` that `draw_class` made. Raises: DataError for damage."""
    return [load_image(_file(folder, number)) for number in range(count)]


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.png"
