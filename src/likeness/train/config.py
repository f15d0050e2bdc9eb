"""The TOML file of `likeness train`: one frozen table per part, unknown keys refused with the closest known one.

The task says what [data] and [objective] may hold; `kind` chooses the objective, whose options stand beside it.
Defaults stand where a paper or the design note gives one: FocusDPO (arXiv:2509.01181v1) section 5.1 for rank, tau,
gamma and steps; Diffusion-DPO (arXiv:2311.12908) for beta's scale; UNO (arXiv:2504.02160) for times and optimizer.
"""

import difflib
import json
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal  # Any: parsed TOML is open until the tables have checked it

from pydantic import Field, SerializeAsAny, ValidationError, field_validator, model_validator

from likeness.backbones.memory import Quantise
from likeness.core.errors import ConfigError
from likeness.core.spec import Spec, closest, wrong_value
from likeness.train.task import TASKS, owns_network, task_of

LEARNING_RATES = {
    "paper_literal": 1e-8,  # as printed; cannot move a LoRA (Adam moves an entry by at most lr a step)
    "paper_scaled": 1e-8 * 1 * 128 * 8,  # Diffusion-DPO's --scale_lr: batch x accumulation 128 x 8 GPUs
    "practical": 1e-5,
}
"""What the presets stand for. Source: note section 5."""
MAX_RANK = 4096
"""Above the rank that a layer of any known backbone can have."""
MAX_DATA_SIDE = 4096
"""Longest side in px of pictures that are trained on."""


class BaseTable(Spec):
    """What is trained: `base`, an embedded name, a folder or a hub id. A task with a network of its own adds to it."""

    base: str = Field(min_length=1)


class ModelTable(BaseTable):
    """What is tuned: `base` and the frozen UNO adapter `lora` (embedded name, folder or hub id); ours is rank/alpha.

    `merge_lora` adds the frozen adapter into the weights of the base, `quantise` then keeps those in fewer bits.
    """

    lora: str | None = None
    merge_lora: bool = False
    quantise: Quantise = "none"
    rank: int = Field(default=32, ge=1)
    alpha: float = Field(default=32.0, gt=0)

    @field_validator("rank")
    @classmethod
    def _fits(cls, rank: int) -> int:
        if rank > MAX_RANK:
            values = 2 * rank * 3072 * 4  # A and B of a layer of FLUX, each with its gradient and two averages of Adam
            took = f"{values * 4 / 1e9:,.0f} GB for each layer of FLUX (3072 features)"
            raise ValueError(f"expected at most {MAX_RANK}, got {rank}, which takes {took}; 4 to 128 are usual")
        return rank

    @model_validator(mode="after")
    def _has_something_to_merge(self) -> "ModelTable":
        if self.merge_lora and self.lora is None:
            raise ValueError(
                "merge_lora: expected model.lora beside it, got none; name the adapter, or set it to false"
            )
        return self


