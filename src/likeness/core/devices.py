"""What this machine computes on, and in which precision. torch is imported inside the functions."""

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from likeness.core.errors import ConfigError

if TYPE_CHECKING:
    import torch

_DTYPES = ("float32", "bfloat16", "float16")


class Device(NamedTuple):
    """One device: torch's name for it, what it is, its memory in bytes (None: not told), whether bf16 runs fast."""

    name: str
    description: str
    memory_bytes: int | None
    fast_bf16: bool


def describe_devices() -> list[Device]:
    """Every device torch can use here, the preferred one first; the CPU is always the last."""
    import torch

    devices = [_cuda_device(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if torch.backends.mps.is_available():
        devices.append(Device("mps", "Apple GPU (shares main memory)", None, fast_bf16=True))
    cpu = f"CPU, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    return [*devices, Device("cpu", cpu, _main_memory(), fast_bf16=_cpu_has_bf16())]


def _cuda_device(index: int) -> Device:
    import torch

    facts = torch.cuda.get_device_properties(index)
    # emulated bf16 on cards before compute capability 8 is slower than fp16
    return Device(f"cuda:{index}", str(facts.name), int(facts.total_memory), fast_bf16=int(facts.major) >= 8)


def _main_memory() -> int | None:
    try:
        first = Path("/proc/meminfo").read_text(encoding="ascii").split("\n", 1)[0]
        return int(first.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None


def _cpu_has_bf16() -> bool:
    """Whether the CPU multiplies bf16 in hardware (Linux tells; elsewhere the answer is no)."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags or "bf16" in flags


def has_fast_bf16(device: str) -> bool:
    """Whether a device of this kind (of "cuda:1": cuda) multiplies bf16 in hardware."""
    kind = device.partition(":")[0]
    return any(each.fast_bf16 for each in describe_devices() if each.name.partition(":")[0] == kind)


def fast_autocast(device: str) -> "torch.autocast":
    """Within it matrices are bf16 where that is fast; elsewhere, where it can take fifty times as long, fp32."""
    import torch

    return torch.autocast(device.partition(":")[0], torch.bfloat16, enabled=has_fast_bf16(device))


def processor(device: str) -> str:
    """What a device computes with, so far as it decides how numbers are rounded; `device` exists here."""
    import platform

    import torch

    if device.startswith("cuda"):
        return _cuda_device(int(device.partition(":")[2] or 0)).description
    return f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}" if device == "cpu" else device


def pick_device(wanted: str = "auto") -> str:
    """A device that exists here: the wanted one, or for "auto" the first of cuda, mps, cpu.

    Raises: ConfigError when the wanted device does not exist.
    """
    if wanted == "cpu":
        return wanted
    names = [device.name for device in describe_devices()]
    if wanted == "auto":
        return names[0].partition(":")[0]
    if wanted in names or (wanted == "cuda" and "cuda:0" in names):
        return wanted
    raise ConfigError(f"device: expected auto or one of {', '.join(names)}, got {wanted!r}; see `likeness doctor`.")


def pick_dtype_name(device: str, wanted: str = "auto") -> str:
    """The precision to compute in: the wanted one, or for "auto" bf16 where it is fast, fp16 on older GPUs, else fp32.

    Raises: ConfigError for a precision that is none of float32, bfloat16, float16.
    """
    if wanted in _DTYPES:
        return wanted
    if wanted != "auto":
        raise ConfigError(f"dtype: expected auto, {', '.join(_DTYPES)}, got {wanted!r}; bfloat16 suits most.")
    if device.startswith("cuda"):
        index = int(device.partition(":")[2] or 0)
        return "bfloat16" if _cuda_device(index).fast_bf16 else "float16"
    return "bfloat16" if device == "mps" or _cpu_has_bf16() else "float32"


def pick_dtype(device: str, wanted: str = "auto") -> "torch.dtype":
    """`pick_dtype_name` as torch's own type. Raises: ConfigError as there."""
    import torch

    return getattr(torch, pick_dtype_name(device, wanted))


_THREADS = "OMP_NUM_THREADS"


@contextmanager
def _one_thread_for_new_libraries() -> Generator[None, None, None]:
    """Within it torch starts with one thread; one that was imported has its usual number afterwards."""
    before = os.environ.get(_THREADS)
    os.environ[_THREADS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_THREADS]
        else:
            os.environ[_THREADS] = before
        if (torch := sys.modules.get("torch")) is not None:
            usual = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            torch.set_num_threads(int(before) if before and before.isdigit() else usual)


@contextmanager
def one_thread() -> Generator[None, None, None]:
    """Within it torch computes on one CPU thread: sums split over threads round differently.

    So it does where it is first imported within, as by a worker that loads a model for its first job.
    """
    if "torch" not in sys.modules:
        with _one_thread_for_new_libraries():
            yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def without_cudnn_attention() -> Generator[None, None, None]:
    """Within it torch takes another kernel than cuDNN's for attention, whose gradients are NaN for FLUX in bf16.

    Measured on an H200 with torch 2.11: `ScaledDotProductCudnnAttentionBackward0` at the first training step of the
    embedded FLUX; torch's flash attention is sound there (docs/log.md, 2026-11-26).
    """
    import torch

    before = torch.backends.cuda.cudnn_sdp_enabled()
    torch.backends.cuda.enable_cudnn_sdp(False)
    try:
        yield
    finally:
        torch.backends.cuda.enable_cudnn_sdp(before)
