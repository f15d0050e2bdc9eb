"""Self-distillation as a task: the student's dense features of regions learn what the frozen CLIP says of their crops.

Source: CLIPSelf (arXiv:2310.01403); DreamRelation (arXiv:2410.23280), supplement: CLIP bigG, COCO train2017, 6 epochs,
learning rate 1e-5, weight decay 0.1, pictures of 896 px (design note dreamrelation.md, 2.3).
Differs: each picture counts alike, however many regions it has; the learning rate stays as it is after warm-up, and
decay acts on all that is trained, as in every run of this package.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, cast  # Any: identities are JSON

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from likeness.core.errors import ConfigError, DataError
from likeness.core.files import write_jsonl
from likeness.core.records import Case
from likeness.core.spec import Spec
from likeness.data.formats.coco import Box
from likeness.encoders.dense import normalised
from likeness.encoders.object_tokens import object_tokens
from likeness.objectives.clipself import clipself_loss
from likeness.train.config import BaseTable, TrainConfig
from likeness.train.local.regions import chosen_boxes, corner_boxes, cut_out, draw_shape, grid_cells, in_corner
from likeness.train.local.rows import DataTable, Picture, Pictures, pictures_of
from likeness.train.local.show import show_step
from likeness.train.local.tower import Tower
from likeness.train.task import Draw, Progress, Step, Trainable
from likeness.train.trainable.blocks import LastBlocks

NUM_SHOWN = 3


class EncoderTable(BaseTable):
    """`base`: the CLIP that teaches and is taught. `unlocked`: how many of its last blocks are trained.

    `blend`: share of what was learnt in the saved weights, the rest is the base (CLIPSelf: 0.95 for ViT-L/14, 0.7 for
    ViT-B/16).
    """

    unlocked: int = Field(default=6, ge=1)
    blend: float = Field(default=0.95, gt=0, le=1)


class ClipSelf(Spec):
    """`regions`: cells of a random grid, or the boxes of the data. At most `max_regions` of a picture are taken.

    `max_split`: most rows and columns of a grid.
    """

    kind: Literal["clipself"] = "clipself"
    regions: Literal["grid", "boxes"] = "grid"
    max_split: int = Field(default=6, ge=1, le=32)
    max_regions: int = Field(default=20, ge=1)


class RegionBatch(NamedTuple):
    """B pictures for the student; R regions, each of a `picture`, with its box there and its crop for the teacher."""

    pixels: Float[Tensor, "B 3 S S"]
    boxes: Float[Tensor, "R 4"]
    picture: Int[Tensor, " R"]
    crops: Float[Tensor, "R 3 s s"]


class LocalEncoderTask:
    """The pictures of a config."""

    model: ClassVar[type[BaseTable]] = EncoderTable
    data: ClassVar[type[Spec]] = DataTable
    objectives: ClassVar[Mapping[str, Callable[[], type[Spec]]]] = {"clipself": lambda: ClipSelf}
    noun: ClassVar[str] = "pictures"
    product: ClassVar[str] = "encoder"
    time_laws: ClassVar[tuple[str, ...]] = Tower.time_laws
    added: ClassVar[Sequence[str]] = ()
    by_t: ClassVar[Sequence[str]] = ()
    columns: Sequence[str] = ("loss", "regions")
    reference_decay: float | None = None

    def __init__(self, config: TrainConfig) -> None:
        self._config, self._table = config, cast(DataTable, config.data)
        self._objective, self._model = cast(ClipSelf, config.objective), cast(EncoderTable, config.model)
        if config.samples.every:
            wanted = "samples.every: expected 0, since an encoder makes no pictures"
            raise ConfigError(f"{wanted}, got {config.samples.every}; set it to 0.")
        self.pictures: Pictures = pictures_of(self._table, with_boxes=self._with_boxes)
        self._trained: LastBlocks | None = None

    @property
    def _with_boxes(self) -> bool:
        return self._objective.regions == "boxes"

    @classmethod
    def find(cls, config: TrainConfig, *, model: Path, precision: torch.dtype) -> "LocalEncoderTask":
        """The pictures of a config. Raises: ConfigError, DataError."""
        return cls(config)

    def open_network(self, folder: Path, *, device: str, precision: torch.dtype) -> Tower:
        """The tower in `folder`. Raises: WeightsError; ConfigError for a size that is no multiple of its patch."""
        tower = Tower(folder, device=device, precision=precision)
        if self._table.size % tower.patch:
            wanted = f"data.size: expected a multiple of the patch of the base, {tower.patch} px"
            raise ConfigError(f"{wanted}, got {self._table.size}; change it.")
        if self._config.train.gradient_checkpointing:
            tower.network.gradient_checkpointing_enable({"use_reentrant": False})
            tower.network.train()  # a tower of CLIP has no dropout
        return tower

    def make_trainable(self, tower: Tower) -> LastBlocks:
        """The last blocks of the tower."""
        options: Any = {"unlocked": self._model.unlocked, "blend": self._model.blend}
        self._trained = LastBlocks(tower.network, processor=tower.processor, **options)
        return self._trained

    def __len__(self) -> int:
        return len(self.pictures)

    def identity(self) -> dict[str, Any]:
        """The pictures, and what pages say of the objective."""
        numbers = {"num_pictures": len(self), "num_left_out": len(self.pictures.left_out), "size": self._table.size}
        facts = {"label": "CLIPSelf", "compares": False, "loss": "1 minus the cosine of student and teacher"}
        return {"data": {**self.pictures.facts(), **numbers}, "objective": facts}

    def prepare(self, backbone: Any, *, is_main: bool, wait: Callable[[], None], progress: Progress) -> None:
        """Pictures are read when they are drawn."""

    def cases(self, limit: int) -> Sequence[Case]:
        """None: an encoder makes no pictures."""
        return []

    @property
    def shapes(self) -> Sequence[tuple[tuple[int, ...], ...]]:
        """The noise of a row puts its regions in order; all pictures become squares of one size."""
        return [(draw_shape(self._objective.max_split, self._objective.max_regions),)] * len(self)

    def batch(self, rows: Sequence[int], draws: Sequence[Draw], *, backbone: Any) -> RegionBatch:
        """Pictures, regions and crops. Raises: DataError for a damaged picture or one without a usable box."""
        tower, pixels, boxes, crops, owners = cast(Tower, backbone), list[Tensor](), list[np.ndarray](), [], []
        side = int(tower.processor.crop_size["height"])
        for number, (row, draw) in enumerate(zip(rows, draws, strict=True)):
            picture = self.pictures.read(row, with_boxes=self._with_boxes)
            regions = self._regions(picture, draw, row=row, patch=tower.patch)
            pixels.append(self._tensor(in_corner(picture.image, side=self._table.size), tower))
            boxes.append(corner_boxes(regions, size=picture.image.size))
            crops += [self._tensor(cut_out(picture.image, region, side=side), tower) for region in regions]
            owners += [number] * len(regions)
        device = tower.device
        placed = torch.from_numpy(np.concatenate(boxes)).clamp(0, 1)
        return RegionBatch(
            torch.stack(pixels).to(device),
            placed.to(device),
            torch.tensor(owners, device=device),
            torch.stack(crops).to(device),
        )

    def _regions(self, picture: Picture, draw: Draw, *, row: int, patch: int) -> list[Box]:
        options, order = self._objective, draw.eps[0]
        if not self._with_boxes:
            return grid_cells(draw.t, order, max_split=options.max_split, at_most=options.max_regions)
        least = patch / self._table.size
        scale = [length / max(picture.image.size) for length in picture.image.size]
        large = [b for b in picture.boxes if min((b[2] - b[0]) * scale[0], (b[3] - b[1]) * scale[1]) >= least]
        if not large:
            wanted = f"expected a box of at least one patch, {patch} px at data.size {self._table.size}"
            raise DataError(f"picture {row}: {wanted}, got none; raise data.size or leave the picture out.")
        return chosen_boxes(large, order, at_most=options.max_regions)

    def _tensor(self, image: Any, tower: Tower) -> Tensor:
        mean, std = tower.processor.image_mean, tower.processor.image_std
        return torch.from_numpy(normalised(image, mean=cast(Any, mean), std=cast(Any, std)))

    def step(self, batch: RegionBatch, *, backbone: Any, trainable: Trainable) -> Step:
        """The mean over pictures of the mean over regions; the teacher is the tower without what was trained."""
        with torch.no_grad(), trainable.off():
            teacher = backbone.global_feature(batch.crops)
        dense = backbone.dense_features(batch.pixels)
        student = object_tokens(dense, batch.boxes, picture=batch.picture, cells=1).tokens[:, 0]
        each = clipself_loss(student, teacher)
        counts = torch.bincount(batch.picture, minlength=len(batch.pixels))
        loss = torch.zeros_like(counts, dtype=each.dtype).index_add(0, batch.picture, each) / counts
        return Step(loss.mean(), {"loss": loss.detach(), "regions": counts.float()})

    def show(self, folder: Path, *, step: int, backbone: Any) -> None:
        """What was left out, and the first pictures with their dense features as colours."""
        if self.pictures.left_out and not (folder / "left_out.jsonl").is_file():
            write_jsonl(folder / "left_out.jsonl", [row.model_dump() for row in self.pictures.left_out])
        rows = range(min(NUM_SHOWN, len(self)))
        shown = {f"{row}": self.pictures.read(row, with_boxes=False).image for row in rows}
        assert self._trained is not None, "shown while it is trained"
        show_step(folder, shown, step=step, tower=backbone, trained=self._trained, side=self._table.size)
