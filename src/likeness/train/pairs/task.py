"""Preference pairs as a task: the loop draws them, the objective of the config says what is learnt from them."""

import re
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast  # Any: identities are JSON; a condition of whichever backbone

import torch
from pydantic import Field

from likeness.backbones.base import Backbone
from likeness.backbones.open import backbone_class
from likeness.core.errors import ConfigError, DataError, OutputError
from likeness.core.hashing import folder_sha256, json_sha256
from likeness.core.kinds import Split
from likeness.core.masks import find_mask, inside
from likeness.core.pairs import PAIRS_NAME, PreferencePair, read_pairs
from likeness.core.records import MAX_SUBJECTS, Case, Subject
from likeness.core.rng import seed_for
from likeness.core.spec import Spec
from likeness.core.weights import public_name, resolve_weights
from likeness.focus import FocusOptions
from likeness.objectives import OBJECTIVES, objective_of
from likeness.objectives.base import Objective
from likeness.objectives.patch_dpo import PatchDpo
from likeness.train.config import TrainConfig
from likeness.train.pairs.cache import PairCache, build_cache, cache_key, cache_place, pairs_sha256
from likeness.train.pairs.encode import EncodeSettings, PatchFeatures, pair_layout
from likeness.train.pairs.maps import copy_pictures, maps_file, pick_pairs, write_maps
from likeness.train.pairs.step import Batch, collect_batch, compute_step, focus_of
from likeness.train.task import Draw, Progress, Step, Trainable

COLUMNS = (
    *("loss", "anchor", "inside", "accuracy", "errors/policy_preferred", "errors/policy_rejected"),
    *("errors/ref_preferred", "errors/ref_rejected", "focus_share", "fused", "valid", "t"),
)
"""What every objective of pairs logs, null where it has no such thing."""


class DataTable(Spec):
    """`pairs`: folder with pairs.jsonl. `cache`: where encoded pairs are kept (default: `pairs`/cache).

    `split` names the rows used. `size`: long side of the pictures in px, None for their own. `limit`: the first rows.
    """

    pairs: str = Field(min_length=1)
    cache: str | None = None
    split: Split = "train"
    size: int | None = Field(default=None, ge=16)
    limit: int | None = Field(default=None, ge=1)


