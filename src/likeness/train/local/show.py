"""Dense features as colours, beside CLIP's image tokens: RUN/features, which the report draws (DreamRelation, Fig. 5).

RUN/features/<step>.json: pictures of the data while the run went on. RUN/features/own.json: pictures of the user's.
"""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any  # JSON

import numpy as np
import torch
from PIL import Image

from likeness.core.errors import DataError
from likeness.core.files import read_text, write_json
from likeness.core.hashing import pixels_sha256, short
from likeness.core.images import load_image, save_png
from likeness.core.weights import resolve_weights
from likeness.encoders.dense import dense_features, last_block_input, normalised
from likeness.encoders.object_tokens import CELLS, object_tokens, whole_pictures
from likeness.encoders.principal import principal_colors
from likeness.train.local.regions import in_corner
from likeness.train.local.tower import Tower
from likeness.train.task import Trainable

FOLDER = "features"
OWN_NAME = "own.json"
MAPS = {
    "image tokens": "CLIP's tokens as adapters read them",
    "dense, CLIP": "the value path of CLIP before training",
    "dense, trained": "the value path of the Local Image Encoder",
    "local tokens": "the latter's mean over 4 x 4 cells, what is handed on",
}
"""What is shown of a picture, and what it is."""


def show_step(
    folder: Path, pictures: Mapping[str, Image.Image], *, step: int, tower: Tower, trained: Trainable, side: int
) -> None:
    """RUN/features/<step>.json and the pictures it names; what is there already is left."""
    place = folder / FOLDER / f"{step:06d}.json"
    if place.is_file():
        return
    rows: list[dict[str, Any]] = []
    for name, image in pictures.items():
        with trained.off():
            before = _maps(tower, image, side=side)
        after = _maps(tower, image, side=side)
        rows.append(_row(folder, name, image, before=before, after=after))
    write_json(place, {"version": 1, "step": step, "pictures": rows})


def show_own(run: Path, pictures: Sequence[Path], *, device: str = "cpu") -> Path:
    """RUN/features/own.json of pictures of the user's, seen by the base and by RUN/encoder; returns that file.

    Raises: DataError for a run that is none of the Local Image Encoder or has saved no encoder, and as `load_image`.
    """
    config = tomllib.loads(read_text(run / "config.toml")) if (run / "config.toml").is_file() else {}
    if config.get("task") != "local_encoder" or not (run / "encoder" / "config.json").is_file():
        wanted = "expected a run of recipes/local_encoder.toml that has saved its encoder"
        raise DataError(f"{run}: {wanted}, got another; train one, or leave --picture out.")
    side = int(config["data"]["size"])
    places = resolve_weights(config["model"]["base"]), run / "encoder"
    before, after = (Tower(place, device=device, precision=torch.float32) for place in places)
    rows: list[dict[str, Any]] = []
    for path in pictures:
        image = load_image(path)
        seen: Any = {"before": _maps(before, image, side=side), "after": _maps(after, image, side=side)}
        rows.append(_row(run, path.name, image, **seen))
    write_json(run / FOLDER / OWN_NAME, {"version": 1, "step": None, "pictures": rows})
    return run / FOLDER / OWN_NAME


@torch.inference_mode()
def _maps(tower: Tower, image: Image.Image, *, side: int) -> dict[str, np.ndarray]:
    """Image tokens and dense features (h, w, D) of the patches that the picture covers."""
    network: Any = tower.network
    mean, std = tower.processor.image_mean, tower.processor.image_std
    options: Any = {"mean": mean, "std": std}
    pixels = torch.from_numpy(normalised(in_corner(image, side=side), **options))[None].to(tower.device)
    per_side = side // tower.patch
    columns, rows = (max(1, round(per_side * length / max(image.size))) for length in image.size)
    tokens = last_block_input(network, pixels)[0, 1:].unflatten(0, (per_side, per_side))
    dense = dense_features(network, pixels, project=False)[0]
    return {name: found[:rows, :columns].cpu().numpy() for name, found in (("tokens", tokens), ("dense", dense))}


def _row(
    folder: Path,
    name: str,
    image: Image.Image,
    *,
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    file = Path(FOLDER) / "pictures" / f"{short(pixels_sha256(image))}.png"
    if not (folder / file).is_file():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        save_png(image, folder / file)
    local = _local_tokens(after["dense"])
    found = (before["tokens"], before["dense"], after["dense"], local)
    maps = [_colors(kind, features) for kind, features in zip(MAPS, found, strict=True)]
    return {"id": name, "image": file.as_posix(), "maps": maps}


def _local_tokens(dense: np.ndarray) -> np.ndarray:
    tokens = object_tokens(torch.from_numpy(dense)[None], whole_pictures(1), picture=torch.tensor([0])).tokens[0]
    return tokens.unflatten(0, (CELLS, CELLS)).numpy()


def _colors(kind: str, features: np.ndarray) -> dict[str, Any]:
    colors, shares = principal_colors(features)
    rounded = [round(float(share), 4) for share in shares]
    return {"name": kind, "meaning": MAPS[kind], "colors": colors.tolist(), "shares": rounded}
