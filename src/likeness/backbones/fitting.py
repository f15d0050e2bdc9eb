"""Opens a backbone as `Memory` says: merged, quantised, offloaded.

Weights are read in main memory, so that the device never holds more than stays there. All is done to a part when it is
read, and again when it is read again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast  # Any: stock networks and parts, a condition of any kind

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from torch import nn

from likeness.backbones.base import LearnsWords
from likeness.backbones.folder import PartsOnDemand
from likeness.backbones.lora import add_loras
from likeness.backbones.memory import Memory, Offload, Quantise

if TYPE_CHECKING:
    from likeness.backbones.base import Backbone
    from likeness.backbones.lora_file import Change

__all__ = ["block_layers", "load_fitted", "merge_changes", "offload", "quantise"]

_IN_A_BLOCK = re.compile(r"(^|\.)\d+\.")


def load_fitted(
    opened: type[Backbone[Any]],
    folder: Path,
    *,
    device: str,
    dtype: torch.dtype,
    loras: Sequence[str | Path],
    memory: Memory,
) -> Backbone[Any]:
    """The frozen backbone of the folder with its adapters, kept as `memory` says. Raises: ConfigError, WeightsError."""
    memory.require_usable(device=device, num_loras=len(loras))
    backbone: Any = opened.load(folder, device="cpu", dtype=dtype, loras=())
    for lora in loras:
        opened.read_lora(folder, lora)  # refused now, not when the network is first needed
        if isinstance(learns := cast(object, backbone), LearnsWords):
            learns.add_words(lora)

    def fit(network: nn.Module) -> None:
        for lora in loras if memory.merge_lora else ():
            merge_changes(network, opened.read_lora(folder, lora).changes)
        if memory.quantise != "none":
            quantise(network, memory.quantise, device=device, dtype=dtype)
        if not memory.merge_lora:
            add_loras(backbone, loras)
            for name, parameter in network.named_parameters():
                if ".lora_" in name:  # on packed weights peft makes them fp32
                    parameter.data = parameter.data.to(dtype)

    backbone.parts.stored.always(backbone.network_part, fit)
    offload(backbone, memory.offload, device=torch.device(device))
    return backbone


@torch.no_grad()
def merge_changes(network: nn.Module, changes: Mapping[str, Change]) -> None:
    """Each layer's weight has its change in it: added in fp32, rounded once to the weight's own precision."""
    for name, change in changes.items():
        weight = network.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        delta = change.up.float() @ change.down.float() * (change.alpha / change.rank)
        weight.copy_((weight.float() + delta.to(weight.device)).to(weight.dtype))


# fewer bits ----------------------------------------------------------------------------------------------------------


def quantise(network: Any, kind: Quantise, *, device: str, dtype: torch.dtype) -> None:
    """The linear layers inside the network's numbered blocks keep their weights in fewer bits, on the device.

    They multiply in `dtype`; embedders and output layers stay as they are. Adapters come later, on top.
    Source: NF4 of QLoRA (arXiv:2305.14314) with its double quantisation; int8 and fp8 (e4m3): one scale a row.
    """
    if kind == "nf4":
        for name, layer in block_layers(network):
            network.set_submodule(name, _nf4(layer, device=device, dtype=dtype))
        network.is_loaded_in_4bit = True  # by which peft finds its own layer for these
        return
    torchao: Any = import_module("torchao.quantization")  # an extra, which need not be there
    chosen = {name for name, _ in block_layers(network)}
    config = torchao.Int8WeightOnlyConfig() if kind == "int8" else torchao.Float8WeightOnlyConfig()
    torchao.quantize_(network, config, filter_fn=lambda _, name: name in chosen, device=device)


def block_layers(network: nn.Module) -> list[tuple[str, nn.Linear]]:
    """The linear layers inside the network's numbered blocks, by name."""
    modules = network.named_modules()
    return [(name, m) for name, m in modules if isinstance(m, nn.Linear) and _IN_A_BLOCK.search(name)]


def _nf4(layer: nn.Linear, *, device: str, dtype: torch.dtype) -> nn.Module:
    bitsandbytes: Any = import_module("bitsandbytes.nn")  # an extra, which need not be there
    made = bitsandbytes.Linear4bit(
        layer.in_features, layer.out_features, bias="bias" in layer.state_dict(), compute_dtype=dtype, quant_type="nf4",
        device=torch.device("meta"),
    )  # fmt: skip
    made.weight = bitsandbytes.Params4bit(layer.weight.data, requires_grad=False, quant_type="nf4").to(device)
    made.bias = layer.bias
    return made.to(device).train()  # in evaluation bitsandbytes repacks weights for CPUs, and no gradient passes then


# where parts wait ----------------------------------------------------------------------------------------------------


def offload(backbone: Any, kind: Offload, *, device: torch.device) -> None:
    """The network and the other parts are on the device, or come there when they run.

    Source: diffusers' model offloading, but with one part there at any time, also between two pictures; diffusers'
    group offloading by blocks, by layers for text encoders. The autoencoder (0.2 GB) stays on the device there.
    """
    backbone.runs_on(device)
    stored: PartsOnDemand = backbone.parts.stored
    for name in stored.names:
        match kind:
            case "none":
                stored.always(name, lambda part: part.to(device))
            case "model":
                stored.always(name, lambda part: add_hook_to_module(part, _Alone(stored, device=device)))
            case "group":
                stored.always(name, partial(_in_groups, name=name, network=backbone.network_part, device=device))


def _in_groups(part: nn.Module, *, name: str, network: str, device: torch.device) -> None:
    from diffusers.hooks import apply_group_offloading

    if name == "vae":
        part.to(device)
    elif name == network:
        on_cuda = device.type == "cuda"  # where the next block is copied while one runs
        apply_group_offloading(part, device, offload_type="block_level", num_blocks_per_group=1, use_stream=on_cuda)
    else:
        apply_group_offloading(part, device, offload_type="leaf_level")


class _Alone(ModelHook):
    """Its module is on the device when it runs, and the other parts in memory are in main memory."""

    def __init__(self, stored: PartsOnDemand, *, device: torch.device) -> None:
        self.stored, self.device = stored, device

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Parts change places where they have to; inputs follow."""
        for other in self.stored.present().values():
            if other is not module:
                _move(other, torch.device("cpu"))
        _move(module, self.device)
        return send_to_device(args, self.device), send_to_device(kwargs, self.device)


def _move(module: nn.Module, device: torch.device) -> None:
    if next(module.parameters()).device != device:
        module.to(device)
