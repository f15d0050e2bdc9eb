"""Reads a LoRA file of any tool into what it does to each layer, or refuses it: nothing in a file is skipped.

A file holds pairs of matrices, down (rank, in) and up (out, rank); the weight of a layer changes by
alpha / rank * up @ down. alpha is a tensor of the file, or stands among peft's settings (in the header, or in
adapter_config.json beside the file), else it is the rank. Which layers a name in the file means is up to the backbone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from likeness.backbones.lora_settings import LoraSettings, header_settings, peft_settings
from likeness.core.errors import WeightsError
from likeness.core.weights import check_safetensors, resolve_adapter

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "TEXT_PARTS",
    "Change",
    "Find",
    "LoraFile",
    "Target",
    "found_by",
    "read_lora",
    "swap_halves",
    "text_parts",
    "up_matrices",
]

_FILE_NAMES = ("dit_lora.safetensors", "pytorch_lora_weights.safetensors", "adapter_model.safetensors")
_PEFT_PREFIX = "base_model.model."
_PREFIXES = (
    *("model.diffusion_model.", "diffusion_model.", "transformer.", "unet."),
    *("lora_unet_", "lora_transformer_", "lycoris_"),
)
_MATRIX = re.compile(
    r"(?P<module>.+?)\.(?:lora_(?P<letter>[AB])(?:\.(?P<adapter>\w+))?"
    r"|(?:lora_|lora\.|lora_linear_layer\.|)(?P<way>down|up))\.weight"
)
TEXT_PARTS = ("text_encoder", "text_encoder_2")
"""Text encoders as diffusers calls them in files, which a backbone may read beside its network."""
_TEXT = re.compile(r"(?:base_model\.model\.)?(?:text_encoders?(?:_\d)?\.|lora_te\d?_|text_model\.)")
_OTHER_KINDS = {
    "DoRA": re.compile(r"dora_scale|lora_magnitude_vector"),
    "LoKr": re.compile(r"\blokr_"),
    "LoHa": re.compile(r"\bhada_"),
    "OFT": re.compile(r"\bb?oft_"),
    "IA3": re.compile(r"\bia3_|\.on_input$"),
    "LoCon with a middle matrix": re.compile(r"\blora_mid\b"),
    "a LoRA with biases": re.compile(r"\.bias$"),
    "full differences of weights": re.compile(r"\.(diff|diff_b|set_weight|set_bias)$"),
    "a control LoRA with its own norms": re.compile(r"(query_norm|key_norm)\.scale$|\.norm_\w+\.weight$"),
}


class Target(NamedTuple):
    """A layer that a name in a file means; where a name means several, each takes its own rows of `up`, in order.

    `swapped`: the halves of the rows of `up` change places, since the file's network orders them the other way round.
    """

    layer: str
    swapped: bool = False


Find = Callable[[str], Sequence[Target]]
"""The layers that the name of a module in a file means; none for a name that the network does not have."""

Stack = tuple[str, str, Mapping[str, str]]
"""A row of blocks: its name in the original code and in diffusers, and name in a block -> layers in ours, by spaces."""


def found_by(
    layers: Mapping[str, object], *, whole: Mapping[str, str], stacks: Sequence[Stack], last: Mapping[str, Target]
) -> Find:
    """Finds diffusers' names and, as far as the network has their layers, those of the original code.

    `whole` and `last` are layers outside of the stacks. Every name is also found with "_" for every ".".
    """
    names: dict[str, tuple[Target, ...]] = {name: (Target(layer),) for name, layer in whole.items()}
    names |= {name: (target,) for name, target in last.items()}
    for original, ours, table in stacks:
        for number in {layer.split(".")[1] for layer in layers if layer.startswith(f"{ours}.")}:
            for name, parts in table.items():
                names[f"{original}.{number}.{name}"] = tuple(Target(f"{ours}.{number}.{p}") for p in parts.split())
    known = {name: targets for name, targets in names.items() if all(target.layer in layers for target in targets)}
    meanings = {layer: (Target(layer),) for layer in layers} | known
    flat = {name.replace(".", "_"): targets for name, targets in meanings.items()}
    return lambda name: meanings.get(name) or flat.get(name, ())


@dataclass(frozen=True)
class Change:
    """What a file does to one layer: its weight (out, in) += alpha / rank * up (out, rank) @ down (rank, in); fp32."""

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        """Rows of `down`, columns of `up`."""
        return self.down.shape[0]

    @property
    def acts(self) -> bool:
        """False when a matrix is all zeros, so that the layer stays as it is."""
        return bool(self.down.any()) and bool(self.up.any())


class LoraFile(NamedTuple):
    """What the file at `path` does, by layer; `settings` is the adapter_config.json that had its say, if one had.

    `modules` are the names of its pairs of matrices, without the prefixes of tools. `embeddings`: how many tables of
    token embeddings get rows for words that come with it. `text`: what it does to text encoders, by part and layer.
    """

    path: Path
    settings: Path | None
    changes: dict[str, Change]
    modules: tuple[str, ...]
    embeddings: int = 0
    text: Mapping[str, Mapping[str, Change]] = MappingProxyType({})

    @property
    def num_layers(self) -> int:
        """Layers that are other with the file than without it."""
        networks = (self.changes, *self.text.values())
        return sum(change.acts for changes in networks for change in changes.values()) + self.embeddings


class _Module(NamedTuple):
    """A module of a file: its name there, and the keys of its tensors by part: "down", "up", perhaps "alpha"."""

    name: str
    keys: dict[str, str]

    @property
    def plain(self) -> str:
        """Its name without the prefixes that tools put before it."""
        name = self.name.removeprefix(_PEFT_PREFIX)
        return next((name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix)), name)


def text_parts(spec: str | Path) -> tuple[str, ...]:
    """Those of TEXT_PARTS that a LoRA changes, by the names of its tensors. Raises: WeightsError."""
    from safetensors import safe_open

    path = _lora_path(spec)
    check_safetensors(path)
    with safe_open(path, framework="pt") as file:
        keys = list(file.keys())
    return tuple(part for part in TEXT_PARTS if any(key.startswith(f"{part}.") for key in keys))


def up_matrices(spec: str | Path) -> tuple[Path, tuple[str, ...]]:
    """The file of a LoRA and the names of its matrices "up", text encoders' among them.

    Raises: WeightsError for a file that is no LoRA.
    """
    from safetensors import safe_open

    path = _lora_path(spec)
    check_safetensors(path)
    with safe_open(path, framework="pt") as file:
        keys = sorted(file.keys())
    _require_lora_keys(path, keys, is_text=True)
    return path, tuple(module.keys["up"] for module in _modules(path, dict.fromkeys(keys)).values())


def read_lora(
    spec: str | Path,
    *,
    layers: Mapping[str, tuple[int, int]],
    find: Find,
    part: str | None = None,
    beside: Sequence[str] = (),
) -> LoraFile:
    """What a LoRA (a file, a folder or a hub id) does to a network with `layers`: name -> (out, in) of its weight.

    `part`: only the tensors of that part, a text encoder; those of the parts `beside` are for other calls.
    Raises: WeightsError naming file and key for anything that cannot be applied exactly, and for a LoRA that would
    leave every layer as it is.
    """
    path = _lora_path(spec)
    tensors, metadata = _read(path, part=part, beside=beside)
    modules = _modules(path, tensors)
    settings = header_settings(path, metadata, part=part)
    if settings is None and (path.name == _FILE_NAMES[-1] or any(name.startswith(_PEFT_PREFIX) for name in modules)):
        settings = peft_settings(path)
    changes: dict[str, Change] = {}
    reading = _Reading(path, tensors, layers, settings or LoraSettings(path))
    for module, targets in _found(path, modules, find=find):
        changes |= reading.changes(module, targets)
    names = tuple(module.plain for module in modules.values())
    made = LoraFile(path, settings.where if settings and settings.where != path else None, changes, names)
    if not made.num_layers:
        got = f"{len(changes)} pairs of which one matrix is all zeros" if changes else "no tensors"
        raise WeightsError(f"{path}: expected a LoRA that changes a layer, got {got}; name a trained one.")
    return made


def _lora_path(spec: str | Path) -> Path:
    """The file `spec` means; in a folder the one with a usual name, else its only safetensors."""
    place = resolve_adapter(spec)
    if place.is_file():
        return place
    usual = [place / name for name in _FILE_NAMES if (place / name).is_file()]
    found = usual or sorted(place.glob("*.safetensors"))
    if len(found) != 1:
        got = ", ".join(path.name for path in found[:3]) or "none"
        wanted = f"{place}: expected one LoRA file, such as {' or '.join(_FILE_NAMES)}"
        raise WeightsError(f"{wanted}, got {got}; name the file itself.")
    return found[0]


# the file ------------------------------------------------------------------------------------------------------------


def _read(path: Path, *, part: str | None, beside: Sequence[str]) -> tuple[dict[str, Tensor], Mapping[str, str]]:
    """The tensors of the part, or all but those beside, sound and in fp32, and the header's texts."""
    from safetensors import SafetensorError, safe_open

    check_safetensors(path)
    try:
        with safe_open(path, framework="pt") as file:
            others = tuple(f"{name}." for name in beside)
            held: list[str] = sorted(file.keys())
            keys = [key for key in held if (key.startswith(f"{part}.") if part else not key.startswith(others))]
            _require_lora_keys(path, keys, is_text=part is not None)
            start = f"{part}." if part else ""
            found = {key.removeprefix(start): _sound(path, key, file.get_tensor(key)) for key in keys}
            return found, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        reason = str(error).strip().split("\n")[0]
        raise WeightsError(f"{path}: expected a safetensors file, got {reason}; download it again.") from error


