"""An example of a relation as tensors: what the model is told, the target, and the same joints in both.

Shapes: R subjects, K keypoints of each, C latent channels, h x w the target's latent grid, T text tokens.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image
from torch import Tensor
from torch.nn import functional

from likeness.backbones.base import Backbone, ShowsText
from likeness.backbones.cropping import seen_reference
from likeness.backbones.pixels import to_pixels
from likeness.core.errors import DataError
from likeness.core.images import fit_reference, load_image
from likeness.core.masks import inside, load_mask, union
from likeness.core.records import Box, Layout
from likeness.data.relations.grid import cells, cropped, fitted_crop, legacy_cells
from likeness.data.relations.records import Keypoints, RelationExample
from likeness.objectives.relation import latents_at

_LEAST_SIDE = 1e-3
"""Of a box that lies almost wholly in what fitting cuts off."""


@torch.no_grad()
def encode_example(backbone: Backbone[Any], example: RelationExample, *, size: int, legacy: bool) -> dict[str, Tensor]:
    """The condition's tensors as `prepare` names them, and of the target and its joints:

    "target" (C, h, w); "cells" (R, K, 2) rows and columns of the joints in it, "shown" (R, K, C) the references'
    latents at theirs, "valid" (R, K) where both are seen; "objects" (h, w), the cells that a subject covers at least
    half; "words" (T,), the tokens of the predicate. Pictures get a long side of `size` px; joints and boxes go with
    them. `legacy`: joints as the published code reads them, all of them and the references at its wrong cell.
    Raises: DataError naming the example.
    """
    try:
        return _encode(backbone, example, size=size, legacy=legacy)
    except DataError as error:
        raise DataError(f"example {example.id}: {error}") from error


def _encode(backbone: Backbone[Any], example: RelationExample, *, size: int, legacy: bool) -> dict[str, Tensor]:
    target = _latents(backbone, load_image(example.target), size=size)
    pictures = [load_image(subject.reference.image) for subject in example.subjects]
    shown = [
        seen_reference(backbone, picture, mask=subject.reference.mask)
        for picture, subject in zip(pictures, example.subjects, strict=True)
    ]
    layout = _layout(backbone, example, size=size) if backbone.facts.reads_layout else None
    tensors = {"target": target, **backbone.prepare(example.prompt, shown, layout=layout)}
    tensors |= _joints(backbone, example, pictures, grid=(target.shape[-2], target.shape[-1]), size=size, legacy=legacy)
    tensors["objects"] = _objects(backbone, example, grid=(target.shape[-2], target.shape[-1]), size=size)
    if isinstance(backbone, ShowsText):
        tensors["words"] = backbone.word_columns(example.prompt, example.predicate or "")
    return {name: tensor.cpu() for name, tensor in tensors.items()}


def _latents(backbone: Backbone[Any], picture: Image.Image, *, size: int) -> Tensor:
    fitted = fit_reference(picture, long_side=size, multiple=backbone.facts.px_per_token)
    return backbone.encode(to_pixels([fitted]))[0].float()


def _joints(
    backbone: Backbone[Any],
    example: RelationExample,
    pictures: Sequence[Image.Image],
    *,
    grid: tuple[int, int],
    size: int,
    legacy: bool,
) -> dict[str, Tensor]:
    """Cells, latents of the references and validity of every joint, by subject."""
    multiple, found = backbone.facts.px_per_token, list[tuple[Tensor, Tensor, Tensor]]()
    for picture, subject in zip(pictures, example.subjects, strict=True):
        points, seen = _moved(subject.keypoints, example.size, size=size, multiple=multiple)
        their_points, their_seen = _moved(subject.reference.keypoints, picture.size, size=size, multiple=multiple)
        latents = _latents(backbone, picture, size=size)
        theirs = (latents.shape[-2], latents.shape[-1])
        places = cells(their_points, grid=theirs)
        if legacy:
            read = legacy_cells(their_points, last_axis=latents.shape[0])
            places = np.clip(read, 0, np.array(theirs) - 1)
            seen, their_seen = np.ones_like(seen), np.ones_like(their_seen)
        shown = latents_at(latents, torch.from_numpy(places).to(latents.device))
        found.append((torch.from_numpy(cells(points, grid=grid)), shown.cpu(), torch.from_numpy(seen & their_seen)))
    stacked = [torch.stack(each) for each in zip(*found, strict=True)]
    return dict(zip(("cells", "shown", "valid"), stacked, strict=True))


def _moved(
    keypoints: Keypoints, picture: tuple[int, int], *, size: int, multiple: int
) -> tuple[np.ndarray, np.ndarray]:
    """Points and validity in the fitted picture."""
    crop = fitted_crop(picture, long_side=size, multiple=multiple)
    return cropped(keypoints.array, keypoints.seen, size=picture, crop=crop)


def _objects(
    backbone: Backbone[Any], example: RelationExample, *, grid: tuple[int, int], size: int
) -> Bool[Tensor, "h w"]:
    """Cells that the subjects' masks cover at least half."""
    masks = [load_mask(subject.mask, size=example.size, what="subject mask") for subject in example.subjects]
    fitted = [fit_reference(mask, long_side=size, multiple=backbone.facts.px_per_token) for mask in masks]
    covered = torch.from_numpy(union(inside(mask) for mask in fitted)).float()
    return functional.interpolate(covered[None, None], grid, mode="area")[0, 0] >= 0.5


def _layout(backbone: Backbone[Any], example: RelationExample, *, size: int) -> Layout:
    """The boxes of the target as they lie in the fitted picture, with the subjects' phrases."""
    crop = fitted_crop(example.size, long_side=size, multiple=backbone.facts.px_per_token)
    boxes: list[Box] = []
    for subject in example.subjects:
        corners = np.array(subject.box).reshape(2, 2)
        moved, _ = cropped(corners, np.ones(2, dtype=bool), size=example.size, crop=crop)
        left, top, right, bottom = (float(each) for each in np.clip(moved, 0, 1).reshape(4))
        if min(right - left, bottom - top) < _LEAST_SIDE:
            wanted = f"box of {subject.phrase}: expected a part of it inside the fitted picture"
            raise DataError(f"{wanted}, got none; make the target nearer to square.")
        boxes.append((left, top, right, bottom))
    return Layout(boxes=tuple(boxes), phrases=tuple(subject.phrase for subject in example.subjects))
