"""One pair of pictures as the tensors a training step needs.

Pictures and masks of the target share one transform, pictures and masks of a reference another, as generation fits
them; masks end up on the token grid. Source: note sections 2.4, 4.3, 4.9, 4.10, 10.1.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable  # Any: a condition of whichever backbone

import torch
from jaxtyping import Bool, Float
from PIL import Image
from torch import Tensor

from likeness.backbones.base import Backbone, TokenGrid
from likeness.backbones.cropping import seen_reference
from likeness.backbones.pixels import to_pixels
from likeness.core.errors import DataError
from likeness.core.images import fit_reference, load_image
from likeness.core.masks import inside, load_mask, union
from likeness.core.pairs import PairSubject, PreferencePair
from likeness.core.records import Box, Layout
from likeness.focus import token_complexity, token_mask, token_shares
from likeness.objectives.patch_dpo import patch_weights

WINDOW_PX = 16
"""Least side of the windows of M_d, whatever a token's: D2iT's patch."""


class EncodeSettings(NamedTuple):
    """What the numbers depend on beside pictures and model: long side in px or None, text precision, M_d's kind.

    `dense`: M_d has a value per pixel before tokens are averaged. `both`: masks of the rejected picture are read, too.
    """

    size: int | None
    dtype: str
    entropy: str
    dense: bool = False
    both: bool = False


@runtime_checkable
class PatchFeatures(Protocol):
    """Unit features of the patches of whole pictures, for PatchDPO."""

    def __call__(self, image: Image.Image, /) -> Float[Tensor, "rows columns D"]:
        """Features of the picture squashed to the encoder's square."""
        ...


def encode_pair(
    backbone: Backbone[Any], pair: PreferencePair, *, settings: EncodeSettings, patch: PatchFeatures | None = None
) -> dict[str, Tensor]:
    """Tensors on the CPU by the names of `cache.CachedPair`, references numbered ("reference0", "reference_mask0").

    Raises: DataError naming the pair when a picture is unreadable or sizes disagree.
    """
    try:
        return _encode(backbone, pair, settings=settings, patch=patch)
    except DataError as error:
        raise DataError(f"pair {pair.id}: {error}") from error


@torch.no_grad()
def _encode(
    backbone: Backbone[Any], pair: PreferencePair, *, settings: EncodeSettings, patch: PatchFeatures | None
) -> dict[str, Tensor]:
    preferred, rejected = load_image(pair.preferred), load_image(pair.rejected)
    if preferred.size != pair.size or rejected.size != pair.size:
        got = f"{preferred.size} and {rejected.size}"
        raise DataError(f"pictures: expected both of {pair.size[0]} x {pair.size[1]} px as the row says, got {got}.")
    px = backbone.facts.px_per_token
    targets = [_fit(image, size=settings.size, multiple=px) for image in (preferred, rejected)]
    originals = [load_image(reference.image) for reference in pair.references]
    latents = [backbone.encode(to_pixels([image]))[0].float() for image in targets]
    grid = _grid(targets[0].size, px=px)
    shares, disrupted = _subject_shares(pair, px=px, settings=settings, grid=grid)
    detail = token_complexity(
        to_pixels([targets[0]]), token=px, patch=max(px, WINDOW_PX), kind=settings.entropy, dense=settings.dense
    )
    references, masks = backbone.fit_references(originals), _reference_masks(pair, originals, backbone=backbone)
    shown = [
        seen_reference(backbone, image, mask=reference.mask)
        for image, reference in zip(originals, pair.references, strict=True)
    ]
    num_tokens = backbone.facts.tokens_per_reference
    tensors = {
        "preferred": latents[0],
        "rejected": latents[1],
        **backbone.prepare(pair.prompt, shown, layout=pair_layout(pair) if backbone.facts.reads_layout else None),
        "subject_shares": shares,
        "disrupted": disrupted,
        "complexity": detail[0].flatten(),
    }
    for number, mask in enumerate(masks):
        tensors[f"reference_mask{number}"] = (
            _tokens_inside(mask, _grid(references[number].size, px=px))
            if num_tokens is None
            else torch.ones(num_tokens, dtype=torch.bool)
        )
    if patch is not None:
        tensors |= _patch_weights(patch, targets=targets, references=references, masks=masks, grid=grid)
    return {name: tensor.cpu() for name, tensor in tensors.items()}


def pair_layout(pair: PreferencePair) -> Layout:
    """Where the preferred picture shows each reference: the box around its subjects, the whole picture without any."""
    boxes = [
        _around([subject.box for subject in pair.subjects if subject.reference_index == index])
        for index in range(len(pair.references))
    ]
    return Layout(boxes=tuple(boxes), phrases=tuple(reference.phrase for reference in pair.references))


