"""Stage "pose": a small ViTPose that finds the 17 keypoints of one subject of the world in a window around its box.

Source: ViTPose (Xu et al., arXiv:2204.12484): heatmaps of a plain ViT, mean squared error; unbiased coordinates as in
UDP (Huang et al., CVPR 2020), which the stock image processor implements.
Differs: keypoints out of sight have an empty heatmap, so that the height of the peak says whether a point is visible.
"""

import random
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from transformers import VitPoseBackboneConfig, VitPoseConfig, VitPoseForPoseEstimation
from transformers.models.vitpose.image_processing_pil_vitpose import (
    VitPoseImageProcessorPil,
    box_to_center_and_scale,
    get_warp_matrix,
)

from likeness.core.devices import fast_autocast
from likeness.core.skeletons import AP10K
from likeness.pretrain.config import PretrainConfig
from likeness.pretrain.contrastive import MEAN, STD, blur
from likeness.pretrain.optim import train_encoder
from likeness.pretrain.vae import on_device
from likeness.world.render import render
from likeness.world.scenario import sample_scenario

SIDE = 96
PATCH = 8
UPSCALED = 4
SIGMA = 1.6
"""Standard deviation of a keypoint's peak in cells of the heatmap."""
FIRST_SEED = 40_000_000
JITTER = 0.08
"""By how much of its side a box is moved and scaled, since detected boxes are never exact."""
SIGHT_WEIGHT = 400.0
"""Brings the mean over a mostly empty heatmap to the order of one."""
NORMALIZE_FACTOR = 200.0
CocoBox = tuple[float, float, float, float]


@dataclass(frozen=True)
class PoseBatch:
    """Windows of B subjects as the network sees them, and the heatmaps wanted of it."""

    pixels: Float[np.ndarray, "B 3 S S"]
    heatmaps: Float[np.ndarray, "B 17 h w"]


def build_pose() -> VitPoseForPoseEstimation:
    """The network with new weights."""
    sizes: dict[str, Any] = {  # Any: the stock annotations lack `out_features`
        "image_size": [SIDE, SIDE], "patch_size": [PATCH, PATCH], "hidden_size": 160, "num_hidden_layers": 5,
        "num_attention_heads": 4, "mlp_ratio": 3, "out_features": ["stage5"],
    }  # fmt: skip
    backbone = VitPoseBackboneConfig(**sizes)
    names = dict(enumerate(AP10K))
    config = VitPoseConfig(
        backbone_config=backbone, use_simple_decoder=True, scale_factor=UPSCALED, id2label=names,
        label2id={name: number for number, name in names.items()},
    )  # fmt: skip
    return VitPoseForPoseEstimation(config)


def pose_processor() -> VitPoseImageProcessorPil:
    """Cuts a box's window out of a picture: square, a quarter larger than the box."""
    return VitPoseImageProcessorPil(size={"height": SIDE, "width": SIDE}, image_mean=MEAN, image_std=STD)


def in_window(points: Float[np.ndarray, "K 2"], box: CocoBox) -> Float[np.ndarray, "K 2"]:
    """Pixels of the picture as pixels of the box's window."""
    center, scale = box_to_center_and_scale(box, image_width=SIDE, image_height=SIDE)
    matrix = get_warp_matrix(0, center * 2.0, np.full(2, SIDE - 1.0), scale * NORMALIZE_FACTOR)
    return points @ matrix[:, :2].T + matrix[:, 2]


def heatmaps_of(points: Float[np.ndarray, "K 2"], visible: np.ndarray, *, side: int) -> Float[np.ndarray, "K h w"]:
    """A peak of height 1 at each visible point of the window; empty for one out of sight or outside the window."""
    cells = points * (side - 1) / (SIDE - 1)
    ticks = np.arange(side, dtype=np.float64)
    squared = (ticks[None, :, None] - cells[:, 1, None, None]) ** 2 + (ticks[None, None] - cells[:, 0, None, None]) ** 2
    inside = visible & (cells > -0.5).all(1) & (cells < side - 0.5).all(1)
    return (np.exp(-squared / (2 * SIGMA**2)) * inside[:, None, None]).astype(np.float32)


def jittered(box: tuple[float, ...], *, size: int, rng: random.Random) -> CocoBox:
    """A box in shares of the side as x, y, width and height in px, moved and scaled a little."""
    x0, y0, x1, y1 = (value * size for value in box)
    width, height = x1 - x0, y1 - y0
    x, y = (x0 + x1) / 2 + rng.gauss(0, JITTER) * width, (y0 + y1) / 2 + rng.gauss(0, JITTER) * height
    width, height = (max(4.0, side * (1 + rng.gauss(0, JITTER))) for side in (width, height))
    return (x - width / 2, y - height / 2, width, height)


def pose_batch(first: int, count: int, *, size: int) -> PoseBatch:
    """Training subjects first .. first + count - 1: each one of a picture of its own."""
    processor: Any = pose_processor()  # the annotation of its call lacks `boxes`
    side = SIDE // PATCH * UPSCALED
    pixels: list[np.ndarray] = []
    maps: list[np.ndarray] = []
    for index in range(first, first + count):
        rng = random.Random(f"pose/{index}")
        drawn = render(sample_scenario(FIRST_SEED + index, split="train"), size=size)
        subject = rng.choice(drawn.labels.subjects)
        box = jittered(subject.box, size=size, rng=rng)
        window = processor([Image.fromarray(drawn.image)], boxes=[[list(box)]], return_tensors="np")["pixel_values"]
        points = subject.keypoints.astype(np.float64)
        maps.append(heatmaps_of(in_window(points[:, :2] * size, box), points[:, 2] > 0, side=side))
        pixels.append(np.asarray(window[0], dtype=np.float32))
    return PoseBatch(np.stack(pixels), np.stack(maps))


def train_pose(config: PretrainConfig, *, device: str) -> None:
    """Trains or continues the network and exports it to `<work>/pose`."""
    torch.manual_seed(config.seed)
    model = on_device(build_pose(), device)

    def loss_of(first: int, batch: PoseBatch) -> Tensor:
        pixels = blur(torch.from_numpy(batch.pixels), random.Random(f"blur/{first}")).to(device)
        with fast_autocast(device):
            found = model(pixels).heatmaps
        return SIGHT_WEIGHT * (found.float() - torch.from_numpy(batch.heatmaps).to(device)).square().mean()

    draw = partial(pose_batch, count=config.pose.batch_size, size=config.size)
    train_encoder(model, loss_of, draw=draw, workers=config.workers, name="pose", table=config.pose, config=config)
    model.save_pretrained(config.work / "pose")
    pose_processor().save_pretrained(config.work / "pose")
