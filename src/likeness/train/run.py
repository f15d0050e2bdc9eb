"""`likeness train`: a config in, a run folder with the adapter out, however often it was interrupted.

RUN/run.json (what the run is: hashes, settings, versions), config.toml (every setting resolved), log.jsonl (one row
per step), lora/ (the adapter, stock format), state/ (for resume), maps/ (see maps.py), samples/ (see samples.py).
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import FileIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple  # Any: identities, rows and states are JSON

import torch
from accelerate import Accelerator
from accelerate.utils import is_tensorboard_available

from likeness.backbones.base import Backbone
from likeness.backbones.memory import Memory
from likeness.backbones.open import backbone_class, lora_facts, open_backbone
from likeness.core.devices import has_fast_bf16, pick_device, without_cudnn_attention
from likeness.core.errors import ConfigError, WeightsError
from likeness.core.files import atomic_write_text, read_text, unwritable
from likeness.core.hashing import json_sha256
from likeness.core.rng import seed_for
from likeness.core.runs import hold_run, open_run, package_versions
from likeness.core.stops import KeptStop, StoppedError, kept_stops
from likeness.core.tracking import Tracking, make_tracker
from likeness.core.weights import public_name, resolve_adapter, resolve_weights, weights_facts
from likeness.train.config import ModelTable, TrainConfig, config_toml, read_train_config
from likeness.train.guard import checkpoint_text
from likeness.train.loop import Training
from likeness.train.optimizer import check_optimizer
from likeness.train.peers import CLAIM, one_voice
from likeness.train.samples import check_cases, prepare_samples, take_samples
from likeness.train.shards import settle, shard_base, wanted_shards
from likeness.train.state import load_state, save_state
from likeness.train.task import OwnNetwork, Progress, Task, Trainable, TrainsMore, owns_network, task_of
from likeness.train.trainable.lora import LoraAdapter

_VERSIONED = ("torch", "diffusers", "transformers", "peft", "accelerate", "safetensors", "numpy", "pillow")
_NO_RESULT_DEPENDS: Any = {
    "samples": True,
    "train": {"steps", "save_every", "log_maps_every", "preset", "learning_rate", "precision"},
}


LORA = "lora"
"""Folder of the run in which an adapter of a generator is saved; other tasks name their own."""


class TuneSummary(NamedTuple):
    """What a run folder holds now: `trained` is what was trained, `last` the last row of the log.

    `num_rows` rows, which are called `noun`, were trained on.
    """

    folder: Path
    trained: Path
    steps: int
    num_rows: int
    noun: str
    last: dict[str, Any]

    @property
    def lora(self) -> Path | None:
        """What `likeness generate --lora` takes; None where no adapter was trained."""
        return self.trained if self.trained.name == LORA else None


class _Inputs(NamedTuple):
    """Everything found and checked before anything is written."""

    config: TrainConfig
    task: Task[Any]
    model: Path
    adapter: Path | None
    precision: torch.dtype


@without_cudnn_attention()
def tune(
    config_path: Path | str,
    *,
    out: Path | str,
    changes: Sequence[str] = (),
    device: str = "auto",
    progress: Progress | None = None,
    track: Tracking | None = None,
) -> TuneSummary:
    """The run folder `out` holds the adapter after train.steps steps of the config, and everything said above.

    A run killed at any moment and called again ends with the same bytes as an uninterrupted one; a finished run can
    be continued by raising train.steps. SIGINT and SIGTERM take effect after the step in progress, which is
    saved; a second one takes effect at once. `changes` are "table.key=value". `track`: rows of the log and sample
    pictures go there, too; where tensorboard is installed, always to RUN/tensorboard.
    Raises: ConfigError, DataError, WeightsError (all before the first step), OutputError, DivergenceError; StoppedError
    after a signal.
    """
    config = read_train_config(Path(config_path), changes=changes)
    device = pick_device(device)
    inputs = _find_inputs(config, device=device)
    folder = Path(out)
    trackers: list[Any] = ["tensorboard"] if is_tensorboard_available() else []
    trackers += [] if track is None else [make_tracker(track, run=folder, resume="allow")]
    # mixed_precision: precision is this package's own autocast
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision="no", log_with=trackers, project_dir=folder)
    identity = _identity(inputs, device=device, num_processes=accelerator.num_processes)
    if not accelerator.is_main_process:
        with one_voice(accelerator, folder):
            return _run(inputs, folder, identity=identity, accelerator=accelerator, progress=None)
    with hold_run(open_run(folder, identity=identity)), one_voice(accelerator, folder):
        (folder / CLAIM).unlink(missing_ok=True)
        return _run(inputs, folder, identity=identity, accelerator=accelerator, progress=progress)


# what the run is -----------------------------------------------------------------------------------------------------


def _find_inputs(config: TrainConfig, *, device: str) -> _Inputs:
    precision = pick_precision(config.train.precision, device=device)
    _memory(config).require_usable(device=device, num_loras=config.frozen_lora is not None)
    check_optimizer(config.train.optimizer, device=device)
    model = resolve_weights(config.model.base)
    kind = task_of(config.task)
    laws = kind.time_laws if owns_network(kind) else backbone_class(model).time_laws
    law = config.train.t_sampler or laws[0]
    if law not in laws:
        raise ConfigError(f"train.t_sampler: expected one of {', '.join(laws)}, got {law!r}; choose one.")
    config = config.model_copy(update={"train": config.train.model_copy(update={"t_sampler": law})})
    adapter = None if config.frozen_lora is None else resolve_adapter(config.frozen_lora)
    check_cases(config.samples)
    task = kind.find(config, model=model, precision=precision)
    return _Inputs(config, task, model, adapter, precision)


def _memory(config: TrainConfig) -> Memory:
    """How the frozen base is kept."""
    table = config.model
    is_generator = isinstance(table, ModelTable)
    return Memory(quantise=table.quantise, merge_lora=table.merge_lora) if is_generator else Memory()


def pick_precision(wanted: str, *, device: str) -> torch.dtype:
    """bf16 where it is asked for or fast, else fp32."""
    if wanted == "auto":
        return torch.bfloat16 if has_fast_bf16(device) else torch.float32
    return torch.bfloat16 if wanted == "bf16" else torch.float32


def _identity(inputs: _Inputs, *, device: str, num_processes: int) -> dict[str, Any]:
    config, dump = inputs.config, inputs.config.model_dump(exclude=_NO_RESULT_DEPENDS)
    del dump["data"], dump["model"]["base"]
    dump["model"] = _public(dump["model"])
    dump["model"].pop("lora", None)
    model: dict[str, Any] = weights_facts(config.model.base, inputs.model)
    if inputs.adapter is not None:
        model["loras"] = [lora_facts(str(config.frozen_lora), inputs.adapter, base=inputs.model)]
    place = {"device": device.partition(":")[0], "precision": str(inputs.precision).removeprefix("torch.")}
    dump["train"]["learning_rate"] = config.train.rate
    facts = inputs.task.identity()
    return {
        "kind": "train",
        "model": model,
        **facts,
        "config": dump,
        "settings": {**place, "num_processes": num_processes, **facts.get("settings", {})},
        "versions": package_versions(*_VERSIONED, *_extras(config)),
    }


def _extras(config: TrainConfig) -> set[str]:
    """Packages beside the usual ones on which results depend."""
    return {*_memory(config).packages, *(["bitsandbytes"] if "8bit" in config.train.optimizer else [])}


# the run -------------------------------------------------------------------------------------------------------------


def _run(
    inputs: _Inputs, folder: Path, *, identity: dict[str, Any], accelerator: Accelerator, progress: Progress | None
) -> TuneSummary:
    config, task = inputs.config, inputs.task
    shards = wanted_shards(accelerator.num_processes)
    check_optimizer(config.train.optimizer, device=str(accelerator.device), shared=shards.optimizer)
    loras = [] if inputs.adapter is None else [inputs.adapter]
    device = "cpu" if accelerator.device.type == "cpu" else str(accelerator.device)  # torchrun says cpu:0
    own: Any = task if isinstance(task, OwnNetwork) else None
    if own is None:
        memory = _memory(config)
        backbone: Any = open_backbone(inputs.model, device=device, dtype=inputs.precision, loras=loras, memory=memory)
    else:
        backbone = own.open_network(inputs.model, device=device, precision=inputs.precision)
    backbone.encode_exactly()
    bar: Progress = progress or (lambda _: lambda _done, _total: None)
    task.prepare(backbone, is_main=accelerator.is_main_process, wait=accelerator.wait_for_everyone, progress=bar)
    if config.samples.every:
        if accelerator.is_main_process:
            cases = task.cases(config.samples.limit)
            prepare_samples(config.samples, own=cases, run=folder, backbone=backbone)
        accelerator.wait_for_everyone()
    backbone.put_encoders_away()
    trainable = _adapter(backbone, task=task, config=config) if own is None else own.make_trainable(backbone)
    if shards.base:
        shard_base(backbone.network, trained=[parameter for _, parameter in trainable.named])
    parts: Any = {"task": task, "backbone": backbone, "trainable": trainable}
    training = Training(config, **parts, accelerator=accelerator, shards=shards)
    run = _RunFolder(folder, training=training, inputs=inputs, identity=identity, together=shards.base)
    run.start()
    last = run.go(bar("training"))
    return TuneSummary(folder, folder / run.product, training.step, len(task), task.noun, last)


def _adapter(backbone: Backbone[Any], *, task: Task[Any], config: TrainConfig) -> Trainable:
    """The new adapter of a generator, and what else the task trains of it."""
    init_seed, table = seed_for(config.train.seed, "adapter"), config.generator
    adapter = LoraAdapter(backbone, rank=table.rank, alpha=table.alpha, init_seed=init_seed)
    if config.train.gradient_checkpointing:
        network: Any = backbone.network
        network.enable_gradient_checkpointing()
    more: Any = task if isinstance(task, TrainsMore) else None
    return adapter if more is None else more.with_more(adapter)


class _RunFolder:
    """Reads and writes the files of a run; only the main process writes."""

    def __init__(
        self, folder: Path, *, training: Training, inputs: _Inputs, identity: dict[str, Any], together: bool
    ) -> None:
        self.together = together  # whether all processes must make the same passes
        self.folder, self.training, self.inputs, self.identity = folder, training, inputs, identity
        self.accelerator = training.accelerator
        self.log, self.state = folder / "log.jsonl", folder / "state"
        self.saved_step = 0
        task = inputs.task
        self.product = task.product if isinstance(task, OwnNetwork) else LORA

    def start(self) -> None:
        """Goes on from the last state where there is one, and drops what was logged after it."""
        if (state := load_state(self.state)) is not None:
            if state.get("identity") != json_sha256(self.identity):
                wanted = f"{self.state}: expected the state of this run, got that of another"
                raise WeightsError(f"{wanted}; restore the folder or use a new one.")
            self.training.restore(state, where=str(self.state))
            self.saved_step = self.training.step
        if self.accelerator.is_main_process:
            atomic_write_text(self.folder / "config.toml", config_toml(self._resolved()))
            atomic_write_text(self.log, "".join(_rows_until(self.log, step=self.saved_step)))
        if self.training.step < self.inputs.config.train.steps:
            with redirect_stdout(sys.stderr):
                self.accelerator.init_trackers("tensorboard")

    def _resolved(self) -> TrainConfig:
        """The config with what it left open."""
        config = self.inputs.config
        precision = "bf16" if self.inputs.precision == torch.bfloat16 else "fp32"
        changes = {"preset": None, "learning_rate": config.train.rate, "precision": precision}
        return config.model_copy(update={"train": config.train.model_copy(update=changes)})

    def go(self, progress: Callable[[int, int], None]) -> dict[str, Any]:
        """All steps that are missing, then what was trained and the last pictures; returns the last row of the log."""
        table, training = self.inputs.config.train, self.training
        if training.step == 0:
            self._show()
            self._sample()
        every = self.inputs.config.samples.every
        log = self.log if self.accelerator.is_main_process else Path(os.devnull)
        # torchrun passes on what the terminal has already sent to every process, so there a second signal says nothing
        alone = self.accelerator.num_processes == 1
        with log.open("ab", buffering=0) as file, kept_stops(repeated_raises=alone) as stop:
            while training.step < table.steps:
                row = training.train_step(checkpoint=checkpoint_text(self.state, step=self.saved_step))
                _append(file, json.dumps(row) + "\n", path=log)
                self.accelerator.log(_flat({name: row[name] for name in row if name != "step"}), step=row["step"])
                if training.step % table.log_maps_every == 0 or training.step == table.steps:
                    self._show()
                if training.step % (every or table.steps) == 0 or training.step == table.steps:
                    self._sample()
                if training.step % table.save_every == 0 or training.step == table.steps:
                    self.save()
                progress(training.step, table.steps)
                self._obey(stop)
        self._write_adapter()
        self.accelerator.wait_for_everyone()
        self._end_trackers()
        rows = _rows_until(self.log, step=training.step)
        return json.loads(rows[-1]) if rows else {}

    def _end_trackers(self) -> None:
        with redirect_stdout(sys.stderr):
            self.accelerator.end_training()

    def _obey(self, stop: KeptStop) -> None:
        """After a signal the step is saved and the run ends; all processes do so when one of them was told."""
        number = stop.number
        if self.accelerator.num_processes > 1:
            told = torch.tensor([number], device=self.accelerator.device)
            number = int(self.accelerator.gather(told).max())  # pyright: ignore[reportAttributeAccessIssue] any tree
        if not number:
            return
        if self.saved_step != self.training.step:
            self.save()
        self._end_trackers()
        steps = self.inputs.config.train.steps
        raise StoppedError(number, f"saved at step {self.training.step} of {steps}; run the same command to continue")

    def save(self) -> None:
        """The state first, then the adapter: a kill in between costs nothing, since the next save writes both."""
        state = self.training.state()
        if self.accelerator.is_main_process:
            save_state(self.state, {**state, "identity": json_sha256(self.identity)})
        self._write_adapter()
        self.accelerator.wait_for_everyone()
        self.saved_step = self.training.step

    def _show(self) -> None:
        """What the report draws of the present step."""
        training, is_main = self.training, self.accelerator.is_main_process
        if not self.together:
            if is_main:
                training.task.show(self.folder, step=training.step, backbone=training.backbone)
            return
        with TemporaryDirectory() as scratch:  # where nothing is there already, so that nobody leaves a pass out
            training.task.show(Path(scratch), step=training.step, backbone=training.backbone)
            if is_main:
                shutil.copytree(scratch, self.folder, dirs_exist_ok=True)

    def _sample(self) -> None:
        """Pictures of the present step, where the config asks for them."""
        if self.inputs.config.samples.every:
            training = self.training
            parts: Any = {"backbone": training.backbone, "accelerator": self.accelerator, "together": self.together}
            with training.averaged():
                take_samples(self.folder, step=training.step, **parts)
            training.backbone.put_encoders_away()

    def _write_adapter(self) -> None:
        """RUN/lora, or the task's own: what is trained, or its average where train.ema is set. All processes ask."""
        if self.together:
            settle(self.training.backbone.network)
        if not self.accelerator.is_main_process:
            return
        training = self.training
        with training.averaged():
            training.trainable.save(self.folder / self.product, metadata=self._adapter_metadata())

    def _adapter_metadata(self) -> dict[str, Any]:
        """What the adapter belongs to and how it was made, for the header of its file."""
        model, data = self.identity["model"], self.identity["data"]
        rows = f"{self.inputs.task.noun}_sha256"
        facts = {"base_model": model["id"], "base_sha256": model["sha256"], rows: data["sha256"]}
        for lora in model.get("loras", []):
            facts |= {"base_lora": lora["id"], "base_lora_sha256": lora["sha256"]}
        return {**facts, "config": self._public_config(), "step": self.training.step}

    def _public_config(self) -> dict[str, Any]:
        """The resolved config without what nothing depends on (how often is saved, where); paths by their last part."""
        unused: Any = {"data": {"cache"}, "train": {"save_every", "log_maps_every"}, "samples": True}
        dump = self._resolved().model_dump(exclude=unused)
        dump["data"], dump["model"] = _public(dump["data"]), _public(dump["model"])
        dump["model"]["base"] = self.identity["model"]["id"]
        return dump


