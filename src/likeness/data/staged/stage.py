"""What a stage is: a pure function from a record to what it made of it, or to the reason why the record ends here.

Bytes go in and bytes come out; who runs a stage writes the files. A picture depends on the record alone, whatever else
is in its batch, whichever worker makes it and however often it was tried.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple  # Any: what is asked and made is JSON

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from likeness.core.errors import DataError
from likeness.core.images import load_image
from likeness.core.jobs import Load
from likeness.core.masks import read_mask
from likeness.core.rng import seed_for

__all__ = ["Asked", "Made", "Record", "Rejection", "Stage", "Work", "on_worker"]


class Asked(NamedTuple):
    """A record before its first stage: its id and what is asked of it."""

    id: str
    facts: dict[str, Any]


@dataclass(frozen=True)
class Record:
    """What a stage is given: what was `asked`, the `facts` of each earlier stage by its name, and their files.

    `files`: name in `folder` -> SHA-256.
    """

    id: str
    asked: dict[str, Any]
    folder: Path
    facts: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    files: dict[str, str] = field(default_factory=dict[str, str])

    def seed(self, *what: str | int) -> int:
        """A seed of 31 bits that follows from the record's id and the words."""
        return seed_for("models", self.id, *what) % 2**31

    def image(self, name: str) -> Image.Image:
        """The picture in a file of an earlier stage. Raises: DataError."""
        return load_image(self._checked(name))

    def pixels(self, name: str) -> UInt8[np.ndarray, "H W 3"]:
        """The same as an array."""
        return np.asarray(self.image(name))

    def mask(self, name: str) -> Bool[np.ndarray, "H W"]:
        """The mask in a file of an earlier stage. Raises: DataError."""
        return read_mask(self._checked(name))

    def _checked(self, name: str) -> Path:
        path = self.folder / name
        try:
            found = sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise DataError(f"{path}: expected a readable file, got {error.strerror or error}; run again.") from error
        if found != self.files[name]:
            raise DataError(f"{path}: expected the bytes that its stage wrote, got others; delete it and run again.")
        return path


class Made(NamedTuple):
    """What a stage made of a record: `facts` are JSON, `files` bytes by their names in the folder."""

    facts: dict[str, Any]
    files: Mapping[str, bytes] = {}


class Rejection(NamedTuple):
    """Why a record ends here: `cause` for counting, `reason` for people."""

    cause: str
    reason: str


Work = Callable[[Record], Made | Rejection]


@dataclass(frozen=True)
class Stage:
    """A stage by its `name`; worker number i calls `load(i)` once, in its own process.

    `settings`: everything that decides what it makes, as JSON: models by content, and options. A worker is given
    `batch_size` records at a time and, on a Ray cluster, `gpus` of a GPU.
    """

    name: str
    settings: dict[str, Any]
    load: Load[Record, Made | Rejection]
    batch_size: int = 1
    gpus: float = 0.0


# Any: loaders are dataclasses of several rooms that have a `device` in common
def on_worker(load: Any, *, worker: int) -> Any:
    """The loader for worker number `worker`: of several CUDA devices that it sees, workers take turns."""
    from likeness.core.devices import pick_device

    device = pick_device(load.device)
    if device == "cuda":
        import torch

        device = f"cuda:{worker % torch.cuda.device_count()}"
    return replace(load, device=device)
