"""Training side of the attribute probe: targets from plain arrays, and the loss.

Source: gaussian centre targets and the penalty-reduced focal loss are CenterNet's (Zhou, Wang and Kraehenbuehl,
"Objects as Points", arXiv:1904.07850, Eq. 1, alpha = 2, beta = 4).
Differs: the gaussian has one fixed width, since heads of the drawn world differ little in size, and is centred on the
head itself, not on its cell, so that the peak's neighbours tell where in the cell the head is.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from likeness.core.errors import DataError
from likeness.encoders.probe import ProbeConfig, ProbeOutputs

IGNORE = -1  # class id of a question that does not apply
SIGMA = 1.0  # cells


class ProbeTargets(NamedTuple):
    """What a perfect probe answers for B pictures with N subjects in all; subject n stands in picture `picture[n]`."""

    heatmap: Float[Tensor, "B 1 h w"]
    is_head: Bool[Tensor, "B 1 h w"]
    picture: Int[Tensor, " N"]
    heads: Float[Tensor, "N 2"]
    classes: Int[Tensor, "N A"]
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
        if value not in labels and value not in (None, "none"):
            wanted = f"{name} to be one of {', '.join(labels)}"
            raise DataError(f"Probe labels: expected {wanted}, got {value}; add it to the config.")
        ids.append(labels.index(value) if value in labels else IGNORE)
    return ids


def label_id(label: str | None, labels: tuple[str, ...]) -> int:
    """Position of `label`, -1 for None (unknown, not trained)."""
    return IGNORE if label is None else labels.index(label)


def _heat(heads: Float[np.ndarray, "N 2"], *, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """Gaussian heatmap (h, w) of heads at (N, 2) shares of the side, and whether a cell holds a head."""
    is_head = np.zeros((grid, grid), dtype=bool)
    places = np.clip(heads.reshape(-1, 2) * grid, 0, grid - 1e-6)
    cells = np.floor(places).astype(int)
    is_head[cells[:, 1], cells[:, 0]] = True
    rows, columns = np.mgrid[:grid, :grid] + 0.5
    squared = (rows[None] - places[:, 1, None, None]) ** 2 + (columns[None] - places[:, 0, None, None]) ** 2
    return np.exp(-squared / (2 * SIGMA**2)).max(axis=0, initial=0).astype(np.float32), is_head


def build_targets(pictures: list[PictureLabels], *, config: ProbeConfig) -> ProbeTargets:
    """Targets of a batch on the probe's grid; heads outside the picture count at its edge."""
    maps = [_heat(p.heads, grid=config.grid) for p in pictures]
    num_attributes = len(config.attributes)
    return ProbeTargets(
        heatmap=torch.from_numpy(np.stack([heat for heat, _ in maps]))[:, None],
        is_head=torch.from_numpy(np.stack([is_head for _, is_head in maps]))[:, None],
        picture=torch.tensor([i for i, p in enumerate(pictures) for _ in p.heads], dtype=torch.long),
        heads=torch.from_numpy(np.concatenate([p.heads.reshape(-1, 2) for p in pictures])).float(),
        classes=torch.from_numpy(np.concatenate([p.classes.reshape(-1, num_attributes) for p in pictures])).long(),
        action=torch.tensor([p.action for p in pictures]),
        scene=torch.tensor([p.scene for p in pictures]),
    )


def centre_focal_loss(
    logits: Float[Tensor, "B 1 h w"], target: Float[Tensor, "B 1 h w"], is_head: Bool[Tensor, "B 1 h w"]
) -> Float[Tensor, ""]:
    """Penalty-reduced focal loss per head: cells near a head are punished less for a high value.

    Source: CenterNet (arXiv:1904.07850), Eq. 1. Differs: divided by max(number of heads, 1), so that pictures without
    subjects train the background; all cells beside a head's own have their gaussian as penalty reduction.
    """
    log_p, log_not_p = functional.logsigmoid(logits), functional.logsigmoid(-logits)
    at_heads = (log_not_p.exp() ** 2 * log_p)[is_head].sum()
    elsewhere = ((1 - target) ** 4 * log_p.exp() ** 2 * log_not_p)[~is_head].sum()
    return -(at_heads + elsewhere) / is_head.sum().clamp(min=1)


def _cross_entropy(logits: Float[Tensor, "B K"], classes: Int[Tensor, " B"]) -> Float[Tensor, ""]:
    """Mean over the rows to which the question applies; 0 when it applies to none."""
    summed = functional.cross_entropy(logits, classes, ignore_index=IGNORE, reduction="sum")
    return summed / (classes != IGNORE).sum().clamp(min=1)


def attribute_loss(attributes: dict[str, Float[Tensor, "N K"]], classes: Int[Tensor, "N A"]) -> Float[Tensor, ""]:
    """Sum over attributes of the mean cross entropy over the subjects to whom the attribute applies."""
    terms = [_cross_entropy(logits, classes[:, index]) for index, logits in enumerate(attributes.values())]
    return torch.stack(terms).sum() if terms else torch.zeros(())


def probe_loss(outputs: ProbeOutputs, attributes: dict[str, Float[Tensor, "N K"]], targets: ProbeTargets) -> ProbeLoss:
    """Heatmap focal loss plus one mean cross entropy per attribute, for the action and for the scene.

    `attributes` are the logits of `AttributeProbe.read_crops` at the targets' heads. Questions that do not apply (-1)
    give no gradient.
    """
    heatmap = centre_focal_loss(outputs.heatmap, targets.heatmap, targets.is_head)
    total = attribute_loss(attributes, targets.classes)
    action, scene = _cross_entropy(outputs.action, targets.action), _cross_entropy(outputs.scene, targets.scene)
    return ProbeLoss(heatmap + total + action + scene, heatmap, total, action, scene)
