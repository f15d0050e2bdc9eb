"""Opens diffusers pipeline folders part by part, so that every refusal names the file or part at fault."""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from likeness.core.errors import WeightsError
from likeness.core.files import read_json
from likeness.core.weights import require_configs

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch
    from _typeshed import DataclassInstance

SETTINGS = "likeness.json"
CONFIG, TOKENIZER, SCHEDULER = "config.json", "tokenizer_config.json", "scheduler_config.json"
_LOADING_FAILURES = (OSError, ValueError, RuntimeError, KeyError, TypeError)


class FolderFacts(NamedTuple):
    """A kind of folder: its pipeline and family as people call them, the config file of each part, and classes.

    `classes`: what `_class_name` in the config of a part must be; `weights`: the parts that have some.
    """

    pipeline: str
    family: str
    parts: Mapping[str, str]
    weights: tuple[str, ...]
    classes: Mapping[str, str]


# Any: the values are of the types that the defaults of `kind` have
def settings_given(folder: Path, kind: type[DataclassInstance]) -> dict[str, Any]:
    """What the folder's optional `likeness.json` says of the fields of `kind`. Raises: WeightsError."""
    path = folder / SETTINGS
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: expected a JSON object, got {error}; restore or delete it.") from error
    kinds: dict[str, type[Any]] = {field.name: type(field.default) for field in fields(kind)}
    if not isinstance(values, dict) or not values.keys() <= kinds.keys():
        got = sorted(set(values) - kinds.keys())
        raise WeightsError(f"{path}: expected keys among {', '.join(kinds)}, got {got}; correct it.")
    wrong = [name for name, value in values.items() if not _fits(value, kinds[name])]
    if wrong:
        wanted = ", ".join(f"{name}: {kinds[name].__name__}" for name in wrong)
        raise WeightsError(f"{path}: expected {wanted}, got {[values[name] for name in wrong]}; correct it.")
    return {name: kinds[name](value) for name, value in values.items()}


def _fits(value: object, kind: type) -> bool:
    if kind is bool:
        return isinstance(value, bool)
    if kind is tuple:
        return isinstance(value, list) and bool(value) and all(_fits(each, int) for each in value)
    allowed = (int, float) if kind is float else (int,)
    return isinstance(value, allowed) and not isinstance(value, bool) and value > 0


def check_folder(folder: Path, facts: FolderFacts, *, configs_only: bool = False) -> None:
    """The folder has every part of its pipeline, or the configs of those with weights.

    Raises: WeightsError listing what is missing.
    """
    index = folder / "model_index.json"
    parts = {part: name for part, name in facts.parts.items() if not configs_only or part in facts.weights}
    missing = [] if index.is_file() else ["model_index.json"]
    missing += [f"{part}/{name}" for part, name in parts.items() if not (folder / part / name).is_file()]
    files = [] if configs_only else facts.weights
    missing += [f"{part}/*.safetensors" for part in files if not any((folder / part).glob("*.safetensors"))]
    if missing:
        wanted = f"{folder}: expected a diffusers {facts.pipeline} folder, got one without {', '.join(missing)}"
        raise WeightsError(f"{wanted}; download it whole, or name another folder.")
    for part in ("", *parts):
        require_configs(folder / part)
    for part, wanted in facts.classes.items():
        path = folder / part / CONFIG
        try:
            name = json.loads(path.read_text(encoding="utf-8")).get("_class_name")
        except (OSError, ValueError, AttributeError) as error:
            raise WeightsError(f"{path}: expected a model config, got {error}; download it again.") from error
        if name != wanted:
            raise WeightsError(f"{path}: expected {wanted}, got {name}; name a {facts.family} folder.")


class PartsOnDemand:
    """Parts of a folder by name, each read when it is first asked for, and again after it was put away."""

    # Any, here and below: the stock classes have no common type; each is used as itself where it is kept
    def __init__(self, readers: Mapping[str, Callable[[], Any]]) -> None:
        self._readers = dict(readers)
        self._present: dict[str, Any] = {}
        self._changes: dict[str, list[Callable[[Any], object]]] = {}

    def get(self, name: str) -> Any:
        """The part; its file is read where it is not in memory. Raises: WeightsError."""
        if name not in self._present:
            with no_progress_bars():
                self._present[name] = self._readers[name]()
            try:
                for change in self._changes.get(name, ()):
                    change(self._present[name])
            except BaseException:
                del self._present[name]
                raise
        return self._present[name]

    def always(self, name: str, change: Callable[[Any], object]) -> None:
        """`change` is made to the part: now where it is in memory, and each time it is read."""
        self._changes.setdefault(name, []).append(change)
        if name in self._present:
            change(self._present[name])

    def present(self) -> dict[str, Any]:
        """The parts in memory."""
        return dict(self._present)

    @property
    def names(self) -> tuple[str, ...]:
        """Of all parts."""
        return tuple(self._readers)

    def put_away(self, *, but: str) -> None:
        """Every part but one leaves memory; what was changed of it by other means than `always` is lost."""
        self._present = {name: part for name, part in self._present.items() if name == but}

    def having(self, **parts: Any) -> PartsOnDemand:
        """The same parts with what is always changed of them, but for those given."""
        other = PartsOnDemand({**self._readers, **{name: lambda part=part: part for name, part in parts.items()}})
        other._present = {**self._present, **parts}
        other._changes = {name: list(each) for name, each in self._changes.items() if name not in parts}
        return other


