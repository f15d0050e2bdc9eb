"""Sentence features kept on disk by the content of the text, for all prompt sets of a user.

One folder per encoder id; in it files of at most SHARD texts, each with the hashes of its texts and their vectors,
named by its content and never changed. An interrupted run keeps the files that it finished.
"""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from likeness.core.cache import user_cache
from likeness.core.errors import DataError
from likeness.core.files import atomic_write_bytes
from likeness.core.hashing import json_sha256, short
from likeness.core.jobs import Progress, unseen

__all__ = ["Reader", "embedded", "user_sentences"]

SHARD = 4096


@runtime_checkable
class Reader(Protocol):
    """What is needed of a sentence encoder; equal ids give equal vectors."""

    id: str

    def read(self, texts: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """One unit vector per text."""
        ...


def user_sentences() -> Path:
    """The folder that all prompt sets of a user share."""
    return user_cache() / "sentences"


def embedded(
    texts: Sequence[str], encoder: Reader, *, store: Path, progress: Progress = unseen
) -> Float[np.ndarray, "N D"]:
    """The encoder's vectors of the texts (N of at least 1); those that `store` holds are not computed again.

    Raises: DataError for a damaged file of the store; OutputError where it cannot be written.
    """
    folder = store / short(json_sha256([encoder.id]))
    place_of = {_key(text): place for place, text in enumerate(dict.fromkeys(texts))}
    found: np.ndarray | None = None
    absent = dict(place_of)
    for path in sorted(folder.glob("*.safetensors")):
        keys, vectors = _shard(path)
        found = np.empty((len(place_of), vectors.shape[1]), np.float32) if found is None else found
        for row, key in enumerate(map(bytes, keys)):
            if absent.pop(key, None) is not None:
                found[place_of[key]] = vectors[row]
    different, missing = list(dict.fromkeys(texts)), list(absent.items())
    progress(len(different) - len(missing), len(different))
    for start in range(0, len(missing), SHARD):
        some = missing[start : start + SHARD]
        vectors = np.asarray(encoder.read([different[place] for _, place in some]), np.float32)
        _write(folder, b"".join(key for key, _ in some), vectors)
        found = np.empty((len(place_of), vectors.shape[1]), np.float32) if found is None else found
        found[[place for _, place in some]] = vectors
        progress(len(different) - len(missing) + start + len(some), len(different))
    if found is None:
        raise DataError("Sentences: expected at least one text, got none; check the prompts.")
    return found if len(different) == len(texts) else found[[place_of[_key(text)] for text in texts]]


def _key(text: str) -> bytes:
    return sha256(text.encode()).digest()


def _write(folder: Path, keys: bytes, vectors: Float[np.ndarray, "N D"]) -> None:
    rows = np.frombuffer(keys, np.uint8).reshape(-1, 32)
    data = save({"keys": rows, "vectors": np.ascontiguousarray(vectors)})
    atomic_write_bytes(folder / f"{short(sha256(keys).hexdigest())}.safetensors", data)


def _shard(path: Path) -> tuple[UInt8[np.ndarray, "N 32"], Float[np.ndarray, "N D"]]:
    try:
        tensors = load_file(path)
        keys, vectors = tensors["keys"], tensors["vectors"]
    except (SafetensorError, KeyError, OSError) as error:
        raise DataError(f"{path}: expected whole sentence features, got {error}; delete the file.") from None
    if keys.shape != (len(vectors), 32) or not np.isfinite(vectors).all():
        raise DataError(f"{path}: expected a finite vector per text, got others; delete the file.")
    return keys, vectors