class PairsTask:
    """The pairs of a config; once prepared, encoded and ready to be drawn."""

    data: ClassVar[type[Spec]] = DataTable
    objectives: ClassVar[Mapping[str, Callable[[], type[Spec]]]] = {
        kind: partial(objective_of, kind) for kind in OBJECTIVES
    }
    noun: ClassVar[str] = "pairs"
    added: ClassVar[Sequence[str]] = ("anchor",)
    by_t: ClassVar[Sequence[str]] = ("focus_share",)

    def __init__(self, config: TrainConfig, *, model: Path, precision: torch.dtype) -> None:
        self._config, self._model, self._precision = config, model, precision
        self._data, self.objective = cast(DataTable, config.data), cast(Objective, config.objective)
        everything = _read_pairs(self._data)
        self.pairs = _of_split(everything, self._data)
        self._held_out = tuple(pair for pair in everything if pair.split == "validation")
        _require_prior(self.pairs, place=self._data.pairs)
        _check_focus(focus_of(self.objective), model=model)
        self._digests = pairs_sha256(self.pairs)
        self._patch_encoder = encoder = self.objective.patch_encoder if isinstance(self.objective, PatchDpo) else None
        self._patch_sha256 = None if encoder is None else folder_sha256(resolve_weights(encoder))
        self._shown = pick_pairs(self.pairs, seed=config.train.seed)
        self._cache: PairCache | None = None
        self.columns: Sequence[str] = (*COLUMNS, *self.objective.columns)

    @classmethod
    def find(cls, config: TrainConfig, *, model: Path, precision: torch.dtype) -> "PairsTask":
        """The pairs of a config, before any weights are loaded. Raises: ConfigError, DataError, WeightsError."""
        return cls(config, model=model, precision=precision)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def reference_decay(self) -> float | None:
        """Of the objective's reference policy, where that moves."""
        return self.objective.moving_reference

    @property
    def cache(self) -> PairCache:
        """The encoded pairs, after `prepare`."""
        assert self._cache is not None, "prepare first"
        return self._cache

    @property
    def shapes(self) -> Sequence[tuple[tuple[int, ...], ...]]:
        """Sizes of the target and of the condition's tensors, per pair."""
        return self.cache.shapes

    def identity(self) -> dict[str, Any]:
        """The pairs by their hash, the patch encoder, and what pages say of the objective."""
        rows = [[pair.id, digest] for pair, digest in zip(self.pairs, self._digests, strict=True)]
        data = {"id": public_name(self._data.pairs), "num_pairs": len(rows), "sha256": json_sha256(rows)}
        return {
            "data": {**data, "split": self._data.split, "size": self._data.size},
            "objective": {"label": self.objective.label, "compares": self.objective.needs_ref_policy},
            "settings": {"patch_encoder_sha256": self._patch_sha256},
        }

    def prepare(self, backbone: Backbone[Any], *, is_main: bool, wait: Callable[[], None], progress: Progress) -> None:
        """Encoded pairs: the main process makes what is missing, then all read. Raises: ConfigError, DataError."""
        settings = _settings(self._data, focus_of(self.objective), precision=self._precision)
        place = Path(self._data.cache or Path(self._data.pairs) / "cache").expanduser()
        key = cache_key(self._digests, model=self._model, settings=settings, patch_encoder=self._patch_sha256)
        if backbone.facts.reads_layout:
            layouts = [pair_layout(pair).model_dump(mode="json") for pair in self.pairs]
            key["layouts"] = json_sha256(layouts)
        if is_main:
            device, encoder = str(backbone.device), self._patch_encoder
            patch = None if encoder is None else partial(_vit_patches, encoder, device=device)
            with _naming_the_setting(place):
                build_cache(
                    self.pairs,
                    folder=place,
                    key=key,
                    backbone=backbone,
                    settings=settings,
                    patch=patch,
                    progress=progress("encoding pairs"),
                )
        wait()
        self._cache = PairCache(cache_place(place, key), count=len(self.pairs))

    def cases(self, limit: int) -> Sequence[Case]:
        """Prompts and references of pairs kept for validation, else of those trained on; single and multi in turn."""
        pairs, seed = self._held_out or self.pairs, self._config.train.seed
        return [_case(pairs[i], seed=seed) for i in pick_pairs(pairs, seed=seed, count=limit)]

    def batch(self, rows: Sequence[int], draws: Sequence[Draw], *, backbone: Backbone[Any]) -> Batch:
        """The pairs with their noise and times."""
        pairs = [self.cache[row] for row in rows]
        return collect_batch(pairs, draws, backbone=backbone, guidance=self._config.train.guidance)

    def step(self, batch: Batch, *, backbone: Backbone[Any], trainable: Trainable) -> Step:
        """The loss of a micro-batch under this run's objective."""
        step, _ = compute_step(
            backbone, batch, objective=self.objective, trainable=trainable, precision=self._precision
        )
        return step

    def show(self, folder: Path, *, step: int, backbone: Backbone[Any]) -> None:
        """RUN/maps: the maps of this step, and the pictures they are of."""
        copy_pictures([self.pairs[i] for i in self._shown], folder)
        if not maps_file(folder, step).is_file():
            write_maps(
                folder,
                step=step,
                pairs=self.pairs,
                indices=self._shown,
                cache=self.cache,
                backbone=backbone,
                config=self._config,
                precision=self._precision,
            )


def _settings(data: DataTable, focus: FocusOptions, *, precision: torch.dtype) -> EncodeSettings:
    dense, both = focus.entropy_stride == "pixel", focus.area == "both"
    return EncodeSettings(data.size, str(precision), focus.entropy, dense=dense, both=both)