def _require_lora_keys(path: Path, keys: Sequence[str], *, is_text: bool) -> None:
    """Raises: WeightsError naming the kind of adapter when it is another than LoRA on the network."""
    if text := [] if is_text else [key for key in keys if _TEXT.match(key)]:
        got = f"a part for the text encoder ({len(text)} of {len(keys)} tensors, first {text[0]})"
        raise WeightsError(
            f"{path}: expected a LoRA of the transformer alone, got {got}; "
            "it would be left out: remove these tensors if you want that (docs/loras.md), or train without them."
        )
    for kind, mark in _OTHER_KINDS.items():
        if found := [key for key in keys if mark.search(key)]:
            got = f"{kind} ({len(found)} of {len(keys)} tensors, first {found[0]})"
            raise WeightsError(f"{path}: expected a plain LoRA, got {got}; merge it or convert it to LoRA first.")


def _sound(path: Path, key: str, tensor: Tensor) -> Tensor:
    """The tensor in fp32. Raises: WeightsError for values that no LoRA holds."""
    is_alpha = key.endswith(".alpha")
    if not (tensor.is_floating_point() or (is_alpha and not tensor.is_complex() and tensor.dtype.itemsize > 1)):
        got = f"{key} of {str(tensor.dtype).removeprefix('torch.')}"
        raise WeightsError(f"{path}: expected floating-point tensors, got {got}; convert the file to bf16 or fp32.")
    tensor = tensor.float()
    if not tensor.isfinite().all():
        raise WeightsError(f"{path}: expected finite numbers, got NaN or infinity in {key}; get an undamaged copy.")
    if is_alpha and (tensor.numel() != 1 or not tensor.item()):
        got = f"{key} {tensor.flatten().tolist()[:3]} of shape {tuple(tensor.shape)}"
        raise WeightsError(f"{path}: expected one number other than 0 as alpha, got {got}; correct the file.")
    return tensor


