"""Devices and precisions exist before they are promised."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from likeness.core import devices
from likeness.core.devices import without_cudnn_attention
from likeness.core.errors import ConfigError
from likeness.pretrain.run import run as pretrain
from likeness.train.run import tune


def test_cpu_is_the_last_device_and_always_there() -> None:
    found = devices.describe_devices()
    assert found[-1].name == "cpu"
    assert [device.name for device in found].count("cpu") == 1
    assert torch.zeros(1, device=devices.pick_device()).sum() == 0


def test_wanted_device_is_given_or_refused() -> None:
    assert devices.pick_device("cpu") == "cpu"
    with pytest.raises(ConfigError, match=r"expected auto or one of .*cpu, got 'cuda:99'"):
        devices.pick_device("cuda:99")


@pytest.mark.parametrize(("flags", "expected"), [("fpu avx512_bf16 sse", "bfloat16"), ("fpu avx2", "float32")])
def test_cpu_precision_follows_the_flags(monkeypatch: pytest.MonkeyPatch, flags: str, expected: str) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self, **kwargs: f"flags : {flags}")
    assert devices.pick_dtype_name("cpu") == expected
    assert devices.pick_dtype("cpu") == getattr(torch, expected)
    with devices.fast_autocast("cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == getattr(torch, expected)


def test_wanted_precision_is_given_or_refused() -> None:
    assert devices.pick_dtype("cpu", "float16") == torch.float16
    with pytest.raises(ConfigError, match="got 'int8'"):
        devices.pick_dtype("cpu", "int8")


def test_core_imports_no_heavy_library() -> None:
    code = (
        "import sys, pkgutil, importlib, likeness.core as core\n"
        "[importlib.import_module('likeness.core.' + module.name) for module in pkgutil.iter_modules(core.__path__)]\n"
        "heavy = {'torch', 'transformers', 'diffusers', 'huggingface_hub', 'scipy', 'matplotlib', 'skia'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {sys.path!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("before", [True, False])
def test_cudnn_attention_is_off_within_and_as_before_after(before: bool) -> None:
    kernels = torch.backends.cuda
    was = kernels.cudnn_sdp_enabled()
    kernels.enable_cudnn_sdp(before)
    try:
        with without_cudnn_attention():
            assert not kernels.cudnn_sdp_enabled()
        assert kernels.cudnn_sdp_enabled() == before
    finally:
        kernels.enable_cudnn_sdp(was)


def test_training_and_pretraining_do_without_cudnn_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bool] = []

    def read(*_: object, **__: object) -> None:
        seen.append(torch.backends.cuda.cudnn_sdp_enabled())
        raise ConfigError("read")

    monkeypatch.setattr("likeness.train.run.read_train_config", read)
    monkeypatch.setattr("likeness.pretrain.run.read_config", read)
    with pytest.raises(ConfigError, match="read"):
        tune("none.toml", out="none")
    with pytest.raises(ConfigError, match="read"):
        pretrain(Path("none.toml"))
    assert seen == [False, False]


FIRST_IMPORT = """
import os, sys
from likeness.core.devices import one_thread
assert "torch" not in sys.modules
with one_thread():
    import torch
    print(torch.get_num_threads())
print(torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS"))
with one_thread():
    print(torch.get_num_threads())
"""


def test_torch_imported_within_has_one_thread_there() -> None:
    """Else the first job of a worker would be computed on all cores, and round otherwise than the others."""
    free = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", FIRST_IMPORT], env=free, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", str(len(os.sched_getaffinity(0))), "None", "1"]
