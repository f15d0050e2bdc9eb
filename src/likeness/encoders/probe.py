"""Attribute probe: finds heads, reads action and scene from the whole picture and attributes from a crop per head.

Source: heads as centres of a heatmap follow CenterNet (Zhou, Wang and Kraehenbuehl, "Objects as Points",
arXiv:1904.07850); the top-down sum of stages follows FPN (Lin et al., arXiv:1612.03144).
Differs: attributes are read by a second network from a window around the head. Read from the heatmap's own cell, as
CenterNet does, pattern and second colour were still at chance after 22,400 pictures (docs/log.md).
Shapes: B pictures, S input side, h = w = S/8 heatmap cells, N subjects, A attributes, K_a values of attribute a.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor, nn
from torch.nn import functional
from transformers import ResNetConfig, ResNetModel

from likeness.core.errors import DataError, WeightsError
from likeness.core.files import atomic_write_bytes, read_json, write_json
from likeness.core.records import MAX_SUBJECTS
from likeness.encoders.base import encoder_id, in_batches, short_reason, weights_folder
from likeness.encoders.reading import Reading, SubjectReading

STRIDE = 8  # of the second ResNet stage: stem 4, then 2
PREPROCESSING = "RGB, bicubic resize to S x S, x/127.5 - 1"
_HEATMAP_BIAS = -2.19  # sigmoid(-2.19) = 0.1, the prior of CenterNet's released code


class ProbeConfig(BaseModel):
    """Label lists and sizes of a probe, equal to its config.json.

    A "none" in a label list is a value that the probe is trained to recognise (for example "wears nothing"). A "none"
    that is not in the list means that the question does not apply: it is neither trained nor scored.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    attributes: dict[str, tuple[str, ...]]
    actions: tuple[str, ...]
    scenes: tuple[str, ...]
    image_size: int = 128
    embedding_size: int = 32
    hidden_sizes: tuple[int, int, int, int] = (32, 64, 128, 192)
    depths: tuple[int, int, int, int] = (1, 1, 1, 1)
    neck_size: int = 96
    reader_sizes: tuple[int, int, int, int] = (32, 64, 128, 160)
    min_peak: float = 0.1  # a cell below this heatmap value is not a head
    crop: float = 0.62  # side of the window around a head, as a share of the picture
    crop_drop: float = 0.11  # how far the window's centre lies below the head
    crop_size: int = 96

    @property
    def grid(self) -> int:
        """Cells per side of the heatmap."""
        return self.image_size // STRIDE


class ProbeOutputs(NamedTuple):
    """Raw logits about whole pictures."""

    heatmap: Float[Tensor, "B 1 h w"]
    action: Float[Tensor, "B K"]
    scene: Float[Tensor, "B K"]


def _block(channels_in: int, channels_out: int) -> nn.Sequential:
    conv = nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(channels_out), nn.ReLU())


def _backbone(config: ProbeConfig, sizes: tuple[int, ...]) -> ResNetModel:
    stem, depths = config.embedding_size, list(config.depths)
    return ResNetModel(ResNetConfig(embedding_size=stem, hidden_sizes=list(sizes), depths=depths, layer_type="basic"))


def crops(
    pixels: Float[Tensor, "B 3 S S"], *, picture: Int[Tensor, " N"], heads: Float[Tensor, "N 2"], config: ProbeConfig
) -> Float[Tensor, "N 3 c c"]:
    """The window of each head (x, y in [0, 1] of picture number `picture`), bilinear; outside the picture is 0."""
    centre = 2 * heads + heads.new_tensor([0.0, 2 * config.crop_drop]) - 1
    ticks = (torch.arange(config.crop_size, device=pixels.device) + 0.5) / config.crop_size * 2 - 1
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    grid = centre[:, None, None] + config.crop * torch.stack([x, y], dim=-1)
    return functional.grid_sample(pixels[picture], grid, align_corners=False)


def _mean_and_max(features: Float[Tensor, "B C h w"]) -> Float[Tensor, "B 2*C"]:
    return torch.cat((features.mean((2, 3)), features.amax((2, 3))), dim=1)


