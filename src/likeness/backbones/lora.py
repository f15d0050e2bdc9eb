"""The trained adapter: low-rank matrices beside the frozen layers of a backbone's network, through peft.

Which layers, and how stock files call the network, is among the backbone's facts. LoRAs there before (UNO's own) stay
on as frozen adapters; ours is a further one. All are active in the policy, and the reference policy is the same network
while ours is off (`adapter_off`): no second copy of the weights.
Files are stock diffusers/peft safetensors, so that a pipeline's `load_lora_weights` reads them.
"""

from __future__ import annotations

import json
import re
import warnings
from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

import torch
from safetensors.torch import save

from likeness import __version__
from likeness.core.errors import ConfigError, WeightsError
from likeness.core.files import atomic_write_bytes, canonical_json

if TYPE_CHECKING:
    from likeness.backbones.base import BackboneFacts
    from likeness.backbones.lora_file import Change

__all__ = [
    "FILE_NAME",
    "OURS",
    "activate",
    "adapter_off",
    "adapter_parameters",
    "add_adapter",
    "add_changes",
    "add_loras",
    "layer_shapes",
    "layers_off",
    "load_adapter",
    "save_adapter",
    "save_adapters",
    "tuned_layers",
    "write_tensors",
]

FILE_NAME = "pytorch_lora_weights.safetensors"
"""The name under which stock loaders look for an adapter in a folder."""

OURS = "likeness."
"""Before the names of what this package writes into the header of a file."""
_Number = TypeVar("_Number", int, float)


@runtime_checkable
class TakesLoras(Protocol):
    """What of a backbone a LoRA needs."""

    @property
    def network(self) -> Any:
        """The part that carries it."""
        ...

    def add_lora(self, spec: str | Path, *, name: str) -> None:
        """The network carries the LoRA as the frozen adapter `name`. Raises: WeightsError."""
        ...


# Any, here and below: diffusers and peft give a network these methods and attributes at run time
def add_adapter(
    network: Any, *, facts: BackboneFacts, rank: int, alpha: float, name: str = "focus", init_seed: int = 0
) -> None:
    """The network carries a trainable adapter `name` in fp32 that does not change its output yet.

    A is drawn from N(0, 1/rank) by `init_seed` alone, B is 0, the scale is alpha / rank. Adapters there before stay
    active and frozen, as is everything else. Source: note section 1.5; diffusers' LoRA scripts ("gaussian" init).
    Raises: ConfigError for a rank below 1 or a name in use.
    """
    from peft import LoraConfig

    if rank < 1:
        raise ConfigError(f"LoRA rank: expected at least 1, got {rank}; 32 is the paper's.")
    present = list(getattr(network, "peft_config", {}))
    if name in present:
        raise ConfigError(f"LoRA {name}: expected a new name, got one of {', '.join(present)}; choose another.")
    config = LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights="gaussian", target_modules=facts.adapter_targets)  # pyright: ignore[reportArgumentType] alpha may be a fraction
    with torch.random.fork_rng(devices=[]), _several_are_meant():
        torch.manual_seed(init_seed)
        _inject(network, config, name=name)
    activate(network, [*present, name])
    network.requires_grad_(False)
    for parameter in adapter_parameters(network, name).values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(True)


def _inject(network: Any, config: Any, *, name: str) -> None:
    """What `add_adapter` of diffusers does; that of transformers 5 refuses peft before 0.22, without need.

    Source: diffusers' own `add_adapter`.
    """
    from peft import inject_adapter_in_model
    from transformers import PreTrainedModel

    if isinstance(network, PreTrainedModel):
        inject_adapter_in_model(config, network, name)
    else:
        network.add_adapter(config, adapter_name=name)