def _around(boxes: Sequence[Box]) -> Box:
    """The smallest box that holds all, (0, 0, 1, 1) for none."""
    if not boxes:
        return (0.0, 0.0, 1.0, 1.0)
    left, top, right, bottom = zip(*boxes, strict=True)
    return (min(left), min(top), max(right), max(bottom))


def _fit(image: Image.Image, *, size: int | None, multiple: int) -> Image.Image:
    """The picture at the size trained on: its own, or with long side `size`; sides are multiples of a token."""
    if size is not None:
        return fit_reference(image, long_side=size, multiple=multiple)
    if image.width % multiple or image.height % multiple:
        got = f"{image.width} x {image.height}"
        raise DataError(f"pictures: expected sides that are multiples of {multiple} px, got {got}; set data.size.")
    return image


def _grid(size: tuple[int, int], *, px: int) -> TokenGrid:
    """Tokens of a picture of (width, height) px."""
    return TokenGrid(size[1] // px, size[0] // px)


def _subject_shares(
    pair: PreferencePair, *, px: int, settings: EncodeSettings, grid: TokenGrid
) -> tuple[Float[Tensor, "R L"], Bool[Tensor, " R"]]:
    """Per reference what its subjects cover of each token, and whether one of them is disrupted."""
    shares = torch.zeros(len(pair.references), grid.rows * grid.columns)
    disrupted = torch.zeros(len(pair.references), dtype=torch.bool)
    for index in range(len(pair.references)):
        subjects = [subject for subject in pair.subjects if subject.reference_index == index]
        disrupted[index] = any(subject.disrupted for subject in subjects)
        shown = [subject for subject in subjects if subject.disrupted or not disrupted[index]]
        masks = [file for subject in shown for file in _mask_files(subject, both=settings.both)]
        if masks:
            loaded = [load_mask(file, size=pair.size, what="subject mask") for file in masks]
            covered = union(inside(_fit(mask, size=settings.size, multiple=px)) for mask in loaded)
            shares[index] = token_shares(torch.from_numpy(covered), grid)
    return shares, disrupted


def _mask_files(subject: PairSubject, *, both: bool) -> list[Path]:
    """The masks of a subject: in the preferred picture and, if asked for, of what the rejected one shows instead.

    Raises: DataError for a disrupted subject without the second.
    """
    if not (both and subject.disrupted):
        return [subject.mask]
    if subject.rejected_mask is None:
        wanted = 'objective.focus.area "both": expected a rejected_mask of every disrupted subject'
        raise DataError(f'{wanted}, got none; add them, or set it to "preferred".')
    return [subject.mask, subject.rejected_mask]


def _reference_masks(
    pair: PreferencePair, originals: list[Image.Image], *, backbone: Backbone[Any]
) -> list[Bool[Tensor, "_ _"]]:
    """Per reference, fitted as its picture is, the pixels that show the subject: all of them without a mask."""
    masks = [
        load_mask(reference.mask, size=image.size, what="reference mask")
        if reference.mask
        else Image.new("RGB", image.size, "white")
        for reference, image in zip(pair.references, originals, strict=True)
    ]
    return [torch.from_numpy(inside(mask)) for mask in backbone.fit_references(masks)]


def _tokens_inside(mask: Bool[Tensor, "H W"], grid: tuple[int, int]) -> Bool[Tensor, " Li"]:
    """Tokens of which the mask covers half; all tokens when the mask has none."""
    tokens = token_mask(mask, grid)
    return tokens if bool(tokens.any()) else torch.ones_like(tokens)


def _patch_weights(
    patch: PatchFeatures,
    *,
    targets: list[Image.Image],
    references: list[Image.Image],
    masks: list[Bool[Tensor, "_ _"]],
    grid: TokenGrid,
) -> dict[str, Tensor]:
    """PatchDPO's weights of both pictures on the token grid."""
    preferred, rejected, *shown = [patch(image) for image in (*targets, *references)]
    rows, columns = preferred.shape[:2]
    inside = [_tokens_inside(mask, (rows, columns)) for mask in masks]
    weights = patch_weights(
        preferred.flatten(0, 1)[None],
        rejected.flatten(0, 1)[None],
        features_reference=torch.cat([features.flatten(0, 1) for features in shown])[None],
        reference_mask=torch.cat(inside)[None],
        grid=grid,
        patches=(rows, columns),
    )
    return {"patch_preferred": weights.preferred[0], "patch_rejected": weights.rejected[0]}