class AttributeProbe(nn.Module):
    """A ResNet over the picture for heads, action and scene; a second one over a crop per head for attributes."""

    sight = Reading

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__()
        self.config = config
        self.id = "probe (not saved)"
        self.most_subjects = MAX_SUBJECTS
        neck = config.neck_size
        num_values = sum(len(values) for values in config.attributes.values())
        self.backbone = _backbone(config, config.hidden_sizes)
        self.laterals = nn.ModuleList(nn.Conv2d(size, neck, 1) for size in config.hidden_sizes[1:])
        self.fuse = _block(neck, neck)
        self.heatmap_head = nn.Sequential(_block(neck, 64), nn.Conv2d(64, 1, 1))
        self.reader = _backbone(config, config.reader_sizes)
        flat = config.reader_sizes[-1] * (-(-config.crop_size // 32)) ** 2
        self.attribute_head = nn.Sequential(nn.Linear(flat, 192), nn.ReLU(), nn.Linear(192, num_values))
        self.global_neck = nn.Sequential(nn.Linear(2 * (config.hidden_sizes[-1] + neck), 256), nn.ReLU())
        self.action_head = nn.Linear(256, len(config.actions))
        self.scene_head = nn.Linear(256, len(config.scenes))
        nn.init.constant_(self.heatmap_head[-1].bias, _HEATMAP_BIAS)  # pyright: ignore[reportArgumentType] Conv2d

    def _top_down(self, stages: tuple[Tensor, ...]) -> Float[Tensor, "B C h w"]:
        """Stride 8, 16 and 32 maps, each brought to the neck width, summed at stride 8."""
        maps = [lateral(stage) for lateral, stage in zip(self.laterals, stages, strict=True)]
        fused = maps[-1]
        for finer in reversed(maps[:-1]):
            fused = finer + functional.interpolate(fused, size=finer.shape[-2:], mode="nearest")
        return self.fuse(fused)

    def forward(self, pixels: Float[Tensor, "B 3 S S"]) -> ProbeOutputs:
        """Logits of every head; `pixels` in [-1, 1] as made by `pixel_values`."""
        stages = self.backbone(pixels, output_hidden_states=True).hidden_states[2:]
        fused = self._top_down(stages)
        pooled = self.global_neck(torch.cat((_mean_and_max(stages[-1]), _mean_and_max(fused)), dim=1))
        return ProbeOutputs(self.heatmap_head(fused), self.action_head(pooled), self.scene_head(pooled))

    def read_crops(self, windows: Float[Tensor, "N 3 c c"]) -> dict[str, Float[Tensor, "N K"]]:
        """Attribute logits of windows made by `crops`."""
        features = self.reader(windows).last_hidden_state.flatten(1)
        sizes = [len(values) for values in self.config.attributes.values()]
        return dict(zip(self.config.attributes, self.attribute_head(features).split(sizes, dim=1), strict=True))

    @torch.inference_mode()
    def look(self, images: Sequence[Image.Image]) -> list[Reading]:
        """One reading per picture with at most `most_subjects` subjects, independent of the other pictures."""
        device = str(next(self.parameters()).device)
        self.eval()
        pixels = [pixel_values(image, size=self.config.image_size).numpy() for image in images]
        seen = in_batches(pixels, self._whole, device=device)
        cells, K = self.config.grid**2, len(self.config.actions)
        return [
            self._reading(
                torch.from_numpy(picture), row[:cells], row[cells : cells + K], row[cells + K :], device=device
            )
            for picture, row in zip(pixels, torch.from_numpy(seen), strict=True)
        ]

    def _whole(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B N"]:
        """The heatmap's cells, the actions' and the scenes' logits in one row per picture."""
        outputs = self(pixels)
        return torch.cat((outputs.heatmap.float().sigmoid().flatten(1), outputs.action, outputs.scene), dim=1)

    def _reading(self, pixels: Tensor, cells: Tensor, action: Tensor, scene: Tensor, *, device: str) -> Reading:
        config = self.config
        heatmap = cells.reshape(config.grid, config.grid)
        places = peaks(heatmap, count=self.most_subjects, min_peak=config.min_peak)
        heads = [centroid(heatmap, cell) for cell in places]
        answers = self._attributes(pixels, heads, device=device)
        subjects = tuple(
            SubjectReading(head, float(heatmap[cell]), found)
            for head, cell, found in zip(heads, places, answers, strict=True)
        )
        return Reading(
            _probabilities(action, config.actions), _probabilities(scene, config.scenes), subjects, config.attributes
        )

    def _attributes(
        self, pixels: Float[Tensor, "3 S S"], heads: Sequence[tuple[float, float]], *, device: str
    ) -> list[dict[str, dict[str, float]]]:
        """Attribute -> {value: probability} of each head; the network always sees `most_subjects` windows."""
        if not heads:
            return []
        padded = torch.tensor([*heads, *[heads[0]] * (self.most_subjects - len(heads))], device=device)
        first = torch.zeros(self.most_subjects, dtype=torch.long, device=device)
        windows = crops(pixels[None].to(device), picture=first, heads=padded, config=self.config)
        logits = self.read_crops(windows)
        return [
            {name: _probabilities(found[index].cpu(), self.config.attributes[name]) for name, found in logits.items()}
            for index in range(len(heads))
        ]

    def save_pretrained(self, folder: Path) -> None:
        """Writes config.json and model.safetensors, which `load` reads back to the same function."""
        from safetensors.torch import save

        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write_bytes(folder / "model.safetensors", save(tensors))
        write_json(folder / "config.json", self.config.model_dump(mode="json"))

    @classmethod
    def load(cls, spec: str | Path, *, device: str = "cpu") -> Self:
        """The probe of an embedded name or a local folder, in eval mode.

        Raises: WeightsError when the folder holds no probe or its tensors do not fit its config.
        """
        from safetensors.torch import load_file

        folder = weights_folder(spec)
        try:
            probe = cls(ProbeConfig.model_validate(read_json(folder / "config.json")))
            probe.load_state_dict(load_file(folder / "model.safetensors"))
        except (DataError, ValidationError, RuntimeError, OSError) as error:
            what = f"Attribute probe {spec}: expected a probe's config.json and model.safetensors in {folder}, "
            what += f"got {short_reason(error)}"
            raise WeightsError(f"{what}; pass a folder written by AttributeProbe.save_pretrained.") from error
        probe.id = encoder_id("probe", spec=spec, folder=folder, preprocessing=PREPROCESSING)
        return probe.to(device).eval()


def pixel_values(image: Image.Image, *, size: int) -> Float[Tensor, "3 S S"]:
    """The picture as the probe sees it: RGB in [-1, 1], squashed to size x size when it has another size."""
    image = image.convert("RGB")
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.asarray(image, dtype=np.float32) / 127.5 - 1.0).permute(2, 0, 1).contiguous()


def peaks(heatmap: Float[Tensor, "h w"], *, count: int, min_peak: float) -> list[tuple[int, int]]:
    """(row, column) of the `count` highest cells that top their 3x3 neighbourhood and reach `min_peak`.

    Strongest first; of equal cells side by side only the first in reading order is kept.
    Source: peak extraction of CenterNet (arXiv:1904.07850, section 4.1).
    """
    tops = functional.max_pool2d(heatmap[None, None], 3, stride=1, padding=1)[0, 0]
    cells = ((heatmap == tops) & (heatmap >= min_peak)).nonzero().tolist()
    kept: list[tuple[int, int]] = []
    for row, column in sorted(cells, key=lambda cell: (-float(heatmap[cell[0], cell[1]]), cell)):
        if all(max(abs(row - r), abs(column - c)) > 1 for r, c in kept):
            kept.append((row, column))
    return kept[:count]


def _probabilities(logits: Float[Tensor, " K"], labels: tuple[str, ...]) -> dict[str, float]:
    return dict(zip(labels, logits.double().softmax(0).tolist(), strict=True))


def centroid(heatmap: Float[Tensor, "h w"], cell: tuple[int, int]) -> tuple[float, float]:
    """(x, y) in [0, 1] of a peak: the mean of its 3x3 neighbourhood, weighted by the heatmap, finer than one cell."""
    rows, columns = heatmap.shape
    row, column = cell
    total = x = y = 0.0
    for r in range(max(row - 1, 0), min(row + 2, rows)):
        for c in range(max(column - 1, 0), min(column + 2, columns)):
            weight = float(heatmap[r, c])
            total, x, y = total + weight, x + weight * (c + 0.5), y + weight * (r + 0.5)
    return x / total / columns, y / total / rows