class TrainTable(Spec):
    """The loop. One step takes batch_size x accumulation x processes pairs. Times t lie in [0.001, 0.999].

    `t_sampler` is the law of times, the backbone's usual one without it (`tune` writes down which).
    `learning_rate` excludes `preset`. `optimizer`: see optimizer.py. `ema` averages the adapter with that decay (None:
    off). `spike_factor` stops a run whose loss or gradient norm exceeds that multiple of its median (0: only
    non-finite numbers stop it).
    """

    steps: int = Field(default=2000, ge=1)
    batch_size: int = Field(default=1, ge=1)
    accumulation: int = Field(default=1, ge=1)
    preset: Literal["paper_literal", "paper_scaled", "practical"] | None = None
    learning_rate: float | None = Field(default=None, gt=0)
    warmup: int = Field(default=100, ge=0)
    clip: float = Field(default=1.0, gt=0)
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit"] = "adamw"
    weight_decay: float = Field(default=0.01, ge=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    gradient_checkpointing: bool = False
    t_sampler: str | None = None
    guidance: float = Field(default=1.0, ge=0)
    seed: int = Field(default=42, ge=0)
    spike_factor: float = Field(default=100.0, ge=0)
    save_every: int = Field(default=500, ge=1)
    log_maps_every: int = Field(default=500, ge=1)

    @model_validator(mode="after")
    def _has_one_learning_rate(self) -> "TrainTable":
        if self.preset is not None and self.learning_rate is not None:
            raise ValueError("preset: expected it or learning_rate, got both; delete one of them")
        return self

    @property
    def rate(self) -> float:
        """The learning rate after warm-up: as given, or the preset's ("practical" when neither is there)."""
        return LEARNING_RATES[self.preset or "practical"] if self.learning_rate is None else self.learning_rate


class SamplesTable(Spec):
    """Pictures of fixed cases while a run goes on: before the first step, `every` so many steps (0: none), at the end.

    `cases` names a benchmark of the drawn world, of whose validation subjects the cases are, or a file of cases as
    `likeness generate --cases` reads it; None: what the task trains on or keeps for validation. `limit`: the first so
    many. No number of the training depends on this table.
    """

    every: int = Field(default=0, ge=0)
    cases: str | None = Field(default=None, min_length=1)
    limit: int = Field(default=4, ge=1)


class TrainConfig(Spec):
    """Everything that decides what a run computes, and what it shows of itself."""

    task: str = "pairs"
    model: SerializeAsAny[BaseTable]
    data: SerializeAsAny[Spec]
    objective: SerializeAsAny[Spec]
    train: TrainTable = TrainTable()
    samples: SamplesTable = SamplesTable()

    @property
    def generator(self) -> ModelTable:
        """The table of a task that tunes a generator."""
        assert isinstance(self.model, ModelTable), "a task with a network of its own asks for no adapter"
        return self.model

    @property
    def frozen_lora(self) -> str | None:
        """The adapter of the base that stays as it is, if any."""
        return self.model.lora if isinstance(self.model, ModelTable) else None


_TABLES = ("model", "data", "objective", "train", "samples")
_ALTERNATIVES = {"preset": "learning_rate", "learning_rate": "preset"}
Tables = dict[str, type[Spec]]
"""The class of every table by its dotted name, as far as the values of a config choose it."""
_OWN_TABLES: Tables = {"model": ModelTable, "train": TrainTable, "samples": SamplesTable}


def read_train_config(path: Path, *, changes: Sequence[str] = ()) -> TrainConfig:
    """The validated config, with `changes` ("table.key=value", as --set takes them) laid over the file.

    Under another objective.kind, keys of the file's [objective] that this one does not have make way.
    Raises: ConfigError naming the file or flag, the key, the value and, for an unknown key, the closest known one.
    """
    values = _read(path)
    said = {change.partition("=")[0].strip() for change in changes}
    for change in changes:
        _change(values, change, said=said)
    if "objective.kind" in said:
        _make_way(values, said=said)
    mistakes, config = _validated(values, said=said)
    if config is not None:
        return config
    placed = [_placed(mistake, path=path, changes=changes) for mistake in mistakes]
    if len(placed) == 1:
        raise ConfigError(placed[0])
    lines = "".join(f"\n  {mistake}" for mistake in placed)
    raise ConfigError(f"{path}: expected a sound config, got {len(placed)} mistakes; correct each:{lines}")


def _placed(mistake: str, *, path: Path, changes: Sequence[str]) -> str:
    """The mistake with where it stands: the flag that set its key or a table around it, else the file."""
    key, _, rest = mistake.partition(": ")
    for change in reversed(changes):
        name = change.partition("=")[0].strip()
        if f"{key}.".startswith(f"{name}."):
            inner = "" if key == name else f"{key}: "
            return f"--set {change}: {inner}{rest}"
    return f"{path}, {mistake}"


def _validated(values: dict[str, Any], *, said: set[str]) -> tuple[list[str], TrainConfig | None]:
    """The mistakes of all tables, or the config where there is none.

    A mistake that the command line made in a table known here is told alone: the other tables belong to tasks and
    objectives, which import torch.
    """
    task = values.get("task", "pairs")
    if task not in TASKS:
        return [f"task: expected {_one_of(TASKS)}, got {task!r}; {_nearest(task, TASKS)}."], None
    if hasty := [mistake for mistake in _own_mistakes(values) if _is_said(mistake, said=said)]:
        return hasty, None
    mistakes = [_moved(key) for key in values if key not in {"task", *_TABLES}]
    kinds, given = task_of(task).objectives, values.get("objective")
    kind = str(given.get("kind")) if isinstance(given, dict) else ""
    tables: Tables = {"model": model_table(task_of(task)), "data": task_of(task).data}
    if kind in kinds:
        tables["objective"] = kinds[kind]()
    else:
        mistakes.append(_no_kind(given, kinds=kinds))
    tables |= {"train": TrainTable, "samples": SamplesTable}
    found: dict[str, Spec] = {}
    for name, table in tables.items():
        try:
            found[name] = table.model_validate(values.get(name, {}))
        except ValidationError as error:
            mistakes += [_mistake(item, table=name, tables=_with_inner(tables)) for item in error.errors()]
    mistakes += _too_large(found.get("data"))
    return mistakes, None if mistakes else TrainConfig(task=task, **found)  # pyright: ignore[reportArgumentType] by name


def model_table(task: type[Any]) -> type[BaseTable]:
    """What [model] may hold: a generator and an adapter, unless the task has a network of its own."""
    return task.model if owns_network(task) else ModelTable


def _own_mistakes(values: dict[str, Any]) -> list[str]:
    """Those of the tables that are the same for every task, but for keys that may belong to another table."""
    mistakes: list[str] = []
    known = _OWN_TABLES if values.get("task", "pairs") == "pairs" else {**_OWN_TABLES, "model": BaseTable}
    for name, table in known.items():
        try:
            table.model_validate(values.get(name, {}))
        except ValidationError as error:
            sure = [item for item in error.errors() if item["type"] != "extra_forbidden" or _is_slip(item, table)]
            mistakes += [_mistake(item, table=name, tables=_OWN_TABLES) for item in sure]
    return mistakes


def _is_slip(item: Any, table: type[Spec]) -> bool:
    """Whether an unknown key is nearly one of the table, and so hardly one of another."""
    return bool(difflib.get_close_matches(str(item["loc"][-1]), table.model_fields, n=1, cutoff=0.7))


def _is_said(mistake: str, *, said: set[str]) -> bool:
    key = mistake.partition(": ")[0]
    return any(f"{key}.".startswith(f"{name}.") for name in said)


def _too_large(data: Spec | None) -> list[str]:
    """What is wrong with the size of pictures, where a task's data have one."""
    size = getattr(data, "size", None)
    if not isinstance(size, int) or size <= MAX_DATA_SIDE:
        return []
    took = f"{size * size * 4 * 128 / 1e9:,.0f} GB for one picture in the autoencoder (128 channels of float32 a px)"
    return [f"data.size: expected at most {MAX_DATA_SIDE} px, got {size}, which takes {took}; lower it."]


def _moved(key: str) -> str:
    """What is wrong with a table that is none of a config's."""
    if key == "focus":
        wanted = "focus: expected no such table, since it is part of the objective"
        return f"{wanted}; write it as [objective.focus] for focus_dpo, delete it for others."
    return f"{key}: expected a known key, got {key!r}; {_nearest(key, _TABLES)}."


def _no_kind(given: Any, *, kinds: Iterable[str]) -> str:
    """What is wrong with an objective whose options cannot be told."""
    if isinstance(given, dict) and "kind" not in given and "name" in given:
        return f'objective.name: expected kind, got name; write kind = "{given["name"]}".'
    if not isinstance(given, dict) or "kind" not in given:
        return "objective.kind: expected a value, got none; add it."
    kind = given["kind"]
    return f"objective.kind: expected {_one_of(kinds)}, got {kind!r}; {_nearest(kind, kinds)}."


def _one_of(names: Iterable[str]) -> str:
    *most, last = (repr(name) for name in names)
    return f"{', '.join(most)} or {last}" if most else last


def _with_inner(tables: Tables) -> Tables:
    """The tables and those inside them, by dotted names."""
    fields = {f"{name}.{key}": field for name, table in tables.items() for key, field in table.model_fields.items()}
    kinds = {name: field.annotation for name, field in fields.items()}
    return tables | {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Spec)}


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        what = error.strerror or error
        raise ConfigError(f"{path}: expected a TOML file, got {what}; see the recipes folder.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML, got {error}; correct the file.") from None


