"""`likeness train`: a config in, a run folder with the adapter out, however often it was interrupted.

RUN/run.json (what the run is: hashes, settings, versions), config.toml (every setting resolved), log.jsonl (one row
per step), lora/ (the adapter, stock format), state/ (for resume), maps/ (see maps.py).
"""

import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple  # Any: identities, rows and states are JSON

import torch
from accelerate import Accelerator
from accelerate.utils import is_tensorboard_available

from likeness.backbones.flux.uno import FluxUno
from likeness.backbones.flux.watch import layer_names
from likeness.backbones.lora import add_adapter, save_adapter
from likeness.core.devices import describe_devices, pick_device
from likeness.core.errors import ConfigError, DataError, WeightsError
from likeness.core.files import atomic_write_text, read_json, read_text
from likeness.core.hashing import folder_sha256, json_sha256
from likeness.core.pairs import PAIRS_NAME, PreferencePair, read_pairs
from likeness.core.rng import seed_for
from likeness.core.runs import hold_run, open_run, package_versions
from likeness.core.weights import public_name, resolve_adapter, resolve_weights, weights_facts
from likeness.objectives import OBJECTIVES
from likeness.train.config import TrainConfig, config_toml, read_train_config
from likeness.train.guard import checkpoint_text
from likeness.train.loop import PreferenceTraining
from likeness.train.pairs.cache import PairCache, build_cache, cache_key, pairs_sha256
from likeness.train.pairs.encode import EncodeSettings
from likeness.train.pairs.maps import copy_pictures, maps_file, pick_pairs, write_maps
from likeness.train.pairs.patches import load_patch_features
from likeness.train.pairs.step import ADAPTER
from likeness.train.state import load_state, save_state

__all__ = ["TuneSummary", "pick_precision", "tune"]

Progress = Callable[[str], Callable[[int, int], None]]
"""A maker of progress callables by label, each called with (done, total)."""

_VERSIONED = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "numpy", "pillow")
_NO_RESULT_DEPENDS = {"train": {"steps", "save_every", "log_maps_every", "preset", "learning_rate", "precision"}}


class TuneSummary(NamedTuple):
    """What a run folder holds now: `lora` is what `likeness generate --lora` takes, `last` the last row of the log."""

    folder: Path
    lora: Path
    steps: int
    num_pairs: int
    last: dict[str, Any]


class _Inputs(NamedTuple):
    """Everything found and checked before anything is written."""

    config: TrainConfig
    pairs: tuple[PreferencePair, ...]
    digests: list[str]
    model: Path
    adapter: Path | None
    precision: torch.dtype
    patch_encoder: str | None


def tune(
    config_path: Path | str,
    *,
    out: Path | str,
    changes: Sequence[str] = (),
    device: str = "auto",
    progress: Progress | None = None,
) -> TuneSummary:
    """The run folder `out` holds the adapter after train.steps steps of the config, and everything said above.

    A run killed at any moment and called again ends with the same bytes as an uninterrupted one; a finished run can
    be continued by raising train.steps. `changes` are "table.key=value". Raises: ConfigError, DataError, WeightsError,
    OutputError (all before the first step), DivergenceError.
    """
    config = read_train_config(Path(config_path), changes=changes)
    device = pick_device(device)
    inputs = _find_inputs(config, device=device)
    folder = Path(out)
    accelerator = _accelerator(folder, device=device)
    identity = _identity(inputs, device=device, num_processes=accelerator.num_processes)
    if accelerator.is_main_process:
        open_run(folder, identity=identity)
        with hold_run(folder):
            return _run(inputs, folder=folder, identity=identity, accelerator=accelerator, progress=progress)
    return _run(inputs, folder=folder, identity=identity, accelerator=accelerator, progress=None)


# what the run is -----------------------------------------------------------------------------------------------------


def _find_inputs(config: TrainConfig, *, device: str) -> _Inputs:
    pairs = _read_pairs(config)
    model = resolve_weights(config.model.base)
    _check_layers(config.focus.layers, model)
    adapter = None if config.model.lora is None else resolve_adapter(config.model.lora)
    needs_patches = OBJECTIVES[config.objective.name].focus == "patch"
    encoder = folder_sha256(resolve_weights(config.objective.patch_encoder)) if needs_patches else None
    precision = pick_precision(config.train.precision, device=device)
    return _Inputs(config, pairs, pairs_sha256(pairs), model, adapter, precision, encoder)