def _part(key: str) -> tuple[str, str, str | None]:
    """Module, part and name of peft's adapter that a key means; part "" for a key that is no part of a LoRA."""
    if match := _MATRIX.fullmatch(key):
        parts = {"A": "down", "B": "up"}
        return match["module"], parts.get(match["letter"], match["way"]), match["adapter"]
    module, dot, last = key.rpartition(".")
    return (module, "alpha", None) if dot and last == "alpha" else (key, "", None)


def _modules(path: Path, keys: Mapping[str, object]) -> dict[str, _Module]:
    """The modules of the file. Raises: WeightsError for keys that are left over, and for a half without the other."""
    parts = {key: _part(key) for key in keys}
    if strangers := [key for key, (_, part, _) in parts.items() if not part]:
        got = f"{len(strangers)} of {len(parts)} tensors that are no part of one, first {_some(strangers)}"
        raise WeightsError(f"{path}: expected pairs of LoRA matrices, got {got}; export the LoRA alone.")
    if len(adapters := sorted({name for _, _, name in parts.values() if name})) > 1:
        raise WeightsError(f"{path}: expected one adapter, got {', '.join(adapters)}; save each to a file of its own.")
    modules: dict[str, _Module] = {}
    for key, (name, part, _) in parts.items():
        held = modules.setdefault(name, _Module(name, {})).keys
        if part in held:
            raise WeightsError(f"{path}: expected each matrix once, got {held[part]} and {key}; remove one of them.")
        held[part] = key
    for module in modules.values():
        if missing := [part for part in ("down", "up") if part not in module.keys]:
            got = f"{_some(sorted(module.keys.values()))} without its {' and '.join(missing)} matrix"
            raise WeightsError(f"{path}: expected pairs of LoRA matrices, got {got}; the file is incomplete.")
    return modules


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3])


