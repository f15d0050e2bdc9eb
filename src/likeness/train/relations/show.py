"""What a relation training looks like from inside: RUN/relations/<step>.json, which the report draws.

For the first examples, always with the same noise: joints of the target, and the cells of the latent grid that hold
them; the attention that the predicate's words get; and, for a joint of each subject, how alike the reference's latents
at that joint are to the clean estimate at every cell (DreamRelation, Fig. 4).
Source: DreamRelation (arXiv:2410.23280). Decided: cosines of latents, at the first joint that both pictures show.

Shapes: R subjects, K keypoints of each, C latent channels, h x w the target's latent grid.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any  # JSON

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from likeness.core.files import write_json
from likeness.core.hashing import pixels_sha256, short
from likeness.core.images import fit_reference, load_image, save_png
from likeness.core.skeletons import NAMES
from likeness.data.relations.grid import cropped, fitted_crop
from likeness.data.relations.records import RelationExample

FOLDER = "relations"
NUM_SHOWN = 2
TIME = 0.25
"""Of the noise under which examples are looked at: below the published threshold for joints, 0.334."""


def cosine_map(clean: Float[Tensor, "C h w"], latents: Float[Tensor, " C"]) -> Float[Tensor, "h w"]:
    """The cosine of the latents at every cell with those given; 0 where either is all zeros."""
    return functional.cosine_similarity(clean.float(), latents.float()[:, None, None], dim=0)


def mean_attention(maps: Sequence[Float[Tensor, "1 _ _"]], *, grid: tuple[int, int]) -> Float[Tensor, "h w"]:
    """The mean over layers of maps brought to the grid, each cell taking the nearest of a layer."""
    spread = [functional.interpolate(each[:, None].float(), grid, mode="nearest")[0, 0] for each in maps]
    return torch.stack(spread).mean(dim=0)


def write_step(folder: Path, rows: Sequence[Mapping[str, Any]], *, step: int) -> None:
    """RUN/relations/<step>.json."""
    write_json(folder / FOLDER / f"{step:06d}.json", {"version": 1, "step": step, "t": TIME, "examples": list(rows)})


def is_shown(folder: Path, *, step: int) -> bool:
    """Whether the file of the step is there."""
    return (folder / FOLDER / f"{step:06d}.json").is_file()


def example_facts(
    folder: Path,
    example: RelationExample,
    row: Mapping[str, Tensor],
    *,
    size: int,
    multiple: int,
    clean: Float[Tensor, "C h w"],
    attention: Float[Tensor, "h w"] | None,
) -> dict[str, Any]:
    """What the file says of an example; the fitted target lies in RUN/relations/pictures."""
    target = fit_reference(load_image(example.target), long_side=size, multiple=multiple)
    file = Path(FOLDER) / "pictures" / f"{short(pixels_sha256(target))}.png"
    if not (folder / file).is_file():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        save_png(target, folder / file)
    crop = fitted_crop(example.size, long_side=size, multiple=multiple)
    subjects = [
        _subject(example, row, number=number, clean=clean, moved=_moved(example, number, crop))
        for number in range(len(example.subjects))
    ]
    return {
        "id": example.id,
        "prompt": example.prompt,
        "predicate": example.predicate,
        "image": file.as_posix(),
        "grid": list(clean.shape[-2:]),
        "subjects": subjects,
        "attention": None if attention is None else _rounded(attention),
    }


def _moved(example: RelationExample, number: int, crop: Any) -> list[list[float]]:
    """x and y of the joints in the fitted target, as shares."""
    keypoints = example.subjects[number].keypoints
    points, _ = cropped(keypoints.array, keypoints.seen, size=example.size, crop=crop)
    return [[round(float(x), 4), round(float(y), 4)] for x, y in points]


def _subject(
    example: RelationExample, row: Mapping[str, Tensor], *, number: int, clean: Tensor, moved: list[list[float]]
) -> dict[str, Any]:
    """A subject's joints and, where a joint counts at all, the cosines of the first that does."""
    subject, valid = example.subjects[number], row["valid"][number]
    told: dict[str, Any] = {
        "phrase": subject.phrase,
        "points": moved,
        "valid": valid.tolist(),
        "cells": row["cells"][number].tolist(),
    }
    if not bool(valid.any()):
        return {**told, "joint": None, "cosine": None}
    joint = int(valid.nonzero()[0, 0])
    name = NAMES[subject.keypoints.skeleton][joint]
    found = cosine_map(clean.cpu(), row["shown"][number, joint])
    return {**told, "joint": {"name": name, "cell": row["cells"][number, joint].tolist()}, "cosine": _rounded(found)}


def _rounded(values: Float[Tensor, "h w"]) -> list[list[float]]:
    return [[round(float(each), 6) for each in line] for line in values.cpu()]