def _read_pairs(config: TrainConfig) -> tuple[PreferencePair, ...]:
    place = Path(config.data.pairs).expanduser()
    if not place.exists() or (place.is_dir() and not (place / PAIRS_NAME).is_file()):
        wanted = f"a folder with {PAIRS_NAME}"
        raise ConfigError(f"data.pairs: expected {wanted}, got nothing at {place}; make one with `likeness data dip`.")
    found = read_pairs(place)
    if found.rejected_rows:
        got = f"{len(found.rejected_rows)} bad; first: {found.rejected_rows[0].reason}"
        raise DataError(f"{place}: expected sound rows only, got {got}; see `likeness data lint {place}`.")
    pairs = tuple(pair for pair in found.pairs if pair.split == config.data.split)[: config.data.limit]
    if not pairs:
        splits = ", ".join(sorted({pair.split for pair in found.pairs}))
        raise ConfigError(f"data.split: expected pairs of {config.data.split}, got only {splits}; choose another.")
    return pairs


def pick_precision(wanted: str, *, device: str) -> torch.dtype:
    """bf16 where it is asked for or fast, else fp32."""
    if wanted == "auto":
        kind = device.partition(":")[0]
        is_fast = any(d.fast_bf16 for d in describe_devices() if d.name.partition(":")[0] == kind)
        return torch.bfloat16 if is_fast else torch.float32
    return torch.bfloat16 if wanted == "bf16" else torch.float32


def _accelerator(folder: Path, *, device: str) -> Accelerator:
    """Placement, process count and trackers; precision is this package's own autocast."""
    trackers = "tensorboard" if is_tensorboard_available() else None
    return Accelerator(cpu=device == "cpu", mixed_precision="no", log_with=trackers, project_dir=folder)


def _identity(inputs: _Inputs, *, device: str, num_processes: int) -> dict[str, Any]:
    config, dump = inputs.config, inputs.config.model_dump(exclude=_NO_RESULT_DEPENDS)
    del dump["data"], dump["model"]["base"], dump["model"]["lora"]
    model: dict[str, Any] = weights_facts(config.model.base, inputs.model)
    if inputs.adapter is not None:
        model["loras"] = [weights_facts(str(config.model.lora), inputs.adapter)]
    rows = [[pair.id, digest] for pair, digest in zip(inputs.pairs, inputs.digests, strict=True)]
    data = {"id": public_name(config.data.pairs), "num_pairs": len(rows), "sha256": json_sha256(rows)}
    place = {"device": device.partition(":")[0], "precision": str(inputs.precision).removeprefix("torch.")}
    dump["train"]["learning_rate"] = config.train.rate
    return {
        "kind": "train",
        "model": model,
        "data": {**data, "split": config.data.split, "size": config.data.size},
        "config": dump,
        "settings": {**place, "num_processes": num_processes, "patch_encoder_sha256": inputs.patch_encoder},
        "versions": package_versions(*_VERSIONED),
    }


# the run -------------------------------------------------------------------------------------------------------------


def _run(
    inputs: _Inputs,
    *,
    folder: Path,
    identity: dict[str, Any],
    accelerator: Accelerator,
    progress: Progress | None,
) -> TuneSummary:
    config = inputs.config
    loras = [] if inputs.adapter is None else [inputs.adapter]
    backbone = FluxUno.load(inputs.model, device=str(accelerator.device), dtype=inputs.precision, loras=loras)
    backbone.parts.vae.float()  # latents are encoded in fp32
    cache = _cache(inputs, backbone=backbone, accelerator=accelerator, progress=progress)
    init_seed = seed_for(config.train.seed, "adapter")
    add_adapter(
        backbone.network,
        facts=backbone.facts,
        rank=config.model.rank,
        alpha=config.model.alpha,
        name=ADAPTER,
        init_seed=init_seed,
    )
    if config.train.gradient_checkpointing:
        backbone.network.enable_gradient_checkpointing()
    training = PreferenceTraining(
        config, backbone=backbone, cache=cache, accelerator=accelerator, precision=inputs.precision
    )
    run = _RunFolder(folder, training=training, inputs=inputs, identity=identity)
    run.start()
    last = run.go(progress("training") if progress else None)
    return TuneSummary(folder, folder / "lora", training.step, len(inputs.pairs), last)


