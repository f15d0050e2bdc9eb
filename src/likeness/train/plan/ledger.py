"""Counts what tensors a computation makes: bytes alive, the most at once, and floating-point operations.

The computation may run on tensors without values (torch's fake tensors), so that a model of any size is counted on any
machine. Attention is counted as fused (flash) attention, which is what CUDA runs in half precision.
"""

import weakref
from collections.abc import Callable, Iterable
from typing import Any  # Any: what operators take and give

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count


def _attention(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_backward(grad: Tensor, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    return sdpa_backward_flop_count(grad.shape, query.shape, key.shape, value.shape)


_CPU_ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"
_FORMULAS: dict[Any, Callable[..., int]] = {
    **flop_registry,
    getattr(torch.ops.aten, _CPU_ATTENTION): _attention,
    getattr(torch.ops.aten, f"{_CPU_ATTENTION}_backward"): _attention_backward,
}


class Ledger(TorchDispatchMode):
    """Within it every storage that an operator makes is counted until it is freed; those of `owned` are not.

    `live` bytes now, `peak` the most so far, `flops` so far (a product of m x k by k x n counts 2 m k n).
    """

    def __init__(self, owned: Iterable[Tensor] = ()) -> None:
        super().__init__()
        self.live = self.peak = self.flops = 0
        self._known: dict[int, int] = {}
        for tensor in owned:
            self._know(tensor, num_bytes=0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if formula := _FORMULAS.get(func.overloadpacket):
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self._know(tensor, num_bytes=tensor.untyped_storage().nbytes())
        self.peak = max(self.peak, self.live)
        return out

    def _know(self, tensor: Tensor, *, num_bytes: int) -> None:
        storage = tensor.untyped_storage()
        if (key := _key(storage)) not in self._known:
            self._known[key] = num_bytes
            self.live += num_bytes
            weakref.finalize(storage, self._freed, key)

    def _freed(self, key: int) -> None:
        self.live -= self._known.pop(key, 0)

    def give_up_gradient(self, parameter: Tensor) -> None:
        """The parameter's gradient counts no more: it has its own line in the plan."""
        if parameter.grad is None:
            return
        key = _key(parameter.grad.untyped_storage())
        self.live -= self._known.get(key, 0)
        if key in self._known:
            self._known[key] = 0


def _key(storage: torch.UntypedStorage) -> int:
    """The address of the storage itself: its data have none where there are no values."""
    return storage._cdata  # pyright: ignore[reportPrivateUsage] nothing else tells such storages apart


def without_values(module: nn.Module) -> None:
    """The parameters and buffers are empty tensors on the CPU; within torch's fake mode they take no memory."""
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            empty = torch.empty(parameter.shape, dtype=parameter.dtype)
            part.register_parameter(name, nn.Parameter(empty, requires_grad=parameter.requires_grad))
        for name, buffer in part.named_buffers(recurse=False):
            setattr(part, name, torch.empty(buffer.shape, dtype=buffer.dtype))