def _require_prior(pairs: Sequence[PreferencePair], *, place: str) -> None:
    """Says how the first prior was read where that is unusual. Raises: DataError when no pair has a prior."""
    for pair in pairs:
        for index in pair.disrupted:
            found = find_mask(pair.subjects[index].mask, what="subject mask")
            if found.note is not None:
                print(f"Note: {pair.subjects[index].mask}: {found.note}", file=sys.stderr)
            if inside(found.image).any():
                return
    wanted = "a mask that covers a disrupted subject in at least one pair"
    raise DataError(f"{place}: expected {wanted}, got only empty masks in {len(pairs)}; see `likeness data lint`.")


def _case(pair: PreferencePair, *, seed: int) -> Case:
    """What the pair's pictures answer, to be answered again."""
    subjects = tuple(
        Subject(
            id=f"{pair.id}-{number}",
            class_name=reference.phrase,
            reference_image=reference.image,
            mask=reference.mask,
        )
        for number, reference in enumerate(pair.references[:MAX_SUBJECTS])
    )
    return Case(id=pair.id, prompt=pair.prompt, subjects=subjects, seed=seed_for(seed, "samples", pair.id))


def _read_pairs(table: DataTable) -> tuple[PreferencePair, ...]:
    """All pairs of the set, of whichever split."""
    place = Path(table.pairs).expanduser()
    if not place.exists() or (place.is_dir() and not (place / PAIRS_NAME).is_file()):
        wanted = f"a folder with {PAIRS_NAME}"
        raise ConfigError(f"data.pairs: expected {wanted}, got nothing at {place}; make one with `likeness data dip`.")
    found = read_pairs(place)
    if found.left_out:
        got = f"{len(found.left_out)} bad; first: {found.left_out[0].reason}"
        raise DataError(f"{place}: expected sound rows only, got {got}; see `likeness data lint {place}`.")
    if found.filled:
        counts = ", ".join(f"{key} {count}" for key, count in found.filled.items())
        print(f"Note: {place}: filled in what rows lack: {counts}", file=sys.stderr)
    return found.pairs


def _of_split(everything: Sequence[PreferencePair], table: DataTable) -> tuple[PreferencePair, ...]:
    pairs = tuple(pair for pair in everything if pair.split == table.split)[: table.limit]
    if not pairs:
        splits = ", ".join(sorted({pair.split for pair in everything}))
        raise ConfigError(f"data.split: expected pairs of {table.split}, got only {splits}; choose another.")
    return pairs


def _check_focus(focus: FocusOptions, *, model: Path) -> None:
    """The model shows what is asked for, and some layer has a name that `layers` matches. Raises: ConfigError."""
    features, pattern = focus.features, focus.layers
    kind = backbone_class(model)
    if features not in (None, *kind.features):
        known = ", ".join(kind.features)
        raise ConfigError(f"objective.focus.features: expected one of {known}, got {features!r}; choose one.")
    if pattern is None:
        return
    names = kind.layers_of(model)
    if not any(re.fullmatch(pattern, name) for name in names):
        wanted = f"objective.focus.layers: expected a pattern for names from {names[0]} to {names[-1]}, got {pattern!r}"
        raise ConfigError(f"{wanted}, which matches none; correct it.")


def _vit_patches(encoder: str, *, device: str) -> PatchFeatures:
    from likeness.train.pairs.patches import VitPatches  # imports transformers, for which no reader of a config waits

    return VitPatches(encoder, device=device)


@contextmanager
def _naming_the_setting(place: Path) -> Generator[None, None, None]:
    """A pair set that cannot be written to is no reason not to train on it: the cache may lie elsewhere."""
    try:
        yield
    except OutputError as error:
        wanted = f"{place}: expected a folder in which encoded pairs can be kept, got one that refuses them ({error})"
        raise OutputError(f"{wanted}; set data.cache to a folder that can be written.") from error