def _check_layers(pattern: str | None, model: Path) -> None:
    """Some block has a name that `focus.layers` matches. Raises: ConfigError naming the first and the last."""
    if pattern is None:
        return
    names = layer_names(read_json(model / "transformer" / "config.json"))
    if not any(re.fullmatch(pattern, name) for name in names):
        wanted = f"focus.layers: expected a pattern for names from {names[0]} to {names[-1]}, got {pattern!r}"
        raise ConfigError(f"{wanted}, which matches none; correct it.")


def _cache(inputs: _Inputs, *, backbone: FluxUno, accelerator: Accelerator, progress: Progress | None) -> PairCache:
    """The encoded pairs: the main process makes what is missing, then all read."""
    config = inputs.config
    settings = EncodeSettings(config.data.size, str(inputs.precision), config.focus.entropy)
    place = Path(config.data.cache or Path(config.data.pairs) / "cache").expanduser()
    key = cache_key(inputs.digests, model=inputs.model, settings=settings, patch_encoder=inputs.patch_encoder)
    folder = place / json_sha256(key)[:12]
    if accelerator.is_main_process:
        encoder = config.objective.patch_encoder
        patch = load_patch_features(encoder, device=str(accelerator.device)) if inputs.patch_encoder else None
        bar = progress("encoding pairs") if progress else None
        build_cache(
            inputs.pairs, folder=place, key=key, backbone=backbone, settings=settings, patch=patch, progress=bar
        )
    accelerator.wait_for_everyone()
    return PairCache(folder, count=len(inputs.pairs))


