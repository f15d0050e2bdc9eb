"""The contracts of encoders, and what they share: finding the weights, naming them, features of unit length."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar  # Any: stock classes, which are typed as many things

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from pydantic import ValidationError
from torch import Tensor

from likeness.core.errors import DataError, MeasurementError, WeightsError
from likeness.core.fetched import fetched, fetched_folder
from likeness.core.hash_cache import remembered_sha256
from likeness.core.hashing import short
from likeness.core.rows import readable_mistakes
from likeness.core.weights import require_configs, resolve_weights
from likeness.encoders.fetchable import FETCHABLE

Sight = TypeVar("Sight", covariant=True)


class Encoder(Protocol[Sight]):
    """A frozen extractor; `id` names weights, preprocessing and batch, so that equal ids give equal numbers.

    What encoders see, read and answer is plain data that `core.plain` writes to bytes and reads back: numbers, texts,
    arrays, and dataclasses, tuples and dicts of those. `sight`, `reading` and `answer` are the types of one.
    """

    id: str
    sight: Any

    def look(self, images: Sequence[Image.Image]) -> Sequence[Sight]:
        """What it saw of each picture; in batches of one fixed shape, so that no value depends on its neighbours."""
        ...


class TextEncoder(Protocol[Sight]):
    """An encoder of texts; one that also looks at pictures puts both into one space."""

    id: str
    reading: Any

    def read(self, texts: Sequence[str]) -> Sequence[Sight]:
        """What it read of each text, independent of the other texts."""
        ...


class PairEncoder(Protocol[Sight]):
    """A model that answers a text about a picture: a score of both, or where in the picture the text is seen."""

    id: str
    answer: Any

    def ask(self, images: Sequence[Image.Image], texts: Sequence[str]) -> Sequence[Sight]:
        """The answer to each picture and its text, independent of the other pairs."""
        ...


BATCH = 8
"""Rows that go through a network together; the last batch is padded, so that one shape is all it ever sees.

On a CPU a row's numbers then depend neither on its neighbours nor on its place (a test holds every encoder to it);
another batch size may round otherwise, so it is part of an encoder's id.
"""


def in_batches(
    rows: Sequence[np.ndarray], run: Callable[[Tensor], Tensor], *, device: str, size: int = BATCH
) -> Float[np.ndarray, "N ..."]:
    """`run` of all rows, `size` at a time: rows of one shape (N, ...) in, (N, ...) float32 out, for N of at least 1."""
    found: list[np.ndarray] = []
    for first in range(0, len(rows), size):
        some = list(rows[first : first + size])
        padded = np.stack(some + [some[0]] * (size - len(some)))
        found.append(run(torch.from_numpy(padded).to(device)).float().cpu().numpy()[: len(some)])
    return np.concatenate(found)


REASON_LENGTH = 300


def weights_folder(spec: str | Path) -> Path:
    """The local folder of an embedded name ("clip" or "embedded:clip"), a fetched name, a folder, or a hub id.

    Raises: WeightsError as `resolve_weights` does, and for weights that are still to be fetched.
    """
    if str(spec) in FETCHABLE and fetched(str(spec)) is None:
        how = f"run `likeness fetch {spec}`, or `likeness fetch {spec} --from FILE` with a copy of the published file"
        raise WeightsError(f"{spec}: expected converted weights in {fetched_folder(str(spec))}, got none; {how}.")
    return resolve_weights(str(spec).removeprefix("embedded:"))


def encoder_id(kind: str, *, spec: str | Path, folder: Path, preprocessing: str, batch: int = BATCH) -> str:
    """Kind, name, content hash, preprocessing and batch in one line: equal ids give equal numbers.

    A local folder goes by its last name, so that the id does not tell where somebody keeps files.
    """
    name = folder.name if Path(spec).is_dir() else str(spec)
    return f"{kind} {name}@{short(remembered_sha256(folder))}; {preprocessing}; batches of {batch}"


def load_whole(kind: Any, folder: Path, *, device: str, **options: Any) -> Any:
    """The frozen model of a stock class in float32 on `device`; nothing is fetched, and no pickle is read.

    Raises: ValueError for missing tensors, which transformers would fill with random numbers.
    """
    model, info = kind.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True, use_safetensors=True, output_loading_info=True, **options
    )
    absent = sorted([*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])])
    if absent:
        raise ValueError(f"{len(absent)} tensors of its architecture are missing, the first is {absent[0]}")
    return model.eval().to(device)


def short_reason(error: Exception) -> str:
    """What went wrong, on one line of at most `REASON_LENGTH` characters: some errors list every key or tensor."""
    text = readable_mistakes(error) if isinstance(error, ValidationError) else f"{type(error).__name__}: {error}"
    line = " ".join(text.split()).removesuffix(".")
    return line if len(line) <= REASON_LENGTH else f"{line[: REASON_LENGTH - 4]} ..."


def unit_rows(features: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
    """Rows divided by their length, in float32. Raises: MeasurementError for rows without finite length above 0."""
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    if not (np.isfinite(lengths) & (lengths > 0)).all():
        wanted = "finite features that are not all 0"
        raise MeasurementError(f"Encoder: expected {wanted}, got others; check the weights for damage.")
    return (features / lengths).astype(np.float32)


class FolderEncoder(ABC):
    """A frozen model in float32, read from a folder in stock format; a subclass sets what is declared here.

    `wanted` are the noun of its errors and what its folder must hold.
    """

    wanted: ClassVar[tuple[str, str]]
    id: str
    device: str

    @abstractmethod
    def __init__(self, folder: Path, *, device: str, spec: str | Path) -> None: ...

    @classmethod
    def load(cls, spec: str | Path, *, device: str = "cpu") -> Self:
        """The encoder of an embedded or fetched name, a local folder in stock transformers format, or a hub id.

        Raises: WeightsError when there is none or it holds another model.
        """
        folder, (noun, wanted) = weights_folder(spec), cls.wanted
        require_configs(folder)
        try:
            return cls(folder, device=device, spec=spec)
        except (DataError, OSError, ValueError, RuntimeError, KeyError) as error:
            what = f"{noun} {spec}: expected {wanted} in {folder}, got {short_reason(error)}"
            raise WeightsError(f"{what}; pass a folder in stock transformers format.") from error


class PixelEncoder(FolderEncoder):
    """A folder's model that sees pictures through a stock image `processor`."""

    processor: Any  # a stock image processor

    def pixel_values(self, image: Image.Image) -> Float[np.ndarray, "3 S S"]:
        """The picture as the model sees it."""
        return np.asarray(self.processor(image.convert("RGB"))["pixel_values"][0], dtype=np.float32)


class FeatureEncoder(PixelEncoder):
    """A folder's model that gives one unit vector per picture."""

    sight: ClassVar[Any] = np.ndarray

    @torch.inference_mode()
    def look(self, images: Sequence[Image.Image]) -> Float[np.ndarray, "N D"]:
        """One unit vector per picture, independent of the other pictures."""
        pixels = [self.pixel_values(image) for image in images]
        return unit_rows(in_batches(pixels, self._feature, device=self.device))

    @abstractmethod
    def _feature(self, pixels: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]: ...
