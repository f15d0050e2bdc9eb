"""Stage 1: a reference of each subject from its description alone, then the target from the prompt and the references.

Source: FocusDPO (arXiv:2509.01181v1), section 4: two pictures of one subject by one generator.
Differs: whichever backbone the recipe names; the target is conditioned on the references, which keeps the identity
better than the same words twice (design note 7.2).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable  # Any: options are the backbone's own

import numpy as np
from PIL import Image

from likeness.data.pairs.photo_pairs import png
from likeness.data.staged.recipe import GenerateTable
from likeness.data.staged.stage import Made, Record, Stage, Work, on_worker

__all__ = ["GENERATE", "LoadPainter", "Painter", "generate_stage", "preferred_name", "reference_name"]

GENERATE = "generate"


@runtime_checkable
class Painter(Protocol):
    """Draws one picture at a time; equal arguments give equal pixels, whatever was drawn before."""

    def __call__(
        self, prompt: str, references: Sequence[Image.Image], /, *, seed: int, options: dict[str, Any]
    ) -> Image.Image:
        """The picture. Raises: ConfigError for options that the model does not know; DataError."""
        ...


@runtime_checkable
class LoadPainter(Protocol):
    """Loads a painter in any process, on `device`; `id` names model, adapters, device and precision."""

    @property
    def id(self) -> str: ...

    @property
    def device(self) -> str: ...

    def __call__(self) -> Painter:
        """The loaded model. Raises: WeightsError."""
        ...


def preferred_name(record: str) -> str:
    """The file of the target, which is the preferred picture."""
    return f"images/{record}-preferred.png"


def reference_name(record: str, place: int) -> str:
    """The file of the reference of the subject at `place`."""
    return f"images/{record}-reference-{place}.png"


def generate_stage(table: GenerateTable, *, load: LoadPainter) -> Stage:
    """The stage with the model that `load` loads."""
    settings = {"model": load.id, "options": table.options, "reference_options": table.reference_options}
    return Stage(GENERATE, settings, partial(_load, load, table), table.batch_size, table.num_gpus)


def _load(load: LoadPainter, table: GenerateTable, worker: int) -> Work:
    painter: Callable[[], Painter] = on_worker(load, worker=worker)
    return partial(_generate, table=table, painter=painter())


def _generate(record: Record, *, table: GenerateTable, painter: Painter) -> Made:
    files: dict[str, bytes] = {}
    seeds: dict[str, int] = {"target": record.seed("target")}
    references: list[Image.Image] = []
    for place, subject in enumerate(record.asked["subjects"]):
        seed = seeds[f"reference_{place}"] = record.seed("reference", place)
        drawn = painter(subject["reference_prompt"], (), seed=seed, options=table.reference_options)
        references.append(drawn)
        files[reference_name(record.id, place)] = png(np.asarray(drawn.convert("RGB")))
    target = painter(record.asked["target_prompt"], references, seed=seeds["target"], options=table.options)
    files[preferred_name(record.id)] = png(np.asarray(target.convert("RGB")))
    return Made({"seeds": seeds, "size": list(target.size)}, files)