class _RunFolder:
    """Reads and writes the files of a run; only the main process writes."""

    def __init__(
        self, folder: Path, *, training: PreferenceTraining, inputs: _Inputs, identity: dict[str, Any]
    ) -> None:
        self.folder, self.training, self.inputs, self.identity = folder, training, inputs, identity
        self.accelerator = training.accelerator
        self.log, self.state = folder / "log.jsonl", folder / "state"
        self.shown = pick_pairs(inputs.pairs, seed=inputs.config.train.seed)
        self.saved_step = 0

    def start(self) -> None:
        """Goes on from the last state where there is one, and drops what was logged after it."""
        state = load_state(self.state)
        if state is not None:
            if state.get("identity") != json_sha256(self.identity):
                wanted = f"{self.state}: expected the state of this run, got that of another"
                raise WeightsError(f"{wanted}; restore the folder or use a new one.")
            self.training.restore(state, where=str(self.state))
            self.saved_step = self.training.step
        if self.accelerator.is_main_process:
            atomic_write_text(self.folder / "config.toml", config_toml(self._resolved()))
            atomic_write_text(self.log, "".join(_rows_until(self.log, step=self.saved_step)))
            copy_pictures([self.inputs.pairs[i] for i in self.shown], self.folder)
        if self.training.step < self.inputs.config.train.steps:
            self.accelerator.init_trackers("tensorboard")

    def _resolved(self) -> TrainConfig:
        """The config with what it left open."""
        config = self.inputs.config
        precision = "bf16" if self.inputs.precision == torch.bfloat16 else "fp32"
        changes = {"preset": None, "learning_rate": config.train.rate, "precision": precision}
        return config.model_copy(update={"train": config.train.model_copy(update=changes)})

    def go(self, progress: Callable[[int, int], None] | None) -> dict[str, Any]:
        """All steps that are missing, then the adapter and the last maps; returns the last row of the log."""
        table, training = self.inputs.config.train, self.training
        if training.step == 0:
            self.write_maps()
        with self._log_file() as file:
            while training.step < table.steps:
                row = training.train_step(checkpoint=checkpoint_text(self.state, step=self.saved_step))
                self._report(row, file=file)
                if training.step % table.log_maps_every == 0 or training.step == table.steps:
                    self.write_maps()
                if training.step % table.save_every == 0 or training.step == table.steps:
                    self.save()
                if progress:
                    progress(training.step, table.steps)
        self._write_adapter()
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()
        rows = _rows_until(self.log, step=training.step)
        return json.loads(rows[-1]) if rows else {}

    def _log_file(self) -> Any:  # a text file
        return (self.log if self.accelerator.is_main_process else Path(os.devnull)).open("a", encoding="utf-8")

    def _report(self, row: dict[str, Any], *, file: Any) -> None:
        file.write(json.dumps(row) + "\n")
        file.flush()
        flat = {f"errors/{name}": value for name, value in row["errors"].items()} | row
        numbers = {name: value for name, value in flat.items() if isinstance(value, int | float)}
        self.accelerator.log(numbers | _by_tenth(row["focus_share_by_t"]), step=row["step"])

    def save(self) -> None:
        """The state first, then the adapter: a kill in between costs nothing, since the next save writes both."""
        if self.accelerator.is_main_process:
            save_state(self.state, {**self.training.state(), "identity": json_sha256(self.identity)})
            self._write_adapter()
        self.accelerator.wait_for_everyone()
        self.saved_step = self.training.step

    def write_maps(self) -> None:
        """The maps of the present step, unless they are there."""
        training, inputs = self.training, self.inputs
        if self.accelerator.is_main_process and not maps_file(self.folder, training.step).is_file():
            write_maps(
                self.folder,
                step=training.step,
                pairs=inputs.pairs,
                indices=self.shown,
                cache=training.cache,
                backbone=training.backbone,
                config=inputs.config,
                precision=inputs.precision,
            )

    @torch.no_grad()
    def _write_adapter(self) -> None:
        """RUN/lora: the adapter, or its average where train.ema is set."""
        if not self.accelerator.is_main_process:
            return
        training = self.training
        kept = [parameter.detach().clone() for _, parameter in training.named]
        if training.ema is not None:
            training.ema.copy_to(training.named)
        facts, metadata = training.backbone.facts, self._adapter_metadata()
        save_adapter(training.backbone.network, self.folder / "lora", facts=facts, name=ADAPTER, metadata=metadata)
        for (_, parameter), old in zip(training.named, kept, strict=True):
            parameter.copy_(old)

    def _adapter_metadata(self) -> dict[str, Any]:
        """What the adapter belongs to and how it was made, for the header of its file."""
        model, data = self.identity["model"], self.identity["data"]
        facts = {"base_model": model["id"], "base_sha256": model["sha256"], "pairs_sha256": data["sha256"]}
        for lora in model.get("loras", []):
            facts |= {"base_lora": lora["id"], "base_lora_sha256": lora["sha256"]}
        return {**facts, "config": self._public_config(), "step": self.training.step}

    def _public_config(self) -> dict[str, Any]:
        """The resolved config without what nothing depends on (how often is saved, where); paths by their last part."""
        dump = self._resolved().model_dump(exclude={"data": {"cache"}, "train": {"save_every", "log_maps_every"}})
        dump["data"]["pairs"], dump["model"]["base"] = self.identity["data"]["id"], self.identity["model"]["id"]
        if dump["model"]["lora"] is not None:
            dump["model"]["lora"] = public_name(dump["model"]["lora"])
        return dump


def _by_tenth(table: dict[str, list[float]] | None) -> dict[str, float]:
    """Mean A_focus of a step per tenth of t that it drew, under names that sort."""
    tenths = enumerate(zip(table["sum"], table["count"], strict=True)) if table else ()
    return {f"focus_share_by_t/{tenth / 10:.1f}": total / count for tenth, (total, count) in tenths if count}


def _rows_until(log: Path, *, step: int) -> list[str]:
    """The lines of a log up to a step; a line cut short by a kill is left out."""
    kept: list[str] = []
    for line in read_text(log).splitlines(keepends=True) if log.is_file() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            break
        if row["step"] > step:
            break
        kept.append(line)
    return kept
