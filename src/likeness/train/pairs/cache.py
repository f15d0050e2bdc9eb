"""Pairs encoded once: latents, text, masks on the token grid, complexity maps, patch weights.

The folder of a cache is named by the hash of everything its numbers depend on: prompts, the bytes of every picture and
mask, the encoding parts of the model, the settings. Changed inputs give another name, so a stale cache is never read.
Every picture is encoded alone, so that its numbers do not depend on its neighbours.

A shard is a safetensors file whose tensors are named by their content, and whose header says which pair consists of
which: text that pairs share, or a reference, lies on the disk once, in the first shard that needs it. Numbers are
checked when they are written; opening a cache reads headers only, and a tensor is checked when it is first read.

Shapes: C latent channels, h x w latent grid, L target tokens, Li tokens of reference i, R references, T text tokens.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from likeness.backbones.base import Backbone
from likeness.core.errors import WeightsError
from likeness.core.files import atomic_write_bytes, canonical_json
from likeness.core.hash_cache import remembered_sha256
from likeness.core.hashing import file_sha256, json_sha256, short
from likeness.core.jobs import Progress
from likeness.core.pairs import PreferencePair
from likeness.core.weights import check_safetensors
from likeness.train.pairs.encode import EncodeSettings, PatchFeatures, encode_pair

VERSION = 4
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
    parts = {part: remembered_sha256(model / part) for part in folders if part not in NOT_ENCODING}
    facts = model / "likeness.json"
    return {
        "version": VERSION,
        "pairs": json_sha256(list(digests)),
        "model": {**parts, "likeness.json": file_sha256(facts) if facts.is_file() else None},
        "settings": settings._asdict(),
        "patch_encoder": patch_encoder,
    }


Parts = dict[str, str]
"""Of one pair: the content names of its tensors by their part ("preferred", "embeds" ...)."""


class _Shard(NamedTuple):
    """An open shard: its pairs by number, and the content names of the tensors that lie in it."""

    path: Path
    file: Any  # safetensors' reader has no public type
    pairs: dict[int, Parts]
    names: frozenset[str]


def cache_place(folder: Path, key: Mapping[str, Any]) -> Path:
    """Where the cache of that key lies below the folder of caches."""
    return folder / short(json_sha256(key))


def build_cache(
    pairs: Sequence[PreferencePair],
    *,
    folder: Path,
    key: dict[str, Any],
    backbone: Backbone[Any],
    settings: EncodeSettings,
    patch: Callable[[], PatchFeatures] | None = None,
    progress: Progress | None = None,
) -> Path:
    """`cache_place` holds every pair; shards there are kept, missing or damaged ones are made.

    `patch` opens the patch encoder; it is called only when a shard must be made.
    Raises: DataError naming the pair whose pictures cannot be used, WeightsError naming the pair whose numbers are not
    finite, OutputError when the folder cannot be written.
    """
    place = cache_place(folder, key)
    stored: set[str] = set()
    features: PatchFeatures | None = None
    for first in range(0, len(pairs), PAIRS_PER_SHARD):
        path = place / _shard_name(first)
        chunk = dict(enumerate(pairs[first : first + PAIRS_PER_SHARD], start=first))
        if (names := _names_of_whole(path, pairs=chunk.keys(), stored=stored)) is None:
            features = patch() if patch is not None and features is None else features
            made = {
                index: encode_pair(backbone, pair, settings=settings, patch=features) for index, pair in chunk.items()
            }
            names = _write_shard(path, made, pairs=chunk, stored=stored)
        stored |= names
        if progress:
            progress(first + len(chunk), len(pairs))
    return place


def _shard_name(first: int) -> str:
    return f"{first // PAIRS_PER_SHARD:05d}.safetensors"


def _content_name(tensor: Tensor) -> str:
    """The first 32 hex digits of the SHA-256 of type, shape and bytes."""
    header = f"{tensor.dtype} {tuple(tensor.shape)}\0".encode()
    return hashlib.sha256(header + tensor.flatten().view(torch.uint8).numpy().tobytes()).hexdigest()[:32]


def _write_shard(
    path: Path, made: Mapping[int, Mapping[str, Tensor]], *, pairs: Mapping[int, PreferencePair], stored: set[str]
) -> set[str]:
    """The shard holds the pairs but for tensors that are `stored` in earlier ones; returns the names that lie in it."""
    tensors: dict[str, Tensor] = {}
    listed: dict[int, Parts] = {}
    for index, entry in made.items():
        listed[index] = {}
        for part, tensor in entry.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                wanted = f"pair {pairs[index].id}: expected finite numbers from the encoders"
                raise WeightsError(f"{wanted}, got NaN or infinity in {part}; check its pictures and the model.")
            tensor = tensor.contiguous()
            name = listed[index][part] = _content_name(tensor)
            if name not in stored:
                tensors[name] = tensor
    atomic_write_bytes(path, save(tensors, metadata={"pairs": canonical_json(listed)}))
    return set(tensors)


def _open_shard(path: Path) -> _Shard:
    """The shard, of which only the header is read. Raises: WeightsError."""
    wanted = f"{path}: expected a shard of encoded pairs"
    try:
        check_safetensors(path)
        file = safe_open(path, framework="pt")
        listed = json.loads((file.metadata() or {})["pairs"])
    except WeightsError as error:
        raise WeightsError(f"{wanted} ({error}); delete the cache folder.") from error
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(f"{wanted}, got {type(error).__name__}: {error}; delete the cache folder.") from error
    pairs = {int(index): parts for index, parts in listed.items()}
    return _Shard(path, file, pairs, frozenset(file.keys()))


def _names_of_whole(path: Path, *, pairs: Iterable[int], stored: set[str]) -> frozenset[str] | None:
    """The names in the shard when it has these pairs with all they consist of, here or in earlier shards; else None.

    One cut short by a full disk, or one whose neighbour was made again with other numbers, is made again.
    """
    try:
        shard = _open_shard(path)
    except WeightsError:
        return None
    needed = {name for parts in shard.pairs.values() for name in parts.values()}
    is_whole = shard.pairs.keys() == set(pairs) and needed <= shard.names | stored
    return shard.names if is_whole else None


class PairCache:
    """The pairs of a finished cache, read from disk when asked for; `shapes[i]` must agree within a batch.

    Opening reads the headers of the shards. A tensor's bytes are compared with its name when it is first read.
    Raises: WeightsError when a shard is missing or damaged; `cache[i]` when a tensor of the pair is.
    """

    def __init__(self, folder: Path, *, count: int) -> None:
        shards = [_open_shard(folder / _shard_name(first)) for first in range(0, count, PAIRS_PER_SHARD)]
        self._shard_of = {name: shard for shard in reversed(shards) for name in shard.names}
        listed = {index: parts for shard in shards for index, parts in shard.pairs.items()}
        lost = [i for i in range(count) if i not in listed or not self._shard_of.keys() >= set(listed[i].values())]
        if lost:
            wanted = f"{folder}: expected {count} encoded pairs"
            raise WeightsError(f"{wanted}, got shards that lack tensors of {len(lost)}; delete the cache folder.")
        self._pairs = [listed[index] for index in range(count)]
        self._checked: set[str] = set()
        self.shapes = [self._shape(parts) for parts in self._pairs]

    def _tensor(self, index: int, part: str) -> Tensor:
        name = self._pairs[index][part]
        shard = self._shard_of[name]
        tensor = shard.file.get_tensor(name)
        if name not in self._checked:
            if _content_name(tensor) != name:
                got = f"other bytes in {part} of pair {index} than were written"
                raise WeightsError(f"{shard.path}: expected sound tensors, got {got}; delete the cache folder.")
            self._checked.add(name)
        return tensor

    def _shape(self, parts: Parts) -> tuple[tuple[int, ...], ...]:
        """Sizes of the target and of every tensor of the condition."""
        names = [parts[part] for part in ("preferred", *_conditions(parts))]
        return tuple(tuple(self._shard_of[name].file.get_slice(name).get_shape()) for name in names)

    def __getitem__(self, index: int) -> CachedPair:
        parts = self._pairs[index]
        masks = sum(part.startswith("reference_mask") for part in parts)
        return CachedPair(
            **{part: self._tensor(index, part) for part in OWN if part in parts},
            condition={part: self._tensor(index, part) for part in _conditions(parts)},
            reference_masks=tuple(self._tensor(index, f"reference_mask{i}") for i in range(masks)),
        )


def _conditions(parts: Parts) -> list[str]:
    return sorted(part for part in parts if part not in OWN and not part.startswith("reference_mask"))
