"""Pairs encoded once: latents, text, masks on the token grid, complexity maps, patch weights.

The folder of a cache is named by the hash of everything its numbers depend on: prompts, the bytes of every picture and
mask, the encoding parts of the model, the settings. Changed inputs give another name, so a stale cache is never read.
Every picture is encoded alone, so that its numbers do not depend on its neighbours.

Shapes: C latent channels, h x w latent grid, L target tokens, Li tokens of reference i, R references, T text tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from likeness.backbones.base import Backbone
from likeness.core.errors import WeightsError
from likeness.core.files import atomic_write_bytes
from likeness.core.hashing import file_sha256, folder_sha256, json_sha256, short
from likeness.core.jobs import Progress
from likeness.core.pairs import PreferencePair
from likeness.train.pairs.encode import EncodeSettings, PatchFeatures, encode_pair

VERSION = 2
"""Raised when encoding changes, so that caches of older versions are not read."""
PAIRS_PER_SHARD = 64
NOT_ENCODING = {"transformer", "unet", "scheduler"}
"""Parts of a pipeline folder on which no encoded pair depends."""
OWN = ("preferred", "rejected", "subject_shares", "disrupted", "complexity", "patch_preferred", "patch_rejected")
"""Tensors of a pair beside its condition and the masks of its references."""


@dataclass(frozen=True)
class CachedPair:
    """One pair as a training step reads it. Reference i belongs to row i of `subject_shares`; patch weights or None.

    `condition` is what the backbone prepared of prompt and references. `subject_shares` are what subjects cover of each
    token, in [0, 1]: rows of 0 for references that no subject of the picture shows.
    """

    preferred: Float[Tensor, "C h w"]
    rejected: Float[Tensor, "C h w"]
    condition: dict[str, Tensor]
    reference_masks: tuple[Bool[Tensor, " _"], ...]
    subject_shares: Float[Tensor, "R L"]
    disrupted: Bool[Tensor, " R"]
    complexity: Float[Tensor, " L"]
    patch_preferred: Float[Tensor, " L"] | None = None
    patch_rejected: Float[Tensor, " L"] | None = None


def pair_sha256(pair: PreferencePair) -> str:
    """The hash of what training sees of a pair: prompt, the bytes of its pictures and masks, who is disrupted."""
    references = [
        [file_sha256(reference.image), None if reference.mask is None else file_sha256(reference.mask)]
        for reference in pair.references
    ]
    subjects = [
        [file_sha256(s.mask), s.rejected_mask and file_sha256(s.rejected_mask), s.reference_index, s.disrupted]
        for s in pair.subjects
    ]
    return json_sha256([pair.prompt, references, file_sha256(pair.preferred), file_sha256(pair.rejected), subjects])


def pairs_sha256(pairs: Sequence[PreferencePair]) -> list[str]:
    """The hash of every pair, in order."""
    return [pair_sha256(pair) for pair in pairs]


def cache_key(
    digests: Sequence[str], *, model: Path, settings: EncodeSettings, patch_encoder: str | None
) -> dict[str, Any]:  # JSON values
    """Everything the numbers of a cache depend on."""
    folders = sorted(path.name for path in model.iterdir() if path.is_dir() and not path.name.startswith((".", "_")))
    parts = {part: folder_sha256(model / part) for part in folders if part not in NOT_ENCODING}
    facts = model / "likeness.json"
    return {
        "version": VERSION,
        "pairs": json_sha256(list(digests)),
        "model": {**parts, "likeness.json": file_sha256(facts) if facts.is_file() else None},
        "settings": settings._asdict(),
        "patch_encoder": patch_encoder,
    }


def build_cache(
    pairs: Sequence[PreferencePair],
    *,
    folder: Path,
    key: dict[str, Any],
    backbone: Backbone[Any],
    settings: EncodeSettings,
    patch: PatchFeatures | None = None,
    progress: Progress | None = None,
) -> Path:
    """`folder`/<hash of key> holds every pair; shards there are kept, missing or damaged ones are made.

    Raises: DataError naming the pair whose pictures cannot be used, OutputError when the folder cannot be written.
    """
    place = folder / short(json_sha256(key))
    for first in range(0, len(pairs), PAIRS_PER_SHARD):
        path = place / _shard_name(first)
        chunk = pairs[first : first + PAIRS_PER_SHARD]
        if not _is_whole(path, count=len(chunk)):
            tensors: dict[str, Tensor] = {}
            for index, pair in enumerate(chunk, start=first):
                entry = encode_pair(backbone, pair, settings=settings, patch=patch)
                tensors |= {f"{index}/{name}": tensor.contiguous() for name, tensor in entry.items()}
            atomic_write_bytes(path, save(tensors))
        if progress:
            progress(first + len(chunk), len(pairs))
    return place


def _shard_name(first: int) -> str:
    return f"{first // PAIRS_PER_SHARD:05d}.safetensors"


def _is_whole(path: Path, *, count: int) -> bool:
    """Whether the shard can be opened and has that many pairs; one cut short by a full disk is made again."""
    try:
        with safe_open(path, framework="pt") as file:
            return len({name.partition("/")[0] for name in file.keys()}) == count  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError):
        return False


class PairCache:
    """The pairs of a finished cache, read from disk when asked for; `shapes[i]` must agree within a batch.

    Raises: WeightsError when a shard is missing or damaged, or holds numbers that are not finite.
    """

    def __init__(self, folder: Path, *, count: int) -> None:
        paths = [folder / _shard_name(first) for first in range(0, count, PAIRS_PER_SHARD)]
        self._files = [_open(path) for path in paths]
        self._names: list[set[str]] = [set() for _ in range(count)]
        for file, path in zip(self._files, paths, strict=True):
            for name in _finite_names(file, path=path):
                index, _, part = name.partition("/")
                self._names[int(index)].add(part)
        self.shapes = [self._shape(index) for index in range(count)]

    def _tensor(self, index: int, name: str) -> Tensor:
        return self._files[index // PAIRS_PER_SHARD].get_tensor(f"{index}/{name}")

    def _shape(self, index: int) -> tuple[tuple[int, ...], ...]:
        """Sizes of the target and of every tensor of the condition."""
        file = self._files[index // PAIRS_PER_SHARD]
        names = ["preferred", *self._conditions(index)]
        return tuple(tuple(file.get_slice(f"{index}/{name}").get_shape()) for name in names)

    def _conditions(self, index: int) -> list[str]:
        found = self._names[index].difference(OWN)
        return sorted(name for name in found if not name.startswith("reference_mask"))

    def __getitem__(self, index: int) -> CachedPair:
        names = self._names[index]
        masks = sum(name.startswith("reference_mask") for name in names)
        return CachedPair(
            **{name: self._tensor(index, name) for name in OWN if name in names},
            condition={name: self._tensor(index, name) for name in self._conditions(index)},
            reference_masks=tuple(self._tensor(index, f"reference_mask{i}") for i in range(masks)),
        )


# Any: safetensors' reader has no public type
def _open(path: Path) -> Any:
    try:
        return safe_open(path, framework="pt")
    except (OSError, SafetensorError) as error:
        wanted = "a shard of encoded pairs"
        raise WeightsError(f"{path}: expected {wanted}, got {error}; delete the cache folder.") from error


def _finite_names(file: Any, *, path: Path) -> Iterator[str]:
    """The names of a shard's tensors, each looked at for NaN and infinity."""
    for name in file.keys():  # noqa: SIM118 - not a dict
        tensor = file.get_tensor(name)
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            got = f"NaN or infinity in {name}"
            raise WeightsError(f"{path}: expected finite numbers, got {got}; delete the cache, check that picture.")
        yield name