# the network ---------------------------------------------------------------------------------------------------------


def _found(path: Path, modules: Mapping[str, _Module], *, find: Find) -> Iterator[tuple[_Module, Sequence[Target]]]:
    """Each module with its layers. Raises: WeightsError when it has none, or when two mean the same layer."""
    found = {name: find(module.plain) for name, module in modules.items()}
    if strangers := [modules[name].keys["down"] for name, targets in found.items() if not targets]:
        got = f"{len(strangers)} of {len(found)} for layers it does not have, first {_some(strangers)}"
        raise WeightsError(f"{path}: expected LoRA layers of this transformer, got {got}; check the base model.")
    meant = Counter(target.layer for targets in found.values() for target in targets)
    if twice := [layer for layer, count in meant.items() if count > 1]:
        names = [name for name, targets in found.items() if any(target.layer == twice[0] for target in targets)]
        raise WeightsError(f"{path}: expected each layer once, got {' and '.join(names)}; remove one of them.")
    return ((modules[name], targets) for name, targets in found.items())


class _Reading(NamedTuple):
    """The tensors of a file on their way to the layers of a network."""

    path: Path
    tensors: Mapping[str, Tensor]
    layers: Mapping[str, tuple[int, int]]
    settings: LoraSettings

    def changes(self, module: _Module, targets: Sequence[Target]) -> dict[str, Change]:
        """What a module does to each of its layers. Raises: WeightsError for a shape that does not fit."""
        down, up = (self.tensors[module.keys[part]] for part in ("down", "up"))
        sizes = [self.layers[target.layer] for target in targets]
        rank, heights = down.shape[0] if down.ndim else 0, [out for out, _ in sizes]
        self._require_shape(module.keys["down"], (max(rank, 1), sizes[0][1]))
        self._require_shape(module.keys["up"], (sum(heights), rank))
        alpha, made = self._alpha(module, rank=rank), dict[str, Change]()
        for target, rows in zip(targets, up.split(heights), strict=True):
            made[target.layer] = Change(down, swap_halves(rows) if target.swapped else rows, alpha)
        return made

    def _require_shape(self, key: str, wanted: tuple[int, int]) -> None:
        if (got := tuple(self.tensors[key].shape)) != wanted:
            raise WeightsError(
                f"{self.path}: expected a LoRA for this transformer, with shape {wanted} for {key}, got {got}; "
                "check the base model."
            )

    def _alpha(self, module: _Module, *, rank: int) -> float:
        said = self.settings.alpha_of(module.plain, rank=rank)
        if "alpha" not in module.keys:
            return float(rank) if said is None else said
        alpha = float(self.tensors[module.keys["alpha"]])
        if said is not None and said != alpha:
            got = f"{module.keys['alpha']} {alpha:g} but {said:g} in {self.settings.where}"
            raise WeightsError(f"{self.path}: expected one alpha per layer, got {got}; remove one of them.")
        return alpha


def swap_halves(rows: Tensor) -> Tensor:
    """The rows with their halves in the other order."""
    from diffusers.loaders.lora_conversion_utils import swap_scale_shift

    return swap_scale_shift(rows)
