"""Training state: exact round trips, old or new after a kill at any moment, damage is told."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from likeness.core.errors import WeightsError
from likeness.train import state as state_module
from likeness.train.state import load_state, save_state


class Killed(BaseException):
    """Stands for kill -9: nothing catches it."""


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4))


def optimizers(net: nn.Module) -> list[torch.optim.Optimizer]:
    matrices = [p for p in net.parameters() if p.ndim == 2]
    vectors = [p for p in net.parameters() if p.ndim != 2]
    muon = torch.optim.Muon(matrices, lr=0.02, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(vectors, lr=0.01, betas=(0.9, 0.99), fused=True)]


def steps(net: nn.Module, opts: list[torch.optim.Optimizer], numbers: range) -> None:
    for number in numbers:
        x = torch.randn(5, 6, generator=torch.Generator().manual_seed(number))
        net(x).square().mean().backward()
        for optimizer in opts:
            optimizer.step()
            optimizer.zero_grad()


def weights(net: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in net.parameters()]


def test_optimizers_go_on_bit_for_bit(tmp_path: Path) -> None:
    straight = network()
    steps(straight, optimizers(straight), range(6))

    first = network()
    opts = optimizers(first)
    steps(first, opts, range(3))
    parts = {"network": first.state_dict(), "optimizers": [o.state_dict() for o in opts], "seen": 3}
    save_state(tmp_path / "run.state", parts)

    second = network()
    with torch.no_grad():
        for p in second.parameters():
            p.zero_()
    loaded = load_state(tmp_path / "run.state")
    assert loaded is not None
    second.load_state_dict(loaded["network"])
    opts = optimizers(second)
    for optimizer, saved in zip(opts, loaded["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    assert loaded["seen"] == 3
    steps(second, opts, range(3, 6))
    assert all(torch.equal(a, b) for a, b in zip(weights(straight), weights(second), strict=True))


def test_values_types_and_keys_survive(tmp_path: Path) -> None:
    tensors = {
        "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
        "count": torch.tensor(7, dtype=torch.int64),
        "view": torch.arange(6.0).reshape(2, 3).T,
        "empty": torch.zeros(0, 4),
    }
    parts = {"tensors": tensors, "by_number": {0: {"step": 1, "rate": 0.1}, 12: None}, "list": [1, "two", True, 2.5]}
    save_state(tmp_path / "s", parts)
    loaded = load_state(tmp_path / "s")
    assert loaded is not None
    assert list(loaded) == ["tensors", "by_number", "list"]
    assert loaded["by_number"] == parts["by_number"]
    assert loaded["list"] == parts["list"]
    for name, tensor in tensors.items():
        assert loaded["tensors"][name].dtype == tensor.dtype
        assert torch.equal(loaded["tensors"][name], tensor)


def test_shared_tensors_are_saved_twice(tmp_path: Path) -> None:
    shared = torch.ones(3)
    save_state(tmp_path / "s", {"a": {"x": shared}, "b": {"x": shared}})
    loaded = load_state(tmp_path / "s")
    assert loaded is not None
    assert torch.equal(loaded["a"]["x"], loaded["b"]["x"])


def test_no_state_yet_is_none(tmp_path: Path) -> None:
    assert load_state(tmp_path / "nothing") is None


def test_a_save_leaves_one_folder(tmp_path: Path) -> None:
    for number in range(3):
        save_state(tmp_path / "s", content(number))
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def content(number: int) -> dict[str, object]:
    return {"x": torch.full((4,), float(number)), "n": number}


def numbers_in(folder: Path) -> tuple[float, int]:
    loaded = load_state(folder)
    assert loaded is not None
    assert set(loaded["x"].tolist()) == {float(loaded["n"])}, "a mixture of two states"
    return float(loaded["x"][0]), loaded["n"]


MOMENTS = [
    (name, k, when) for name in ("replace", "rmtree", "save_file") for k in (1, 2, 3) for when in ("before", "after")
]


@pytest.mark.parametrize(("name", "k", "when"), MOMENTS)
def test_killed_at_any_call_the_state_is_old_or_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, k: int, when: str
) -> None:
    folder = tmp_path / "s"
    save_state(folder, content(1))
    with monkeypatch.context() as patch:
        kill_at(patch, name, call=k, when=when)
        try:
            save_state(folder, content(2))
            killed = False
        except Killed:
            killed = True
    assert killed == (k <= {"replace": 2, "rmtree": 3, "save_file": 1}[name])
    finished = name == "rmtree" and k == 3
    finished |= (name, k, when) == ("replace", 2, "after")
    expected = 2 if finished or not killed else 1
    assert numbers_in(folder) == (expected, expected)
    save_state(folder, content(3))
    assert numbers_in(folder) == (3, 3)
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def kill_at(patch: pytest.MonkeyPatch, name: str, *, call: int, when: str) -> None:
    """The process dies just before or just after the k-th call of a function that changes the disk."""
    owner = {"replace": os, "rmtree": shutil, "save_file": state_module}[name]
    real, calls = getattr(owner, name), 0

    def dying(*args: object, **kwargs: object) -> None:
        nonlocal calls
        calls += 1
        if calls == call and when == "before":
            raise Killed
        real(*args, **kwargs)
        if calls == call:
            raise Killed

    patch.setattr(owner, name, dying)


def test_a_second_save_after_a_kill_between_renames_never_loses_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody loads between the two saves, and the second one dies too."""
    folder = tmp_path / "s"
    save_state(folder, content(1))
    for name, k in (("replace", 2), ("rmtree", 2)):
        with monkeypatch.context() as patch:
            kill_at(patch, name, call=k, when="before" if name == "replace" else "after")
            with pytest.raises(Killed):
                save_state(folder, content(2))
    assert numbers_in(folder) == (1, 1)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def forget_a_tensor(path: Path) -> None:
    skeleton = json.loads((path.parent / "skeleton.json").read_text())
    skeleton["y"] = {"@tensor": "y"}
    (path.parent / "skeleton.json").write_text(json.dumps(skeleton))


DAMAGE = {
    "no tensors": ("tensors.safetensors", Path.unlink),
    "no skeleton": ("skeleton.json", Path.unlink),
    "truncated tensors": ("tensors.safetensors", truncate),
    "truncated skeleton": ("skeleton.json", truncate),
    "empty tensors": ("tensors.safetensors", lambda path: path.write_bytes(b"")),
    "empty skeleton": ("skeleton.json", lambda path: path.write_bytes(b"")),
    "binary skeleton": ("skeleton.json", lambda path: path.write_bytes(b"\xff\xfe\x00")),
    "list for a skeleton": ("skeleton.json", lambda path: path.write_text("[1]")),
    "tensor of another state": ("tensors.safetensors", forget_a_tensor),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_is_a_weights_error(tmp_path: Path, case: str) -> None:
    save_state(tmp_path / "s", content(1))
    file, damage = DAMAGE[case]
    damage(tmp_path / "s" / file)
    with pytest.raises(WeightsError, match=r"s: expected a training state, got .*; delete the folder"):
        load_state(tmp_path / "s")
