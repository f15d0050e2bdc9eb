"""Training side of the attribute probe: targets from plain arrays, and the loss.

Source: gaussian centre targets and the penalty-reduced focal loss are CenterNet's (Zhou, Wang and Kraehenbuehl,
"Objects as Points", arXiv:1904.07850, Eq. 1, alpha = 2, beta = 4).
Differs: the gaussian has one fixed width, since heads of the drawn world differ little in size; attributes are also
learnt, with a smaller weight, in the 8 cells around the head, since a peak may be one cell off when it is read.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from likeness.core.errors import DataError
from likeness.encoders.probe import ProbeConfig, ProbeOutputs

IGNORE = -1  # class id of a question that does not apply
SIGMA = 1.0  # cells
NEIGHBOUR_WEIGHT = 0.25


class ProbeTargets(NamedTuple):
    """What a perfect probe answers for B pictures; `classes` and `weight` speak about the cells around heads only."""

    heatmap: Float[Tensor, "B 1 h w"]
    classes: Int[Tensor, "B A h w"]
    weight: Float[Tensor, "B h w"]
    action: Int[Tensor, " B"]
    scene: Int[Tensor, " B"]

    def to(self, device: str | torch.device) -> "ProbeTargets":
        """The same targets on `device`."""
        return ProbeTargets(*(tensor.to(device) for tensor in self))


@dataclass(frozen=True)
class PictureLabels:
    """Labels of one picture: heads (N, 2) as x, y in [0, 1]; classes (N, A) ids or -1; action and scene ids or -1."""

    heads: Float[np.ndarray, "N 2"]
    classes: Int[np.ndarray, "N A"]
    action: int
    scene: int


class ProbeLoss(NamedTuple):
    """Loss per head and their plain sum; `attributes` is the sum over attributes, so each question weighs one."""

    total: Float[Tensor, ""]
    heatmap: Float[Tensor, ""]
    attributes: Float[Tensor, ""]
    action: Float[Tensor, ""]
    scene: Float[Tensor, ""]


def class_ids(attributes: dict[str, str], config: ProbeConfig) -> list[int]:
    """Id of each of the config's attributes in its order; -1 where the key is absent or "none" is not a label.

    Raises: DataError for a value that the probe has no label for.
    """
    ids: list[int] = []
    for name, labels in config.attributes.items():
        value = attributes.get(name)
        if value in labels:
            ids.append(labels.index(value))
        elif value in (None, "none"):
            ids.append(IGNORE)
        else:
            raise DataError(
                f"Probe labels: expected {name} to be one of {', '.join(labels)}, got {value}; add it to the config."
            )
    return ids


def label_id(label: str | None, labels: tuple[str, ...]) -> int:
    """Position of `label`, -1 for None (unknown, not trained)."""
    return IGNORE if label is None else labels.index(label)


class _Maps(NamedTuple):
    heatmap: Float[np.ndarray, "h w"]
    classes: Int[np.ndarray, "A h w"]
    weight: Float[np.ndarray, "h w"]


def _picture_maps(labels: PictureLabels, *, grid: int, num_attributes: int) -> _Maps:
    """Targets of one picture; a cell near several heads belongs to the nearest one."""
    maps = _Maps(
        np.zeros((grid, grid), np.float32),
        np.full((num_attributes, grid, grid), IGNORE, np.int64),
        np.zeros((grid, grid), np.float32),
    )
    if len(labels.heads) == 0:
        return maps
    cells = np.clip(np.floor(labels.heads * grid), 0, grid - 1).astype(int)
    rows, columns = np.mgrid[:grid, :grid]
    d_row = rows[None] - cells[:, 1, None, None]
    d_column = columns[None] - cells[:, 0, None, None]
    squared = (d_row**2 + d_column**2).astype(np.float64)
    maps.heatmap[:] = np.exp(-squared / (2 * SIGMA**2)).max(axis=0)
    owner = squared.argmin(axis=0)
    near = squared.min(axis=0) <= 2  # the head's cell and its 8 neighbours
    maps.weight[near] = np.where(squared.min(axis=0)[near] == 0, 1.0, NEIGHBOUR_WEIGHT)
    maps.classes[:, near] = labels.classes[owner[near]].T
    return maps


def build_targets(pictures: list[PictureLabels], *, config: ProbeConfig) -> ProbeTargets:
    """Targets of a batch on the probe's grid; heads outside the picture count at its edge."""
    maps = [_picture_maps(p, grid=config.grid, num_attributes=len(config.attributes)) for p in pictures]
    return ProbeTargets(
        heatmap=torch.from_numpy(np.stack([m.heatmap for m in maps]))[:, None],
        classes=torch.from_numpy(np.stack([m.classes for m in maps])),
        weight=torch.from_numpy(np.stack([m.weight for m in maps])),
        action=torch.tensor([p.action for p in pictures]),
        scene=torch.tensor([p.scene for p in pictures]),
    )


def centre_focal_loss(logits: Float[Tensor, "B 1 h w"], target: Float[Tensor, "B 1 h w"]) -> Float[Tensor, ""]:
    """Penalty-reduced focal loss per head: cells near a head are punished less for a high value.

    Source: CenterNet (arXiv:1904.07850), Eq. 1. Differs: divided by max(number of heads, 1), so that pictures without
    subjects train the background.
    """
    log_p, log_not_p = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    is_head = target == 1
    at_heads = (log_not_p.exp() ** 2 * log_p)[is_head].sum()
    elsewhere = ((1 - target) ** 4 * log_p.exp() ** 2 * log_not_p)[~is_head].sum()
    return -(at_heads + elsewhere) / is_head.sum().clamp(min=1)


def _cell_cross_entropy(
    logits: Float[Tensor, "B K h w"], *, classes: Int[Tensor, "B h w"], weight: Float[Tensor, "B h w"]
) -> Float[Tensor, ""]:
    """Weighted mean cross entropy over cells where the attribute applies; 0 when it applies nowhere."""
    applies = weight * (classes != IGNORE)
    per_cell = functional.cross_entropy(logits, classes, ignore_index=IGNORE, reduction="none")
    return (per_cell * applies).sum() / applies.sum().clamp(min=1e-6)


def _picture_cross_entropy(logits: Float[Tensor, "B K"], classes: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    per_picture = functional.cross_entropy(logits, classes, ignore_index=IGNORE, reduction="sum")
    return per_picture / (classes != IGNORE).sum().clamp(min=1)


def probe_loss(outputs: ProbeOutputs, targets: ProbeTargets) -> ProbeLoss:
    """Heatmap focal loss plus one cross entropy per attribute, for the action and for the scene.

    Questions that do not apply (-1) give no gradient.
    """
    heatmap = centre_focal_loss(outputs.heatmap, targets.heatmap)
    terms = [
        _cell_cross_entropy(logits, classes=targets.classes[:, index], weight=targets.weight)
        for index, logits in enumerate(outputs.attributes.values())
    ]
    attributes = torch.stack(terms).sum() if terms else heatmap.new_zeros(())
    action = _picture_cross_entropy(outputs.action, targets.action)
    scene = _picture_cross_entropy(outputs.scene, targets.scene)
    return ProbeLoss(heatmap + attributes + action + scene, heatmap, attributes, action, scene)