class StoredParts:
    """Parts with weights under their names in the folder, read from `stored` when asked for; a subclass is a dataclass.

    Which stock classes they are, a subclass says.
    """

    stored: PartsOnDemand

    # Any: the annotations of diffusers and transformers refuse correct use (configs typed as dicts, results as tuples)
    @property
    def transformer(self) -> Any:
        """The network, where it is a transformer."""
        return self.stored.get("transformer")

    @property
    def vae(self) -> Any:
        """The autoencoder."""
        return self.stored.get("vae")

    @property
    def text_encoder(self) -> Any:
        """The text encoder, or the first of two."""
        return self.stored.get("text_encoder")

    @property
    def text_encoder_2(self) -> Any:
        """The second text encoder, where there are two."""
        return self.stored.get("text_encoder_2")


def picture_scale(folder: Path) -> int:
    """Pixels along the side of a latent cell, from the config of the folder's autoencoder. Raises: WeightsError."""
    path = folder / "vae" / CONFIG
    levels = read_json(path).get("block_out_channels")
    if not isinstance(levels, list) or not levels:
        raise WeightsError(f"{path}: expected block_out_channels, got {levels}; download it again.")
    return 2 ** (len(levels) - 1)


def empty_model(cls: Any, path: Path) -> Any:
    """The model of the config at `path` without weights, to look at its layers. Raises: WeightsError."""
    import torch

    with telling(path, f"the config of a {cls.__name__}", todo="download it again"), torch.device("meta"):
        return cls.from_config(json.loads(path.read_text(encoding="utf-8")))


def empty_part(cls: Any, folder: Path, *, dtype: torch.dtype) -> Any:
    """A model of diffusers or transformers by the config in its folder, without weights. Raises: WeightsError."""
    import torch

    path = folder / CONFIG
    if hasattr(cls, "from_config"):
        model = empty_model(cls, path)
    else:
        with telling(path, f"the config of a {cls.__name__}", todo="download it again"), torch.device("meta"):
            model = cls(cls.config_class.from_pretrained(folder, local_files_only=True))
    return torch.nn.Module.to(model, dtype).eval().requires_grad_(False)


@contextmanager
def telling(path: Path, wanted: str, *, todo: str) -> Generator[None, None, None]:
    """Raises: WeightsError with the first line of what a library cannot do within it."""
    try:
        yield
    except _LOADING_FAILURES as error:
        reason = str(error).strip().split("\n")[0]
        raise WeightsError(f"{path}: expected {wanted}, got {reason}; {todo}.") from error


def load_model(cls: Any, path: Path, *, dtype: torch.dtype, dtype_name: str) -> Any:
    """The frozen model with all its weights from the files. Raises: WeightsError naming the part."""
    options = {dtype_name: dtype, "local_files_only": True, "use_safetensors": True, "output_loading_info": True}
    with telling(path, f"weights of {cls.__name__}", todo="download it again"):
        model, info = cls.from_pretrained(path, **options)
    missing = sorted(info["missing_keys"])
    if missing:
        got = f"{len(missing)} tensors missing, first {missing[0]}"
        raise WeightsError(f"{path}: expected all weights of {cls.__name__}, got {got}; download it again.")
    return model.eval().requires_grad_(False)


def load_plain(cls: Any, path: Path) -> Any:
    """A tokenizer or scheduler, which has no weights. Raises: WeightsError naming the part."""
    with telling(path, f"a {cls.__name__}", todo="download it again"):
        return cls.from_pretrained(path, local_files_only=True)


@contextmanager
def no_progress_bars() -> Generator[None, None, None]:
    """Within it, transformers draws no bar per part; afterwards it does what it did before."""
    from transformers.utils import logging

    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_enabled:
            logging.enable_progress_bar()