def layer_shapes(network: torch.nn.Module) -> dict[str, tuple[int, int]]:
    """(out, in) of the weight of every linear layer by its name, adapters not counted: what a LoRA can sit on."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    shapes: dict[str, tuple[int, int]] = {}
    for name, module in network.named_modules():
        layer = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module
        if isinstance(layer, torch.nn.Linear) and not re.search(r"\.(base_layer$|lora_[AB]\.)", name):
            shapes[name] = (layer.out_features, layer.in_features)
    return shapes


def add_changes(network: Any, changes: Mapping[str, Change], *, name: str) -> None:
    """The network carries the changes of these layers as the frozen, active adapter `name`; no other layer has one.

    `changes` fit the `layer_shapes` of the network. Raises: ConfigError for a name in use.
    """
    from peft import LoraConfig

    if name in (present := getattr(network, "peft_config", {})):
        raise ConfigError(f"LoRA {name}: expected a new name, got one of {', '.join(present)}; choose another.")
    ranks = {layer: change.rank for layer, change in changes.items()}
    alphas = {layer: change.alpha for layer, change in changes.items()}
    config = LoraConfig(
        r=_usual(ranks),
        lora_alpha=_usual(alphas),  # pyright: ignore[reportArgumentType] alpha may be a fraction
        rank_pattern=_exceptions(ranks),
        alpha_pattern=_exceptions(alphas),
        target_modules=_any_of(changes),
    )
    with torch.random.fork_rng(devices=[]), _several_are_meant():
        _inject(network, config, name=name)
    for layer, change in changes.items():
        tuned = network.get_submodule(layer)
        tuned.lora_A[name].weight.data.copy_(change.down)
        tuned.lora_B[name].weight.data.copy_(change.up)
    network.requires_grad_(False)


def _usual(numbers: Mapping[str, _Number]) -> _Number:
    return Counter(numbers.values()).most_common(1)[0][0]


def _exceptions(numbers: Mapping[str, _Number]) -> dict[str, _Number]:
    """Pattern of layers -> number for each number but the usual one; one pattern each, since peft tries all of them."""
    rare = sorted(set(numbers.values()) - {_usual(numbers)})
    return {f"^{_any_of(layer for layer in numbers if numbers[layer] == number)}": number for number in rare}


def _any_of(layers: Iterable[str]) -> str:
    return f"(?:{'|'.join(re.escape(layer) for layer in layers)})"


@contextmanager
def _several_are_meant() -> Generator[None, None, None]:
    """Within it, peft does not warn that there is an adapter already: a second one beside UNO's is the point.

    Nor that an adapter on a base quantised by torchao cannot be merged, which nobody asks it for.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="TorchaoLoraLinear was instantiated", category=UserWarning)
        warnings.filterwarnings("ignore", message="Already found a `peft_config`", category=UserWarning)
        yield


def adapter_parameters(network: torch.nn.Module, name: str) -> dict[str, torch.nn.Parameter]:
    """The matrices of one adapter by their full names, in the order of the network. Raises: WeightsError if none."""
    marks = (f".lora_A.{name}.", f".lora_B.{name}.")
    found = {key: p for key, p in network.named_parameters() if any(mark in key for mark in marks)}
    if not found:
        present = ", ".join(getattr(network, "peft_config", {})) or "none"
        raise WeightsError(f"LoRA {name}: expected an adapter of the transformer, got {present}; add or load it first.")
    return found


@contextmanager
def adapter_off(network: torch.nn.Module, name: str) -> Generator[None, None, None]:
    """Within it the network answers exactly as if the adapter `name` were not there; other adapters stay on.

    Only a list per layer changes, and it is put back also after an error: no parameter, requires_grad flag or
    scaling is touched, and nothing is computed for the adapter. Differs: note section 3.5 sets the scaling to 0,
    which gives the same numbers and pays for the products (measured equal in the tests).
    """
    with layers_off(tuned_layers(network), name):
        yield


@contextmanager
def layers_off(layers: Sequence[Any], name: str) -> Generator[None, None, None]:
    """`adapter_off` for a network whose `tuned_layers` are known: finding them is 1% of a small SDXL's step."""
    before = [layer._active_adapter for layer in layers]
    try:
        for layer in layers:
            layer._active_adapter = [other for other in layer.active_adapters if other != name]
        yield
    finally:
        for layer, active in zip(layers, before, strict=True):
            layer._active_adapter = active