def _public(value: Any) -> Any:
    """A table or a value of one without the places of paths, which are told by their last part."""
    if isinstance(value, dict):
        return {key: _public(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_public(each) for each in value]
    return public_name(value) if isinstance(value, str) else value


def _append(file: FileIO, line: str, *, path: Path) -> None:
    """The line stands at the end of the open log. Raises: OutputError when the disk takes less; a resume drops that."""
    data = line.encode("utf-8")
    try:
        count = file.write(data)
    except OSError as error:
        raise unwritable(path, error) from error
    if count != len(data):
        raise unwritable(path, f"room for {count} of {len(data)} bytes")


def _flat(row: dict[str, Any]) -> dict[str, float]:
    """The numbers of a row under names that sort, for trackers; of columns by t the mean per tenth that was drawn."""
    flat: dict[str, float] = {}
    for name, value in row.items():
        if name.endswith("_by_t"):
            tenths = enumerate(zip(value["sum"], value["count"], strict=True)) if value else ()
            flat |= {f"{name}/{tenth / 10:.1f}": total / count for tenth, (total, count) in tenths if count}
        elif isinstance(value, dict):
            flat |= _flat({f"{name}/{inner}": number for inner, number in value.items()})
        elif isinstance(value, int | float):
            flat[name] = value
    return flat


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
