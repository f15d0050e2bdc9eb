"""peft's settings of a LoRA: how strong it is, module by module; and which of its settings cannot be kept."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite, sqrt
from pathlib import Path
from typing import Any, TypeVar  # Any: settings are JSON

from likeness.core.errors import DataError, WeightsError
from likeness.core.files import read_json

__all__ = ["LoraSettings", "header_settings", "peft_settings"]

_Number = TypeVar("_Number", int, float)
_HEADER_KEY = "lora_adapter_metadata"
_PREFIXES = ("transformer.", "unet.", "")  # a network alone, saved by its own `save_lora_adapter`, has none
_HARMLESS_INITS = (True, False, None, "gaussian", "eva", "orthogonal")  # the others change the base as well


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and value != 0


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_pattern(value: Any, *, of: Callable[[Any], bool]) -> bool:
    return isinstance(value, dict) and all(of(number) for number in value.values())


_CHECKS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "peft_type": ("LORA", lambda value: value == "LORA"),
    "r": ("a rank of at least 1", _is_rank),
    "lora_alpha": ("a number other than 0", _is_number),
    "rank_pattern": ("an object of ranks", lambda value: _is_pattern(value, of=_is_rank)),
    "alpha_pattern": ("an object of numbers", lambda value: _is_pattern(value, of=_is_number)),
    "use_rslora": ("true or false", lambda value: isinstance(value, bool)),
    "use_dora": ("false (DoRA cannot be applied)", lambda value: value is False),
    "lora_bias": ("false", lambda value: value is False),
    "bias": ("none", lambda value: value == "none"),
    "init_lora_weights": ("one that leaves the base as it is", lambda value: value in _HARMLESS_INITS),
}


@dataclass(frozen=True)
class LoraSettings:
    """What stands at `where` about strength; a pattern's numbers go before the ones for all modules."""

    where: Path
    rank: int | None = None
    alpha: float | None = None
    rank_pattern: Mapping[str, int] = field(default_factory=dict[str, int])
    alpha_pattern: Mapping[str, float] = field(default_factory=dict[str, float])
    rslora: bool = False

    def alpha_of(self, module: str, *, rank: int) -> float | None:
        """The alpha by which scale = alpha / `rank` for the module; None where nothing is said.

        Raises: WeightsError when the settings are of a file with other ranks.
        """
        wanted = _matching(self.rank_pattern, module, where=self.where, otherwise=self.rank)
        if wanted not in (None, rank):
            got = f"rank {wanted} where its matrices have {rank}"
            raise WeightsError(f"{self.where}: expected the settings of this LoRA, got {got} ({module}); restore them.")
        alpha = _matching(self.alpha_pattern, module, where=self.where, otherwise=self.alpha)
        return None if alpha is None else float(alpha) * (sqrt(rank) if self.rslora else 1.0)


def _matching(pattern: Mapping[str, _Number], module: str, *, where: Path, otherwise: _Number | None) -> _Number | None:
    """The number whose key, a regular expression for the end of a name, is the first to match: peft's own rule."""
    from peft.utils.other import get_pattern_key

    try:
        key = get_pattern_key(list(pattern), module)
    except re.error as error:
        raise WeightsError(f"{where}: expected patterns of module names, got {error}; correct them.") from error
    return pattern.get(key, otherwise)


def header_settings(path: Path, metadata: Mapping[str, str], *, part: str | None = None) -> LoraSettings | None:
    """The settings that diffusers writes into a file's header, if it did; those of the network, or of another `part`.

    Raises: WeightsError for other content.
    """
    if _HEADER_KEY not in metadata:
        return None
    try:
        found = json.loads(metadata[_HEADER_KEY])
    except (ValueError, RecursionError) as error:
        wanted = f"{path}: expected JSON as {_HEADER_KEY} in the header"
        raise WeightsError(f"{wanted}, got {error}; save it again.") from error
    prefixes = _PREFIXES if part is None else (f"{part}.",)
    return _settings(path, found, at=f"{path}: {_HEADER_KEY} in the header", prefixes=prefixes)


def peft_settings(path: Path) -> LoraSettings | None:
    """The settings in adapter_config.json beside `path`, if there is one. Raises: WeightsError for other content."""
    beside = path.with_name("adapter_config.json")
    if not beside.is_file():
        return None
    try:
        found = read_json(beside)
    except DataError as error:
        raise WeightsError(str(error)) from error
    return _settings(beside, found, at=str(beside), prefixes=("",))


def _settings(where: Path, found: Any, *, at: str, prefixes: tuple[str, ...]) -> LoraSettings:
    if not isinstance(found, dict):
        raise WeightsError(f"{at}: expected an object of settings, got {type(found).__name__}; save the LoRA again.")
    ours = {key.removeprefix(prefix): v for key, v in found.items() for prefix in prefixes if key.startswith(prefix)}
    given = {key: value for key, value in ours.items() if key in _CHECKS and value is not None}
    for key, value in given.items():
        wanted, fits = _CHECKS[key]
        if not fits(value):
            raise WeightsError(f"{at}: expected {wanted} as {key}, got {value!r:.60}; save the LoRA again.")
    return LoraSettings(
        where,
        rank=given.get("r"),
        alpha=given.get("lora_alpha"),
        rank_pattern=given.get("rank_pattern", {}),
        alpha_pattern=given.get("alpha_pattern", {}),
        rslora=given.get("use_rslora", False),
    )
