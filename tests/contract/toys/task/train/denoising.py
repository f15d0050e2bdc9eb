"""Denoising, a toy task: the network learns to denoise fixed random latents under one prompt."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from likeness.backbones.base import Backbone
from likeness.core.records import Case
from likeness.core.rng import seed_for
from likeness.core.spec import Spec
from likeness.train.config import TrainConfig
from likeness.train.task import Draw, Progress, Step, Trainable


class Latents(Spec):
    """`count` rows of latents of `side` cells, under `prompt`."""

    count: int = 4
    side: int = 8
    prompt: str = "a cat"


class SquaredError(Spec):
    """Mean squared error, nothing to choose."""

    kind: Literal["squared_error"] = "squared_error"


class DenoisingTask:
    """Rows are drawn from their own seeds, so nothing lies on disk."""

    data: ClassVar[type[Spec]] = Latents
    objectives: ClassVar[Mapping[str, Callable[[], type[Spec]]]] = {"squared_error": lambda: SquaredError}
    noun: ClassVar[str] = "latents"
    columns: Sequence[str] = ("loss", "t")
    added: ClassVar[Sequence[str]] = ()
    by_t: ClassVar[Sequence[str]] = ("loss",)
    reference_decay: float | None = None

    def __init__(self, table: Any) -> None:
        self._table, self._condition, self.shapes = table, {}, [((16, table.side, table.side),)] * table.count

    @classmethod
    def find(cls, config: TrainConfig, *, model: Path, precision: torch.dtype) -> "DenoisingTask":
        """The rows of a config."""
        return cls(config.data)

    def __len__(self) -> int:
        return len(self.shapes)

    def identity(self) -> dict[str, Any]:
        """The table, and what pages say of the objective."""
        facts = {"label": "Denoising", "compares": False}
        return {"data": {"id": "noise", "sha256": "none", **self._table.model_dump()}, "objective": facts}

    def prepare(self, backbone: Backbone[Any], *, is_main: bool, wait: Callable[[], None], progress: Progress) -> None:
        """The prompt is encoded."""
        self._condition = backbone.prepare(self._table.prompt)

    def cases(self, limit: int) -> Sequence[Case]:
        """The prompt."""
        return [Case(id="prompt", prompt=self._table.prompt)][:limit]

    def batch(self, rows: Sequence[int], draws: Sequence[Draw], *, backbone: Backbone[Any]) -> Any:
        """Clean latents, noise, times and the condition."""
        seeds = [torch.Generator().manual_seed(seed_for("latents", row)) for row in rows]
        x0 = torch.stack([torch.randn(self.shapes[0][0], generator=seed) for seed in seeds])
        t = torch.tensor([draw.t for draw in draws])
        return x0, torch.stack([draw.eps for draw in draws]), t, backbone.collate([self._condition] * len(rows))

    def step(self, batch: Any, *, backbone: Backbone[Any], trainable: Trainable) -> Step:
        """The squared error of the prediction."""
        x0, eps, t, condition = batch
        predicted = backbone.predict(backbone.noise(x0, eps, t), t, condition)
        loss = (predicted - backbone.target(x0, eps, t)).square().flatten(1).mean(1)
        return Step(loss.mean(), {"loss": loss.detach(), "t": t})

    def show(self, folder: Path, *, step: int, backbone: Backbone[Any]) -> None:
        """There is nothing to look at."""