def _change(values: dict[str, Any], change: str, *, said: set[str]) -> None:
    """Sets one value; a key of the file that excludes it makes way, unless the command line `said` that one too."""
    name, equals, text = change.partition("=")
    table, _, key = name.strip().rpartition(".")
    if not (equals and table and key and text.strip()):
        raise ConfigError(f"--set: expected table.key=value, got {change!r}; for example objective.beta=500.")
    first = table.partition(".")[0]
    if first not in {*_TABLES, "focus"}:
        wanted = f"a table among {', '.join(_TABLES)}"
        raise ConfigError(f"--set {change}: expected {wanted}, got {first}; {_nearest(first, _TABLES)}.")
    inside: Any = values
    for part in table.split("."):
        inside = inside.setdefault(part, {}) if isinstance(inside, dict) else None
    if isinstance(inside, dict):
        inside[key] = _value(text.strip())
        other = _ALTERNATIVES.get(key, "")
        if f"{table}.{other}" not in said:
            inside.pop(other, None)


def _make_way(values: dict[str, Any], *, said: set[str]) -> None:
    """[objective] without keys that its kind does not have, but for those that the command line said."""
    task, table = values.get("task", "pairs"), values["objective"]
    kinds = task_of(task).objectives if task in TASKS and isinstance(table, dict) else {}
    kind = next((kind for kind in kinds if kind == table["kind"]), None)
    for key in [] if kind is None else [key for key in table if key not in kinds[kind]().model_fields]:
        if not any(f"{name}.".startswith(f"objective.{key}.") for name in said):
            del table[key]


