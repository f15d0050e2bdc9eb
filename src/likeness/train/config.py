"""The TOML file of `likeness train`: one frozen table per part, unknown keys refused with the closest known one.

Defaults stand where a paper or the design note gives one: FocusDPO (arXiv:2509.01181v1) section 5.1 for rank, tau,
gamma and steps; Diffusion-DPO (arXiv:2311.12908) for beta's scale; UNO (arXiv:2504.02160) for times and optimizer.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal  # Any: parsed TOML is open until the tables have checked it

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from likeness.core.errors import ConfigError

__all__ = [
    "LEARNING_RATES",
    "DataTable",
    "FocusTable",
    "ModelTable",
    "ObjectiveTable",
    "TrainConfig",
    "TrainTable",
    "config_toml",
    "read_train_config",
]

LEARNING_RATES = {
    "paper_literal": 1e-8,  # as printed; cannot move a LoRA (Adam moves an entry by at most lr a step)
    "paper_scaled": 1e-8 * 1 * 128 * 8,  # Diffusion-DPO's --scale_lr: batch x accumulation 128 x 8 GPUs
    "practical": 1e-5,
}
"""What the presets stand for. Source: note section 5."""


class _Table(BaseModel):
    # strict: "true" is no boolean and 1.5 no count; whole numbers are read where fractions may stand
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class ModelTable(_Table):
    """What is tuned: `base` and the frozen UNO adapter `lora` (embedded name, folder or hub id); ours is rank/alpha."""

    base: str = Field(min_length=1)
    lora: str | None = None
    rank: int = Field(default=32, ge=1)
    alpha: float = Field(default=32.0, gt=0)


class DataTable(_Table):
    """`pairs`: folder with pairs.jsonl. `cache`: where encoded pairs are kept (default: `pairs`/cache).

    `split` names the rows used. `size`: long side of the pictures in px, None for their own. `limit`: the first rows.
    """

    pairs: str = Field(min_length=1)
    cache: str | None = None
    split: Literal["train", "validation", "test"] = "train"
    size: int | None = Field(default=None, ge=16)
    limit: int | None = Field(default=None, ge=1)


class ObjectiveTable(_Table):
    """The loss. `sft_anchor` times the policy's error on the preferred picture is added, against falling likelihoods.

    `patch_encoder` gives PatchDPO its patch features.
    """

    name: Literal["sft", "dpo", "patch_dpo", "focus_dpo"]
    beta: float = Field(default=2000.0, gt=0)
    weighting: Literal["uniform", "eps", "elbo"] = "uniform"
    reduction: Literal["mean", "sum", "area"] = "mean"
    sft_anchor: float = Field(default=0.0, ge=0)
    patch_encoder: str = "dino"

    @model_validator(mode="after")
    def _sets_only_what_it_reads(self) -> "ObjectiveTable":
        for key in _UNREAD.get(self.name, ()):
            default, given = type(self).model_fields[key].default, getattr(self, key)
            if given != default:
                raise ValueError(
                    f"{key}: expected {default!r}, since {self.name} does not read it, got {given!r}; delete it"
                )
        return self


_UNREAD = {"sft": ("weighting", "sft_anchor"), "patch_dpo": ("weighting", "reduction", "sft_anchor")}
"""Keys of [objective] that an objective ignores."""


class FocusTable(_Table):
    """The focus maps (note section 4). Read by focus_dpo; the others only show them in their maps."""

    mode: Literal["full", "prior", "md", "no_prior", "no_ms", "no_md", "uniform"] = "full"
    tau: float = Field(default=0.1, ge=0, le=1)
    gamma: float = Field(default=0.3, ge=0, le=1)
    features: Literal["attention_input", "block_output", "attention_output", "query", "key"] = "attention_input"
    layers: str | None = None
    center: bool = False
    per_subject: bool = True
    exclusive: bool = False
    source: Literal["policy", "ref"] = "policy"
    entropy: Literal["kde32", "hist256"] = "kde32"
    weight_power: Literal[1, 2] = 2

    @field_validator("layers")
    @classmethod
    def _is_a_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"expected a regular expression, got {value!r} ({error}); correct it") from None
        return value


class TrainTable(_Table):
    """The loop. One step takes batch_size x accumulation x processes pairs. Times t lie in [0.001, 0.999].

    `learning_rate` excludes `preset`. `ema` averages the adapter with that decay (None: off). `spike_factor` stops a
    run whose loss or gradient norm exceeds that multiple of its median (0: only non-finite numbers stop it).
    """

    steps: int = Field(default=2000, ge=1)
    batch_size: int = Field(default=1, ge=1)
    accumulation: int = Field(default=1, ge=1)
    preset: Literal["paper_literal", "paper_scaled", "practical"] | None = None
    learning_rate: float | None = Field(default=None, gt=0)
    warmup: int = Field(default=100, ge=0)
    clip: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    ema: float | None = Field(default=None, gt=0, lt=1)
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    gradient_checkpointing: bool = False
    t_sampler: Literal["uno_shift", "uniform", "logit_normal"] = "uno_shift"
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


class TrainConfig(_Table):
    """Everything that decides what a run computes."""

    model: ModelTable
    data: DataTable
    objective: ObjectiveTable
    focus: FocusTable = FocusTable()
    train: TrainTable = TrainTable()


_TABLES: dict[str, type[_Table]] = {
    "model": ModelTable,
    "data": DataTable,
    "objective": ObjectiveTable,
    "focus": FocusTable,
    "train": TrainTable,
}


def read_train_config(path: Path, *, changes: Sequence[str] = ()) -> TrainConfig:
    """The validated config, with `changes` ("table.key=value", as --set takes them) laid over the file.

    Raises: ConfigError naming the file or flag, the key, the value and, for an unknown key, the closest known one.
    """
    values = _read(path)
    said = {change.partition("=")[0].strip() for change in changes}
    for change in changes:
        _change(values, change, said=said)
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        mistakes = [_mistake(item) for item in error.errors()]
    if len(mistakes) == 1:
        raise ConfigError(f"{path}, {mistakes[0]}")
    lines = "".join(f"\n  {mistake}" for mistake in mistakes)
    raise ConfigError(f"{path}: expected a sound config, got {len(mistakes)} mistakes; correct each:{lines}")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        what = error.strerror or error
        raise ConfigError(f"{path}: expected a TOML file, got {what}; see the recipes folder.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: expected TOML, got {error}; correct the file.") from None


def _change(values: dict[str, Any], change: str, *, said: set[str]) -> None:
    """Sets one value; a key of the file that excludes it makes way, unless the command line `said` that one too."""
    name, equals, text = change.partition("=")
    table, dot, key = name.strip().partition(".")
    if not (equals and dot and key and text.strip()):
        raise ConfigError(f"--set: expected table.key=value, got {change!r}; for example objective.beta=500.")
    if table not in _TABLES:
        near = _nearest(table, list(_TABLES))
        raise ConfigError(f"--set {change}: expected a table among {', '.join(_TABLES)}, got {table}; {near}.")
    inside = values.setdefault(table, {})
    if isinstance(inside, dict):
        inside[key] = _value(text.strip())
        other = _ALTERNATIVES.get(key, "")
        if f"{table}.{other}" not in said:
            inside.pop(other, None)


_ALTERNATIVES = {"preset": "learning_rate", "learning_rate": "preset"}


def _value(text: str) -> Any:
    """What TOML reads, else the text itself, so that words need no quotes on the command line."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _mistake(item: Any) -> str:
    """One mistake of pydantic's list as "key: expected X, got Y; what to do."."""
    key = ".".join(str(part) for part in item["loc"])
    message, kind = item["msg"].removeprefix("Value error, "), item["type"]
    if kind == "extra_forbidden":
        table, _, name = key.rpartition(".")
        return f"{key}: expected a known key, got {name!r}; {_nearest(name, _known(table), table=table)}."
    if kind == "missing":
        return f"{key}: expected a value, got none; add it."
    if kind == "value_error":
        return f"{key}: {message}."
    lowered = message[:1].lower() + message[1:]
    wanted = lowered.removeprefix("input should be ")
    return f"{key}: expected {wanted}, got {item['input']!r}; correct it."


def _known(table: str) -> list[str]:
    return list(_TABLES[table].model_fields if table in _TABLES else _TABLES)


def _nearest(name: str, known: list[str], *, table: str = "") -> str:
    """Advice: the same name in another table, the closest known one, or all there are."""
    elsewhere = [other for other, fields in _TABLES.items() if name in fields.model_fields and other != table]
    if elsewhere:
        return f"did you mean {elsewhere[0]}.{name}"
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean {close[0]}"
    return f"known are {', '.join(known)}"


def config_toml(config: TrainConfig) -> str:
    """The config as TOML that reads back equal; what is None is left out."""
    lines: list[str] = []
    for table, values in config.model_dump().items():
        lines.append(f"[{table}]")
        lines += [f"{key} = {_toml(value)}" for key, value in values.items() if value is not None]
        lines.append("")
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON allows a bare DEL, TOML does not
    return repr(value)