def tuned_layers(network: torch.nn.Module) -> list[Any]:
    """The layers of a network that carry adapters."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in network.modules() if isinstance(module, BaseTunerLayer)]


def activate(network: torch.nn.Module, names: list[str]) -> None:
    """All of `names` are active; unlike peft's `set_adapter` this leaves requires_grad as it is."""
    for layer in tuned_layers(network):
        layer._active_adapter = [name for name in names if name in layer.lora_A]


def save_adapter(
    network: Any,
    folder: Path | str,
    *,
    facts: BackboneFacts,
    name: str = "focus",
    metadata: Mapping[str, Any] | None = None,
) -> Path:
    """`folder`/pytorch_lora_weights.safetensors, whole or absent, as stock diffusers writes and reads it.

    `metadata` (JSON values: base model, hashes, config) goes into the header under "likeness.<key>", beside this
    version of likeness and peft's settings, which carry alpha. Raises: OutputError, WeightsError.
    """
    return save_adapters({facts.adapter_prefix: network}, folder, name=name, metadata=metadata)


def save_adapters(
    networks: Mapping[str, Any], folder: Path | str, *, name: str, metadata: Mapping[str, Any] | None = None
) -> Path:
    """As `save_adapter`, the adapters `name` of several networks in one file, each behind its prefix."""
    from peft.utils import get_peft_model_state_dict

    packed, settings = dict[str, torch.Tensor](), dict[str, Any]()
    for prefix, network in networks.items():
        adapter_parameters(network, name)
        tensors = get_peft_model_state_dict(network, adapter_name=name)
        packed |= {f"{prefix}.{key}": value for key, value in sorted(tensors.items())}
        settings |= _peft_settings(network.peft_config[name], prefix=prefix)
    header = {"lora_adapter_metadata": json.dumps(settings, indent=2, sort_keys=True)}
    return write_tensors(Path(folder) / FILE_NAME, packed, header=header, metadata=metadata or {})


def write_tensors(
    path: Path,
    tensors: Mapping[str, torch.Tensor],
    *,
    metadata: Mapping[str, Any],
    header: Mapping[str, str] | None = None,
) -> Path:
    """A safetensors file, whole or absent, the same bytes each time; what stands in its header is as `save_adapter`'s.

    Raises: OutputError.
    """
    ours = {"version": __version__, **metadata}
    texts = {OURS + key: v if isinstance(v, str) else canonical_json(v) for key, v in ours.items()}
    packed = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    made = save(packed, metadata={"format": "pt", **(header or {}), **texts})
    atomic_write_bytes(path, _ordered_header(made))
    return path


def _ordered_header(data: bytes) -> bytes:
    """The same safetensors file with its metadata in sorted order; the library's own order is random per process."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8 bytes
    return len(text).to_bytes(8, "little") + text + data[end:]


# Any: LoraConfig, whose dictionary holds sets and enums
def _peft_settings(config: Any, *, prefix: str) -> dict[str, Any]:
    """peft's settings as diffusers expects them in the header as JSON, keys prefixed as the tensors are."""
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.to_dict().items()}
    return {f"{prefix}.{key}": value for key, value in plain.items()}


def add_loras(backbone: TakesLoras, specs: Sequence[Path | str]) -> None:
    """The network carries every LoRA of `specs`, frozen and active: their changes add up, in any order.

    The first is the adapter "uno", the others "lora_2", "lora_3" ... Raises: WeightsError naming the file that does
    not fit this network.
    """
    names = [f"lora_{number}" if number > 1 else "uno" for number in range(1, len(specs) + 1)]
    with _several_are_meant():
        for name, spec in zip(names, specs, strict=True):
            backbone.add_lora(spec, name=name)
    if names:
        activate(backbone.network, names)


def load_adapter(backbone: TakesLoras, path: Path | str, *, name: str = "focus", trainable: bool = False) -> None:
    """The network carries the saved adapter as `name`, active beside those there before, frozen by default.

    Raises: WeightsError when the file does not fit this network.
    """
    present = list(getattr(backbone.network, "peft_config", {}))
    with _several_are_meant():
        backbone.add_lora(path, name=name)
    activate(backbone.network, [*present, name])
    for parameter in adapter_parameters(backbone.network, name).values():
        parameter.data = parameter.data.float()
        parameter.requires_grad_(trainable)