def _value(text: str) -> Any:
    """What TOML reads, else the text itself, so that words need no quotes on the command line."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _mistake(item: Any, *, table: str, tables: Tables) -> str:
    """One mistake of pydantic's list as "key: expected X, got Y; what to do."."""
    key = ".".join([table, *map(str, item["loc"])])
    kind = item["type"]
    if kind == "extra_forbidden":
        place, _, name = key.rpartition(".")
        elsewhere = [other for other, fields in tables.items() if name in fields.model_fields and other != place]
        advice = f"did you mean {elsewhere[0]}.{name}" if elsewhere else _nearest(name, tables[place].model_fields)
        return f"{key}: expected a known key, got {name!r}; {advice}."
    if kind == "missing":
        return f"{key}: expected a value, got none; add it."
    if kind == "value_error":
        return f"{key}: {item['msg'].removeprefix('Value error, ')}."
    return wrong_value(key, item)


def _nearest(name: object, known: Iterable[str]) -> str:
    """Advice: the closest known name, or all there are."""
    return closest(str(name), known, otherwise=f"known are {', '.join(known)}")


def config_toml(config: TrainConfig) -> str:
    """The config as TOML that reads back equal; what is None is left out."""
    tables = config.model_dump()
    task = tables.pop("task")
    lines = [] if task == "pairs" else [f"task = {_toml(task)}", ""]
    for name, values in tables.items():
        lines += _table(name, values)
    return "\n".join(lines)


def _table(name: str, values: dict[str, Any]) -> list[str]:
    lines, inner = [f"[{name}]"], list[str]()
    for key, value in values.items():
        if isinstance(value, dict):
            inner += _table(f"{name}.{key}", value)
        elif value is not None:
            lines.append(f"{key} = {_toml(value)}")
    return [*lines, "", *inner]


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        items: Sequence[object] = value
        return f"[{', '.join(_toml(item) for item in items)}]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON allows a bare DEL, TOML does not
    return repr(value)
